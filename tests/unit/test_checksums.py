"""Checksums, against scapy and against the plain definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP as ICMP_
from scapy.layers.inet import IP, IPOption_NOP
from scapy.layers.inet import TCP as TCP_
from scapy.layers.inet import UDP as UDP_
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    IPv6ExtHdrSegmentRouting,
)

from emulator.checksums import (
    fix_checksums,
    fold,
    incremental_update,
    internet_checksum,
    ipv4_header_checksum,
    ipv4_header_checksum_ok,
    pseudo_header_sum,
    transport_checksum,
    transport_checksum_is_partial,
    transport_checksum_ok,
)
from emulator.octets import IpView, Malformed

FOUR = {"src": "10.0.0.1", "dst": "10.0.0.2"}
SIX = {"src": "2001:db8::1", "dst": "2001:db8::2"}

PACKETS: dict[str, Any] = {
    "IPv4 UDP": IP(**FOUR) / UDP_(sport=1000, dport=53) / b"odd",
    "IPv4 TCP": IP(**FOUR) / TCP_(options=[("MSS", 1460)]) / b"some data",
    "IPv4 ICMP": IP(**FOUR) / ICMP_(id=7) / b"echo",
    "IPv4 options": IP(**FOUR, options=[IPOption_NOP()] * 8) / UDP_() / b"data",
    "IPv6 UDP": IPv6(**SIX) / UDP_(sport=1000, dport=53) / b"odd",
    "IPv6 TCP": IPv6(**SIX) / TCP_() / b"some data",
    "IPv6 ICMPv6": IPv6(**SIX) / ICMPv6EchoRequest(data=b"echo"),
    "IPv6 behind an extension header": IPv6(**SIX) / IPv6ExtHdrHopByHop() / UDP_() / b"data",
    "IPv6 to be routed on": IPv6(**SIX) / IPv6ExtHdrRouting(addresses=["2001:db8::7", "2001:db8::8"]) / UDP_() / b"d",
    "IPv6 routed": IPv6(**SIX) / IPv6ExtHdrRouting(addresses=["2001:db8::7"], segleft=0) / UDP_() / b"d",
    "IPv6 by segments": IPv6(**SIX)
    / IPv6ExtHdrSegmentRouting(addresses=["2001:db8::7", "2001:db8::8"], segleft=1)
    / UDP_()
    / b"d",
}
NAMES = pytest.mark.parametrize("name", PACKETS)


def plain(data: bytes) -> int:
    """RFC 1071 as it is written."""
    total = 0
    for at in range(0, len(data), 2):
        total += data[at] << 8 | (data[at + 1] if at + 1 < len(data) else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def field_offset(view: IpView) -> int:
    return view.transport_offset + {6: 16, 17: 6, 1: 2, 58: 2}[view.protocol]


@settings(max_examples=200)
@given(st.binary(max_size=64))
@example(b"")
@example(bytes(8))
@example(b"\xff" * 8)
@example(b"\xff\xfe\x00\x01")
def test_a_checksum_is_the_one_of_the_definition(data: bytes) -> None:
    assert internet_checksum(data) == plain(data)
    assert internet_checksum(memoryview(b"x" + data + b"y"), 1, len(data) + 1) == plain(data)


@settings(max_examples=200)
@given(
    data=st.binary(min_size=4, max_size=40).filter(lambda data: len(data) % 2 == 0 and any(data[4:])),
    new=st.binary(min_size=4, max_size=4),
)
def test_an_updated_checksum_is_the_computed_one(data: bytes, new: bytes) -> None:
    updated = incremental_update(internet_checksum(data), data[:4], new)
    assert updated == internet_checksum(new + data[4:])


@pytest.mark.parametrize(("old", "new"), [(b"ab", b"abcd"), (b"a", b"b")])
def test_an_update_of_odd_or_unlike_sizes_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(ValueError, match="cannot update"):
        incremental_update(0, old, new)


@NAMES
def test_scapys_checksums_are_right_and_any_other_is_wrong(name: str) -> None:
    packet = bytearray(bytes(PACKETS[name]))
    view = IpView(packet)
    assert ipv4_header_checksum_ok(view)
    assert transport_checksum_ok(view) is True
    at = field_offset(view)
    assert transport_checksum(view) == int.from_bytes(packet[at : at + 2], "big")
    packet[-1] ^= 1
    assert transport_checksum_ok(view) is False
    packet[-1] ^= 1
    packet[8] ^= 1  # TTL; part of the source address in IPv6
    assert ipv4_header_checksum_ok(view) is (view.version == 6)
    assert transport_checksum_ok(view) is (view.version == 4)


@NAMES
def test_fixing_makes_what_scapy_makes(name: str) -> None:
    right = bytes(PACKETS[name])
    wrong = bytearray(b"front" + right + b"behind")
    view = IpView(wrong, 5, 5 + len(right))
    at = field_offset(view)
    wrong[at : at + 2] = b"\x12\x34"
    if view.version == 4:
        wrong[15:17] = b"\x56\x78"
    used = fix_checksums(wrong, 5, 5 + len(right))
    assert bytes(wrong) == b"front" + right + b"behind"
    assert used.transport_offset == view.transport_offset


@NAMES
def test_a_partial_checksum_is_told_from_a_full_one(name: str) -> None:
    packet = bytearray(bytes(PACKETS[name]))
    view = IpView(packet)
    assert not transport_checksum_is_partial(view)
    at = field_offset(view)
    size = view.end - view.transport_offset
    packet[at : at + 2] = fold(pseudo_header_sum(view, size)).to_bytes(2, "big")
    assert transport_checksum_is_partial(view) is (view.protocol != 1)
    # What a card adds makes the full checksum out of it.
    if view.protocol != 1:
        finished = internet_checksum(packet, view.transport_offset) or 0xFFFF
        assert finished == transport_checksum(view)


def test_a_udp_checksum_of_zero_is_right_for_ipv4_and_wrong_for_ipv6() -> None:
    for name, right in (("IPv4 UDP", True), ("IPv6 UDP", False)):
        packet = bytearray(bytes(PACKETS[name]))
        view = IpView(packet)
        packet[field_offset(view) : field_offset(view) + 2] = bytes(2)
        assert transport_checksum_ok(view) is right
        fix_checksums(packet)
        assert bytes(packet) == bytes(PACKETS[name])


@pytest.mark.parametrize("head", [IP(**FOUR), IPv6(**SIX)], ids=["ipv4", "ipv6"])
def test_a_udp_checksum_that_comes_to_zero_is_written_as_ones(head: Any) -> None:
    packet = bytearray(bytes(head / UDP_() / b"\x00\x00"))
    view = IpView(packet)
    packet[-2:] = transport_checksum(view).to_bytes(2, "big")  # type: ignore[union-attr]
    assert transport_checksum(view) == 0xFFFF
    fix_checksums(packet)
    assert packet[field_offset(view) :][:2] == b"\xff\xff"
    assert transport_checksum_ok(IpView(packet)) is True


def test_an_echo_reply_of_zeros_gets_a_checksum_all_the_same() -> None:
    packet = bytearray(bytes(IP(**FOUR) / ICMP_(type=0)))
    packet[22:24] = b"\x12\x34"
    fix_checksums(packet)
    assert packet[22:24] == b"\xff\xff"
    assert transport_checksum_ok(IpView(packet)) is True


UNKNOWN: dict[str, Any] = {
    "first fragment": IP(**FOUR, flags="MF") / UDP_() / b"datadata",
    "later fragment": IP(**FOUR, frag=9, proto=17) / b"datadata",
    "IPv6 fragment": IPv6(**SIX) / IPv6ExtHdrFragment(m=1) / UDP_() / b"datadata",
    "other protocol": IP(**FOUR, proto=132) / b"some octets of SCTP",
    "TCP cut off": IP(**FOUR, proto=6) / b"nineteen octets....",
    "UDP cut off": IP(**FOUR, proto=17) / b"seven..",
    "ICMPv6 in IPv4": IP(**FOUR, proto=58) / b"\x80\x00\x00\x00echo",
    "ICMP in IPv6": IPv6(**SIX, nh=1) / b"\x08\x00\x00\x00echo",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_there_is_nothing_to_check_nothing_is_said_or_written(name: str) -> None:
    packet = bytearray(bytes(UNKNOWN[name]))
    view = IpView(packet)
    before = bytes(packet)
    assert transport_checksum(view) is None
    assert transport_checksum_ok(view) is None
    assert not transport_checksum_is_partial(view)
    fix_checksums(packet)
    assert packet == before


@pytest.mark.parametrize("length", [0, 7, 12, 0xFFFF])
@pytest.mark.parametrize("head", [IP(**FOUR), IPv6(**SIX)], ids=["ipv4", "ipv6"])
def test_a_udp_length_that_does_not_fit_is_wrong(head: Any, length: int) -> None:
    view = IpView(bytes(head / UDP_(len=length) / b"odd"))
    assert transport_checksum_ok(view) is False
    assert transport_checksum(view) is None


def test_a_udp_length_below_the_payload_limits_what_is_summed() -> None:
    inner = IpView(bytes(IP(**FOUR) / UDP_(sport=1, dport=2) / b"data"))
    shorter = UDP_(sport=1, dport=2, len=12, chksum=transport_checksum(inner))
    longer = IpView(bytes(IP(**FOUR) / shorter / b"data and more"))
    assert transport_checksum_ok(longer) is True


def test_a_routing_header_without_addresses_routes_nowhere() -> None:
    udp = bytes(IPv6(**SIX) / UDP_() / b"data")[40:]
    empty = bytes((17, 0, 0, 1)) + bytes(4)  # next header, length, type, segments left
    assert transport_checksum_ok(IpView(bytes(IPv6(**SIX, nh=43) / (empty + udp)))) is True


def test_ipv6_has_no_header_checksum() -> None:
    view = IpView(bytes(PACKETS["IPv6 UDP"]))
    assert ipv4_header_checksum(view) == 0
    assert ipv4_header_checksum_ok(view)


HOSTILE = st.builds(
    lambda first, rest: bytes((first,)) + rest,
    st.sampled_from([0x45, 0x46, 0x60]),
    st.lists(st.sampled_from([0, 1, 2, 4, 6, 8, 17, 20, 43, 44, 58, 60, 255]), min_size=19, max_size=100).map(bytes),
)


@settings(max_examples=400, deadline=None)
@given(HOSTILE)
@pytest.mark.parametrize("look", [transport_checksum, transport_checksum_ok, transport_checksum_is_partial])
def test_any_octets_are_summed_or_refused(look: Callable[[IpView], object], octets: bytes) -> None:
    try:
        view = IpView(octets)
    except Malformed:
        return
    look(view)
    packet = bytearray(octets)
    fixed = fix_checksums(packet)
    assert len(packet) == len(octets)
    if transport_checksum(fixed) is not None:
        assert transport_checksum_ok(IpView(packet)) is True
    assert ipv4_header_checksum_ok(IpView(packet))
