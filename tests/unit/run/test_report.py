"""What is printed about a run, for people and for machines."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from emulator.checks import Check
from emulator.run import report
from emulator.run.results import Result
from emulator.run.session import Wanted
from emulator.scenario import Scenario

BOOKS = {
    "hosts": {"ipv4 host": {"hooks": {"input": {"offered": 7}}}},
    "canaries": {"sent": 1, "arrived": 1},
    "closed": True,
}
GOOD = Result("good", "Shows it.", ["ipv4"], [Check("one", True, "1", "1")], books=BOOKS, steps=["first"], seconds=0.5)
BAD = Result(
    "bad",
    "Shows [it].",
    ["ipv4", "ipv6"],
    [Check("one", True, "1", "1"), Check("ipv6: two", False, "2", "[red]3[/red]", "a.py:5")],
    violations=[{"family": "ipv6", "rule": "GE-9", "text": "GE-9 it raised"}],
    sections=[("host: books", "input: 7 offered"), ("host: broken rules", "GE-9 it raised")],
)
EMPTY = Result("empty", "Shows nothing.", ["ipv4"], unmeasured=["it took no check"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def summary(*results: Result, verbosity: int = report.NORMAL) -> str:
    out = io.StringIO()
    report.summary(results, out, verbosity=verbosity)
    return out.getvalue()


def item(name: str) -> Scenario:
    return Scenario(name, lambda: None, (), (), (), "group")


def test_the_summary_has_a_line_for_each_and_explains_what_did_not_pass() -> None:
    lines = [line.rstrip() for line in summary(GOOD, BAD, EMPTY).splitlines()]
    assert lines[:4] == [
        "scenario  families   checks  packets  result",
        "good      ipv4          1/1        7  passed",
        "bad       ipv4 ipv6     1/2        0  failed",
        "empty     ipv4          0/0        0  unmeasured",
    ]
    assert lines[4:] == [
        "",
        "bad: Shows [it].",
        "  ipv6: two (a.py:5)",
        "    expected 2",
        "    seen     [red]3[/red]",
        "  broken rule, ipv6: GE-9 it raised",
        "  host: books",
        "    input: 7 offered",
        "",
        "empty: Shows nothing.",
        "  nothing was measured: it took no check",
        "1 passed, 1 failed, 1 unmeasured",
    ]


def test_quiet_leaves_out_the_table_and_verbose_explains_everything() -> None:
    assert summary(GOOD, verbosity=report.QUIET) == "1 passed, 0 failed, 0 unmeasured\n"
    full = summary(GOOD, verbosity=report.VERBOSE)
    assert "  one: 1\n" in full
    assert "  step: first\n" in full
    assert f"  books: {json.dumps(BOOKS)}\n" in full


def test_a_long_section_is_cut_at_its_beginning_unless_all_is_wanted() -> None:
    long = Result("bad", checks=BAD.checks, sections=[("host: trace", "\n".join(f"line {n}" for n in range(100)))])
    cut = summary(long)
    assert "host: trace (the last 40 of 100 lines)" in cut
    assert "line 59\n" not in cut
    assert "line 60\n" in cut
    assert "line 0\n" in summary(long, verbosity=report.VERBOSE)


def test_there_is_no_colour_but_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_terminal() -> str:
        out = Terminal()
        report.summary([BAD], out)
        return out.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" not in summary(BAD)
    assert "\x1b[1;31m" in on_terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in on_terminal()


def test_the_json_document() -> None:
    out = io.StringIO()
    report.as_json([GOOD, BAD], out)
    document = json.loads(out.getvalue())
    assert document == {
        "scenarios": [GOOD.as_dict(), BAD.as_dict()],
        "summary": {"passed": 1, "failed": 1, "unmeasured": 0},
    }


def progress(out: io.StringIO, verbosity: int) -> None:
    shown = report.Progress(2, verbosity=verbosity, out=out)
    for number, (name, result) in enumerate([("good", GOOD), ("bad", BAD)]):
        shown.begun(number, item(name))
        shown.step(number, "first")
        shown.checked(number, result.checks[-1])
        shown.ended(number, result)


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [
        (report.QUIET, ["[2/2] bad: failed (0.00 s)"]),
        (report.NORMAL, ["[1/2] good: passed (0.50 s)", "[2/2] bad: failed (0.00 s)"]),
        (
            report.VERBOSE,
            ["[1/2] good: ", "    good: first", "    good: ok   one", "[1/2] good: passed (0.50 s)",
             "[2/2] bad: ", "    bad: first", "    bad: NOT  ipv6: two", "[2/2] bad: failed (0.00 s)"],
        ),
    ],
)  # fmt: skip
def test_progress_says_more_or_less(verbosity: int, expected: list[str]) -> None:
    out = io.StringIO()
    progress(out, verbosity)
    assert out.getvalue().splitlines() == expected


def test_only_a_terminal_gets_lines_that_are_replaced() -> None:
    out = Terminal()
    progress(out, report.NORMAL)
    assert "\r\x1b[K[1/2] good: first …" in out.getvalue()


@pytest.mark.parametrize(
    ("wanted", "out", "kind"),
    [
        (Wanted(), Terminal, "Progress"),
        (Wanted(live=True), io.StringIO, "Progress"),
        (Wanted(live=True), Terminal, "LiveView"),
    ],
)
def test_the_live_view_is_for_terminals(wanted: Wanted, out: Callable[[], io.StringIO], kind: str) -> None:
    with report.watching(wanted, 1, out()) as listener:
        assert type(listener).__name__ == kind


@pytest.mark.parametrize("progress", [False, True])
def test_progress_is_quiet_where_json_is_wanted_unless_asked_for(progress: bool) -> None:
    out = io.StringIO()
    with report.watching(Wanted(json=True, progress=progress), 1, out) as listener:
        listener.begun(0, item("good"))
        listener.ended(0, GOOD)
    assert ("[1/1] good: passed" in out.getvalue()) is progress
