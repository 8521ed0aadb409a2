"""From netlink messages in a buffer to packets; pure, and as few operations for each packet as can be."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from emulator.paths.netlink_message import (
    NLMSG_ERROR,
    PACKET,
    Layout,
    Malformed,
    read_answer,
    read_header,
)
from emulator.paths.queue import QueuedPacket

LAYOUTS_KEPT: Final = 8
"""For each queue and hook. Only a bridge, or an attacker who changes its address each time, needs more."""
UNREAD: Final = struct.Struct("=I20sI").unpack_from
"""Stands for a layout where none is known; it matches nothing."""
LEAST_PAYLOAD: Final = 4
"""The length an attribute says that has no octets."""

new_packet = QueuedPacket.__new__
htonl = socket.htonl


class PacketReader:
    """Reads the messages of some queue numbers, and counts what it cannot use.

    It does not trust that the messages are the kernel's: one that is malformed, or of another queue, is
    counted and left out.
    """

    def __init__(self, numbers: Collection[int], tally: Counter[str]) -> None:
        """`tally` is the caller's; counted in it are `truncated`, `refused` and `malformed`."""
        self._numbers = frozenset(numbers)
        self._tally = tally
        self._layout: Layout | None = None
        self._layouts: dict[tuple[int, int], list[Layout]] = {}

    def read(self, buffer: bytearray, offsets: Iterable[int], lengths: Iterable[int]) -> list[QueuedPacket]:
        """The packets of the datagrams that start at `offsets` and have these `lengths`, in their order.

        Their octets are copied out of the buffer. From the last offset on it has room for the longest message.
        """
        packets: list[QueuedPacket] = []
        append = packets.append
        layout = self._layout
        unpack_from, fixed, rest_at = UNREAD, (), 0
        if layout is not None:
            unpack_from, fixed, rest_at = layout.unpack_from, layout.fixed, layout.payload_at - 4
        for at, octets in zip(offsets, lengths, strict=False):
            fields = unpack_from(buffer, at)
            # A message just like the one before costs this line, any other the search of `_recognised`.
            if fields[1::2] != fixed or fields[0] != octets or not fields[-2] == octets - rest_at >= LEAST_PAYLOAD:
                layout = self._recognised(buffer, at, octets)
                if layout is None:
                    unpack_from, fixed = UNREAD, ()
                    continue
                unpack_from, fixed, rest_at = layout.unpack_from, layout.fixed, layout.payload_at - 4
                fields = unpack_from(buffer, at)
            payload = buffer[at + rest_at + 4 : at + octets]
            if layout.rare:  # type: ignore[union-attr]  # a Layout whenever `fixed` is not empty
                packet = layout.fill(fields, payload)  # type: ignore[union-attr]
                self._tally["truncated"] += packet.original_octets > 0
            else:
                packet = new_packet(QueuedPacket)
                packet.token = fields[2]
                packet.payload = payload
                packet.arrival = layout.arrival  # type: ignore[union-attr]
                packet.mark = htonl(fields[4]) if layout.marked else 0  # type: ignore[union-attr]
            append(packet)
        self._layout = layout
        return packets

    def _recognised(self, buffer: bytearray, at: int, octets: int) -> Layout | None:
        """The layout of the message at `at`, or None for one that is no packet; that is dealt with here."""
        kept = self._layouts.get((buffer[at + 19], buffer[at + 30]), [])
        for layout in kept:
            fields = layout.unpack_from(buffer, at)
            rest = octets - layout.payload_at + 4
            if fields[1::2] == layout.fixed and fields[0] == octets and fields[-2] == rest >= LEAST_PAYLOAD:
                return layout
        try:
            return self._learned(bytes(buffer[at : at + octets]))
        except Malformed:
            self._tally["malformed"] += 1
            return None

    def _learned(self, data: bytes) -> Layout | None:
        kind = read_header(data)
        if kind == NLMSG_ERROR:
            self._tally["refused"] += read_answer(data).code != 0
            return None
        if kind != PACKET:
            raise Malformed(f"a message of type {kind:#x}")
        layout = Layout(data)
        arrival = layout.arrival
        if arrival.queue not in self._numbers:
            raise Malformed(f"a packet of queue {arrival.queue}")
        kept = self._layouts.setdefault((arrival.queue & 0xFF, arrival.hook), [])
        kept.insert(0, layout)
        del kept[LAYOUTS_KEPT:]
        return layout
