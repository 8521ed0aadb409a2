"""Datagrams between hosts of a bed, with a canary that shows when nothing more will come."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from emulator.topology import Host
from emulator.wfptypes import AddressFamily

CANARY_PORT = 40999
"""Canaries go to this port; a scenario's filters must not match it."""


class Datagrams:
    """UDP from one host to a port of another: what was sent, and what arrived by the time a canary did.

    An absence is shown by a later canary arriving, never by waiting.
    """

    def __init__(self, source: Host, target: Host, family: AddressFamily, *, port: int = 5000) -> None:
        self.source = source
        self.target = target
        self.family = family
        self.port = port
        self.receiver = target.socket(family, port=port)
        self.sender = source.socket(family)
        self._canary_out = source.socket(family)
        self._canary_in = target.socket(family, port=CANARY_PORT)
        self._canaries = 0

    def send(self, *payloads: bytes) -> None:
        """Send datagrams, in order."""
        where = (self.target.address(self.family), self.port)
        for payload in payloads:
            self.sender.sendto(payload, where)

    def canary(self) -> None:
        """Send a canary and wait until it has arrived; raises TimeoutError when it does not: nothing was measured."""
        for host in (self.source, self.target):
            if host.emulated is not None:
                host.stack.settle()
        self._canaries += 1
        mark = b"canary %d" % self._canaries
        self._canary_out.sendto(mark, (self.target.address(self.family), CANARY_PORT))
        while self._canary_in.recv(64) != mark:
            pass

    def arrived(self) -> list[bytes]:
        """Everything that arrived until a canary sent now has arrived."""
        self.canary()
        return drain(self.receiver)

    def exchange(self, payloads: Iterable[bytes]) -> list[bytes]:
        """Send datagrams and tell which arrived."""
        self.send(*payloads)
        return self.arrived()


def drain(receiver: socket.socket) -> list[bytes]:
    """All datagrams that wait in a socket, in order."""
    timeout = receiver.gettimeout()
    receiver.setblocking(False)
    found: list[bytes] = []
    try:
        while True:
            found.append(receiver.recv(65536))
    except BlockingIOError:
        return found
    finally:
        receiver.settimeout(timeout)
