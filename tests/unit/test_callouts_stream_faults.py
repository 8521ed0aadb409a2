"""The stream faults, on octets alone and with a clock of the test's own."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import pytest

from emulator.callouts_stream import StreamMonitor
from emulator.callouts_stream_faults import (
    RECEIVED,
    SENT,
    Corrupt,
    Delay,
    RateLimit,
    ResetAfter,
    Slice,
    StreamFault,
    Truncate,
)
from emulator.splice import Side
from emulator.stream_bench import StreamBench
from emulator.wfptypes import Action


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()

    def __call__(self, seconds: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._serial), work))

    def pass_until(self, when: float) -> None:
        """Run what is due up to then, in order."""
        while self._due and self._due[0][0] <= when:
            self.now, _, work = heapq.heappop(self._due)
            work()
        self.now = when


def clean(bench: StreamBench) -> bool:
    return not list(bench.core.violations) and bench.core.ownership.counters().clean


def test_delay_keeps_order_and_lets_the_fin_come_last() -> None:
    bench, clock = StreamBench(), Clock()
    bench.add(Delay(bench.core.create_handle(0, 1), 2.0, clock))
    bench.send(Side.HOST, b"one ")
    clock.pass_until(1.0)
    bench.send(Side.HOST, b"two")
    bench.finish(Side.HOST)
    clock.pass_until(1.9)
    assert bench.read(Side.REMOTE) == b""
    clock.pass_until(2.0)
    assert bench.read(Side.REMOTE) == b"one "
    clock.pass_until(2.9)
    assert (bench.read(Side.REMOTE), bench.ended[Side.REMOTE]) == (b"", False)
    clock.pass_until(3.0)
    assert (bench.read(Side.REMOTE), bench.ended[Side.REMOTE]) == (b"two", True)
    assert clean(bench)


def test_delay_is_for_the_directions_it_is_told() -> None:
    bench, clock = StreamBench(), Clock()
    bench.add(Delay(bench.core.create_handle(0, 1), 2.0, clock, directions=RECEIVED))
    bench.send(Side.HOST, b"at once")
    bench.send(Side.REMOTE, b"later")
    assert (bench.read(Side.REMOTE), bench.read(Side.HOST)) == (b"at once", b"")
    clock.pass_until(2.0)
    assert bench.read(Side.HOST) == b"later"


@pytest.mark.rule("ST-32", "SD-7")
def test_delay_defers_an_inbound_stream_at_its_limit() -> None:
    bench, clock = StreamBench(), Clock()
    bench.add(Delay(bench.core.create_handle(0, 1), 1.0, clock, limit=10))
    bench.send(Side.REMOTE, b"12345678")
    bench.send(Side.REMOTE, b"90ab")
    assert not bench.reading[Side.REMOTE]
    clock.pass_until(1.0)
    assert bench.read(Side.HOST) == b"12345678"
    assert bench.reading[Side.REMOTE]
    clock.pass_until(2.0)
    assert bench.read(Side.HOST) == b"90ab"
    assert clean(bench)


def test_what_a_delay_still_holds_can_be_given_up() -> None:
    bench, clock = StreamBench(), Clock()
    delay = Delay(bench.core.create_handle(0, 1), 1.0, clock)
    bench.add(delay)
    bench.send(Side.HOST, b"never")
    bench.fail(Side.REMOTE)
    delay.discard()
    clock.pass_until(5.0)
    assert clean(bench)


def test_a_rate_limit_takes_the_time_it_takes() -> None:
    bench, clock = StreamBench(), Clock()
    bench.add(RateLimit(bench.core.create_handle(0, 1), 1000.0, clock, directions=SENT))
    octets = bytes(range(250)) * 8
    bench.send(Side.HOST, octets)
    bench.finish(Side.HOST)
    arrived = bytearray()
    for half_second in range(1, 4):
        clock.pass_until(half_second / 2)
        arrived += bench.read(Side.REMOTE)
        assert abs(len(arrived) - 500 * half_second) <= 50
    clock.pass_until(2.1)
    arrived += bench.read(Side.REMOTE)
    assert arrived == octets
    assert bench.ended[Side.REMOTE]
    assert clean(bench)


@pytest.mark.rule("ST-25")
def test_slices_are_shown_one_by_one_further_down() -> None:
    bench = StreamBench()
    monitor, sizes = StreamMonitor(), []
    bench.add(Slice(4), weight=9)
    bench.add(
        lambda seen: sizes.append(seen.stream.stream_data.data_length), weight=8, action=Action.CALLOUT_INSPECTION
    )
    bench.add(monitor, weight=7, action=Action.CALLOUT_INSPECTION)
    bench.send(Side.HOST, b"0123456789")
    assert sizes == [4, 4, 2]
    assert bench.read(Side.REMOTE) == bytes(monitor.sent) == b"0123456789"


@pytest.mark.parametrize("pieces", [(b"0123456789",), (b"01", b"234", b"5", b"6789")])
def test_truncate_takes_out_what_is_behind_the_limit_and_ends_properly(pieces: tuple[bytes, ...]) -> None:
    bench = StreamBench()
    bench.add(Truncate(6, directions=SENT))
    bench.send(Side.HOST, *pieces)
    bench.finish(Side.HOST)
    bench.send(Side.REMOTE, b"untouched")
    assert bench.read(Side.REMOTE) == b"012345"
    assert bench.ended[Side.REMOTE]
    assert bench.read(Side.HOST) == b"untouched"
    assert clean(bench)


@pytest.mark.parametrize("pieces", [(b"abcdefghij",), (b"a", b"bcd", b"ef", b"ghij")])
def test_corrupt_turns_every_nth_octet_however_they_come(pieces: tuple[bytes, ...]) -> None:
    bench = StreamBench()
    bench.add(Corrupt(3))
    bench.send(Side.HOST, *pieces)
    expected = bytes(octet ^ 0xFF if (place + 1) % 3 == 0 else octet for place, octet in enumerate(b"abcdefghij"))
    assert bench.read(Side.REMOTE) == expected


def test_reset_after_lets_the_first_octets_pass() -> None:
    bench = StreamBench()
    bench.add(ResetAfter(5))
    bench.send(Side.HOST, b"123", b"45")
    assert bench.read(Side.REMOTE) == b"12345"
    assert not bench.reset
    bench.send(Side.HOST, b"6")
    assert bench.reset


def test_every_fault_lets_the_other_direction_and_the_fin_pass() -> None:
    faults: list[Callable[[], StreamFault]] = [
        lambda: Slice(1, directions=SENT), lambda: Truncate(1, directions=SENT), lambda: Corrupt(1, directions=SENT),
        lambda: ResetAfter(99, directions=SENT),
    ]  # fmt: skip
    for make in faults:
        bench = StreamBench()
        bench.add(make())
        bench.send(Side.REMOTE, b"whole and sound")
        bench.finish(Side.REMOTE)
        bench.finish(Side.HOST)
        assert bench.read(Side.HOST) == b"whole and sound"
        assert bench.closed
