"""The view of a packet, against scapy as the second opinion and against hostile octets."""

from __future__ import annotations

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
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import ESP as ESP_

from emulator.octets import (
    AH,
    ESP,
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Buffer,
    IpView,
    Malformed,
    describe,
    extension_headers,
    flaw,
    fragment_header_offset,
)
from emulator.wfptypes import AddressFamily

FOUR = {"src": "10.0.0.1", "dst": "10.0.0.2"}
SIX = {"src": "2001:db8::1", "dst": "2001:db8::2"}
DATA = bytes(range(40))


def ip(family: AddressFamily, **fields: Any) -> Any:
    return IP(**FOUR, **fields) if family is AddressFamily.INET else IPv6(**SIX, **fields)


def address(octets: bytes) -> str:
    return ".".join(map(str, octets)) if len(octets) == 4 else octets.hex(":", 2)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("front", [0, 14])
def test_a_udp_packet_is_read_wherever_it_lies(family: AddressFamily, kind: type[Buffer], front: int) -> None:
    packet = bytes(ip(family) / UDP_(sport=1000, dport=53) / DATA)
    view = IpView(kind(bytes(front) + packet + b"behind"), front, front + len(packet))
    assert view.version == family.version
    assert view.protocol == UDP
    assert (view.source_port, view.destination_port) == view.ports == (1000, 53)
    assert view.source == IpView(packet).source
    assert address(view.source) in ("10.0.0.1", "2001:0db8:0000:0000:0000:0000:0000:0001")
    assert address(view.destination) in ("10.0.0.2", "2001:0db8:0000:0000:0000:0000:0000:0002")
    assert view.total_length == len(packet)
    assert view.header_size == view.fixed_header_size == (20 if view.version == 4 else 40)
    assert view.transport_offset == front + view.header_size
    assert view.transport_header_size == 8
    assert view.payload_offset == view.indicated_offset == view.transport_offset + 8
    assert bytes(view.buffer[view.payload_offset : view.end]) == DATA
    assert not view.is_fragment
    assert view.icmp_type is view.icmp_code is view.tcp_flags is None


def test_tcp_options_count_as_its_header(family: AddressFamily) -> None:
    options = [("MSS", 1460), ("NOP", None), ("WScale", 7)]
    view = IpView(bytes(ip(family) / TCP_(sport=5, dport=80, flags="SA", options=options) / DATA))
    assert view.protocol == TCP
    assert view.transport_header_size == 28
    assert view.tcp_flags == 0x12
    assert view.ports == (5, 80)
    assert bytes(view.buffer[view.payload_offset :]) == DATA


def test_icmp_is_indicated_at_its_header(family: AddressFamily) -> None:
    message = ICMP_(type=8, code=0) if family is AddressFamily.INET else ICMPv6EchoRequest()
    view = IpView(bytes(ip(family) / message / DATA))
    assert view.is_icmp
    assert (view.icmp_type, view.icmp_code) == ((8, 0) if view.version == 4 else (128, 0))
    assert view.transport_header_size == 8
    assert view.indicated_offset == view.transport_offset
    assert view.payload_offset == view.transport_offset + 8
    assert (view.ports, view.source_port, view.destination_port) == (None, None, None)


def test_ports_of_the_other_ip_versions_icmp_are_not_read(family: AddressFamily) -> None:
    other = ICMPV6 if family is AddressFamily.INET else ICMP
    fields = {"proto": other} if family is AddressFamily.INET else {"nh": other}
    view = IpView(bytes(ip(family, **fields) / DATA))
    assert not view.is_icmp
    assert view.icmp_type is None
    assert view.transport_header_size == 0


def test_ipv4_fields() -> None:
    packet = IP(**FOUR, tos=0x2E, ttl=77, id=4321, flags="DF", options=[IPOption_NOP()] * 4) / UDP_() / DATA
    view = IpView(bytes(packet))
    assert (view.traffic_class, view.ttl, view.hop_limit, view.identification) == (0x2E, 77, 77, 4321)
    assert view.header_size == view.fixed_header_size == 24
    assert view.dont_fragment
    assert not view.more_fragments
    assert not view.is_fragment


@pytest.mark.parametrize(
    ("flags", "offset", "fragment"), [("MF", 0, True), ("MF", 185, True), (0, 185, True), (0, 0, False)]
)
def test_ipv4_fragments(flags: str | int, offset: int, fragment: bool) -> None:
    view = IpView(bytes(IP(**FOUR, flags=flags, frag=offset) / UDP_(sport=1, dport=2) / DATA))
    assert view.is_fragment is fragment
    assert view.more_fragments is (flags == "MF")
    assert view.fragment_offset == offset * 8
    assert view.ports == (None if offset else (1, 2))
    assert view.transport_header_size == (0 if offset else 8)
    assert not view.dont_fragment


def test_ipv6_fields() -> None:
    view = IpView(bytes(IPv6(**SIX, tc=0x2E, fl=0xABCDE, hlim=77) / UDP_()))
    assert (view.traffic_class, view.hop_limit, view.identification) == (0x2E, 77, 0)
    assert view.dont_fragment
    assert fragment_header_offset(view) is None


def test_ipv6_extension_headers_are_walked() -> None:
    chain = IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=["::7"]) / IPv6ExtHdrDestOpt(nh=AH)
    authentication = bytes((UDP, 4)) + bytes(22)
    packet = bytes(IPv6(**SIX) / chain / (authentication + bytes(UDP_(sport=7, dport=8)) + DATA))
    view = IpView(packet)
    assert view.protocol == UDP
    assert view.ports == (7, 8)
    assert view.fixed_header_size == 40
    assert bytes(packet[view.payload_offset :]) == DATA
    assert [header for header, _ in extension_headers(view)] == [0, 43, 60, AH]
    assert [at for _, at in extension_headers(view)][:2] == [40, 48]


@pytest.mark.parametrize(("offset", "more"), [(0, 1), (100, 1), (100, 0), (0, 0)])
def test_ipv6_fragments(offset: int, more: int) -> None:
    fragment = IPv6ExtHdrFragment(offset=offset, m=more, id=0x01020304)
    view = IpView(bytes(IPv6(**SIX) / IPv6ExtHdrHopByHop() / fragment / UDP_(sport=1, dport=2) / DATA))
    assert view.protocol == UDP
    assert view.identification == 0x01020304
    assert view.fragment_offset == offset * 8
    assert view.more_fragments is bool(more)
    assert view.is_fragment is bool(offset or more)
    assert view.ports == (None if offset else (1, 2))
    assert view.transport_offset == 40 + 8 + 8
    assert fragment_header_offset(view) == 48


def test_a_later_fragment_ends_the_walk_whatever_it_seems_to_carry() -> None:
    # Its first octets are the middle of somebody's data, not an extension header.
    view = IpView(bytes(IPv6(**SIX) / IPv6ExtHdrFragment(nh=60, offset=9, m=0) / (b"\x11" + bytes(39))))
    assert view.protocol == 60
    assert view.transport_offset == 48


def test_an_extension_header_longer_than_the_packet_ends_the_walk() -> None:
    view = IpView(bytes(IPv6(**SIX, nh=60) / (bytes((UDP, 2)) + bytes(14))))
    assert view.protocol == 60
    assert view.transport_offset == 40


def test_the_walk_stops_at_encryption(family: AddressFamily) -> None:
    view = IpView(bytes(ip(family) / ESP_(spi=1, seq=1, data=DATA)))
    assert view.protocol == ESP
    assert view.ports is None


@pytest.mark.parametrize("count", [31, 32, 33, 500])
def test_the_walk_is_bounded(count: int) -> None:
    chain = b"\x3c\x00\x01\x04\x00\x00\x00\x00" * (count - 1) + b"\x11\x00\x01\x04\x00\x00\x00\x00"
    packet = bytes(IPv6(**SIX, nh=60) / (chain + bytes(UDP_(sport=1, dport=2))))
    view = IpView(packet)
    assert view.protocol == (UDP if count <= 32 else 60)
    assert view.header_size == 40 + 8 * min(count, 32)


def test_octets_behind_the_total_length_are_left_out(family: AddressFamily) -> None:
    packet = bytes(ip(family) / UDP_(sport=1, dport=2) / DATA)
    view = IpView(packet + b"trailer")
    assert view.end == len(packet)
    assert flaw(packet + b"trailer") is None


@pytest.mark.parametrize("cut", [1, 4, 8, 13, 19])
def test_a_transport_header_cut_off_is_not_read_beyond_its_end(family: AddressFamily, cut: int) -> None:
    whole = bytes(ip(family) / TCP_(sport=1, dport=2))
    header = len(whole) - 20
    view = IpView(whole, 0, header + cut)
    assert view.transport_header_size == 0
    assert view.payload_offset == view.transport_offset
    assert (view.ports is None) == (cut < 4)
    assert (view.tcp_flags is None) == (cut < 14)


@pytest.mark.parametrize("data_offset", [0, 4, 6])
def test_a_tcp_data_offset_outside_the_segment_is_no_header(family: AddressFamily, data_offset: int) -> None:
    view = IpView(bytes(ip(family) / TCP_(dataofs=data_offset)))
    assert view.transport_header_size == 0


def changed(packet: Any, index: int, value: int) -> bytes:
    octets = bytearray(bytes(packet))
    octets[index] = value
    return bytes(octets)


FLAWS = [
    (b"", None, "there are no octets"),
    (b"\x45", None, "1 octets hold no IP header"),
    (changed(IP(**FOUR) / UDP_(), 0, 0x55), None, "version nibble 5 is neither 4 nor 6"),
    (changed(IP(**FOUR) / UDP_(), 0, 0x44), None, "IPv4 header length 16 in 28 octets"),
    (changed(IP(**FOUR) / UDP_(), 0, 0x4F), None, "IPv4 header length 60 in 28 octets"),
    (changed(IP(**FOUR) / UDP_(), 3, 29), None, "total length 29 in 28 octets"),
    (changed(IP(**FOUR) / UDP_(), 3, 19), None, "total length 19 does not hold the header of 20"),
    (bytes(IPv6(**SIX) / UDP_())[:39], None, "39 octets hold no IPv6 header"),
    (changed(IPv6(**SIX) / UDP_(), 5, 9), None, "total length 49 in 48 octets"),
    (bytes(IP(**FOUR) / UDP_()), 6, "IPv4 where IPv6 is wanted"),
    (bytes(IPv6(**SIX) / UDP_()), 4, "IPv6 where IPv4 is wanted"),
]


@pytest.mark.parametrize(("octets", "version", "why"), FLAWS)
def test_a_flaw_is_named(octets: bytes, version: int | None, why: str) -> None:
    assert flaw(octets, version) == why


def test_a_good_packet_has_no_flaw(family: AddressFamily) -> None:
    packet = bytes(ip(family) / UDP_() / DATA)
    assert flaw(packet) is flaw(packet, family.version) is None
    assert flaw(b"xx" + packet, family.version, 2) is None
    assert flaw(packet, family.version, 0, 30) is not None
    assert flaw(b"x" * 60 + packet[:-1], family.version, 60) is not None


def test_a_buffer_that_ends_before_the_given_end_is_refused() -> None:
    with pytest.raises(Malformed, match="end 21 lies behind"):
        IpView(bytes(20), 0, 21)
    with pytest.raises(Malformed):
        IpView(bytes(40), -20)


LINES = [
    (IP(**FOUR) / UDP_(sport=1000, dport=53) / (b"x" * 14), "IPv4 UDP 10.0.0.1:1000 -> 10.0.0.2:53, 42 octets"),
    (
        IPv6(**SIX) / TCP_(sport=1, dport=80, flags="SA"),
        "IPv6 TCP [2001:db8::1]:1 -> [2001:db8::2]:80 SYN+ACK, 60 octets",
    ),
    (IP(**FOUR) / ICMP_(type=3, code=4), "IPv4 ICMP 10.0.0.1 -> 10.0.0.2 type 3 code 4, 28 octets"),
    (
        IP(**FOUR, flags="MF", frag=185, proto=17) / bytes(8),
        "IPv4 UDP 10.0.0.1 -> 10.0.0.2 fragment at 1480, 28 octets",
    ),
    (
        IP(**FOUR, frag=185, proto=250) / bytes(8),
        "IPv4 protocol 250 10.0.0.1 -> 10.0.0.2 fragment at 1480 (last), 28 octets",
    ),
    (b"", "0 octets, not IP: 0 octets hold no IP header"),
    (bytes(20), "20 octets, not IP: version nibble 0 is neither 4 nor 6"),
]


@pytest.mark.parametrize(("packet", "line"), LINES)
def test_a_packet_is_described_in_a_line(packet: Any, line: str) -> None:
    assert describe(bytes(packet)) == line


def test_a_view_shows_itself() -> None:
    assert repr(IpView(bytes(IP(**FOUR) / UDP_(sport=1, dport=2)))) == (
        "<IpView IPv4 UDP 10.0.0.1:1 -> 10.0.0.2:2, 28 octets>"
    )


READ = [name for name in dir(IpView) if not name.startswith("_") and name != "buffer"]
HOSTILE = st.one_of(
    st.binary(max_size=120),
    st.builds(
        lambda first, rest: bytes((first,)) + rest,
        st.sampled_from([0x45, 0x46, 0x4F, 0x60]),
        st.binary(min_size=30, max_size=120),
    ),
    # IPv6 with a next header that begins a chain.
    st.builds(
        lambda following, length, rest: b"\x60\0\0\0\0" + bytes((length, following)) + rest,
        st.sampled_from([0, 43, 44, 51, 60, 135, 6, 17, 58]),
        st.integers(0, 120),
        st.lists(st.sampled_from([0, 1, 2, 6, 17, 43, 44, 51, 58, 60]), min_size=33, max_size=120).map(bytes),
    ),
)


@settings(max_examples=400, deadline=None)
@given(octets=HOSTILE, start=st.integers(0, 4))
@example(octets=b"\x60" + bytes(5) + b"\x2c" + bytes(33) + b"\x11\0\xff\xff", start=0)
def test_any_octets_are_read_or_refused_and_nothing_else(octets: bytes, start: int) -> None:
    said = flaw(octets, None, start)
    describe(octets, start)
    try:
        view = IpView(octets, start)
    except Malformed:
        assert said is not None
        return
    for name in READ:
        getattr(view, name)
    assert start + 20 <= view.transport_offset <= view.payload_offset <= view.end <= len(octets)
    assert all(view.start < at < view.transport_offset for _, at in extension_headers(view))


@settings(max_examples=100, deadline=None)
@given(
    payload=st.binary(max_size=60),
    ports=st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    options=st.integers(0, 10),
    six=st.booleans(),
)
def test_what_scapy_builds_is_read_back(payload: bytes, ports: tuple[int, int], options: int, six: bool) -> None:
    head = IPv6(**SIX) if six else IP(**FOUR, options=[IPOption_NOP()] * (4 * options))
    view = IpView(bytes(head / UDP_(sport=ports[0], dport=ports[1]) / payload))
    assert view.ports == ports
    assert bytes(view.buffer[view.payload_offset : view.end]) == payload
