"""Which twin is used: the compiled one only while it is true to the sources, and nobody asked for the other."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import emulator
from emulator import compiled
from emulator.defaults import set_defaults

PACKAGE = Path(emulator.__file__).parent


@pytest.fixture
def unused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state before `use`, with an empty folder for twins."""
    monkeypatch.setattr(compiled, "FOLDER", str(tmp_path / "twins"))
    monkeypatch.setattr(compiled, "in_use", False)
    monkeypatch.setattr(compiled, "why_not", "not built")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delenv(compiled.PURE, raising=False)
    return tmp_path / "twins"


def test_every_module_with_declared_types_is_compiled_and_there() -> None:
    declared = {path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.pxd")}
    assert {".".join(path.parts) for path in declared} <= {*compiled.MODULES, *compiled.BY_POINTERS}
    assert all(Path(compiled.source(name)).is_file() for name in (*compiled.MODULES, *compiled.BY_POINTERS))


def test_this_process_uses_all_of_one_kind() -> None:
    files = {str(importlib.import_module(f"emulator.{name}").__file__) for name in compiled.MODULES}
    ending = compiled.SUFFIX if compiled.in_use else ".py"
    assert [file for file in files if not file.endswith(ending)] == []


def test_twins_of_just_these_sources_are_used(unused: Path) -> None:
    compiled.use()
    assert compiled.told() == "pure Python (not built)"
    Path(compiled.home()).mkdir(parents=True)
    compiled.use()
    assert compiled.told() == "compiled"
    finder = sys.meta_path[0]
    assert isinstance(finder, compiled.TwinFinder)
    found = finder.find_spec("emulator.paths.held", None)
    assert found is not None
    assert found.origin == f"{compiled.home()}/paths.held{compiled.SUFFIX}"
    assert finder.find_spec("emulator.stack", None) is None
    assert finder.find_spec("held", None) is None


def test_twins_of_other_sources_are_not_used(
    unused: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path(compiled.home()).mkdir(parents=True)
    before = compiled.home()
    edited = tmp_path / "octets.py"
    edited.write_text(Path(compiled.source("octets")).read_text() + "#")
    known = compiled.source
    monkeypatch.setattr(compiled, "source", lambda name: str(edited) if name == "octets" else known(name))
    assert compiled.home() != before
    before_use = list(sys.meta_path)
    compiled.use()
    assert "changed" in compiled.told()
    assert sys.meta_path == before_use


def test_a_source_of_its_own_is_what_a_twin_is_made_of(
    unused: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert compiled.compiled_source("octets") == compiled.source("octets")
    assert compiled.compiled_source("paths.batch") == str(PACKAGE / "paths" / "batch.pyx")
    before = compiled.home()
    (tmp_path / "octets.py").write_text(Path(compiled.source("octets")).read_text())
    known = compiled.source
    moved = str(tmp_path / "octets.py")
    monkeypatch.setattr(compiled, "source", lambda name: moved if name == "octets" else known(name))
    (tmp_path / "octets.pxd").write_text(Path(known("octets").removesuffix("py") + "pxd").read_text())
    assert compiled.home() == before
    (tmp_path / "octets.pyx").write_text("# another source")
    assert compiled.home() != before
    assert compiled.compiled_source("octets") == str(tmp_path / "octets.pyx")


def test_the_environment_asks_for_pure_python(unused: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(compiled.home()).mkdir(parents=True)
    monkeypatch.setenv(compiled.PURE, "1")
    compiled.use()
    assert compiled.told() == f"pure Python ({compiled.PURE} is set)"


def test_a_default_that_a_compiled_class_would_not_have_is_noticed() -> None:
    class Compiled:
        number = None

    with pytest.raises(AssertionError, match=r"Compiled\.number begins as None"):
        set_defaults(Compiled, number=0)
    set_defaults(Compiled, number=None, flag=False)
    assert Compiled().flag is False  # type: ignore[attr-defined]
