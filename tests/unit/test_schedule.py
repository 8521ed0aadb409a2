"""Schedules: the same seed decides the same each time, and some seed decides anything that is allowed."""

from __future__ import annotations

import pytest

from emulator.schedule import INLINE, Schedule, When, schedules


def decided(seed: int) -> list[When]:
    return [Schedule(seed).injection("host 0", handle, number) for handle in (1, 2) for number in range(50)]


@pytest.mark.rule("GE-4", "CF-6")
def test_a_seed_decides_the_same_each_time_and_another_one_otherwise() -> None:
    assert decided(7) == decided(7)
    assert decided(7) != decided(8)
    retreats = [Schedule(7).retreated("host 0", number) for number in range(50)]
    assert retreats == [Schedule(7).retreated("host 0", number) for number in range(50)]
    assert set(retreats) == {True, False}


@pytest.mark.rule("CF-6", "CF-8")
def test_everything_that_may_happen_to_an_injection_does_for_some_seed() -> None:
    seen = [when for seed in range(20) for when in decided(seed)]
    assert {when.inline for when in seen} == {when.scramble for when in seen} == {True, False}
    assert {when.delay for when in seen} == {when.hold for when in seen} == {0, 1, 2, 3}
    assert any(when.ordinary for when in seen)
    assert not any(when.inline and (when.delay or when.hold) for when in seen)


def test_one_decision_for_all_and_a_row_of_seeds() -> None:
    assert Schedule(always=INLINE).injection("host 0", 1, 5) == INLINE
    assert not Schedule(always=INLINE).retreated("host 0", 1)
    assert [schedule.seed for schedule in schedules(5, 3)] == [5, 6, 7]
