"""Scenarios are found by what was asked for, and what is wrong is told with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emulator.run.loading import BadTarget, UnknownScenario, built_in, chosen
from netns.catalogue import PROGRAMS

TWO = '''
from emulator import Checks, scenario
from beside import NUMBER

@scenario
def one(check: Checks) -> None:
    """One."""

@scenario
def two(check: Checks) -> None:
    """Two."""
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))  # taken back with the test, and what loading added with it
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside.py").write_text("NUMBER = 5\n")
    (tmp_path / "two.py").write_text(TWO)
    return tmp_path


def test_nothing_named_is_everything_that_comes_with_the_project() -> None:
    assert chosen([]) == built_in()
    assert len({item.name for item in built_in()}) == len(built_in()) > 15


def test_names_files_and_names_in_files_are_found_in_order(folder: Path) -> None:
    asked = ["two.py::two", "loopback", f"{folder}/two.py"]
    assert [item.target for item in chosen(asked)] == [
        "two.py::two", "loopback", f"{folder}/two.py::one", f"{folder}/two.py::two"
    ]  # fmt: skip
    assert [item.name for item in chosen(["two.py", "two.py::one"])] == ["one", "two"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("loopbak", "there is no scenario loopbak; did you mean loopback; `wfplab list` shows all"),
        ("two.py::tow", "two.py has no scenario tow; did you mean two; it has one, two"),
        ("none.py", "none.py does not exist"),
        ("./none", "./none does not exist"),
        (".//", ".// is a folder; name a file in it"),
        ("beside.py", "beside.py has no scenario: a function with `@scenario()` on the line above it"),
        ("two.txt/x", "two.txt/x does not exist"),
    ],
)
def test_what_does_not_exist_is_told_with_what_may_be_meant(target: str, told: str, folder: Path) -> None:
    with pytest.raises(BadTarget) as refused:
        chosen([target])
    assert str(refused.value) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ndef (", ":2: it cannot be imported: SyntaxError"),
        ("x = 1\nimport nosuchmodule", ":2: it cannot be imported: ModuleNotFoundError: No module named"),
        ("\n\n1 / 0", ":3: it cannot be imported: ZeroDivisionError"),
        ("raise SystemExit(3)", ":1: it cannot be imported: SystemExit: 3"),
        ("from emulator import scenario\n@scenario\ndef x(): pass", ": scenario x needs a docstring"),
        ("from emulator import scenario\n@scenario\ndef x(pear):\n  'd'", ": scenario x asks for `pear`"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_line(text: str, told: str, folder: Path) -> None:
    (folder / "bad.py").write_text(text)
    for _ in range(2):  # the second time as well: nothing half-made is remembered
        with pytest.raises(BadTarget) as refused:
            chosen(["bad.py"])
        assert str(refused.value).startswith("bad.py")
        assert told in str(refused.value)


def test_an_unknown_name_is_wrong_usage() -> None:
    with pytest.raises(UnknownScenario):
        chosen(["xyz"])
    assert issubclass(UnknownScenario, BadTarget)


def test_what_scenarios_start_is_installed_by_the_launcher_and_looked_for_by_the_doctor() -> None:
    wanted = {program for item in built_in() for program in item.programs}
    launcher = (Path(__file__).parents[3] / "wfplab").read_text()
    (traffic,) = re.findall(r"^for_traffic='([^']+)'", launcher, re.MULTILINE)
    assert wanted
    assert wanted <= {pair.partition("=")[0] for pair in traffic.split()}
    assert wanted <= {program.name for program in PROGRAMS}
