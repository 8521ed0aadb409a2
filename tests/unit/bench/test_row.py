"""A row of the bench: how readings become a ratio, and when a goal counts as met."""

from __future__ import annotations

import random
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


def test_the_ratio_is_that_of_the_medians_and_the_spread_lies_around_it() -> None:
    result = measured(row([10, 90, 30], [10, 20, 60]))
    assert (result.ours, result.theirs) == (30, 20)
    assert result.ratio == 1.5
    assert result.spread[0] <= 0.5
    assert result.spread[1] >= 4.5
    assert measured(row([3], [2])).spread == (1.5, 1.5)


def test_the_spread_is_where_the_ratio_of_another_run_lies() -> None:
    # Every round scatters by a third; of many, one in twenty is worse by far.
    def scattered(seed: int, rounds: int) -> Result:
        chance = random.Random(seed)
        ours = [chance.uniform(80, 120) / (10 if chance.random() < 0.05 else 1) for _ in range(rounds)]
        return measured(row(ours, [chance.uniform(40, 60) for _ in range(rounds)]))

    few, many, others = scattered(1, 9), scattered(2, 81), [scattered(seed, 81) for seed in range(3, 33)]
    widths = [high - low for low, high in (few.spread, many.spread)]
    assert widths[1] < widths[0] / 2
    assert many.spread[0] < many.ratio < many.spread[1]
    assert sum(many.spread[0] <= other.ratio <= many.spread[1] for other in others) >= 24


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


def test_a_row_as_plain_values_has_what_was_promised() -> None:
    plain = measured(row([3.0], [2.0])).as_dict()
    promised = {"name", "ours", "peer", "peer_name", "ratio", "spread", "loss", "unit", "goal", "met", "seconds"}
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
