"""Packets as they are expected: only what matters is named, and only that is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from ipaddress import ip_address

from emulator.checksums import ipv4_header_checksum_ok, transport_checksum_ok
from emulator.octets import IpView, Malformed, describe

_SHOWN_MOST_OCTETS = 60


@dataclass(frozen=True, kw_only=True)
class Like:
    """What a packet has to be like; what is None does not matter.

    Addresses are text, ports and the protocol numbers, `payload` is what follows the transport header.
    `checksums` True means that the IP header's and the transport's are right, False that one is wrong.
    """

    version: int | None = None
    source: str | None = None
    destination: str | None = None
    protocol: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    hop_limit: int | None = None
    payload: bytes | None = None
    checksums: bool | None = None
    octets: bytes | None = None
    """The whole packet."""

    def differences(self, packet: bytes) -> list[str]:
        """What is wrong with a packet, in words; empty when it is like this."""
        try:
            seen = _read(packet)
        except Malformed as error:
            return [f"no IP packet: {error}"]
        found = []
        for name, wanted in self.named():
            have = seen[name]
            if name in ("source", "destination"):
                wanted = str(ip_address(str(wanted)))
            if have != wanted:
                found.append(f"{name} is {_text(have)}, not {_text(wanted)}")
        return found

    def named(self) -> list[tuple[str, object]]:
        """The fields that matter, with their values."""
        return [(item.name, getattr(self, item.name)) for item in fields(self) if getattr(self, item.name) is not None]

    def __str__(self) -> str:
        return ", ".join(f"{name} {_text(value)}" for name, value in self.named()) or "any packet"


def compare(packets: Sequence[bytes], expected: Sequence[Like]) -> tuple[bool, str, str]:
    """Whether the packets are like the expected ones, one for one; and both in words, to be shown."""
    lines = []
    ok = len(packets) == len(expected)
    for number, packet in enumerate(packets):
        wrong = expected[number].differences(packet) if number < len(expected) else ["one too many"]
        ok = ok and not wrong
        lines.append(describe(packet) + (f" ({'; '.join(wrong)})" if wrong else ""))
    return ok, "; ".join(map(str, expected)) or "no packets", "; ".join(lines) or "no packets"


def _read(packet: bytes) -> dict[str, object]:
    view = IpView(packet)
    header_ok = view.version == 6 or ipv4_header_checksum_ok(view)
    return {
        "version": view.version,
        "source": str(ip_address(view.source)),
        "destination": str(ip_address(view.destination)),
        "protocol": view.protocol,
        "source_port": view.source_port,
        "destination_port": view.destination_port,
        "hop_limit": view.hop_limit,
        "payload": bytes(packet[view.payload_offset : view.end]),
        "checksums": header_ok and transport_checksum_ok(view) is not False,
        "octets": bytes(packet),
    }


def _text(value: object) -> str:
    if isinstance(value, bytes) and len(value) > _SHOWN_MOST_OCTETS:
        return f"{value[:_SHOWN_MOST_OCTETS]!r}… ({len(value)} octets)"
    return repr(value) if isinstance(value, bytes) else str(value)
