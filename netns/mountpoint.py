"""Names under /run/netns, in the manner of `ip netns`, so that `ip netns exec <name>` finds ours."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from netns import syscalls
from netns.errors import NameTaken, UnsafeState, refused
from netns.inhabitants import NamespaceId, identify

DIRECTORY = "/run/netns"


def path_of(name: str) -> str:
    """Where the namespace of that name is mounted."""
    return f"{DIRECTORY}/{name}"


def claim(name: str) -> None:
    """Create the empty file on which the namespace will be mounted; it is then ours.

    Raises NameTaken, NotPermitted, KernelRefused, UnsafeState.
    """
    try:
        with _directory() as directory:
            flags = os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            os.close(os.open(name, flags, 0o444, dir_fd=directory))
    except FileExistsError as error:
        raise NameTaken("network namespace", name) from error
    except OSError as error:
        raise refused(f"creating {path_of(name)}", error) from error


def attach(name: str) -> None:
    """Mount the calling thread's network namespace on the claimed name. Raises OSError."""
    syscalls.bind_mount("/proc/thread-self/ns/net", path_of(name))


def identity_of(name: str) -> NamespaceId | None:
    """The identity of the namespace mounted on `name`; None if there is no such name or no mount on it."""
    path = path_of(name)
    try:
        if os.lstat(path).st_dev == os.stat(DIRECTORY).st_dev:
            return None
        return identify(path)
    except OSError:
        return None


def exists(name: str) -> bool:
    """Whether anything bears the name."""
    return os.path.lexists(path_of(name))


def detach(name: str, identity: NamespaceId | None) -> None:
    """Remove the name if it is (still) on the namespace `identity`, or on none; otherwise leave it alone.

    Removing what is gone is allowed. Raises NotPermitted, KernelRefused.
    """
    path = path_of(name)
    try:
        with _directory():
            mounted = identity_of(name)
            if mounted is not None:
                if mounted != identity:
                    return
                syscalls.unmount(path)
            with suppress(FileNotFoundError):
                os.unlink(path)
    except OSError as error:
        raise refused(f"removing {path}", error) from error


@contextmanager
def _directory() -> Iterator[int]:
    """The directory, made a shared mount, and locked as `ip netns` locks it; yields its descriptor."""
    with suppress(FileExistsError):
        os.mkdir(DIRECTORY, 0o755)
    descriptor = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UnsafeState(DIRECTORY, "others than root can write it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _share()
        # Opened again: after the first mount the name leads to the mount, the old descriptor below it.
        inner = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield inner
        finally:
            os.close(inner)
    finally:
        os.close(descriptor)


def _share() -> None:
    # Without sharing, a process of `ip netns exec` keeps every namespace alive that existed at its start.
    try:
        syscalls.share_mount(DIRECTORY)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        syscalls.bind_mount(DIRECTORY, DIRECTORY, recursive=True)
        syscalls.share_mount(DIRECTORY)
