"""What labs leave behind: programs, names of namespaces, descriptors and threads."""

from __future__ import annotations

import os
import select
import threading

from netns import mountpoint


def ended(pidfd: int, seconds: float = 5.0) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def ours(run: str) -> list[str]:
    return [name for name in os.listdir(mountpoint.DIRECTORY) if name.startswith(f"wfp-{run}-")]


def belongings() -> tuple[int, int]:
    """How many descriptors and threads this process has."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()
