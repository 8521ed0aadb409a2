"""What tests of the trace share: two hosts on a cable, packets between them, and tuples as hosts leave them behind."""

from __future__ import annotations

from collections.abc import Iterable
from struct import pack
from typing import Any

from emulator.evidence import trace as raw
from emulator.evidence.tracebuild import Builder
from emulator.evidence.traceevents import AnyEvent, Place, kind_of
from emulator.injection import NETWORK_RECEIVE, NETWORK_SEND
from emulator.layerids import Layer
from emulator.wfptypes import Action

HOST, PEER = 0, 1
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
DROP, ACCEPT = 0, 1
OUTGOING, TO_US = 4, 0
ADDRESSES = {
    4: (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])),
    6: (bytes([0xFD, *bytes(14), 1]), bytes([0xFD, *bytes(14), 2])),
}
"""Of host and peer."""


def places() -> list[Place]:
    """`host`, emulated, and `peer`."""
    return [
        Place(name="host", emulated=True, addresses=["10.0.0.1", "fd00::1"], interfaces={"1": "lo", "2": "eth0"}),
        Place(name="peer", addresses=["10.0.0.2", "fd00::2"], interfaces={"1": "lo", "2": "eth0"}),
    ]


def datagram(payload: bytes = b"payload", *, version: int = 4, ident: int = 0, to_host: bool = False) -> bytes:
    """A UDP packet from host to peer, or the other way."""
    source, destination = ADDRESSES[version][::-1] if to_host else ADDRESSES[version]
    udp = pack("!HHHH", 1000, 5000, 8 + len(payload), 0x1234) + payload
    if version == 4:
        return pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), ident, 0, 64, 17, 0) + source + destination + udp
    return pack("!IHBB", 0x60000000, len(udp), 17, 64) + source + destination + udp


def frame(octets: bytes) -> bytes:
    """An Ethernet frame around an IP packet."""
    return bytes(12) + (b"\x08\x00" if octets[0] >> 4 == 4 else b"\x86\xdd") + octets


class Tape:
    """Writes tuples one after the other, a microsecond apart."""

    def __init__(self) -> None:
        self.records: list[raw.Record] = []
        self.time = 1_000_000_000

    def add(self, kind: int, host: int, *rest: Any) -> Tape:
        self.time += 1000
        self.records.append((kind, self.time, host, *rest))
        return self

    def wire(self, octets: bytes, *, out: int, into: int | None = None, name: str = "eth0") -> Tape:
        """A frame leaves one host and, if `into` says so, comes in at another."""
        self.add(raw.WIRE, out, name, OUTGOING, len(octets) + 14, True, frame(octets))
        return self if into is None else self.comes(octets, into=into, name=name)

    def comes(self, octets: bytes, *, into: int, name: str = "eth0") -> Tape:
        return self.add(raw.WIRE, into, name, TO_US, len(octets) + 14, True, frame(octets))

    def arrive(self, sight: int, hook: int, octets: bytes, *, serial: int = 0) -> Tape:
        into, out = (2, 0) if hook in (PREROUTING, INPUT) else (0, 2)
        return self.add(raw.ARRIVE, HOST, sight, hook, into, out, serial, octets)

    def layer(self, sight: int, layer: Layer, *, block: bool = False, absorb: bool = False, serial: int = 0) -> Tape:
        """One filter was asked at a layer, and decided."""
        action = int(Action.BLOCK if block else Action.PERMIT)
        self.add(
            raw.CLASSIFY, HOST, sight, int(layer), 7, 3, action, True, not block, absorb, serial, 0, ""
        )
        return self.add(raw.DECIDE, HOST, sight, int(layer), block, absorb, 7 if block else 0, serial, 0)

    def verdict(self, sight: int, hook: int, verdict: int, *, serial: int = 0, octets: bytes | None = None,
                abandoned: bool = False) -> Tape:  # fmt: skip
        return self.add(raw.VERDICT, HOST, sight, hook, verdict, serial, octets, abandoned)

    def inject(self, serial: int, *packets: bytes, item: int = 1, sight: int = 0, cause: int = 0,
               receive: bool = False) -> Tape:  # fmt: skip
        function = NETWORK_RECEIVE if receive else NETWORK_SEND
        return self.add(raw.INJECT, HOST, serial, function, 5, "NETWORK INET", item, sight, cause, 0, "", packets)

    def complete(self, serial: int, status: str = "SUCCESS") -> Tape:
        return self.add(raw.COMPLETE, HOST, serial, 5, NETWORK_SEND, status)

    def built(self) -> tuple[list[AnyEvent], Builder]:
        """The events, and the builder that made them."""
        builder = Builder(places())
        return list(builder.events(self.records)), builder

    def events(self) -> list[AnyEvent]:
        return self.built()[0]


def kinds(events: Iterable[AnyEvent]) -> list[str]:
    return [kind_of(item) for item in events]


def outbound(version: int) -> Layer:
    """OUTBOUND_IPPACKET of an IP version."""
    return Layer.OUTBOUND_IPPACKET_V4 if version == 4 else Layer.OUTBOUND_IPPACKET_V6


def inbound(version: int) -> Layer:
    """INBOUND_IPPACKET of an IP version."""
    return Layer.INBOUND_IPPACKET_V4 if version == 4 else Layer.INBOUND_IPPACKET_V6


def cloned_and_injected(version: int = 4) -> Tape:
    """B01: a packet is blocked at OUTBOUND_IPPACKET, its clone is sent in its place and reaches the peer."""
    octets = datagram(version=version)
    tape = Tape()
    tape.add(raw.FILTER, HOST, 7, "redact", outbound(version).name, 3, "Redact.classify")
    tape.arrive(1, POSTROUTING, octets)
    tape.add(raw.MADE, HOST, 1, "clone", 0, 1, len(octets))
    tape.inject(1, octets, sight=1)
    tape.layer(1, outbound(version), block=True, absorb=True)
    tape.layer(1, outbound(version), serial=1)
    tape.verdict(1, POSTROUTING, ACCEPT, serial=1)
    tape.complete(1)
    tape.add(raw.FREED, HOST, 1, 1)
    return tape.wire(octets, out=HOST, into=PEER)


def blocked(version: int = 4, *, absorb: bool = False) -> Tape:
    """A packet is stopped on its way out, and nothing takes its place."""
    octets = datagram(version=version)
    tape = Tape()
    tape.add(raw.FILTER, HOST, 7, "redact", outbound(version).name, 3, "Redact.classify")
    tape.arrive(1, POSTROUTING, octets)
    tape.layer(1, outbound(version), block=True, absorb=absorb)
    return tape.verdict(1, POSTROUTING, DROP)
