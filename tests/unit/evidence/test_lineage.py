"""Packets keep their numbers from place to place, and nothing else takes them."""

from __future__ import annotations

import pytest

from emulator.evidence.lineage import (
    FRESH_NANOSECONDS,
    INPUT,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    SAME_MOST,
    WIRE_IN,
    WIRE_OUT,
    Lineage,
    identity_of,
)
from emulator.octets import IpView
from tests.unit.tracing import datagram

A, B, C = range(3)
VERSIONS = pytest.mark.parametrize("version", [4, 6])


class Watch:
    """A lineage, and places at which packets are seen."""

    def __init__(self) -> None:
        self.lineage = Lineage()
        self.time = 0

    def see(self, host: int, rank: int, octets: bytes, *, looped: bool = False, after: int = 1000) -> int:
        self.time += after
        copy = self.lineage.sighted(self.time, host, rank, f"place {rank}", octets, looped=looped)
        return copy.packet


@VERSIONS
def test_one_packet_keeps_its_number_over_all_hops(version: int) -> None:
    watch, octets = Watch(), datagram(version=version)
    ways = [(A, OUTPUT), (A, POSTROUTING), (A, WIRE_OUT), (B, WIRE_IN), (B, PREROUTING), (B, INPUT), (B, WIRE_OUT)]
    seen = [watch.see(host, rank, octets) for host, rank in [*ways, (C, WIRE_IN), (C, PREROUTING), (C, INPUT)]]
    assert set(seen) == {1}


@VERSIONS
def test_a_changed_ttl_or_checksum_is_the_same_packet_and_a_changed_payload_is_not(version: int) -> None:
    watch, octets = Watch(), bytearray(datagram(version=version))
    first = watch.see(A, WIRE_OUT, bytes(octets))
    view = IpView(octets)
    octets[8 if version == 4 else 7] -= 1
    octets[view.transport_offset + 6] ^= 0xFF
    assert watch.see(B, WIRE_IN, bytes(octets)) == first
    octets[-1] ^= 1
    assert watch.see(B, WIRE_IN, bytes(octets)) != first


@VERSIONS
def test_equal_packets_are_told_apart_by_their_order(version: int) -> None:
    watch, octets = Watch(), datagram(version=version)
    sent = [watch.see(A, WIRE_OUT, octets) for _ in range(3)]
    assert sent == [1, 2, 3]
    assert [watch.see(B, WIRE_IN, octets) for _ in range(3)] == sent


def test_equal_packets_are_told_apart_by_their_identification() -> None:
    watch = Watch()
    one, two = (watch.see(A, WIRE_OUT, datagram(ident=number)) for number in (1, 2))
    assert watch.see(B, WIRE_IN, datagram(ident=2)) == two
    assert watch.see(B, WIRE_IN, datagram(ident=1)) == one


def test_the_kernel_may_fill_in_an_identification() -> None:
    watch = Watch()
    first = watch.see(A, OUTPUT, datagram(ident=0))
    assert watch.see(A, WIRE_OUT, datagram(ident=77)) == first
    assert watch.see(B, WIRE_IN, datagram(ident=78)) != first


@VERSIONS
def test_a_packet_that_was_dropped_is_not_seen_again(version: int) -> None:
    watch, octets = Watch(), datagram(version=version)
    copy = watch.lineage.sighted(1, A, OUTPUT, "hook", octets)
    watch.lineage.end(copy, "blocked")
    assert watch.see(A, WIRE_OUT, octets) == 2


@VERSIONS
def test_the_same_packet_sent_once_more_is_another_one(version: int) -> None:
    watch, octets = Watch(), datagram(version=version)
    for number in (1, 2, 3):
        way = [watch.see(A, WIRE_OUT, octets), watch.see(B, WIRE_IN, octets)]
        assert way == [number, number]
    # Now with a hook that had not seen the others.
    assert watch.see(A, POSTROUTING, octets) == 4
    assert watch.see(A, WIRE_OUT, octets) == 4


@VERSIONS
def test_a_packet_is_not_found_where_it_cannot_be_yet(version: int) -> None:
    watch, octets = Watch(), datagram(version=version)
    first = watch.see(B, WIRE_IN, octets)
    assert watch.see(A, OUTPUT, octets) != first  # another host sends; it did not come from here
    assert watch.see(B, INPUT, octets) == first


@VERSIONS
def test_loopback_brings_a_packet_back_to_its_host(version: int) -> None:
    watch, octets = Watch(), datagram(version=version)
    seen = [watch.see(A, OUTPUT, octets), watch.see(A, WIRE_IN, octets, looped=True)]
    seen += [watch.see(A, PREROUTING, octets, looped=True), watch.see(A, INPUT, octets)]
    assert seen == [1, 1, 1, 1]
    assert watch.see(A, OUTPUT, octets) == 2


def test_of_packets_long_unseen_the_latest_is_meant() -> None:
    watch, octets = Watch(), datagram()
    watch.see(A, OUTPUT, octets)
    latest = watch.see(A, OUTPUT, octets)
    assert watch.see(A, WIRE_OUT, octets, after=2 * FRESH_NANOSECONDS) == latest


@VERSIONS
def test_a_frame_that_was_cut_short_is_still_the_packet(version: int) -> None:
    watch = Watch()
    octets = datagram(bytes(9000), version=version)
    first = watch.see(A, OUTPUT, octets)
    assert watch.see(A, WIRE_OUT, octets[:2034]) == first
    assert watch.see(B, WIRE_IN, octets[:2034]) == first
    longer = datagram(bytes(9001), version=version)
    assert watch.see(B, PREROUTING, longer[:2034]) != first


def test_fragments_belong_to_the_packet_they_were_cut_from() -> None:
    watch = Watch()
    whole = bytearray(datagram(b"x" * 1000, ident=9))
    first = watch.see(A, OUTPUT, bytes(whole))
    head, tail = bytearray(whole[:420]), bytearray(whole[:20] + whole[420:])
    for piece, word in ((head, 0x2000), (tail, 50)):
        piece[2:4], piece[6:8] = len(piece).to_bytes(2), word.to_bytes(2)
    assert [watch.see(A, WIRE_OUT, bytes(piece)) for piece in (head, tail)] == [first, first]
    assert [watch.see(B, WIRE_IN, bytes(piece)) for piece in (head, tail)] == [first, first]
    # The whole one was never seen to leave; put together again it is known by its identification.
    whole[-1] ^= 1
    assert watch.see(B, INPUT, bytes(whole)) == first


def test_what_is_no_packet_has_no_identity_and_gets_a_number_of_its_own() -> None:
    assert identity_of(b"") is None
    assert identity_of(b"\x45" + bytes(5)) is None
    watch = Watch()
    assert watch.see(A, OUTPUT, b"?") != watch.see(A, WIRE_OUT, b"?")


def test_memory_is_bounded_when_thousands_of_packets_are_equal() -> None:
    watch, octets = Watch(), datagram()
    numbers = [watch.see(A, WIRE_OUT, octets) for _ in range(3 * SAME_MOST)]
    assert len(set(numbers)) == 3 * SAME_MOST
    assert sum(map(len, watch.lineage._air.values())) == SAME_MOST
