"""Traffic that one layer is shown: tokens sent at one end, and what has come to the far end.

A line knows nothing of callouts.  `send` makes one packet with the token in it; `arrived` tells what the far end's
sockets got by the time a canary came through.  The sockets are those of programs: what they get has passed every
check of the kernel.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from emulator.matrix.place import IN, OTHER_PORT, OUT, PORT, Place
from emulator.octets import IpView, Malformed
from emulator.topology import Host
from emulator.wfptypes import AddressFamily

_ERROR_OFFSET = 8
"""Octets of an ICMP error's own header."""
_UNREACHABLE = {AddressFamily.INET: 3, AddressFamily.INET6: 1}
_LARGEST = 65536
_ERRORS_IN_THE_WAY = 10


@dataclass(frozen=True)
class Arrival:
    """What one socket of the far end got."""

    octets: bytes
    """The payload; of an ICMP error that of the packet it is about."""
    source: str
    redirected: bool = False
    """Whether it came to the second address and port."""


class Line(Protocol):
    """One kind of traffic over one way."""

    family: AddressFamily
    protocol: str

    def send(self, token: bytes) -> None:
        """Have one packet with this token pass."""
        ...

    def canary(self) -> None:
        """Wait until everything sent before has come as far as it gets; raises CanaryLost."""
        ...

    def taken(self) -> list[Arrival]:
        """What the far end has got since the last call."""
        ...

    def close(self) -> None:
        """Close the sockets."""
        ...


class Datagrams:
    """UDP; with `fresh` every datagram begins a flow of its own."""

    protocol = "udp"

    def __init__(self, place: Place, way: str, family: AddressFamily, *, fresh: bool) -> None:
        self.family = family
        self.way = place.way(way, family)
        self._place = place
        self._canary = place.canary(way, family)
        self._fresh = fresh
        receiver = self.way.receiver
        self._plain = receiver.socket(family, port=PORT, address=self.way.to)
        self._other = receiver.socket(family, port=OTHER_PORT, address=self.way.other_to)
        self._senders: list[socket.socket] = []

    def send(self, token: bytes) -> None:
        """Send one datagram; its socket stays open, since an endpoint handle ends with it (TS-4)."""
        if self._fresh or not self._senders:
            self._senders.append(self.way.sender.socket(self.family, port=self._place.new_port()))
        self.again(token)

    def again(self, token: bytes) -> None:
        """Send one more datagram of the last flow."""
        self._senders[-1].sendto(token, (self.way.to, PORT))

    def canary(self) -> None:
        """Wait for a canary; raises CanaryLost."""
        self._canary.come()

    def taken(self) -> list[Arrival]:
        """The datagrams that both sockets got, first those that were not redirected."""
        return [
            Arrival(octets, source, redirected)
            for receiver, redirected in ((self._plain, False), (self._other, True))
            for octets, source in _received(receiver)
        ]

    def close(self) -> None:
        """Close the sockets."""
        for item in (self._plain, self._other, *self._senders):
            item.close()


class Errors:
    """ICMP errors: a datagram to a closed port brings one back, which is what passes.

    `way` is that of the error.  Who asked gets it as his socket's error; raw sockets beside it read its octets.
    """

    protocol = "icmp"

    def __init__(self, place: Place, way: str, family: AddressFamily) -> None:
        self.family = family
        self.way = place.way(way, family)
        back = IN if way == OUT else OUT
        self._canaries = (place.canary(back, family), place.canary(way, family))
        self._closed = (place.way(back, family).to, PORT)
        self._asking = self.way.receiver.socket(family)
        self._asking.connect(self._closed)
        self._plain = _errors_at(self.way.receiver, family, self.way.to)
        self._other = None
        if self.way.other_to != self.way.to:
            self._other = _errors_at(self.way.receiver, family, self.way.other_to)

    def send(self, token: bytes) -> None:
        """Ask at a closed port, with the token as the question."""
        for _ in range(_ERRORS_IN_THE_WAY):  # what came of the questions before is told first
            with suppress(ConnectionRefusedError):
                self._asking.send(token)
                return
        self._asking.send(token)

    def canary(self) -> None:
        """Wait for one canary there, and one back; raises CanaryLost."""
        for item in self._canaries:
            item.come()

    def taken(self) -> list[Arrival]:
        """The questions that errors came back for."""
        with suppress(ConnectionRefusedError, BlockingIOError):
            self._asking.setblocking(False)
            self._asking.recv(1)
        self._asking.settimeout(None)
        found = self._read(self._plain, False)
        return found if self._other is None else found + self._read(self._other, True)

    def _read(self, receiver: socket.socket, redirected: bool) -> list[Arrival]:
        found = []
        for octets, source in _received(receiver):
            token = _token(octets, self.family)
            if token is not None:
                found.append(Arrival(token, source, redirected))
        return found

    def close(self) -> None:
        """Close the sockets."""
        for item in (self._asking, self._plain, self._other):
            if item is not None:
                item.close()


def _errors_at(host: Host, family: AddressFamily, address: str) -> socket.socket:
    kind, protocol = (socket.AF_INET, 1) if family == AddressFamily.INET else (socket.AF_INET6, 58)

    def opened() -> socket.socket:
        made = socket.socket(kind, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        made.bind((address, 0))
        return made

    return host.namespace.open_in(opened)


def _received(receiver: socket.socket) -> list[tuple[bytes, str]]:
    timeout = receiver.gettimeout()
    receiver.setblocking(False)
    found = []
    try:
        while True:
            octets, source = receiver.recvfrom(_LARGEST)
            found.append((octets, str(source[0])))
    except BlockingIOError:
        return found
    finally:
        receiver.settimeout(timeout)


def _token(octets: bytes, family: AddressFamily) -> bytes | None:
    """The payload of the packet that an ICMP error is about; None for other messages.

    A raw IPv4 socket gives the IP header too, an IPv6 one does not.
    """
    start = (octets[0] & 15) * 4 if family == AddressFamily.INET else 0
    if len(octets) <= start + _ERROR_OFFSET or octets[start] != _UNREACHABLE[family]:
        return None
    inner = octets[start + _ERROR_OFFSET :]
    with suppress(Malformed):
        header = IpView(inner)
        if header.destination_port == PORT:
            return inner[header.payload_offset :]
    return None

