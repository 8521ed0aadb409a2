"""Who lives in a network namespace: known by the namespace's identity, never by a name."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress

NamespaceId = tuple[int, int]
"""Device and inode number of a namespace: unique on the machine for as long as it exists."""

GONE_WITHIN_SECONDS = 2.0


def identify(namespace: int | str) -> NamespaceId:
    """The identity of the namespace behind a descriptor or path. Raises OSError."""
    status = os.stat(namespace)
    return (status.st_dev, status.st_ino)


def inhabitants(namespaces: Collection[NamespaceId]) -> Iterator[tuple[int, int]]:
    """Yield (pid, pidfd) of every process whose first thread is in one of `namespaces`, except our own.

    The caller closes each pidfd.
    """
    own = os.getpid()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == own:
            continue
        pid = int(entry)
        try:
            if identify(f"/proc/{pid}/ns/net") not in namespaces:
                continue
            pidfd = os.pidfd_open(pid)
        except OSError:  # it has ended meanwhile, or is a zombie
            continue
        try:
            # Asked again with the pidfd in hand: the number may have changed its bearer between the two.
            still = identify(f"/proc/{pid}/ns/net") in namespaces
        except OSError:
            still = False
        if still:
            yield pid, pidfd
        else:
            os.close(pidfd)


def kill_inhabitants(namespaces: Collection[NamespaceId]) -> list[int]:
    """Kill every process that lives in `namespaces` and wait (2 s at most) for their end; return their pids.

    Repeats until nobody is found, since a process may be just starting another.
    """
    killed: list[int] = []
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while found := list(inhabitants(namespaces)):
        try:
            for pid, pidfd in found:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                if pid not in killed:
                    killed.append(pid)
            for _, pidfd in found:
                _await_end(pidfd, deadline)
        finally:
            for _, pidfd in found:
                os.close(pidfd)
        if time.monotonic() > deadline:
            break
    return killed


def _await_end(pidfd: int, deadline: float) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.poll(max(0, int((deadline - time.monotonic()) * 1000)))
