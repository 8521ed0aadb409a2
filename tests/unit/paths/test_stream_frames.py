"""Reading a SYN, releasing it, and answering it as a host or a router would; scapy as the judge."""

from __future__ import annotations

import socket

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import Ether

from emulator.checksums import transport_checksum_ok
from emulator.octets import IpView
from emulator.paths.stream_frames import Opening, error_frame, read_opening, released_frame, reset_frame
from netns.uplinkrules import RELEASED_MAC

ETHER = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:08")
IPS = {4: IP(src="10.0.0.1", dst="10.0.0.2", ttl=61), 6: IPv6(src="fd00::1", dst="fd00::2", hlim=61)}


def syn(version: int, **more: object) -> Opening:
    options = [("MSS", 1460), ("SAckOK", b""), ("WScale", 7)]
    segment = TCP(sport=40000, dport=80, seq=0xFFFFFFFF, flags="S", options=options, **more)
    opening = read_opening(bytes(ETHER / IPS[version] / segment))
    assert opening is not None
    return opening


@pytest.mark.parametrize("version", [4, 6])
def test_a_syn_is_read(version: int) -> None:
    opening = syn(version)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    source, destination = (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"))[version == 6]
    assert opening.ends == (socket.inet_pton(family, source), 40000, socket.inet_pton(family, destination), 80)
    assert (opening.version, opening.answers, opening.hops, opening.sequence) == (version, False, 61, 0xFFFFFFFF)
    assert (opening.source_mac, opening.destination_mac) == ("02:00:00:00:00:09", "02:00:00:00:00:08")


@pytest.mark.parametrize("version", [4, 6])
def test_an_answer_is_told_from_a_syn_and_other_frames_are_none(version: int) -> None:
    answer = read_opening(bytes(ETHER / IPS[version] / TCP(flags="SA")))
    assert answer is not None
    assert answer.answers
    assert read_opening(bytes(ETHER / IPS[version] / TCP(flags="A"))) is None
    assert read_opening(bytes(Ether(type=0x0806) / (b"\0" * 60))) is None
    whole = bytes(ETHER / IPS[version] / TCP(flags="S"))
    assert all(read_opening(whole[:size]) is None for size in range(len(whole)))
    assert read_opening(bytes(ETHER / IPS[version] / UDP())[:40]) is None


@pytest.mark.parametrize("version", [4, 6])
def test_a_released_syn_is_marked_and_has_its_checksum(version: int) -> None:
    opening = syn(version, chksum=0x1234)
    frame = bytes(released_frame(opening))
    assert Ether(frame).src == RELEASED_MAC
    assert transport_checksum_ok(IpView(bytearray(frame), 14))
    assert Ether(frame)[TCP].options == Ether(opening.frame)[TCP].options


@pytest.mark.parametrize("version", [4, 6])
def test_a_refusal_is_what_a_host_without_a_listener_sends(version: int) -> None:
    frame = Ether(bytes(reset_frame(syn(version))))
    assert (frame.src, frame.dst) == ("02:00:00:00:00:08", "02:00:00:00:00:09")
    segment = frame[TCP]
    assert (segment.sport, segment.dport, segment.flags, segment.seq, segment.ack) == (80, 40000, "RA", 0, 0)
    assert frame.payload.src == IPS[version].dst
    assert transport_checksum_ok(IpView(bytearray(bytes(frame)), 14))


def test_an_icmp_error_comes_from_its_offender_and_quotes_the_syn() -> None:
    frame = Ether(bytes(error_frame(syn(4), socket.inet_aton("10.9.9.9"), 3, 10)))
    assert (frame[IP].src, frame[IP].dst, frame[ICMP].type, frame[ICMP].code) == ("10.9.9.9", "10.0.0.1", 3, 10)
    quoted = IP(bytes(frame[ICMP])[8:])
    assert (quoted.src, quoted[TCP].seq, quoted[TCP].dport) == ("10.0.0.1", 0xFFFFFFFF, 80)
    assert transport_checksum_ok(IpView(bytearray(bytes(frame)), 14))


@pytest.mark.parametrize(("kind", "layer"), [(1, ICMPv6DestUnreach), (3, ICMPv6TimeExceeded)])
def test_an_icmpv6_error_comes_from_its_offender_and_quotes_the_syn(kind: int, layer: type) -> None:
    frame = Ether(bytes(error_frame(syn(6), socket.inet_pton(socket.AF_INET6, "fd09::9"), kind, 1)))
    assert (frame[IPv6].src, frame[IPv6].dst, frame[layer].code) == ("fd09::9", "fd00::1", 1)
    assert IPv6(bytes(frame[layer])[8:])[TCP].seq == 0xFFFFFFFF
    assert transport_checksum_ok(IpView(bytearray(bytes(frame)), 14))
