"""Checks: what is written down when one is taken."""

from __future__ import annotations

import pytest

from emulator.checks import Check, Checks
from emulator.expect import Like
from emulator.rewrite import udp_packet

PACKET = udp_packet("10.0.0.1", "10.0.0.2", b"hello", ports=(1, 2))


def line_of(check: Check) -> str:
    return check.where.partition(":")[0]


def test_a_check_that_holds_tells_what_was_seen() -> None:
    check = Checks()
    assert check("sum", 1 + 1, 2)
    assert check.taken == [Check("sum", True, "2", "2")]
    assert check.passed


def test_a_check_that_fails_tells_its_line_and_the_scenario_goes_on() -> None:
    check = Checks()
    assert not check("sum", 1 + 1, 3)
    assert not check.that("truth", 0)
    assert not check.that("truth", False, "what was seen")
    assert [(item.ok, item.expected, item.seen) for item in check.taken] == [
        (False, "3", "2"), (False, "True", "0"), (False, "True", "what was seen")
    ]  # fmt: skip
    assert {line_of(item) for item in check.taken} == {"test_checks.py"}
    assert len({item.where for item in check.taken}) == 3
    assert not check.passed


def test_nothing_taken_is_not_passed() -> None:
    assert not Checks().passed


def test_long_values_are_cut() -> None:
    check = Checks()
    check("octets", b"x" * 1000, b"")
    assert len(check.taken[0].seen) < 420
    assert check.taken[0].seen.endswith("(1003 characters)")


def test_what_raises_and_what_does_not() -> None:
    check = Checks()
    with check.raises("good", ValueError):
        raise ValueError
    with check.raises("other", ValueError):
        raise KeyError("key")
    with check.raises("none", ValueError):
        pass
    assert [(item.name, item.ok, item.seen) for item in check.taken] == [
        ("good", True, "ValueError"), ("other", False, "KeyError: 'key'"), ("none", False, "nothing was raised")
    ]  # fmt: skip
    assert line_of(check.taken[1]) == "test_checks.py"


def test_an_interrupt_is_not_taken_for_a_failed_check() -> None:
    check = Checks()
    with pytest.raises(KeyboardInterrupt), check.raises("good", ValueError):
        raise KeyboardInterrupt
    assert check.taken == []


def test_packets_are_compared_with_what_they_have_to_be_like() -> None:
    check = Checks()
    assert check.packets("one", [PACKET], [Like(payload=b"hello", checksums=True)])
    assert not check.packets("one", [PACKET], [Like(payload=b"other")])
    assert check.taken[1].expected == "payload b'other'"
    assert "(payload is b'hello', not b'other')" in check.taken[1].seen


def test_whoever_watches_is_told_of_every_step_and_check() -> None:
    told: list[object] = []
    check = Checks(on_step=told.append, on_check=told.append)
    check.step("first")
    check("sum", 2, 2)
    assert told == ["first", Check("sum", True, "2", "2")]
    assert check.steps == ["first"]
