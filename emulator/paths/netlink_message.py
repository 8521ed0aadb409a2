"""The octets of the nfnetlink_queue protocol: packets as the kernel sends them, verdicts, configuration.

Pure. Netlink headers are in host order, everything inside in network order. Packet ids stay in the order in
which they came ("tokens"), because all that is done with them is to send them back.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from emulator.paths.queue import Arrival, QueueLimits, RareQueuedPacket, Verdict

# Source: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_queue.h.
NLMSG_ERROR = 2
NLM_F_REQUEST = 1
NLM_F_ACK = 4
SUBSYSTEM = 3 << 8
PACKET, VERDICT, CONFIG, VERDICT_BATCH = (SUBSYSTEM | number for number in range(4))
PACKET_HEADER, VERDICT_HEADER, MARK, TIMESTAMP, IN_DEVICE, OUT_DEVICE = range(1, 7)
HARDWARE_ADDRESS, PAYLOAD, ORIGINAL_OCTETS, INFO = 9, 10, 13, 14
COMMAND, PARAMETERS, LENGTH, FLAG_MASK, FLAGS = range(1, 6)
COMMAND_BIND = 1
COPY_WHOLE = 2
FLAG_FAIL_OPEN, FLAG_GSO = 1, 4
INFO_CHECKSUM_PENDING, INFO_GSO, INFO_CHECKSUM_UNVERIFIED = 1, 2, 4
TYPE_BITS = 0x3FFF

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
FIRST_ATTRIBUTE = 20
"""Octets of the netlink and the nfnetlink header."""
TOKEN_AT = 24
REST_AT = 28
"""In a packet message: what follows the packet id, which is the first thing of the first attribute."""
VARYING = {MARK: "I", TIMESTAMP: "16s", ORIGINAL_OCTETS: "I"}
"""What differs between packets that came the same way, with the form of it."""
VARYING_OCTETS = {MARK: 4, TIMESTAMP: 16, ORIGINAL_OCTETS: 4}


class Malformed(ValueError):
    """Raised for a message that breaks the protocol's form; the message says where."""


class Refusal(NamedTuple):
    """The kernel's answer to one of our messages; `code` 0 is an acknowledgement."""

    sequence: int
    code: int
    """A positive errno."""


def attributes(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the value of each attribute of a whole message. Raises Malformed."""
    at, end = FIRST_ATTRIBUTE, len(data)
    while at < end:
        if at + 4 > end:
            raise Malformed(f"{end - at} octets left at {at}: no attribute")
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if not 4 <= length <= end - at:
            raise Malformed(f"attribute {kind} at {at} is {length} octets long, {end - at} are there")
        yield kind & TYPE_BITS, at + 4, at + length
        at += length + 3 & ~3


class Survey(NamedTuple):
    """A packet's message read in full."""

    form: str
    """Of the message without its payload's octets, as `struct` takes it; see Layout."""
    payload_at: int
    varying: tuple[int, ...]
    """The attributes that vary by packet, in order."""
    arrival: Arrival


def survey(data: bytes) -> Survey:
    """Read one whole message of a packet. Raises Malformed."""
    places = {kind: (start, end) for kind, start, end in attributes(data)}
    if places.get(PACKET_HEADER) != (TOKEN_AT, TOKEN_AT + 7):
        raise Malformed("the packet header is not the first attribute")
    payload = places.pop(PAYLOAD, None)
    if payload is None or payload[1] != len(data):
        raise Malformed("the payload is not the last attribute")
    form, at = "=I20sI", REST_AT
    varying = sorted((places[kind][0], kind) for kind in places.keys() & VARYING.keys())
    for start, kind in varying:
        if places[kind][1] - start != VARYING_OCTETS[kind]:
            raise Malformed(f"attribute {kind} is {places[kind][1] - start} octets long")
        form += f"{start - at}s{VARYING[kind]}"
        at = start + VARYING_OCTETS[kind]
    form += f"{payload[0] - 4 - at}sHH"
    return Survey(form, payload[0], tuple(kind for _, kind in varying), _arrival(data, places))


class Layout:
    """A form of messages, read by one `unpack`.

    The octets of a message are, alternately, ones that tell the way its packet came and ones that vary:
    length, HEAD, token, fixed, (varying, fixed)..., payload length, payload type.
    """

    __slots__ = ("payload_at", "unpack_from", "arrivals", "marked", "rare", "_stamp_at", "_original_at")

    def __init__(self, found: Survey) -> None:
        """The layout of the surveyed message. Raises Malformed."""
        where = {kind: 4 + 2 * n for n, kind in enumerate(found.varying)}
        self.payload_at = found.payload_at
        self.unpack_from = struct.Struct(found.form).unpack_from
        self.arrivals: dict[tuple[object, ...], Arrival] = {}
        """By the fixed fields."""
        self.marked = MARK in where
        """Then the mark, in network order, is field 4."""
        if where.get(MARK, 4) != 4:
            raise Malformed("the mark is not the first of what varies")
        self._stamp_at = where.get(TIMESTAMP, 0)
        self._original_at = where.get(ORIGINAL_OCTETS, 0)
        self.rare = bool(self._stamp_at or self._original_at)
        """Its packets are made by `fill`."""

    def fill(self, fields: tuple[Any, ...], payload: bytearray, arrival: Arrival) -> RareQueuedPacket:
        """The packet of a message of this form, cut or stamped."""
        packet = RareQueuedPacket()
        packet.token, packet.payload, packet.arrival = fields[2], payload, arrival
        packet.mark = socket.ntohl(fields[4]) if self.marked else 0
        packet.original_octets = socket.ntohl(fields[self._original_at]) if self._original_at else 0
        packet.stamp = fields[self._stamp_at] if self._stamp_at else b""
        return packet


def _arrival(data: bytes, places: dict[int, tuple[int, int]]) -> Arrival:
    def number(kind: int) -> int:
        start, end = places.get(kind, (0, 0))
        if end - start not in (0, 4):
            raise Malformed(f"attribute {kind} is {end - start} octets long, no number of 4")
        return int.from_bytes(data[start:end], "big")

    queue, protocol, hook = struct.unpack_from(">H8xHB", data, 18)
    start, end = places.get(HARDWARE_ADDRESS, (0, 0))
    octets = int.from_bytes(data[start : start + 2], "big") if end else 0
    if octets > max(end - start - 4, 0):
        raise Malformed(f"a hardware address of {octets} octets in an attribute of {end - start}")
    info = number(INFO)
    return Arrival(
        queue,
        hook,
        protocol,
        in_device=number(IN_DEVICE),
        out_device=number(OUT_DEVICE),
        hardware_address=data[start + 4 : start + 4 + octets],
        checksum_pending=bool(info & INFO_CHECKSUM_PENDING),
        checksum_unverified=bool(info & INFO_CHECKSUM_UNVERIFIED),
        gso=bool(info & INFO_GSO),
    )


def read_header(data: bytes) -> int:
    """The type of a datagram's one message. Raises Malformed if it is not just one whole message."""
    if len(data) < FIRST_ATTRIBUTE:
        raise Malformed(f"{len(data)} octets are no message")
    length, kind, _, _, _ = HEADER.unpack_from(data)
    # The kernel rounds the length of an answer up to 4 in the datagram, not that of a packet.
    if not FIRST_ATTRIBUTE <= length <= len(data) <= length + 3:
        raise Malformed(f"a message of {length} octets in a datagram of {len(data)}")
    return int(kind)


def read_answer(data: bytes) -> Refusal:
    """What the kernel says of one of our messages."""
    (code,) = struct.unpack_from("=i", data, 16)
    (sequence,) = struct.unpack_from("=I", data, 8)
    return Refusal(sequence, -code)


def _attribute(kind: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def _message(kind: int, flags: int, sequence: int, number: int, body: bytes) -> bytes:
    head = HEADER.pack(FIRST_ATTRIBUTE + len(body), kind, NLM_F_REQUEST | flags, sequence, 0)
    return head + struct.pack(">BBH", socket.AF_UNSPEC, 0, number) + body


def bind_message(number: int, limits: QueueLimits, sequence: int) -> bytes:
    """One message that binds a queue and sets all of it, so that no packet meets it half configured."""
    flags = FLAG_GSO * limits.gso | FLAG_FAIL_OPEN * limits.fail_open
    body = [
        _attribute(COMMAND, struct.pack(">BBH", COMMAND_BIND, 0, socket.AF_UNSPEC)),
        _attribute(PARAMETERS, struct.pack(">IB", limits.copy_octets, COPY_WHOLE)),
        _attribute(LENGTH, struct.pack(">I", limits.length)),
        _attribute(FLAG_MASK, struct.pack(">I", FLAG_GSO | FLAG_FAIL_OPEN)),
        _attribute(FLAGS, struct.pack(">I", flags)),
    ]
    return _message(CONFIG, NLM_F_ACK, sequence, number, b"".join(body))


PADDING = (b"", b"\0", b"\0\0", b"\0\0\0")
"""What ends a message of n octets, by -n % 4."""


def prefix(number: int, verdict: Verdict, *, up_to: bool = False) -> bytes:
    """The 28 octets of a verdict message before the packet id; `up_to` settles all ids up to it at once.

    No acknowledgement is asked for: the kernel answers a refused message in any case.
    """
    body = ATTRIBUTE.pack(12, VERDICT_HEADER) + struct.pack(">II", verdict, 0)
    return _message(VERDICT_BATCH if up_to else VERDICT, 0, 0, number, body)[:REST_AT]
