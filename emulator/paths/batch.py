"""Ordinary packets gathered to leave together, in order, by raw sockets that take them whole.

`batch.pyx` is the same for the compiled twin, where one system call sends them all.
Source: NS-2, NS-11, NS-14, NS-19; docs/decisions.md.
"""

from __future__ import annotations

import socket
from struct import Struct
from typing import Final, NamedTuple

from emulator.interfaces import AddressType, InterfaceTable

MOST: Final = 128
"""Packets of a batch."""
MOST_OCTETS: Final = 1 << 18
KNOWN_SOURCES: Final = 1024
NOT_ORDINARY, TAKEN, FULL = 0, 1, 2

_IPV4: Final = Struct("!BxHHH4x4s4s").unpack_from
_IPV6: Final = Struct("!B3xH2x16s16s").unpack_from
_MARK: Final = Struct("I").pack
_SO_MARK: Final = 36
_CANNOT_SEND: Final = (AddressType.MULTICAST, AddressType.BROADCAST)


class Refused(NamedTuple):
    """One packet that the kernel did not take: its place in the batch, and why."""

    place: int
    error: int
    mark: int


class SendBatch:
    """Packets of one host that wait for `send`; each is a copy."""

    size: int
    """Packets gathered."""
    interfaces: InterfaceTable

    def __init__(self) -> None:
        self.size = 0
        self._octets = 0
        self._packets: list[bytes] = []
        self._marks: list[int] = []
        self._sources: set[bytes] = set()
        self.interfaces = InterfaceTable()

    def know(self, interfaces: InterfaceTable) -> None:
        """The host's interfaces are these now: they tell which sources cannot send."""
        self.interfaces = interfaces
        self._sources.clear()

    def take(self, memory: bytes | bytearray, start: int, end: int, version: int) -> int:
        """Gather the packet of an IP version that lies in `memory` from `start` to `end`; its mark follows.

        TAKEN; or FULL, when it has to be sent first; or NOT_ORDINARY, when this is no packet that the kernel would
        send just as it is, or one that may not be sent.
        """
        if type(memory) not in (bytes, bytearray) or not 0 <= start <= end <= len(memory):
            return NOT_ORDINARY
        octets = bytes(memoryview(memory)[start:end])
        source = _source_of_ordinary4(octets) if version == 4 else _source_of_ordinary6(octets)
        if source is None or not (source in self._sources or self._may_send(source)):
            return NOT_ORDINARY
        if self.size == MOST or self._octets + len(octets) > MOST_OCTETS:
            return FULL
        self._packets.append(octets)
        self._marks.append(0)
        self._octets += len(octets)
        self.size += 1
        return TAKEN

    def mark(self, mark: int) -> None:
        """Give the packet taken last its mark."""
        self._marks[-1] = mark

    def send(self, raw4: socket.socket | None, raw6: socket.socket | None) -> list[Refused]:
        """Send all by a socket for each version, and be empty; what was refused, in order.

        What is behind a refused packet is sent nevertheless.
        """
        packets, marks = self._packets, self._marks
        self._packets, self._marks = [], []
        self.size = self._octets = 0
        refused = []
        for place, (octets, mark) in enumerate(zip(packets, marks, strict=True)):
            control = [(socket.SOL_SOCKET, _SO_MARK, _MARK(mark))]
            try:
                if octets[0] >> 4 == 4:
                    assert raw4 is not None
                    raw4.sendmsg((octets,), control, 0, (socket.inet_ntoa(octets[16:20]), 0))
                else:
                    assert raw6 is not None
                    raw6.sendmsg((octets,), control, 0, (socket.inet_ntop(socket.AF_INET6, octets[24:40]), 0, 0, 0))
            except OSError as error:
                refused.append(Refused(place, error.errno or 0, mark))
        return refused

    def _may_send(self, source: bytes) -> bool:
        if self.interfaces.address_type(source) in _CANNOT_SEND:
            return False
        if len(self._sources) >= KNOWN_SOURCES:
            self._sources.clear()
        self._sources.add(source)
        return True


def _source_of_ordinary4(octets: bytes) -> bytes | None:
    """The source address of a packet that the kernel sends as it is; None for any other octets."""
    if len(octets) < 20:
        return None
    first, total, number, fragment, source, destination = _IPV4(octets)
    size = (first & 15) << 2
    if first >> 4 != 4 or not 20 <= size <= total or total != len(octets):
        return None
    if not number and fragment & 0x3FFF:  # the kernel would give one to each fragment
        return None
    if int.from_bytes(octets[:size], "big") % 0xFFFF:  # a right checksum makes the sum of 16-bit words 0xFFFF
        return None
    return source if destination[0] != 127 or source[0] == 127 else None


def _source_of_ordinary6(octets: bytes) -> bytes | None:
    if len(octets) < 40:
        return None
    first, length, source, destination = _IPV6(octets)
    if first >> 4 != 6 or length + 40 != len(octets) or destination[0] == 0xFF:
        return None
    return None if destination[0] == 0xFE and destination[1] & 0xC0 == 0x80 else source
