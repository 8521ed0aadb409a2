"""`wfplab torture`, in short: faults, kills, a soak and an overload on real traffic; the long ones are commands."""

from __future__ import annotations

import io
import json

import pytest

from emulator.torture import crash, faults, load
from emulator.torture.command import Asked, run
from emulator.torture.figures import Figures
from netns.patience import patient

TO_THE_LIMIT = pytest.mark.host_only("loads the machine to its limits, by the clock")

pytestmark = pytest.mark.timeout(patient(300))


def holds(told: Figures) -> None:
    assert told.ok, (told.missing, told.complaints, told.figures)


@pytest.mark.rule("GE-2", "NB-9")
@pytest.mark.case("H11")
def test_whatever_fails_nothing_leaks_and_each_packet_arrives_once_or_is_named() -> None:
    told = faults.run(quick=True)
    holds(told)
    assert told.figures["faults made"] > 20  # type: ignore[operator]


@TO_THE_LIMIT
def test_a_soak_loses_nothing_and_does_not_grow() -> None:
    told = load.soak(seconds=2.0)
    holds(told)
    assert told.figures["datagrams echoed"]
    assert told.figures["stream octets"]


@TO_THE_LIMIT
def test_an_overload_is_counted_exactly_and_is_over_at_once() -> None:
    told = load.overload(quick=True)
    holds(told)
    assert told.figures["INET: lost by queue overflow"]


@pytest.mark.host_only("starts and kills runs, to see that nothing is left")
@pytest.mark.rule("OR-6")
def test_a_run_that_is_killed_leaves_nothing_and_touches_nobody() -> None:
    holds(crash.run(kills=2, seed=7))


@pytest.mark.host_only("sends nothing")
def test_the_command_prints_one_document() -> None:
    out = io.StringIO()
    assert run(["fuzz"], Asked(cases=200, seed=1, json=True), out=out, err=io.StringIO()) == 0
    assert json.loads(out.getvalue())["runs"][0]["name"] == "fuzz"
