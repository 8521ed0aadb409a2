"""The guest's side of a job, with stand-ins for what it starts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from emulator.vm import guest as vmguest
from emulator.vm.guest import SUITE, main, told_scenarios

ROOT = Path(__file__).parents[3]

GOOD_DOCTOR = {"features": [{"name": "netem", "available": True, "detail": ""}], "ready": True}
LACKING = {"features": [{"name": "netem", "available": False, "detail": "no module"}], "ready": True}
CHECK = {"name": "arrived", "ok": False, "expected": "1", "seen": "0"}
GOOD_RUN = {"scenarios": [{"name": "a", "status": "passed", "checks": []}], "summary": {"passed": 1, "failed": 0}}
BAD_RUN = {"scenarios": [{"name": "a", "status": "failed", "checks": [CHECK]}], "summary": {"passed": 0, "failed": 1}}


class Programs:
    """What the guest starts: the commands, and for each what it prints and its status."""

    def __init__(self) -> None:
        self.started: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.printed: dict[str, Any] = {"doctor": GOOD_DOCTOR, "run": GOOD_RUN}
        self.statuses: dict[str, int] = {}

    def start(self, argv: Sequence[str], *, stdout: Any, env: dict[str, str]) -> Any:
        command = list(argv[argv.index("-m") + 1 :])
        name = command[0] if command[0] == "pytest" else command[1]
        self.started.append(command)
        self.environments.append(env)
        if stdout is not None and self.printed[name] is not None:
            stdout.write(json.dumps(self.printed[name]).encode())
        return Program(self.statuses.get(name, 0))


class Program:
    """One that still runs when it is looked at for the first time."""

    def __init__(self, status: int) -> None:
        self.waits = iter([None, status])

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        assert next(self.waits, "ended") == "ended"

    def wait(self, timeout: float) -> int:
        status = next(self.waits)
        if status is None:
            raise subprocess.TimeoutExpired("", timeout)
        return status


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    made = Programs()
    monkeypatch.setattr("subprocess.Popen", made.start)
    return made


def outcome(tmp_path: Path, command: str, *arguments: str) -> int:
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"command": command, "arguments": arguments, "time_factor": 10.0, "bulk_share": 8}))
    main(job, tmp_path)
    return int(json.loads((tmp_path / "outcome.json").read_text())["status"])


def test_a_test_is_doctor_scenarios_and_lab_tests(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome(tmp_path, "test") == 0
    assert [command[0] for command in programs.started] == ["emulator", "emulator", "pytest"]
    assert [command[1] for command in programs.started[:2]] == ["doctor", "run"]
    assert programs.started[2][-len(SUITE) :] == list(SUITE)
    assert json.loads((tmp_path / "scenarios.json").read_text()) == GOOD_RUN
    assert capsys.readouterr().out == "doctor: 1 of 1 features\nscenarios: 1 passed, 0 failed\n"


def test_time_outs_grow_by_the_factor_and_skips_fail(programs: Programs, tmp_path: Path) -> None:
    outcome(tmp_path, "pytest", "-k", "a b")
    [command] = programs.started
    assert command[:3] == ["pytest", "-p", "emulator.vm.require"]
    assert "timeout=600" in command
    assert command[-2:] == ["-k", "a b"]
    assert programs.environments[0]["WFPLAB_TIME_FACTOR"] == "10"
    assert programs.environments[0]["WFPLAB_BULK_SHARE"] == "8"
    assert programs.environments[0]["WFPLAB_RESULTS"] == str(tmp_path)


def test_the_most_memory_that_was_seen_in_use_is_told(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < vmguest.used_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
    looks = iter([300 << 10, 500 << 10])
    monkeypatch.setattr(vmguest, "used_memory", lambda: next(looks))
    outcome(tmp_path, "run", "x")
    assert json.loads((tmp_path / "outcome.json").read_text())["memory_mib"] == 500


def test_a_feature_that_something_replaces_is_missing_all_the_same(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.printed["doctor"] = LACKING
    assert outcome(tmp_path, "test") == 1
    assert "  MISSING netem (no module)\n" in capsys.readouterr().out
    assert len(programs.started) == 3


def test_a_failed_scenario_is_told_with_its_check(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.printed["run"] = BAD_RUN
    programs.statuses["run"] = 1
    assert outcome(tmp_path, "test") == 1
    assert "a: failed\n  arrived\n    expected 1\n    seen     0\n" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "said"), [(4, 4), (-9, 137)])
def test_the_status_is_that_of_the_program(status: int, said: int, programs: Programs, tmp_path: Path) -> None:
    programs.statuses["run"] = status
    assert outcome(tmp_path, "run", "--list", "x") == said
    assert programs.started == [["emulator", "run", "--list", "x"]]


def test_a_run_brings_a_report_back_unless_it_makes_one(programs: Programs, tmp_path: Path) -> None:
    outcome(tmp_path, "run", "x")
    outcome(tmp_path, "run", "--report=here", "x")
    report = ["--report", f"{tmp_path}/report"]
    assert programs.started == [["emulator", "run", *report, "x"], ["emulator", "run", "--report=here", "x"]]


def test_a_command_that_printed_nothing_is_a_failure_and_no_end(programs: Programs, tmp_path: Path) -> None:
    programs.printed = {"doctor": None, "run": None}
    programs.statuses["run"] = 1
    assert outcome(tmp_path, "test") == 1
    assert len(programs.started) == 3


def test_doctor_is_asked_as_it_is(programs: Programs, tmp_path: Path) -> None:
    programs.statuses["doctor"] = 1
    assert outcome(tmp_path, "doctor", "--json") == 1
    assert programs.started == [["emulator", "doctor", "--json"]]


def test_a_scenario_without_faults_needs_no_line() -> None:
    assert told_scenarios(GOOD_RUN) == ["scenarios: 1 passed, 0 failed"]


def test_what_the_suite_ignores_is_what_has_run_already() -> None:
    [ignored] = [word.partition("=")[2] for word in SUITE if word.startswith("--ignore=")]
    assert "from emulator.run.loading import built_in" in (ROOT / ignored).read_text()


def test_pytests_time_is_the_projects() -> None:
    assert f"timeout = {vmguest.PYTEST_SECONDS}\n" in (ROOT / "pyproject.toml").read_text()
