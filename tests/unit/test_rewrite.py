"""Changed copies of packets are what a sender would have made."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from emulator.checksums import ipv4_header_checksum_ok, transport_checksum_ok
from emulator.errors import InvalidParameter
from emulator.octets import IpView
from emulator.rewrite import udp_packet, with_ends, with_payload
from emulator.wfptypes import AddressFamily

ENDS = {
    AddressFamily.INET: ("10.0.0.1", "10.0.0.2", "10.0.0.9"),
    AddressFamily.INET6: ("fd00::1", "fd00::2", "fd00::9"),
}


def by_scapy(family: AddressFamily, transport: object) -> bytes:
    source, destination, _ = ENDS[family]
    ip = IP(src=source, dst=destination, id=7) if family == AddressFamily.INET else IPv6(src=source, dst=destination)
    return bytes(ip / transport)


def right(packet: bytes) -> bool:
    view = IpView(packet)
    whole = view.total_length == len(packet)
    return whole and transport_checksum_ok(view) is True and (view.version == 6 or ipv4_header_checksum_ok(view))


def test_a_made_datagram_is_right(family: AddressFamily) -> None:
    source, destination, _ = ENDS[family]
    packet = udp_packet(source, destination, b"hello", ports=(5001, 53))
    view = IpView(packet)
    assert right(packet)
    assert (view.source_port, view.destination_port, packet[view.payload_offset :]) == (5001, 53, b"hello")


@pytest.mark.parametrize("payload", [b"", b"x", b"a much longer answer"])
def test_another_payload_makes_what_its_sender_would_have_made(family: AddressFamily, payload: bytes) -> None:
    old = by_scapy(family, UDP(sport=53, dport=5001) / b"answer")
    assert with_payload(old, payload) == by_scapy(family, UDP(sport=53, dport=5001) / payload)


def test_octets_behind_the_packet_are_left_out(family: AddressFamily) -> None:
    old = by_scapy(family, UDP(sport=53, dport=5001) / b"answer")
    assert with_payload(old + b"padding", b"answer") == old


def test_the_packet_given_is_not_changed(family: AddressFamily) -> None:
    old = bytearray(by_scapy(family, UDP(sport=53, dport=5001) / b"answer"))
    before = bytes(old)
    with_payload(old, b"other")
    with_ends(old, source=ENDS[family][2], destination_port=1)
    assert old == before


def test_tcp_keeps_its_length(family: AddressFamily) -> None:
    old = by_scapy(family, TCP(sport=80, dport=5001, flags="PA") / b"answer")
    assert with_payload(old, b"ANSWER") == by_scapy(family, TCP(sport=80, dport=5001, flags="PA") / b"ANSWER")
    with pytest.raises(InvalidParameter, match="edit at the stream layer"):
        with_payload(old, b"longer answer")


def test_other_ends_make_the_packet_between_them(family: AddressFamily) -> None:
    source, destination, other = ENDS[family]
    old = by_scapy(family, UDP(sport=53, dport=5001) / b"answer")
    new = with_ends(old, source=other, source_port=5353)
    view = IpView(new)
    assert right(new)
    assert with_ends(new, source=source, source_port=53) == old
    assert (view.source_port, view.destination_port) == (5353, 5001)
    assert IpView(with_ends(old, destination=source)).destination == IpView(old).source


@pytest.mark.parametrize(
    "call",
    [
        lambda: with_payload(b"no packet", b""),
        lambda: with_ends(b"", source="10.0.0.1"),
        lambda: with_payload(bytes(IP(proto=89) / b"routing"), b""),
        lambda: with_ends(bytes(IP(proto=89) / b"routing"), source_port=1),
        lambda: with_ends(bytes(IP() / UDP()), source="fd00::1"),
        lambda: with_payload(bytes(IP(flags="MF") / UDP() / b"part"), b""),
        lambda: with_payload(bytes(IP() / UDP()), bytes(65536)),
        lambda: udp_packet("10.0.0.1", "fd00::1", b"", ports=(1, 2)),
        lambda: udp_packet("10.0.0.1", "10.0.0.2", bytes(65530), ports=(1, 2)),
    ],
)
def test_what_cannot_be_made_is_refused(call: object) -> None:
    with pytest.raises(InvalidParameter):
        call()  # type: ignore[operator]
