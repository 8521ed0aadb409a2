"""Running a scenario on beds that are none: what ends up in the result."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from emulator.checks import Check, Checks
from emulator.run.interrupts import TimedOut
from emulator.run.listener import Listener
from emulator.run.runner import Settings, run_family, run_one
from emulator.scenario import Scenario, marked, scenario
from emulator.topology import Bed, CanaryBook, HostOptions
from emulator.traffic import CanaryLost
from emulator.wfptypes import AddressFamily
from netns.errors import LabError, MissingFeature, NotPermitted
from netns.patience import patient

V4, V6 = AddressFamily.INET, AddressFamily.INET6


class Nowhere(Bed):
    """A bed without a lab."""

    made: list[Nowhere] = []  # noqa: RUF012  emptied for each test

    def __init__(self, options: HostOptions = HostOptions(), *, start: bool = True, label: str = "") -> None:  # noqa: B008
        self.options, self.label, self.canaries = options, label, CanaryBook(3, 2)
        self.hosts, self.drivers, self._stacks = {}, [], []
        self.closed = 0
        self.made.append(self)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _no_beds() -> None:
    Nowhere.made.clear()


def made(body: Callable[..., None], **named: Any) -> Scenario:
    """A scenario on a bed without a lab; `body` gets what it has arguments for."""

    def shown(bed: Nowhere, family: AddressFamily, check: Checks) -> None:
        """Shows it."""
        offered = {"bed": bed, "family": family, "check": check}
        body(**{name: offered[name] for name in body.__code__.co_varnames[: body.__code__.co_argcount]})

    shown.__annotations__.update(bed=Nowhere, family=AddressFamily, check=Checks)
    found = marked(scenario(**named)(shown))
    assert found is not None
    return found


def good(check: Checks) -> None:
    check("one", 1, 1)


def raising(error: BaseException) -> Callable[[Checks], None]:
    def body(check: Checks) -> None:
        check("one", 1, 1)
        raise error

    return body


def test_each_family_runs_on_a_bed_of_its_own_that_is_gone_afterwards() -> None:
    result = run_one(made(good))
    assert (result.status, result.families) == ("passed", ["ipv4", "ipv6"])
    assert [bed.label for bed in Nowhere.made] == ["shown[ipv4]", "shown[ipv6]"]
    assert [bed.closed for bed in Nowhere.made] == [1, 1]
    assert result.books["canaries"] == {"sent": 6, "arrived": 4}
    assert [check.name for check in result.checks if "one" in check.name] == ["ipv4: one", "ipv6: one"]


def test_one_family_can_be_chosen_and_one_that_is_not_run_is_unmeasured() -> None:
    assert run_one(made(good), Settings(family=V6)).families == ["ipv6"]
    only = run_one(made(good, families=(V4,)), Settings(family=V6))
    assert (only.status, only.families) == ("unmeasured", [])


def test_a_scenario_that_takes_no_check_is_unmeasured_whatever_the_books_say() -> None:
    result = run_one(made(lambda: None))
    assert result.status == "unmeasured"
    assert all(check.ok for check in result.checks)
    assert "it took no check" in result.unmeasured[0]


@pytest.mark.parametrize(
    "error", [ValueError("wrong"), LabError("refused"), SystemExit(3), TimedOut("late"), AssertionError()], ids=repr
)
def test_what_a_scenario_raises_fails_it_with_its_place(error: BaseException) -> None:
    result = run_family(made(raising(error)), V4)
    assert result.status == "failed"
    (bad,) = [check for check in result.checks if not check.ok]
    assert (bad.name, bad.expected) == ("ran to its end", "no exception")
    assert bad.seen.startswith(type(error).__name__)
    assert "(at test_runner.py:" in bad.seen
    assert [bed.closed for bed in Nowhere.made] == [1]


def test_a_failed_check_fails_it_and_the_rest_still_runs() -> None:
    def body(check: Checks) -> None:
        check("one", 1, 2)
        check("two", 2, 2)

    result = run_family(made(body), V4)
    assert result.status == "failed"
    assert [(check.name, check.ok) for check in result.checks][:2] == [("one", False), ("two", True)]
    assert result.checks[0].where.startswith("test_runner.py:")


def test_a_lost_canary_means_that_nothing_is_known() -> None:
    result = run_family(made(raising(CanaryLost("did not arrive"))), V4)
    assert result.status == "unmeasured"
    assert "did not arrive" in result.unmeasured[0]
    assert result.missing == []


@pytest.mark.parametrize("error", [MissingFeature("TPROXY"), NotPermitted("making it")], ids=lambda e: type(e).__name__)
def test_what_the_machine_lacks_is_told_apart(error: LabError) -> None:
    result = run_family(made(raising(error)), V4)
    assert result.status == "unmeasured"
    assert result.unmeasured == result.missing == [str(error)]


def test_an_interrupt_ends_the_run_and_removes_the_bed() -> None:
    with pytest.raises(KeyboardInterrupt):
        run_one(made(raising(KeyboardInterrupt())))
    assert [bed.closed for bed in Nowhere.made] == [1]


def test_a_signal_while_a_bed_is_built_waits_until_it_can_be_removed() -> None:
    class Slow(Nowhere):
        def __init__(self, options: HostOptions, *, start: bool = True, label: str = "") -> None:
            super().__init__(options, label=label)
            signal.raise_signal(signal.SIGINT)
            self.built = True

    def shown(bed: Slow, check: Checks) -> None:
        """Never runs."""

    shown.__annotations__.update(bed=Slow, check=Checks)
    found = marked(scenario(shown))
    assert found is not None
    with pytest.raises(KeyboardInterrupt):
        run_one(found)
    (bed,) = Nowhere.made
    assert isinstance(bed, Slow)
    assert (bed.built, bed.closed) == (True, 1)


def test_a_deadline_ends_what_waits_for_ever() -> None:
    def body(check: Checks) -> None:
        threading.Event().wait()

    result = run_family(made(body), V4, Settings(timeout=0.05))
    (bad,) = [check for check in result.checks if not check.ok]
    assert f"TimedOut: scenario shown did not end within {patient(0.05):g} s" in bad.seen


def test_kept_beds_are_handed_over_instead_of_removed() -> None:
    with ExitStack() as kept:
        run_one(made(good), Settings(kept=kept))
        assert [bed.closed for bed in Nowhere.made] == [0, 0]
    assert [bed.closed for bed in Nowhere.made] == [1, 1]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        (Settings(pause_at_steps=True, pause_on_failure=False), ["step: one", "step: two"]),
        (Settings(pause_at_steps=True), ["step: one", "wrong: expected 2, seen 1", "step: two"]),
        (Settings(), ["wrong: expected 2, seen 1"]),
    ],
)
def test_a_run_stops_at_steps_and_at_failures_as_asked(settings: Settings, where: list[str]) -> None:
    def body(bed: Nowhere, check: Checks) -> None:
        check.step("one")
        check("wrong", 1, 2)
        check.step("two")

    stopped: list[str] = []
    run_family(made(body), V4, replace(settings, pause=lambda label, bed, why: stopped.append(why)))
    assert stopped == where


def test_a_failure_pauses_before_anything_is_removed() -> None:
    paused: list[tuple[str, int, str]] = []

    def pause(label: str, bed: Bed, why: str) -> None:
        assert isinstance(bed, Nowhere)
        paused.append((label, bed.closed, why))

    def body(check: Checks) -> None:
        check("one", 1, 2)
        raise ValueError("wrong")

    run_family(made(body), V4, Settings(pause=pause))
    assert [(label, closed) for label, closed, _ in paused] == [("shown[ipv4]", 0)] * 2
    assert paused[0][2] == "one: expected 2, seen 1"
    assert paused[1][2].startswith("ValueError: wrong (at test_runner.py:")


def test_listeners_hear_steps_and_checks_of_the_scenario_only() -> None:
    heard: list[Any] = []

    class Hearing(Listener):
        def step(self, number: int, text: str) -> None:
            heard.append((number, text))

        def checked(self, number: int, check: Check) -> None:
            heard.append((number, check.name))

    def body(check: Checks) -> None:
        check.step("first")
        check("one", 1, 1)

    result = run_family(made(body), V4, listener=Hearing(), number=7)
    assert heard == [(7, "first"), (7, "one")]
    assert result.steps == ["first"]
    assert len(result.checks) > 1


def test_expected_violations_that_did_not_happen_fail() -> None:
    def body(check: Checks) -> None:
        check("one", 1, 1)
        check.expect_violation("HD-6")

    result = run_family(made(body), V4)
    assert [(check.name, check.expected, check.seen) for check in result.checks if not check.ok] == [
        ("broken rules", "['HD-6']", "[]")
    ]


def test_a_bed_that_cannot_be_built_fails_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LabError("no namespaces today")

    monkeypatch.setattr(Nowhere, "__init__", refuse)
    result = run_family(made(good), V4)
    assert result.status == "failed"
    assert "no namespaces today" in result.checks[0].seen


def test_a_program_that_is_missing_leaves_a_scenario_unmeasured_before_anything_is_made() -> None:
    result = run_one(made(good, programs=("no-such-program",)))
    assert (result.status, Nowhere.made) == ("unmeasured", [])
    assert result.unmeasured == result.missing
    assert result.missing[0].startswith("ipv4: program no-such-program is missing")


@pytest.mark.parametrize("full", [False, True])
def test_a_scenario_is_told_whether_its_long_version_is_wanted(full: bool) -> None:
    told: list[bool] = []
    run_one(made(lambda check: told.append(check.full)), Settings(full=full))
    assert told == [full, full]
