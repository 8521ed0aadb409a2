"""Good octets that hostile ones are made from: a case that starts from them gets past the first check."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from emulator.evidence.traceevents import EVENTS, read_file
from emulator.octets import flaw
from emulator.paths.netlink_packets import PacketReader
from emulator.torture import seeds
from emulator.torture.hostile import TARGETS, WEIGHTS


@pytest.mark.parametrize("packet", seeds.packets())
def test_packets_are_whole(packet: bytes) -> None:
    assert flaw(packet) is None


def test_messages_are_read_as_packets() -> None:
    tally: Counter[str] = Counter()
    reader = PacketReader((7,), tally)
    for packet in seeds.packets():
        (found,) = reader.read(bytearray(seeds.message(packet)) + bytes(70000), [0], [len(seeds.message(packet))])
        assert bytes(found.payload) == packet
    assert not tally


def test_a_trace_has_every_event_and_an_end() -> None:
    longest, shortest = seeds.traces()
    assert {type(event) for event in read_file(io.BytesIO(longest))} == set(EVENTS)
    assert len(list(read_file(io.BytesIO(shortest)))) == 2


def test_every_target_has_seeds_that_it_takes_and_a_share_of_the_cases() -> None:
    assert set(TARGETS) == set(WEIGHTS)
    assert abs(sum(WEIGHTS.values()) - 1) < 1e-9
    for name, target in TARGETS.items():
        for octets in seeds.seeds(name):
            target(octets)
