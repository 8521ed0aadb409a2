"""A row of the bench: how readings become a ratio, and when a goal counts as met."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from emulator.bench.row import Failed, Reading, Result, Row, Run, Skipped, measured


def giving(readings: Iterable[Reading], calls: list[str], name: str) -> Run:
    """A run that gives one reading after the other, and says that it was asked."""
    left = iter(readings)

    def run() -> Reading:
        calls.append(name)
        return next(left)

    return run


def row(
    ours: Iterable[float | Reading], theirs: Iterable[float | Reading], *, calls: list[str] | None = None,
    goal: float = 1.0, at_most: bool = False, value: str = "value",
) -> Row:  # fmt: skip
    asked = [] if calls is None else calls
    sides = [[item if isinstance(item, Reading) else Reading(item) for item in side] for side in (ours, theirs)]
    return Row("name", "peer", "packets/s", goal, giving(sides[0], asked, "ours"), giving(sides[1], asked, "theirs"),
               at_most=at_most, rounds=len(sides[0]), value=value)  # fmt: skip


def test_both_sides_are_run_in_turns_and_who_begins_changes() -> None:
    calls: list[str] = []
    measured(row([1, 1, 1], [1, 1, 1], calls=calls))
    assert calls == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_the_ratio_is_that_of_the_medians_and_the_spread_that_of_the_rounds() -> None:
    result = measured(row([10, 90, 30], [10, 20, 60]))
    assert (result.ours, result.theirs) == (30, 20)
    assert result.ratio == 1.5
    assert result.spread == (0.5, 4.5)


@pytest.mark.parametrize(
    ("at_most", "goal", "met"), [(False, 2.0, True), (False, 2.1, False), (True, 2.0, True), (True, 1.9, False)]
)
def test_a_goal_is_the_least_or_the_most(at_most: bool, goal: float, met: bool) -> None:
    assert measured(row([4.0], [2.0], goal=goal, at_most=at_most)).met is met


@pytest.mark.parametrize("bad", [Reading(9.0, loss=0.01), Reading(9.0, closed=False)])
def test_what_lost_packets_or_left_the_books_open_has_met_nothing(bad: Reading) -> None:
    assert measured(row([9.0, 9.0, 9.0], [1.0, 1.0, 1.0])).met
    assert not measured(row([9.0, bad, 9.0], [1.0, 1.0, 1.0])).met


def test_processor_time_can_be_what_is_compared() -> None:
    result = measured(row([Reading(1, cpu=6.0, kernel=2.0)], [Reading(1, cpu=3.0)], value="cpu", at_most=True, goal=2))
    assert result.ratio == 2
    assert result.cpu() == (6.0, 3.0)
    assert result.kernel() == (2.0, None)


def test_a_disturbed_run_is_made_anew_and_counts_when_all_are() -> None:
    disturbed, quiet = Reading(1.0, disturbed=True), Reading(5.0)

    def made_of(readings: list[Reading]) -> float:
        return measured(Row("name", "peer", "s", 1, giving(readings, [], "ours"), lambda: quiet, rounds=1)).ours

    assert made_of([disturbed, quiet]) == 5.0
    assert made_of([disturbed, disturbed, disturbed]) == 1.0


def test_a_row_as_plain_values_has_what_was_promised() -> None:
    plain = measured(row([3.0], [2.0])).as_dict()
    promised = {"name", "ours", "peer", "peer_name", "ratio", "spread", "loss", "unit", "goal", "met"}
    assert promised <= plain.keys()
    assert (plain["ours"], plain["peer"], plain["peer_name"]) == (3.0, 2.0, "peer")
    assert "limit" not in plain
    missed = measured(row([1.0], [2.0]))
    missed.limit = "the interpreter"
    assert missed.as_dict()["limit"] == "the interpreter"


def test_what_was_not_measured_has_met_nothing() -> None:
    assert Skipped("a", "peer", "no compiler").as_dict()["met"] is None
    assert Failed("a", "peer", "TimeoutError").as_dict()["met"] is False
    assert Result(row([1.0], [0.0]), [(Reading(1.0), Reading(0.0))]).ratio == 0
