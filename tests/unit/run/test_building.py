"""Building the compiled twins: what is lacking is named, and what failed half way leaves nothing."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from emulator import compiled
from emulator.run import building
from netns.errors import LabError, MissingFeature


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(compiled, "FOLDER", str(tmp_path / "twins"))
    monkeypatch.setattr(building, "_compiler", lambda: "gcc")
    return tmp_path / "twins"


def pretended(argv: list[str], package: Path) -> None:
    """Make the file that the command would have made."""
    Path(argv[argv.index("-o") + 1]).touch()


def test_all_twins_come_into_place_together_and_older_ones_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_run", pretended)
    (folder / "older").mkdir(parents=True)
    out = io.StringIO()
    assert building.run(out) == 0
    assert out.getvalue().startswith(f"{len(compiled.MODULES)} modules compiled")
    assert [path.name for path in folder.iterdir()] == [Path(compiled.home()).name]
    made = {path.name for path in Path(compiled.home()).iterdir()}
    assert made == {name + compiled.SUFFIX for name in compiled.MODULES}


def test_what_is_there_is_not_made_again(folder: Path) -> None:
    Path(compiled.home()).mkdir(parents=True)
    out = io.StringIO()
    assert building.run(out) == 0
    assert "up to date" in out.getvalue()


def test_a_failure_leaves_what_was_there_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(argv: list[str], package: Path) -> None:
        pretended(argv, package)
        if argv[-1].endswith(f"octets{compiled.SUFFIX}"):
            raise LabError("gcc found fault")

    monkeypatch.setattr(building, "_run", failing)
    (folder / "older").mkdir(parents=True)
    with pytest.raises(LabError, match="found fault"):
        building.build()
    assert [path.name for path in folder.iterdir()] == ["older"]


def test_a_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(compiled, "home", lambda: "/nowhere/at/all")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingFeature, match="a C compiler"):
        building.build()


def test_what_a_command_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"sh found fault:\nno such thing"):
        building._run(["sh", "-c", "echo no such thing >&2; exit 3"], tmp_path)
