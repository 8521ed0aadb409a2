"""Good octets that hostile ones are made from: each is taken by its reader as it stands."""

from __future__ import annotations

import io
import struct
from typing import Any

from emulator.headers import build_ip_header

_V4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
_V6 = bytes(15) + b"\1", bytes(15) + b"\2"
_UDP = struct.pack("!HHHH", 5000, 53, 12, 0) + b"data"
_TCP = struct.pack("!HHIIBBHHH", 5000, 80, 1, 2, 0x50, 0x18, 512, 0, 0) + b"data"
_PACKET = 0x0300
"""The type of a netlink message that carries a queued packet."""
_BEFORE_PAYLOAD = bytes.fromhex("0b000100000000290800020008000500000000020800030081000002")
"""Attributes: the packet's number and hook, the device it came by, its mark."""


def seeds(name: str) -> list[bytes]:
    """Good octets for one target, to begin with."""
    if name == "netlink":
        return [message(packet) for packet in packets()]
    if name == "header":
        return [bytes((17, what, 20, 0, 0, 0)) + packet for packet in packets() for what in (1, 10)]
    if name in ("trace", "report"):
        return traces()
    if name == "journal":
        return [b'{"pid": 5, "start": 7}\n{"claim": "wfp-00-a"}\n{"made": "wfp-00-a", "device": 4, "inode": 5}\n']
    return packets()


def packets() -> list[bytes]:
    """Packets of both families: UDP, TCP, options, ICMPv6, a chain of extension headers with a fragment."""
    made = [build_ip_header(4, *_V4, 17, _UDP), build_ip_header(4, *_V4, 6, _TCP)]
    made += [build_ip_header(6, *_V6, 17, _UDP), build_ip_header(6, *_V6, 58, b"\x80\0\0\0" + bytes(8))]
    options = bytearray(build_ip_header(4, *_V4, 17, bytes(4) + _UDP))
    options[0], options[20:24] = 0x46, b"\x94\4\0\0"  # router alert
    chain = bytes((44, 0, 1, 4, 0, 0, 0, 0)) + bytes((17, 0, 0, 1, 0, 0, 0, 7))
    return [*made, bytes(options), build_ip_header(6, *_V6, 0, chain + _UDP)]


def message(payload: bytes) -> bytes:
    """What the kernel sends for a queued packet."""
    body = struct.pack(">BBH", 2, 0, 7) + _BEFORE_PAYLOAD + struct.pack("=HH", 4 + len(payload), 10) + payload
    return struct.pack("=IHHII", 16 + len(body), _PACKET, 0, 0, 0) + body


def traces() -> list[bytes]:
    """A trace with an event of every kind, and one of its beginning and end."""
    from msgspec import structs

    from emulator.evidence import traceevents as event

    values: dict[str, Any] = {"format": event.FORMAT}
    values |= dict.fromkeys(("time", "filter", "item", "injection", "handle", "packets"), 1)
    lines = []
    for kind in event.EVENTS:
        out = io.BytesIO()
        needed = [field.name for field in structs.fields(kind) if field.required]
        event.TraceWriter(out).write(kind(**{name: values.get(name, "words") for name in needed}))
        lines.append(out.getvalue())
    return [b"".join(lines), lines[0] + lines[-1]]
