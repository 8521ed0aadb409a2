"""Expected packets: what is named is compared, and nothing else."""

from __future__ import annotations

import pytest

from emulator.expect import Like, compare
from emulator.rewrite import udp_packet

V4 = udp_packet("10.0.0.1", "10.0.0.2", b"hello", ports=(5001, 53))
V6 = udp_packet("fd00::1", "fd00::2", b"hello", ports=(5001, 53))


@pytest.mark.parametrize("packet", [V4, V6], ids=["ipv4", "ipv6"])
def test_a_packet_is_like_what_it_is(packet: bytes) -> None:
    v6 = packet is V6
    exact = Like(
        version=6 if v6 else 4,
        source="fd00:0:0::1" if v6 else "10.0.0.1",
        destination="fd00::2" if v6 else "10.0.0.2",
        protocol=17,
        source_port=5001,
        destination_port=53,
        hop_limit=128,
        payload=b"hello",
        checksums=True,
        octets=packet,
    )
    assert exact.differences(packet) == []
    assert Like().differences(packet) == []


@pytest.mark.parametrize(
    ("like", "told"),
    [
        (Like(source="10.0.0.9"), "source is 10.0.0.1, not 10.0.0.9"),
        (Like(destination_port=5353), "destination_port is 53, not 5353"),
        (Like(payload=b"hallo"), "payload is b'hello', not b'hallo'"),
        (Like(version=6), "version is 4, not 6"),
        (Like(checksums=False), "checksums is True, not False"),
    ],
    ids=str,
)
def test_each_difference_is_named(like: Like, told: str) -> None:
    assert like.differences(V4) == [told]


@pytest.mark.parametrize("at", [10, 26], ids=["header", "transport"])
def test_a_wrong_checksum_is_seen(at: int) -> None:
    broken = bytearray(V4)
    broken[at] ^= 0xFF
    assert Like(checksums=True).differences(bytes(broken)) == ["checksums is False, not True"]


def test_octets_that_are_no_packet_are_like_nothing() -> None:
    assert Like().differences(b"\x45\x00") == ["no IP packet: 2 octets hold no IP header"]


def test_too_few_and_too_many_packets_are_told() -> None:
    assert compare([], []) == (True, "no packets", "no packets")
    ok, expected, seen = compare([V4, V4], [Like(protocol=17)])
    assert (ok, expected) == (False, "protocol 17")
    assert seen.count("one too many") == 1
    assert compare([V4], [Like(), Like()])[0] is False
