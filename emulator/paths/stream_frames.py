"""The frames of a connection's beginning: reading a SYN, letting it go on, and refusing it as others would.

Pure: octets in, octets out.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from emulator.checksums import fix_checksums
from netns.uplinkrules import RELEASED_MAC

ETHERNET_SIZE = 14
SYN, RST, ACK = 0x02, 0x04, 0x10
TCP, ICMP, ICMPV6 = 6, 1, 58
HOPS = 64
QUOTED_MOST = {4: 548, 6: 1232}
"""Octets of the offending packet in an ICMP error."""
_RELEASED = bytes.fromhex(RELEASED_MAC.replace(":", ""))


class Opening(NamedTuple):
    """A SYN, or the answer to one, as it came in.  Addresses are octets in network order."""

    version: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    answers: bool
    """True for SYN and ACK."""
    hops: int
    """TTL or hop limit."""
    sequence: int
    frame: bytes

    @property
    def ends(self) -> tuple[bytes, int, bytes, int]:
        """Source, source port, destination, destination port."""
        return self.source, self.source_port, self.destination, self.destination_port

    @property
    def source_mac(self) -> str:
        """Hardware address of the sender on this link."""
        return self.frame[6:12].hex(":")

    @property
    def destination_mac(self) -> str:
        """Hardware address of the receiver on this link."""
        return self.frame[:6].hex(":")


def read_opening(frame: bytes) -> Opening | None:
    """What an Ethernet frame with a SYN says; None when it is cut off or no such frame."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and len(frame) >= ETHERNET_SIZE + 40:
        version, at = 4, ETHERNET_SIZE + (frame[14] & 0x0F) * 4
        source, destination, hops = frame[26:30], frame[30:34], frame[22]
    elif kind == b"\x86\xdd" and len(frame) >= ETHERNET_SIZE + 60:
        version, at = 6, ETHERNET_SIZE + 40
        source, destination, hops = frame[22:38], frame[38:54], frame[21]
    else:
        return None
    if len(frame) < at + 20:
        return None
    source_port, destination_port, sequence, _, _, flags = struct.unpack_from("!HHIIBB", frame, at)
    if not flags & SYN:
        return None
    return Opening(
        version, source, source_port, destination, destination_port, bool(flags & ACK), hops, sequence, frame
    )


def released_frame(opening: Opening) -> bytearray:
    """The SYN as it goes on: recognisable, and with the checksum that its sender may have left to the card."""
    frame = bytearray(opening.frame)
    frame[6:12] = _RELEASED
    fix_checksums(frame, ETHERNET_SIZE)
    return frame


def reset_frame(opening: Opening) -> bytearray:
    """The answer of a host where nobody listens."""
    segment = struct.pack(
        "!HHIIBBHHH", opening.destination_port, opening.source_port, 0, (opening.sequence + 1) & 0xFFFFFFFF,
        0x50, RST | ACK, 0, 0, 0,
    )  # fmt: skip
    return _answer(opening, opening.destination, TCP, segment)


def error_frame(opening: Opening, offender: bytes, kind: int, code: int, info: int = 0) -> bytearray:
    """The ICMP error that `offender` would have sent about the SYN; `info` is the word behind the checksum."""
    packet = bytearray(opening.frame[ETHERNET_SIZE:])
    fix_checksums(packet)
    quoted = bytes(packet[: QUOTED_MOST[opening.version]])
    message = struct.pack("!BBHI", kind, code, 0, info) + quoted
    return _answer(opening, offender, ICMP if opening.version == 4 else ICMPV6, message)


def _answer(opening: Opening, source: bytes, protocol: int, payload: bytes) -> bytearray:
    frame = bytearray(opening.frame[6:12] + opening.frame[:6] + opening.frame[12:14])
    if opening.version == 4:
        frame += struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, HOPS, protocol, 0)
    else:
        frame += struct.pack("!IHBB", 0x60000000, len(payload), protocol, HOPS)
    frame += source + opening.source + payload
    fix_checksums(frame, ETHERNET_SIZE)
    return frame
