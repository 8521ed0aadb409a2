"""The tap's filter, run here instruction by instruction."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from netns.uplinkrules import RELEASED_MAC
from netns.uplinktap import ONLY_SYNS, SHOWN_OCTETS


def shown(frame: bytes) -> int:
    """How many octets of a frame the filter shows.  Source: linux/filter.h, the classic instructions."""
    at = accumulator = index = 0
    while True:
        code, if_true, if_false, operand = ONLY_SYNS[at]
        at += 1
        if code in (0x20, 0x28, 0x30, 0x50):
            start = operand + (index if code == 0x50 else 0)
            size = {0x20: 4, 0x28: 2}.get(code, 1)
            if start + size > len(frame):
                return 0
            accumulator = int.from_bytes(frame[start : start + size], "big")
        elif code == 0xB1:
            index = (frame[operand] & 0x0F) * 4
        elif code in (0x15, 0x45):
            at += if_true if (accumulator == operand if code == 0x15 else accumulator & operand) else if_false
        elif code == 0x05:
            at += operand
        elif code == 0x54:
            accumulator &= operand
        else:
            assert code == 0x06
            return operand


IPV4 = IP(src="10.0.0.1", dst="10.0.0.2")
IPV4_OPTIONS = IP(src="10.0.0.1", dst="10.0.0.2", options=b"\x01" * 8)
IPV6 = IPv6(src="fd00::1", dst="fd00::2")


@pytest.mark.parametrize("ip", [IPV4, IPV4_OPTIONS, IPV6])
@pytest.mark.parametrize(
    ("flags", "wanted"),
    [("S", True), ("SA", True), ("SEC", True), ("A", False), ("SF", False), ("SR", False), ("", False)],
)
def test_only_syns_and_their_answers_are_shown(ip: IP, flags: str, wanted: bool) -> None:
    frame = bytes(Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:08") / ip / TCP(sport=1, dport=2, flags=flags))
    assert shown(frame) == (SHOWN_OCTETS if wanted else 0)


@pytest.mark.parametrize("ip", [IPV4, IPV6])
def test_what_we_released_is_not_shown_again(ip: IP) -> None:
    assert shown(bytes(Ether(src=RELEASED_MAC, dst="02:00:00:00:00:08") / ip / TCP(flags="S"))) == 0
    near_miss = RELEASED_MAC[:-1] + "9"
    assert shown(bytes(Ether(src=near_miss, dst="02:00:00:00:00:08") / ip / TCP(flags="S")))


def test_other_protocols_and_later_fragments_are_not_shown() -> None:
    ether = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:08")
    assert not shown(bytes(ether / IPV4 / UDP(sport=2, dport=2, len=0x0202) / (b"\x02" * 20)))
    assert not shown(bytes(ether / IP(src="10.0.0.1", dst="10.0.0.2", proto=6, frag=9) / (b"\x02" * 40)))
    assert not shown(bytes(Ether(type=0x0806) / (b"\x02" * 60)))
    assert not shown(bytes(ether / IPV4)[:30])
