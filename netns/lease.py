"""Who owns what: one locked file per lab, and the removal of what dead owners left behind.

Every name of a lab carries its run id, and a journal in the lease says which names were taken, before they
are. The lease is locked as long as its owner lives; the kernel frees the lock however the owner ends. So
whoever can take the lock has the owner's whole estate before him, and nobody else's.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import stat
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from netns import mountpoint
from netns.errors import NameTaken, UnsafeState, refused
from netns.inhabitants import NamespaceId, kill_inhabitants

STATE_DIRECTORY = "/run/wfplab"
SUFFIX = ".lease"
RUN_ID_OCTETS = 4
JOURNAL_LIMIT_OCTETS = 1 << 20


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was found of one dead owner, and removed."""

    run: str
    pid: int
    """Of the dead owner."""
    namespaces: tuple[str, ...]
    processes: tuple[int, ...]
    """Those that still lived in its namespaces; they were killed."""


@dataclass(frozen=True, slots=True)
class Live:
    """A lease whose owner lives."""

    run: str
    pid: int
    namespaces: tuple[str, ...]


@dataclass(slots=True)
class Estate:
    """What a journal says: the owner, and the names it took."""

    pid: int
    names: dict[str, NamespaceId | None]
    """The identity is None from the claim until the namespace exists."""
    label: str = ""
    """What the owner says it is for."""


class Lease:
    """The right to use names with this run id; held until closed, or until the process ends.

    A child that is forked without exec would share the lock: start programs, do not fork.
    """

    def __init__(self, directory: str = STATE_DIRECTORY) -> None:
        """Take a new run id. Raises UnsafeState, NotPermitted, KernelRefused."""
        self._directory = directory
        self._fd = -1
        try:
            folder = _open_directory(directory)
            try:
                while self._fd < 0:
                    self.run = secrets.token_hex(RUN_ID_OCTETS)
                    self._fd = _create_locked(folder, self.run + SUFFIX)
            finally:
                os.close(folder)
            self._write({"pid": os.getpid(), "start": _start_time(os.getpid())})
        except OSError as error:
            raise refused(f"taking a lease in {directory}", error) from error

    @property
    def path(self) -> str:
        return f"{self._directory}/{self.run}{SUFFIX}"

    def claim(self, host: str) -> str:
        """Write down, before it is created, that a namespace is ours; returns its name, `wfp-<run>-<host>`.

        Raises NameTaken, KernelRefused.
        """
        name = f"wfp-{self.run}-{host}"
        if mountpoint.exists(name):
            raise NameTaken("network namespace", name)
        self._write({"claim": name})
        return name

    def made(self, name: str, identity: NamespaceId) -> None:
        """Write down which namespace bears the claimed name. Raises KernelRefused."""
        self._write({"made": name, "device": identity[0], "inode": identity[1]})

    def gone(self, name: str) -> None:
        """Write down that a name is no longer used. Raises KernelRefused."""
        self._write({"gone": name})

    def label(self, text: str) -> None:
        """Write down what it is for, so that others find it by that; the last label counts. Raises KernelRefused."""
        self._write({"label": text})

    def close(self) -> None:
        """Remove what is left of our own names, then the lease; closing twice is allowed.

        Raises KernelRefused; the lease then stays for the next reaper.
        """
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                _clear(_read(fd))
                with suppress(FileNotFoundError):
                    os.unlink(self.path)
            except OSError as error:
                raise refused(f"removing {self.path}", error) from error
            finally:
                os.close(fd)

    def _write(self, entry: dict[str, object]) -> None:
        try:
            os.write(self._fd, json.dumps(entry).encode() + b"\n")
        except OSError as error:
            raise refused(f"writing {self.path}", error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            warnings.warn(f"lease {self.run} was not closed", ResourceWarning, source=self, stacklevel=2)


def reap(directory: str = STATE_DIRECTORY) -> list[Cleaned]:
    """Remove what dead owners left: their processes, namespaces and leases; say what that was.

    The living, and everything that no lease names, are not touched; of two reapers at a time one does each.
    Raises UnsafeState, NotPermitted, KernelRefused.
    """
    cleaned = []
    try:
        folder = _open_directory(directory)
        try:
            for name in _leases(folder):
                fd = _lock_dead(folder, name)
                if fd is None:
                    continue
                try:
                    estate = _read(fd)
                    namespaces, processes = _clear(estate)
                    os.unlink(name, dir_fd=folder)
                finally:
                    os.close(fd)
                cleaned.append(Cleaned(name.removesuffix(SUFFIX), estate.pid, namespaces, processes))
        finally:
            os.close(folder)
    except OSError as error:
        raise refused(f"reaping in {directory}", error) from error
    return cleaned


def living(directory: str = STATE_DIRECTORY) -> list[Live]:
    """The leases whose owners live, ours included. Raises UnsafeState, NotPermitted, KernelRefused."""
    return [Live(run, estate.pid, tuple(estate.names)) for run, estate in _living(directory)]


def labelled(directory: str = STATE_DIRECTORY) -> list[tuple[str, Live]]:
    """The leases of the living with what their owners say they are for; "" where nothing was said.

    Raises UnsafeState, NotPermitted, KernelRefused.
    """
    return [(estate.label, Live(run, estate.pid, tuple(estate.names))) for run, estate in _living(directory)]


def _living(directory: str) -> list[tuple[str, Estate]]:
    found = []
    try:
        folder = _open_directory(directory)
        try:
            for name in _leases(folder):
                fd = _open_lease(folder, name)
                if fd is None:
                    continue
                try:
                    if _is_locked(fd):
                        found.append((name.removesuffix(SUFFIX), _read(fd)))
                finally:
                    os.close(fd)
        finally:
            os.close(folder)
    except OSError as error:
        raise refused(f"reading {directory}", error) from error
    return found


def _clear(estate: Estate) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Remove an estate: only a namespace that still bears the name, and is the one once made, is part of it."""
    present: dict[str, NamespaceId | None] = {}
    for name, made in estate.names.items():
        bears = mountpoint.identity_of(name)
        if bears is None and mountpoint.exists(name):
            present[name] = None
        elif bears is not None and made in (None, bears):
            present[name] = bears
    homes = {identity for identity in present.values() if identity is not None}
    processes = kill_inhabitants(homes) if homes else []
    for name, identity in present.items():
        mountpoint.detach(name, identity)
    return tuple(present), tuple(processes)


def _open_directory(path: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError as error:
        raise UnsafeState(path, "it is a symbolic link or no directory") from error
    except OSError as error:
        raise refused(f"opening {path}", error) from error
    status = os.fstat(fd)
    why = ""
    if status.st_uid != os.geteuid():
        why = f"it belongs to user {status.st_uid}, not to us ({os.geteuid()})"
    elif status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        why = f"its mode is {stat.S_IMODE(status.st_mode):o}, not 700"
    if why:
        os.close(fd)
        raise UnsafeState(path, why)
    return fd


def _create_locked(folder: int, name: str) -> int:
    """A new locked lease; -1 if the name was taken, or a reaper was quicker than our lock."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
    try:
        fd = os.open(name, flags, 0o600, dir_fd=folder)
    except FileExistsError:
        return -1
    if _try_lock(fd) and _is_linked(folder, name, fd):
        return fd
    os.close(fd)
    return -1


def _lock_dead(folder: int, name: str) -> int | None:
    """Open and lock a lease; None if its owner lives, or another reaper has it or had it."""
    fd = _open_lease(folder, name)
    if fd is None:
        return None
    if _try_lock(fd) and _is_linked(folder, name, fd):
        return fd
    os.close(fd)
    return None


def _open_lease(folder: int, name: str) -> int | None:
    """Open a lease; None if it is gone, or no plain file (then it is none of ours)."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR):
            return None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(fd: int) -> bool:
    try:
        # Shared, so that two who only look do not take each other for an owner.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _is_linked(folder: int, name: str, fd: int) -> bool:
    """Whether the name still leads to this file: a lock on a removed file is worth nothing."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _leases(folder: int) -> Iterator[str]:
    return (name for name in sorted(os.listdir(folder)) if name.endswith(SUFFIX))


def _read(fd: int) -> Estate:
    """What a journal says; a last line that was cut off in mid-write is left out."""
    estate = Estate(pid=0, names={})
    for line in os.pread(fd, JOURNAL_LIMIT_OCTETS, 0).splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        match entry:
            case {"pid": int(pid)}:
                estate.pid = pid
            case {"claim": str(name)}:
                estate.names[name] = None
            case {"made": str(name), "device": int(device), "inode": int(inode)}:
                estate.names[name] = (device, inode)
            case {"gone": str(name)}:
                estate.names.pop(name, None)
            case {"label": str(text)}:
                estate.label = text
    return estate


def _start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot: together with the pid it is unique."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[19])
