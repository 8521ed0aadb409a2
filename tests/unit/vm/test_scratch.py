"""Folders for one boot: gone afterwards, also when the boot was killed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from emulator.vm.scratch import remove_left_behind, scratch_folder


def test_a_folder_is_ours_alone_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_boot_left_goes_and_a_living_one_stays(tmp_path: Path) -> None:
    dead, alive, other = (tmp_path / name for name in ("run-dead", "run-alive", "bookworm"))
    for folder in (dead, alive, other):
        (folder / "within").mkdir(parents=True)
    lock = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_left_behind(tmp_path)
    finally:
        os.close(lock)
    assert sorted(tmp_path.iterdir()) == [other, alive]


def test_two_at_a_time_leave_each_other_alone(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as one, scratch_folder(tmp_path) as two:
        assert one != two
        assert one.exists()


def test_where_the_cache_is_not_ours_it_is_elsewhere(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "missing") as folder:
        assert folder.parent != tmp_path
    assert not folder.exists()
