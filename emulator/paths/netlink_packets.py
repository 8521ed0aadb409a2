"""From netlink messages in a buffer to packets; pure, and as few operations for each packet as can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from emulator.paths import netlink_heads
from emulator.paths.netlink_message import (
    NLMSG_ERROR,
    PACKET,
    PAYLOAD,
    Layout,
    Malformed,
    read_answer,
    read_header,
    survey,
)
from emulator.paths.queued import Arrival, QueuedPacket

LAYOUTS_KEPT: Final = 16
"""Forms of messages: with and without mark, time, link-layer address, and so on."""
ARRIVALS_KEPT: Final = 256
"""Ways in one form: hooks, devices and neighbours. Who changes its address each time cannot make us keep more."""
UNREAD: Final = b"\xff" * 21
"""Stands for what messages begin with where nothing is known; it matches nothing."""
LEAST_PAYLOAD: Final = 4
"""The length an attribute says that has no octets."""

Recognised = tuple[Layout, tuple[object, ...], Arrival]
"""Form, fixed fields, and what they say."""


class PacketReader:
    """Reads the messages of some queue numbers, and counts what it cannot use.

    It does not trust that the messages are the kernel's: one that is malformed, or of another queue, is
    counted and left out.
    """

    def __init__(self, numbers: Collection[int], tally: Counter[str]) -> None:
        """`tally` is the caller's; counted in it are `truncated`, `refused` and `malformed`."""
        self._numbers = frozenset(numbers)
        self._tally = tally
        self._layouts: dict[str, Layout] = {}
        self._last: Recognised | None = None

    def read(self, buffer: bytearray, offsets: Iterable[int], lengths: Iterable[int]) -> list[QueuedPacket]:
        """The packets of the datagrams that start at `offsets` and have these `lengths`, in their order.

        Their octets are copied out of the buffer. From the last offset on it has room for the longest message.
        """
        packets: list[QueuedPacket] = []
        last = self._last
        start, middle, end, payload_at, marked = UNREAD, b"", b"", 4, False
        layout: Layout | None = None
        if last is not None:
            layout, arrival = last[0], last[2]
            start, middle, end, payload_at = _same(last)
            marked = layout.marked
        for at, octets in zip(offsets, lengths, strict=False):
            # A message just like the one before costs this look, any other the search of `_recognised`.
            if not netlink_heads.fits(buffer, at, octets, start, middle, end, payload_at, marked):
                last = self._recognised(buffer, at, octets)
                if last is None:
                    start = UNREAD
                    continue
                layout, arrival = last[0], last[2]
                start, middle, end, payload_at = _same(last)
                marked = layout.marked
            payload = netlink_heads.piece(buffer, at + payload_at, at + octets)
            assert layout is not None
            if layout.rare:
                packet: QueuedPacket = layout.fill(layout.unpack_from(buffer, at), payload, arrival)
                self._tally["truncated"] += packet.original_octets > 0
            else:
                packet = QueuedPacket.__new__(QueuedPacket)
                packet.token = netlink_heads.token(buffer, at)
                packet.payload = payload
                packet.arrival = arrival
                packet.mark = netlink_heads.mark(buffer, at + 28 + len(middle)) if marked else 0
            packets.append(packet)
        self._last = last
        return packets

    def _recognised(self, buffer: bytearray, at: int, octets: int) -> Recognised | None:
        """What the message at `at` is, or None for one that is no packet; that is dealt with here."""
        for layout in self._layouts.values():
            payload_at = layout.payload_at
            if buffer[at + payload_at - 2] != PAYLOAD:
                continue
            fields = layout.unpack_from(buffer, at)
            fixed = fields[1::2]
            arrival = layout.arrivals.get(fixed)
            if (
                arrival is not None
                and fields[0] == octets
                and fields[-2] == octets - payload_at + LEAST_PAYLOAD >= LEAST_PAYLOAD
            ):
                return layout, fixed, arrival
        try:
            return self._learned(bytes(buffer[at : at + octets]))
        except Malformed:
            self._tally["malformed"] += 1
            return None

    def _learned(self, data: bytes) -> Recognised | None:
        kind = read_header(data)
        if kind == NLMSG_ERROR:
            self._tally["refused"] += read_answer(data).code != 0
            return None
        if kind != PACKET:
            raise Malformed(f"a message of type {kind:#x}")
        found = survey(data)
        if found.arrival.queue not in self._numbers:
            raise Malformed(f"a packet of queue {found.arrival.queue}")
        layout = self._layouts.get(found.form)
        if layout is None:
            layout = Layout(found)
            if len(self._layouts) == LAYOUTS_KEPT:
                self._layouts.clear()
            self._layouts[found.form] = layout
        if len(layout.arrivals) == ARRIVALS_KEPT:
            layout.arrivals.clear()
        fixed = layout.unpack_from(data)[1::2]
        return layout, fixed, layout.arrivals.setdefault(fixed, found.arrival)


def _same(known: Recognised) -> tuple[bytes, bytes, bytes, int]:
    """What messages have in common with the one that was recognised; nothing where each is read in full."""
    layout, fixed, _ = known
    if layout.rare:
        return UNREAD, b"", b"", layout.payload_at
    start, middle = fixed[0], fixed[1]
    end = fixed[2] if layout.marked else b""
    assert isinstance(start, bytes)
    assert isinstance(middle, bytes)
    assert isinstance(end, bytes)
    return start, middle, end, layout.payload_at
