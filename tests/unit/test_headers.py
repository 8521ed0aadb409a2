"""IP headers built and rebuilt, against scapy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP as ICMP_
from scapy.layers.inet import IP, IPOption_NOP, IPOption_RR
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

from emulator.checksums import ipv4_header_checksum_ok, transport_checksum_ok
from emulator.errors import InvalidParameter
from emulator.headers import build_ip_header, ip_header, rebuild_ip_header
from emulator.octets import AH, ESP, TCP, UDP, IpView, flaw
from emulator.wfptypes import AddressFamily

FOUR = {"src": "10.0.0.1", "dst": "10.0.0.2"}
SIX = {"src": "2001:db8::1", "dst": "2001:db8::2"}
SOURCE = {4: bytes((10, 0, 0, 1)), 6: bytes.fromhex("20010db8000000000000000000000001")}
REMOTE = {4: bytes((10, 0, 0, 2)), 6: bytes.fromhex("20010db8000000000000000000000002")}
# No interface of any host has it: the source may be any address.
STRANGER = {4: bytes((203, 0, 113, 9)), 6: bytes.fromhex("20010db8ffff0000000000000000beef")}
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def transport_octets(packet: Any) -> bytes:
    """The octets behind the IP header, the checksum among them spoilt."""
    octets = bytearray(bytes(packet))
    view = IpView(octets)
    octets[view.transport_offset + (16 if view.protocol == TCP else 6)] ^= 0xFF
    return bytes(octets[view.transport_offset :])


@pytest.mark.rule("NB-20", "NB-22")
@pytest.mark.parametrize("transport", [UDP_(sport=1, dport=2), TCP_(options=[("MSS", 1460)])], ids=["UDP", "TCP"])
@VERSIONS
def test_a_built_packet_is_the_one_scapy_builds(version: int, transport: Any) -> None:
    head = IP(**FOUR, ttl=9, tos=0x2E, id=77, flags="DF") if version == 4 else IPv6(**SIX, hlim=9, tc=0x2E, fl=0x12345)
    right = head / transport / b"payload"
    built = build_ip_header(
        version,
        SOURCE[version],
        REMOTE[version],
        IpView(bytes(right)).protocol,
        transport_octets(right),
        hop_limit=9,
        traffic_class=0x2E,
        identification=77,
        dont_fragment=True,
        flow_label=0x12345,
    )
    assert built == bytes(right)


@VERSIONS
def test_a_header_alone_has_its_own_checksum(version: int) -> None:
    header = ip_header(version, SOURCE[version], REMOTE[version], UDP, 100)
    view = IpView(header + bytes(100))
    assert flaw(header + bytes(100)) is None
    assert ipv4_header_checksum_ok(view)
    assert (view.protocol, view.hop_limit, view.total_length) == (UDP, 128, len(header) + 100)
    assert (view.source, view.destination) == (SOURCE[version], REMOTE[version])


@pytest.mark.rule("NB-23")
@VERSIONS
def test_addresses_must_be_of_the_version(version: int) -> None:
    other = 10 - version
    for source, remote, which in (
        (SOURCE[other], REMOTE[version], "source"),
        (SOURCE[version], REMOTE[other], "remote"),
        (b"", REMOTE[version], "source"),
    ):
        with pytest.raises(InvalidParameter, match=f"the {which} address") as refusal:
            ip_header(version, source, remote, UDP, 0)
        assert refusal.value.rule == "NB-23"


def test_another_ip_version_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="version 5"):
        ip_header(5, b"", b"", UDP, 0)


@pytest.mark.rule("NB-23")
@VERSIONS
def test_the_source_may_be_any_address(version: int) -> None:
    payload = bytes(UDP_(sport=1, dport=2) / b"spoofed")
    built = IpView(build_ip_header(version, STRANGER[version], REMOTE[version], UDP, payload))
    assert built.source == STRANGER[version]
    assert transport_checksum_ok(built) is True


@pytest.mark.parametrize(("version", "most"), [(4, 0xFFFF - 20), (6, 0xFFFF)])
def test_a_payload_must_fit(version: int, most: int) -> None:
    ip_header(version, SOURCE[version], REMOTE[version], UDP, most)
    with pytest.raises(InvalidParameter, match="fits no"):
        ip_header(version, SOURCE[version], REMOTE[version], UDP, most + 1)


@pytest.mark.parametrize("size", [3, 44])
def test_ipv4_options_must_fit(size: int) -> None:
    with pytest.raises(InvalidParameter, match="octets of options"):
        ip_header(4, SOURCE[4], REMOTE[4], UDP, 0, options=bytes(size))


@pytest.mark.rule("NB-21", "NB-22")
def test_a_rebuilt_ipv4_header_keeps_its_options() -> None:
    options = [IPOption_RR(routers=["0.0.0.0"] * 3), IPOption_NOP()]
    packet = IP(**FOUR, ttl=5, tos=3, id=99, flags="DF", options=options) / TCP_(sport=1, dport=2) / b"data"
    rebuilt = rebuild_ip_header(bytes(packet), STRANGER[4], REMOTE[4], TCP)
    packet[IP].src = "203.0.113.9"
    del packet[IP].chksum
    del packet[TCP_].chksum
    assert rebuilt == bytes(packet)


@pytest.mark.rule("NB-21", "NB-22")
def test_a_rebuilt_ipv6_header_loses_every_extension_header() -> None:
    head = IPv6(**SIX, hlim=5, tc=3, fl=0xABCDE)
    chain = IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting(addresses=["::7"], segleft=0) / IPv6ExtHdrDestOpt()
    payload = UDP_(sport=1, dport=2) / b"data"
    rebuilt = rebuild_ip_header(bytes(head / chain / payload), STRANGER[6], REMOTE[6], UDP)
    head.src = "2001:db8:ffff::beef"
    assert rebuilt == bytes(head / payload)


@pytest.mark.rule("NB-21")
@pytest.mark.parametrize("extension", ["AH", "ESP"])
def test_a_rebuilt_header_loses_ah_and_esp(family: AddressFamily, extension: str) -> None:
    payload = UDP_(sport=1, dport=2) / b"data"
    ipv4 = family is AddressFamily.INET
    right = bytes((IP(**FOUR) if ipv4 else IPv6(**SIX)) / payload)
    clear = right[20 if ipv4 else 40 :]
    protected = bytes((UDP, 4)) + bytes(22) + clear if extension == "AH" else bytes(8) + clear
    number = AH if extension == "AH" else ESP
    packet = bytes((IP(**FOUR, proto=number) if ipv4 else IPv6(**SIX, nh=number)) / protected)
    version = 4 if ipv4 else 6
    assert rebuild_ip_header(packet, SOURCE[version], REMOTE[version], UDP) == right
    size = len(packet) - len(clear)
    assert rebuild_ip_header(packet, SOURCE[version], REMOTE[version], UDP, header_size=size) == right


@pytest.mark.rule("NB-22")
@settings(max_examples=100, deadline=None)
@given(payload=st.binary(max_size=60), kind=st.sampled_from(["UDP", "TCP", "ICMP"]), version=st.sampled_from([4, 6]))
def test_checksums_are_full_whatever_the_payload_became(payload: bytes, kind: str, version: int) -> None:
    icmp = ICMP_() if version == 4 else ICMPv6EchoRequest()
    transport = {"UDP": UDP_(), "TCP": TCP_(), "ICMP": icmp}[kind]
    packet = bytearray(bytes((IP(**FOUR) if version == 4 else IPv6(**SIX)) / transport / bytes(len(payload))))
    packet[len(packet) - len(payload) :] = payload
    view = IpView(packet)
    rebuilt = IpView(rebuild_ip_header(packet, STRANGER[version], REMOTE[version], view.protocol))
    assert ipv4_header_checksum_ok(rebuilt)
    assert transport_checksum_ok(rebuilt) is True
    assert bytes(rebuilt.buffer).endswith(payload)


def test_what_cannot_be_rebuilt_is_refused() -> None:
    packet = bytes(IP(**FOUR) / UDP_() / b"data")
    for octets, size, why in (
        (b"", None, "cannot rebuild the header: 0 octets"),
        (packet[:19], None, "cannot rebuild the header: 19 octets"),
        (bytes(IP(**FOUR, flags="MF") / UDP_()), None, "header of a fragment"),
        (bytes(IP(**FOUR, frag=9) / UDP_()), None, "header of a fragment"),
        (packet, 19, "a header of 19 octets in a packet of 32"),
        (packet, 33, "a header of 33 octets in a packet of 32"),
    ):
        with pytest.raises(InvalidParameter, match=why) as refusal:
            rebuild_ip_header(octets, SOURCE[4], REMOTE[4], UDP, header_size=size)
        assert refusal.value.rule == "NB-20"
    with pytest.raises(InvalidParameter, match="source address"):
        rebuild_ip_header(packet, SOURCE[6], REMOTE[4], UDP)
    with pytest.raises(InvalidParameter, match="fragment"):
        rebuild_ip_header(bytes(IPv6(**SIX) / IPv6ExtHdrFragment(m=1) / bytes(8)), SOURCE[6], REMOTE[6], UDP)


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        lambda first, rest: bytes((first,)) + rest,
        st.sampled_from([0x45, 0x46, 0x60]),
        st.lists(st.sampled_from([0, 1, 4, 6, 17, 43, 44, 50, 51, 60, 255]), max_size=100).map(bytes),
    )
)
def test_any_octets_are_rebuilt_or_refused(octets: bytes) -> None:
    version = octets[0] >> 4
    try:
        rebuilt = rebuild_ip_header(octets, SOURCE[version], REMOTE[version], UDP)
    except InvalidParameter:
        return
    assert flaw(rebuilt, version) is None
