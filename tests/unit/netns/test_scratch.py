"""Folders of runs: whose they are, and which of them may go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netns import scratch

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the folders are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_block_and_is_nobody_elses(elsewhere: Path) -> None:
    with scratch.folder() as folder:
        (folder / "file").write_text("x")
        assert folder.parent == elsewhere
        assert folder.stat().st_mode & 0o777 == 0o700
        assert scratch.reap_folders() == [], "it is in use"
        assert (folder / "file").exists()
    assert list(elsewhere.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_and_nothing_else(elsewhere: Path) -> None:
    text = (
        "import os, signal\nfrom netns import scratch\nwith scratch.folder() as folder:\n"
        "    (folder / 'file').write_text('x')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {"TMPDIR": str(elsewhere), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", text], env=environment, check=False)
    (left,) = elsewhere.iterdir()
    beside = elsewhere / "wfplab-runs-of-somebody"
    beside.mkdir()
    outside = elsewhere / "outside"
    outside.mkdir()
    (elsewhere / f"{scratch.PREFIX}link").symlink_to(outside)
    (elsewhere / f"{scratch.PREFIX}file").write_text("x")
    with scratch.folder() as alive:
        assert scratch.reap_folders() == [str(left)]
        names = {path.name for path in elsewhere.iterdir()}
    assert names == {beside.name, outside.name, f"{scratch.PREFIX}link", f"{scratch.PREFIX}file", alive.name}
