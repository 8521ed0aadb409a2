"""Folders of a run, for files that programs in its hosts serve; those of dead runs can be told, and are removed.

Whoever made a folder holds a lock on it, which the kernel takes back with the process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "wfplab-run-"


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of our own, whose name nobody can guess; it goes with the block, with all that is in it."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        lock = _lock(path)
        if lock is not None:
            break  # else somebody took it for a dead run's, before it was locked
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def reap_folders() -> list[str]:
    """Remove the folders of our own dead runs; their paths."""
    removed = []
    parent = tempfile.gettempdir()
    for name in sorted(os.listdir(parent)):
        path = os.path.join(parent, name)
        lock = _lock(path) if name.startswith(PREFIX) else None
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
            removed.append(path)
    return removed


def _lock(path: str) -> int | None:
    """A descriptor that holds the lock on a folder of ours; None where there is no such folder, or it is in use."""
    try:
        found = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(found).st_uid == os.geteuid():
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.isdir(path):  # not removed between opening and locking
                return found
    except OSError:
        pass
    os.close(found)
    return None
