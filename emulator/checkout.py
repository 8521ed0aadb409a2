"""The source tree the program runs from: where it is, and whose."""

import os
from pathlib import Path

CACHES = ("build", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "vm-out")
"""Folders that `wfplab test` and its tools leave at the root of the tree."""

SOURCES = ("emulator", "netns", "tests")
"""Folders in which the interpreter leaves compiled modules."""


def source_tree() -> Path | None:
    """The folder with `pyproject.toml` and `tests`, or None when installed without its sources."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "tests").is_dir() else None


def give_back(root: Path) -> None:
    """Give what root's run left in a user's tree (caches, compiled modules) to the owner of `root`.

    Does nothing for another user than root, or where the tree is root's own: then nothing is in the way of
    whoever wants to remove it. What disappears meanwhile is passed over.
    """
    if os.geteuid() != 0:
        return
    user, group = _owner(root)
    if user == 0:
        return
    left_behind = [root / name for name in CACHES]
    for name in SOURCES:
        left_behind += (root / name).rglob("__pycache__")
    for top in left_behind:
        for folder, _, files in os.walk(top):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                _hand_over(path, user, group)


def _owner(path: str | Path) -> tuple[int, int]:
    # Links are not followed: the tree is its owner's, who may have put one here.
    status = os.lstat(path)
    return status.st_uid, status.st_gid


def _hand_over(path: str, user: int, group: int) -> None:
    try:
        if _owner(path)[0] == 0:
            os.chown(path, user, group, follow_symlinks=False)
    except FileNotFoundError:
        pass
