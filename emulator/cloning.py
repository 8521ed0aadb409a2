"""Lists over the same octets as others, and over copies of them; nothing here counts who owns what."""

from __future__ import annotations

from typing import Any

from emulator.netbuffer import Mdl, NetBuffer, NetBufferList


def shared(buffer: NetBuffer) -> NetBuffer:
    """A chain of buffers over the same memory, each beginning at the given one's data start.  Source: NB-1, NB-2."""
    first = last = _share(buffer)
    source = buffer.next
    while source is not None:
        last.next = _share(source)
        last = last.next
        source = source.next
    return first


def _share(source: NetBuffer) -> NetBuffer:
    return NetBuffer(window(source), 0, source.data_length, origin=source.origin)


def window(source: NetBuffer) -> Mdl | None:
    """Descriptors of exactly the data of `source`, over the same memory; None when it has no octets."""
    skip, left = source.data_offset, source.data_length
    parts: list[Mdl] = []
    for mdl in source.first_mdl.chain() if source.first_mdl else ():
        if skip >= mdl.length:
            skip -= mdl.length
        elif left:
            take = min(left, mdl.length - skip)
            parts.append(Mdl(mdl.memory, mdl.offset + skip, take))
            left, skip = left - take, 0
    for before, after in zip(parts, parts[1:], strict=False):
        before.next = after
    return parts[0] if parts else None


def copied(packets: list[bytes], kind: int, history: Any) -> NetBufferList:
    """A list over new memory that holds copies of the packets.  Source: NB-6."""
    memory = bytearray(packets[0])
    made = NetBufferList(memory, 0, len(memory), kind, history)
    if len(packets) > 1:
        last = made.first_net_buffer
        for octets in packets[1:]:
            last.next = NetBuffer(Mdl(bytearray(octets)), 0, len(octets))
            last = last.next
    return made
