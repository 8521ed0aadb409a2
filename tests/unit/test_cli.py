"""`wfplab`'s commands, options and exit statuses, without running what they start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from emulator import checkout, cli
from emulator.contract import rules
from emulator.errors import InjectHandleClosing
from emulator.run import cleaning, doctor, listing, selftest, shell, starter
from emulator.run.loading import BadTarget
from netns import capabilities
from netns.errors import LabError, MissingFeature, NotPermitted

ROOT = Path(__file__).parents[2]
SLOW = {"asyncio", "hypothesis", "netfilterqueue", "pydantic", "pyroute2", "pytest", "rich", "scapy"}

Start = Callable[..., int]

DEFAULTS = {
    "json": False, "jobs": 1, "keep": False, "pause_on_failure": False, "step": False, "live": False, "verbosity": 1,
    "progress": False,
    "queue": "", "timeout": 60.0, "family": "", "full": False, "report": "", "seed": 0, "schedules": 0,
    "verifier": "full", "on_finding": "fail",
}  # fmt: skip


@pytest.fixture(autouse=True)
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests; nothing in the tree changes its owner, and this process keeps what it may do."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(checkout, "give_back", lambda root: None)
    monkeypatch.setattr(capabilities, "keep", lambda kept: None)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the commands would have started; each returns status 5."""
    made: list[tuple[Any, ...]] = []

    def stand_in(name: str) -> Callable[..., int]:
        def call(*arguments: Any, **options: Any) -> int:
            made.append((name, arguments, {key: value for key, value in options.items() if key != "out"}))
            return 5

        return call

    session = ModuleType("emulator.run.session")
    session.run = run_after_asking(stand_in("run"))  # type: ignore[attr-defined]
    session.Wanted = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "emulator.run.session", session)
    monkeypatch.setattr(listing, "run", stand_in("list"))
    monkeypatch.setattr(starter, "run", stand_in("new"))
    monkeypatch.setattr(shell, "run", stand_in("shell"))
    monkeypatch.setattr(selftest, "run", stand_in("test"))
    monkeypatch.setattr(rules, "main_report", stand_in("contract"))
    monkeypatch.setattr(doctor, "report", stand_in("doctor"))
    monkeypatch.setattr(cleaning, "report", stand_in("clean"))
    return made


def run_after_asking(call: Start) -> Start:
    """What `emulator.run.session.run` is for the command line: it asks whether it may, then runs."""

    def run(targets: list[str], wanted: dict[str, Any], *, before: Callable[[], None]) -> int:
        before()
        return call(targets, **{key: value for key, value in wanted.items() if value != DEFAULTS[key]})

    return run


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_collector_looks_at_young_objects_when_they_are_many() -> None:
    script = "import gc, emulator.cli\nprint(gc.get_threshold()[0])\ntry: emulator.cli.main(['--version'])\n"
    script += "finally: print(gc.get_threshold()[0])"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    before, _, after = ran.stdout.splitlines()
    assert int(before) < int(after) == cli.YOUNG_OBJECTS


def test_help_imports_nothing_that_is_slow() -> None:
    script = (
        "import sys; from emulator.cli import main\n"
        "try: main(['--help'])\n"
        "finally: sys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules}))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = set(ran.stderr.split())
    assert "typer" in imported
    assert imported & SLOW == set()
    for command in ("run", "list", "new", "shell", "test", "doctor", "clean", "contract"):
        assert f"\n  {command} " in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["run"], ("run", ((),), {})),
        (["run", "a", "b.py::c", "--json"], ("run", (["a", "b.py::c"],), {"json": True})),
        (["run", "-j", "4", "-q", "--live"], ("run", ((),), {"jobs": 4, "verbosity": 0, "live": True})),
        (["run", "--keep", "-v"], ("run", ((),), {"keep": True, "verbosity": 2})),
        (["run", "--json", "--progress"], ("run", ((),), {"json": True, "progress": True})),
        (["run", "--pause-on-failure", "--timeout", "0"], ("run", ((),), {"pause_on_failure": True, "timeout": None})),
        (["run", "--queue", "netlink", "--family", "ipv4"], ("run", ((),), {"queue": "netlink", "family": "ipv4"})),
        (["run", "--full"], ("run", ((),), {"full": True})),
        (["run", "--seed", "7"], ("run", ((),), {"seed": 7, "schedules": 1})),
        (["run", "--schedules", "3", "--verifier", "normal", "--on-finding", "raise"],
         ("run", ((),), {"schedules": 3, "verifier": "normal", "on_finding": "raise"})),
        (["run", "--list"], ("list", ((), sys.stdout), {"cases": False, "as_json": False})),
        (["list", "a.py"], ("list", (["a.py"], sys.stdout), {"cases": False, "as_json": False})),
        (["list", "--cases", "--json"], ("list", ((), sys.stdout), {"cases": True, "as_json": True})),
        (["new", "mine"], ("new", ("mine", sys.stdout), {"folder": Path.cwd()})),
        (["shell", "a", "host"], ("shell", ("a", "host", ()), {})),
        (["shell", "a", "host", "ip", "-4", "route"], ("shell", ("a", "host", ["ip", "-4", "route"]), {})),
        (["test"], ("test", ((),), {})),
        (["test", "-k", "a or b", "-x", "tests/unit"], ("test", (["-k", "a or b", "-x", "tests/unit"],), {})),
        (["contract"], ("contract", (False, (), False), {})),
        (["contract", "NB", "--json", "--uncovered"], ("contract", (True, ["NB"], True), {})),
        (["doctor", "--json"], ("doctor", (sys.stdout,), {"json": True})),
        (["clean"], ("clean", (sys.stdout,), {"json": False})),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_starts_its_part_and_leaves_with_its_status(
    arguments: list[str], call: tuple[Any, ...], calls: list[tuple[Any, ...]]
) -> None:
    assert status(*arguments) == 5
    [(name, positional, options)] = calls
    # A stream is another one here: pytest exchanges it.
    positional = tuple(sys.stdout if hasattr(each, "write") else each for each in positional)
    call = (call[0], tuple(sys.stdout if hasattr(each, "write") else each for each in call[1]), call[2])
    assert (name, positional, options) == call


@pytest.mark.parametrize(
    "arguments", [["ruN"], ["--no"], ["run", "--no"], ["clean", "name"], ["new"], ["run", "-j", "x"]], ids=" ".join
)
def test_wrong_usage_is_a_hint_and_status_2(
    arguments: list[str], calls: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*arguments) == 2
    assert "--help" in capsys.readouterr().err
    assert calls == []


@pytest.mark.parametrize("command", ["run", "doctor", "clean", "shell"])
def test_what_needs_root_says_so_in_one_line(
    command: str,
    calls: list[tuple[Any, ...]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert status(command, *(["scenario", "host"] if command == "shell" else [])) == 77
    other = f", or ./wfplab {command} --rootless" if command in ("run", "doctor") else ""
    assert capsys.readouterr().err == f"wfplab: `{command}` needs root: sudo ./wfplab {command}{other}\n"
    assert calls == []


@pytest.mark.parametrize("arguments", [["run", "--list"], ["list"], ["new", "a"], ["test"], ["contract"]], ids=" ".join)
def test_what_needs_no_root_runs_without(
    arguments: list[str], calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert status(*arguments) == 5
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LabError("the kernel said no"), 1),
        (InjectHandleClosing("the handle is closing", rule="IH-1"), 1),
        (BadTarget("there is no such file"), 2),
        (MissingFeature("TPROXY"), 77),
        (NotPermitted("making a namespace"), 77),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_was_refused_is_one_line_and_a_status(
    error: Exception, expected: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "report", raising(error))
    assert status("clean") == expected
    assert capsys.readouterr().err == f"wfplab: {error}\n"


def test_an_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "report", raising(KeyboardInterrupt()))
    assert status("clean") == 130


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning, "report", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["clean"])


def test_the_tree_is_given_back_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Path] = []
    monkeypatch.setattr(checkout, "give_back", given.append)
    monkeypatch.setattr(cleaning, "report", raising(LabError("no")))
    status("clean")
    assert given == [ROOT]


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--version") == 0
    assert capsys.readouterr().out.startswith("wfplab 0.")


def raising(error: BaseException) -> Callable[..., int]:
    def call(*_: object, **__: object) -> int:
        raise error

    return call


def test_a_run_gives_up_what_labs_do_not_need(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[object] = []
    monkeypatch.setattr(capabilities, "keep", kept.append)
    with pytest.raises(SystemExit):
        cli.main(["run"])
    assert kept == [capabilities.LABS]
