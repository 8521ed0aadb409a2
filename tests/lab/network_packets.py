"""Packets and callouts that the tests of network injection share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulator.callout import Callout, RegisteredCallout
from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.layers import layer_of
from emulator.netbuffer import NetBufferList
from emulator.stack import Stack
from emulator.topology import Host
from emulator.wfptypes import AddressFamily

PORT = 5000


def udp(
    source: bytes, remote: bytes, payload: bytes, *, port: int = PORT, source_port: int = 4999, **header: Any
) -> bytes:
    """A whole UDP packet with right checksums; addresses in network order."""
    datagram = source_port.to_bytes(2, "big") + port.to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big")
    version = 4 if len(source) == 4 else 6
    return build_ip_header(version, source, remote, 17, datagram + b"\0\0" + payload, **header)


def between(a: Host, b: Host, family: AddressFamily, payload: bytes, **more: Any) -> bytes:
    """A whole UDP packet from one host to the other."""
    return udp(a.octets(family), b.octets(family), payload, **more)


class Watch(Callout):
    """Remembers what it sees of one UDP port, and permits it; `look` may look closer."""

    def __init__(self, look: Callable[[Indication], Any] | None = None, *, port: int = PORT) -> None:
        self.port = port
        self.look = look
        self.seen: list[Any] = []
        self.layers: list[str] = []

    def classify(self, seen: Indication) -> None:
        view = seen.view
        if self.port in (view.destination_port, view.source_port) or view.fragment_offset:
            self.layers.append(seen.info.group)
            if self.look is not None:
                self.seen.append(self.look(seen))
        seen.permit()


class Decide(Callout):
    """Asks a function about what it sees of one UDP port."""

    def __init__(self, decide: Callable[[Indication, NetBufferList], None], *, port: int = PORT) -> None:
        self.port = port
        self.decide = decide

    def classify(self, seen: Indication) -> None:
        if self.port not in (seen.view.destination_port, seen.view.source_port):
            return seen.permit()
        assert seen.net_buffer_list is not None
        return self.decide(seen, seen.net_buffer_list)


def at(stack: Stack, callout: Callout, *groups: str, family: AddressFamily) -> RegisteredCallout:
    """Register a callout and put it at layers of one family."""
    registered = stack.register(callout)
    for group in groups:
        stack.add_filter(layer_of(group, family.version), registered)
    return registered
