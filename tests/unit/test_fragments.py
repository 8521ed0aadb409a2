"""Fragments cut and put together, against scapy and against each other."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, IPOption_LSRR, IPOption_NOP, IPOption_RR, defragment
from scapy.layers.inet import UDP as UDP_
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    defragment6,
)

from emulator.checksums import ipv4_header_checksum_ok
from emulator.errors import InvalidParameter
from emulator.fragments import CannotFragment, fragment, reassemble
from emulator.octets import IpView, extension_headers, flaw, fragment_header_offset

FOUR = {"src": "10.0.0.1", "dst": "10.0.0.2"}
SIX = {"src": "2001:db8::1", "dst": "2001:db8::2"}
DATA = bytes(range(256)) * 8

DATAGRAMS: dict[str, Any] = {
    "IPv4": IP(**FOUR, id=7) / UDP_(sport=1, dport=2) / DATA,
    "IPv4 options": IP(**FOUR, id=7, options=[IPOption_LSRR(routers=["10.9.9.9"]), IPOption_NOP()])
    / UDP_(sport=1, dport=2)
    / DATA,
    "IPv6": IPv6(**SIX) / UDP_(sport=1, dport=2) / DATA,
    "IPv6 behind hop-by-hop": IPv6(**SIX) / IPv6ExtHdrHopByHop() / UDP_(sport=1, dport=2) / DATA,
    "IPv6 routed": IPv6(**SIX)
    / IPv6ExtHdrDestOpt()
    / IPv6ExtHdrRouting(addresses=["::7"])
    / IPv6ExtHdrDestOpt()
    / UDP_(sport=1, dport=2)
    / DATA,
}
NAMES = pytest.mark.parametrize("name", DATAGRAMS)


def octets_of(name: str) -> bytes:
    return bytes(DATAGRAMS[name])


@NAMES
@pytest.mark.parametrize("mtu", [1280, 576, 137])
def test_fragments_fit_and_follow_each_other(name: str, mtu: int) -> None:
    packet = octets_of(name)
    pieces = fragment(packet, mtu)
    assert len(pieces) > 1
    at = 0
    for piece in pieces:
        view = IpView(piece)
        assert len(piece) <= mtu
        assert flaw(piece) is None
        assert ipv4_header_checksum_ok(view)
        assert view.fragment_offset == at
        assert view.more_fragments is (piece is not pieces[-1])
        size = len(piece) - (
            view.header_size if view.version == 4 else (fragment_header_offset(view) or 0) + 8
        )
        # As much as fits, so no more fragments than needed.
        assert piece is pieces[-1] or len(piece) + 8 > mtu
        at += size


@NAMES
def test_scapy_puts_our_fragments_together(name: str) -> None:
    pieces = fragment(octets_of(name), 576)
    if name.startswith("IPv4"):
        (whole,) = defragment([IP(piece) for piece in pieces])
    else:
        whole = defragment6([IPv6(piece) for piece in pieces])
    assert bytes(whole) == octets_of(name)


@pytest.mark.rule("NB-24")
@NAMES
def test_three_fragments_in_any_order_are_the_datagram(name: str) -> None:
    packet = octets_of(name)
    pieces = fragment(packet, 900)
    assert len(pieces) == 3
    for order in itertools.permutations(pieces):
        assert reassemble(order) == packet


@pytest.mark.rule("NB-24")
def test_scapys_fragments_are_put_together() -> None:
    packet = DATAGRAMS["IPv4"]
    assert reassemble([bytes(piece) for piece in packet.fragment(400)]) == octets_of("IPv4")


def test_what_fits_is_left_alone() -> None:
    packet = octets_of("IPv4")
    assert fragment(packet, len(packet)) == [packet]
    assert len(fragment(packet, len(packet) - 1)) == 2
    kept = bytes(IP(**FOUR, flags="DF") / UDP_())
    assert fragment(kept + b"trailer", 28) == [kept]


def test_later_fragments_carry_copied_options_only() -> None:
    options = [IPOption_RR(routers=["0.0.0.0"]), IPOption_LSRR(routers=["10.9.9.9"])]
    first, second, *_ = fragment(bytes(IP(**FOUR, options=options) / UDP_() / DATA), 576)
    assert IpView(first).header_size == 36
    assert second[20 : IpView(second).header_size] == bytes((131, 7, 4, 10, 9, 9, 9, 0))


@pytest.mark.parametrize("options", [b"\x83\x09abcd\x00\x00", b"\x83\x01abcdef", b"\x01\x01\x01\x83"])
def test_options_that_cannot_be_read_are_not_carried(options: bytes) -> None:
    packet = bytearray(bytes(IP(**FOUR, options=[IPOption_NOP()] * len(options)) / UDP_() / DATA))
    packet[20 : 20 + len(options)] = options
    assert IpView(fragment(packet, 576)[1]).header_size == 20


def test_every_ipv6_fragment_repeats_what_routers_look_at() -> None:
    for piece in fragment(octets_of("IPv6 routed"), 900):
        assert [header for header, _ in extension_headers(IpView(piece))][:3] == [60, 43, 44]


def test_a_fragment_is_cut_again_and_still_belongs() -> None:
    packet = octets_of("IPv4")
    first, middle, last = fragment(packet, 900)
    assert len(fragment(first, 500)) == len(fragment(middle, 500)) == 2
    assert reassemble([*fragment(middle, 500), last, *fragment(first, 500)]) == packet


def test_the_same_packet_gives_the_same_fragments() -> None:
    packet = octets_of("IPv6")
    assert fragment(packet, 900) == fragment(packet, 900)
    assert fragment(packet, 900) != fragment(packet[:-1] + b"x", 900)
    assert {IpView(piece).identification for piece in fragment(packet, 900, identification=0xABCD)} == {0xABCD}


@pytest.mark.parametrize(
    ("packet", "mtu", "why"),
    [
        (IP(**FOUR, flags="DF") / UDP_() / DATA, 1500, "DF is set"),
        (IP(**FOUR) / UDP_() / DATA, 27, "leaves no room"),
        (IPv6(**SIX) / UDP_() / DATA, 55, "leaves no room"),
        (IPv6(**SIX) / IPv6ExtHdrFragment(m=1) / DATA, 1500, "not fragmented again"),
        (b"", 1500, "no IP header"),
    ],
)
def test_what_cannot_be_cut_is_refused(packet: Any, mtu: int, why: str) -> None:
    with pytest.raises(CannotFragment, match=why):
        fragment(bytes(packet), mtu)


def broken(pieces: list[bytes], how: str) -> list[bytes]:
    first, middle, last = pieces
    other = bytearray(middle)
    # The last octet of the identification: IPv4's own, or the fragment header's.
    other[5 if other[0] >> 4 == 4 else 47] ^= 1
    return {
        "none": [],
        "first missing": [middle, last],
        "middle missing": [first, last],
        "last missing": [first, middle],
        "one twice": [first, middle, middle, last],
        "last twice": [first, middle, last, last],
        "another datagram's": [first, bytes(other), last],
        "no fragment": [first, middle, last, octets_of("IPv4")],
        "no packet": [first, middle, last, b"\x45"],
        "cut off": [first, middle, last[:-1]],
    }[how]


@pytest.mark.parametrize("name", ["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("none", "there are no fragments"),
        ("first missing", "are missing"),
        ("middle missing", "are missing"),
        ("last missing", "the last fragment is missing"),
        ("one twice", "overlap"),
        ("last twice", "others follow it|overlap"),
        ("another datagram's", "not of one datagram"),
        ("no fragment", "no fragment"),
        ("no packet", "cannot be read"),
        ("cut off", "total length"),
    ],
)
def test_what_is_no_complete_group_is_refused(name: str, how: str, why: str) -> None:
    pieces = fragment(octets_of(name), 900)
    with pytest.raises(InvalidParameter, match=why) as refusal:
        reassemble(broken(pieces, how))
    assert refusal.value.rule == "NB-24"


def test_a_partial_overlap_is_refused() -> None:
    first = IP(**FOUR, id=1, flags="MF") / bytes(24)
    second = IP(**FOUR, id=1, frag=2, proto=0) / bytes(24)
    with pytest.raises(InvalidParameter, match="octets before 16 overlap"):
        reassemble([bytes(first), bytes(second)])


def test_a_middle_fragment_is_a_multiple_of_eight() -> None:
    with pytest.raises(InvalidParameter, match="a middle fragment of 15 octets"):
        reassemble([bytes(IP(**FOUR, flags="MF") / bytes(15)), bytes(IP(**FOUR, frag=2) / bytes(8))])


def test_a_datagram_too_large_for_its_length_field_is_refused() -> None:
    pieces = [bytes(IP(**FOUR, flags="MF", frag=at // 8) / bytes(8192)) for at in range(0, 65536, 8192)]
    pieces[-1] = bytes(IP(**FOUR, frag=57344 // 8) / bytes(8190))
    with pytest.raises(InvalidParameter, match="would have 65554 octets"):
        reassemble(pieces)


def test_an_ipv6_payload_too_large_for_its_length_field_is_refused() -> None:
    parts = [(at // 8, 1, 8192) for at in range(0, 57344, 8192)]
    pieces = [
        bytes(IPv6(**SIX) / IPv6ExtHdrFragment(offset=offset, m=more) / bytes(size))
        for offset, more, size in (*parts, (7168, 1, 8184), (8191, 0, 8))
    ]
    with pytest.raises(InvalidParameter, match="would have 65576 octets"):
        reassemble(pieces)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 3000),
    mtu=st.integers(88, 1500),
    six=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_cutting_and_putting_together_give_the_packet_back(size: int, mtu: int, six: bool, order: Any) -> None:
    head = IPv6(**SIX) / IPv6ExtHdrHopByHop() if six else IP(**FOUR, id=3, options=[IPOption_NOP()] * 4)
    packet = bytes(head / UDP_() / bytes(size))
    pieces = fragment(packet, mtu)
    if len(pieces) == 1:
        assert pieces == [packet]
        return
    order.shuffle(pieces)
    assert reassemble(pieces) == packet


HOSTILE = st.builds(
    lambda first, rest: bytes((first,)) + rest,
    st.sampled_from([0x45, 0x46, 0x60]),
    st.lists(st.sampled_from([0, 1, 8, 16, 17, 32, 44, 60, 64, 255]), min_size=19, max_size=80).map(bytes),
)


@settings(max_examples=200, deadline=None)
@given(packet=HOSTILE, mtu=st.integers(0, 70))
def test_any_octets_are_cut_or_refused(packet: bytes, mtu: int) -> None:
    try:
        pieces = fragment(packet, mtu)
    except CannotFragment:
        return
    assert all(len(piece) <= mtu for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=3))
def test_any_octets_are_put_together_or_refused(pieces: list[bytes]) -> None:
    try:
        whole = reassemble(pieces)
    except InvalidParameter:
        return
    assert flaw(whole) is None
