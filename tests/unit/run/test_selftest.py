"""`wfplab test`: which steps it takes, and what it makes of their statuses."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from emulator.run import selftest

LINTERS = [("ruff", "check", "."), ("mypy",)]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The steps taken; one fails that has `breaks` in its command."""
    taken: list[tuple[str, ...]] = []

    def step(command: Sequence[str], root: Path) -> int:
        taken.append(tuple(command))
        return 3 if "breaks" in command else 0

    monkeypatch.setattr(selftest, "_step", step)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return taken


def test_root_runs_the_linters_and_all_tests(steps: list[tuple[str, ...]]) -> None:
    out = io.StringIO()
    assert selftest.run([], out=out) == 0
    assert steps == [*LINTERS, ("pytest", "-ra", "tests/unit", "tests/lab")]
    assert [re.sub(r" \(.*", "", line) for line in out.getvalue().splitlines()] == [
        "ruff check .                         passed",
        "mypy                                 passed",
        "pytest -ra tests/unit tests/lab      passed",
    ]


def test_after_a_failed_step_the_others_still_run(
    steps: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "_LINTERS", [("breaks",), ("mypy",)])
    out = io.StringIO()
    assert selftest.run([], out=out) == 1
    assert len(steps) == 3
    assert "breaks                               failed, status 3 (" in out.getvalue()


def test_without_root_it_is_no_success_and_says_what_did_not_run(
    steps: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    out = io.StringIO()
    assert selftest.run([], out=out) == 77
    assert steps == [*LINTERS, ("pytest", "-ra", "tests/unit")]
    assert out.getvalue().splitlines()[-1].split(maxsplit=1) == [
        "tests/lab", "NOT RUN: needs root (sudo ./wfplab test)"]  # fmt: skip


def test_without_root_a_failure_is_a_failure(
    steps: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(selftest, "_LINTERS", [("breaks",)])
    assert selftest.run([], out=io.StringIO()) == 1


@pytest.mark.parametrize(("argument", "status"), [("tests/unit", 0), ("breaks", 1)])
def test_with_arguments_pytest_runs_alone(steps: list[tuple[str, ...]], argument: str, status: int) -> None:
    assert selftest.run(["-x", argument], out=io.StringIO()) == status
    assert steps == [("pytest", "-x", argument)]


def test_an_installed_copy_has_nothing_to_test(
    steps: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "source_tree", lambda: None)
    out = io.StringIO()
    assert selftest.run([], out=out) == 77
    assert steps == []
    assert "source tree" in out.getvalue()


def test_a_steps_status_is_that_of_its_program(tmp_path: Path) -> None:
    assert selftest._step(("platform",), tmp_path) == 0
    assert selftest._step(("no_such_module",), tmp_path) == 1


def test_a_step_does_not_import_from_the_folder_it_runs_in(tmp_path: Path) -> None:
    (tmp_path / "platform.py").write_text("raise SystemExit(9)")
    assert selftest._step(("platform",), tmp_path) == 0
