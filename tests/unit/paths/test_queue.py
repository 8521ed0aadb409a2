"""Limits, numbers and books of a queue: what cannot be is refused when it is made."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from emulator.paths.queue import (
    Arrival,
    QueueCounts,
    QueuedPacket,
    QueueLimits,
    RareQueuedPacket,
    checked_numbers,
    is_rewritable,
    not_rewritable,
)


@pytest.mark.parametrize(
    "bad",
    [{"length": 0}, {"length": 1 << 32}, {"copy_octets": 63}, {"copy_octets": 65532}, {"receive_octets": 0}],
)
def test_limits_that_cannot_be_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"not within|holds nothing"):
        QueueLimits(**bad)  # type: ignore[arg-type]


def test_the_outermost_limits_are_taken() -> None:
    QueueLimits(length=1, copy_octets=64, receive_octets=1)
    QueueLimits(length=(1 << 32) - 1, copy_octets=65531)


@pytest.mark.parametrize("bad", [(), (1, 1), (-1,), (65536,)])
def test_numbers_that_cannot_be_bound_are_refused(bad: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not distinct numbers within 0 to 65535"):
        checked_numbers(bad)
    assert checked_numbers([0, 65535]) == (0, 65535)


def test_what_closing_dropped_is_no_longer_held() -> None:
    assert QueueCounts(received=10, settled=4, abandoned=6, unread=3).held == 0


def packet(original_octets: int) -> RareQueuedPacket:
    made = RareQueuedPacket()
    made.token, made.payload, made.arrival, made.mark = 1, bytearray(100), Arrival(5, 1, 0x0800), 0
    made.original_octets, made.stamp = original_octets, b""
    return made


def test_a_packet_is_rewritable_if_nothing_of_it_can_be_lost() -> None:
    assert is_rewritable(packet(0), bytes(1))
    assert is_rewritable(packet(0), bytes(65531))
    assert not is_rewritable(packet(0), b"")
    assert not is_rewritable(packet(0), bytes(65532))
    assert not is_rewritable(packet(101), bytes(100))
    assert "it has 101 octets and only 100 were shown" in str(not_rewritable(packet(101), bytes(100)))


def test_a_stamp_is_seconds_and_microseconds() -> None:
    stamped = packet(0)
    assert stamped.seconds == 0.0
    stamped.stamp = struct.pack(">QQ", 1_700_000_000, 250_000)
    assert stamped.seconds == 1_700_000_000.25


def test_an_ordinary_packet_is_whole_and_carries_no_more_than_it_needs() -> None:
    assert (QueuedPacket().original_octets, QueuedPacket().seconds) == (0, 0.0)
    assert not hasattr(QueuedPacket(), "__dict__")


def test_importing_the_interface_loads_no_backend() -> None:
    code = (
        "import sys, emulator.paths.queue;"
        "print(*({'netfilterqueue', 'ctypes', 'pyroute2', 'scapy', 'emulator.paths.netlink_queue'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == ""
