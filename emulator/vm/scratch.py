"""A folder for the files of one boot, which goes with it; also what killed boots left goes."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "run-"


@contextmanager
def scratch_folder(cache: Path) -> Iterator[Path]:
    """A new folder in `cache`, or where that is not writable in the system's place for temporary files.

    It is locked as long as its owner lives; those in `cache` that nobody has locked are removed first.
    """
    parent = cache if os.access(cache, os.W_OK) else None
    if parent is not None:
        remove_left_behind(parent)
    name, lock = _locked_folder(parent)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.close(lock)


def remove_left_behind(parent: Path) -> None:
    """Remove the folders of boots whose owner is dead."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _locked_folder(parent: Path | None) -> tuple[str, int]:
    while True:
        name = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        try:
            lock = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(name):
            return name, lock
        os.close(lock)  # somebody removed it before it was locked
