"""Whose the tree is, and what root gives back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from emulator import checkout

ROOT = Path(__file__).parents[2]


def test_the_tree_is_the_one_these_tests_are_in() -> None:
    assert checkout.source_tree() == ROOT


def test_an_installed_copy_has_no_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "__file__", str(tmp_path / "emulator" / "checkout.py"))
    assert checkout.source_tree() is None


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (".mypy_cache/3.11/a.json", "emulator/paths/__pycache__/b.pyc", "emulator/b.py", ".venv/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "emulator/paths/__pycache__/link").symlink_to("/etc/hostname")
    return tmp_path


def given(tree: Path, monkeypatch: pytest.MonkeyPatch, *, user: int, owner: int, found: int) -> dict[str, Any]:
    """What `give_back` hands over in a tree of `owner`, all of whose content `found` made, run by `user`."""
    changed = {}

    def chown(path: str, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        changed[str(Path(path).relative_to(tree))] = (uid, gid)

    monkeypatch.setattr(
        checkout, "_owner", lambda path: (owner, owner + 1) if path == tree else (found, found + 1)
    )
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "chown", chown)
    checkout.give_back(tree)
    return changed


def test_root_gives_caches_and_compiled_modules_to_the_owner(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        ".mypy_cache", ".mypy_cache/3.11", ".mypy_cache/3.11/a.json",
        "emulator/paths/__pycache__", "emulator/paths/__pycache__/b.pyc", "emulator/paths/__pycache__/link",
    ]  # fmt: skip
    assert given(tree, monkeypatch, user=0, owner=1000, found=0) == dict.fromkeys(names, (1000, 1001))


@pytest.mark.parametrize(
    ("user", "owner", "found"), [(1000, 1000, 0), (0, 0, 0), (0, 1000, 1000)],
    ids=["not root", "root's own tree", "made by the owner"],
)  # fmt: skip
def test_otherwise_nothing_changes_hands(
    user: int, owner: int, found: int, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert given(tree, monkeypatch, user=user, owner=owner, found=found) == {}


def test_what_disappears_meanwhile_is_passed_over(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanished(path: str | Path) -> tuple[int, int]:
        if path == tree:
            return 1000, 1000
        raise FileNotFoundError(path)

    monkeypatch.setattr(checkout, "_owner", vanished)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    checkout.give_back(tree)
