"""Ordinary packets gathered to leave together, in order, by raw sockets that take them whole.

`batch.pyx` is the same for the compiled twin, where one system call sends them all.
Source: NS-2, NS-11, NS-14, NS-19; docs/decisions.md.
"""

from __future__ import annotations

import socket
from struct import Struct
from typing import Final, NamedTuple

from emulator.checksums import ipv4_header_checksum_ok
from emulator.interfaces import AddressType, InterfaceTable
from emulator.octets import IpView, flaw

MOST: Final = 128
"""Packets of a batch."""
MOST_OCTETS: Final = 1 << 18
KNOWN_SOURCES: Final = 1024
NOT_ORDINARY, TAKEN, FULL = 0, 1, 2

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
        if flaw(octets, version) is not None or not self._is_ordinary(IpView(octets), len(octets)):
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

    def _is_ordinary(self, view: IpView, size: int) -> bool:
        source, destination = view.source, view.destination
        if view.total_length != size or not self._may_send(source):
            return False
        if view.version == 6:
            return destination[0] != 0xFF and not (destination[0] == 0xFE and destination[1] & 0xC0 == 0x80)
        if view.identification == 0 and view.is_fragment:
            return False
        return ipv4_header_checksum_ok(view) and (destination[0] != 127 or source[0] == 127)

    def _may_send(self, source: bytes) -> bool:
        if source in self._sources:
            return True
        if self.interfaces.address_type(source) in _CANNOT_SEND:
            return False
        if len(self._sources) >= KNOWN_SOURCES:
            self._sources.clear()
        self._sources.add(source)
        return True
