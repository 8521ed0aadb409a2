"""The counts of a run: of events, of results, and zeros where there was nothing."""

from __future__ import annotations

from emulator.checks import Check
from emulator.evidence.tally import NAMES, Tally, tally
from emulator.evidence.traceevents import Ended, Fate, Loss
from emulator.run.results import Result
from tests.unit.tracing import cloned_and_injected


def test_events_are_counted_by_kind() -> None:
    events = [
        *cloned_and_injected().events(),
        Fate(time=1, outcome="delivered"),
        Fate(time=1, outcome="dropped"),
        Loss(time=1, cause="queue overflow", packets=5),
        Ended(time=1, left_out={"wire": 2, "arrive": 1}),
    ]
    counts = tally(events, [])
    assert {name: number for name, number in counts.items() if number} == {
        "packets": 2, "delivered": 1, "dropped": 1, "frames": 2, "injected frames": 2, "arrivals": 1, "classifies": 2,
        "verdicts": 1, "injections": 1, "completions": 1, "lost": 5, "left out": 3,
    }  # fmt: skip


def test_results_are_counted_by_status_check_and_violation() -> None:
    good, bad = Check("a", True, "1", "1"), Check("b", False, "1", "2")
    results = [
        Result("one", checks=[good]),
        Result("two", checks=[good, bad], violations=[{"family": "ipv4", "rule": "NB-9", "text": "x"}]),
        Result("three"),
    ]
    counts = tally([], results)
    names = ("scenarios", "passed", "failed", "unmeasured", "checks", "failed checks", "violations")
    assert [counts[name] for name in names] == [3, 1, 1, 1, 3, 1, 1]


def test_everything_is_told_also_when_there_was_nothing() -> None:
    assert Tally().counts == dict.fromkeys(NAMES, 0)
    assert Tally().line().startswith("0 scenarios, 0 passed, 0 failed")
