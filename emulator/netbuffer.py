"""The memory model of network data: lists, buffers and chains of memory descriptors.

A `NetBufferList` holds one or more `NetBuffer`; a `NetBuffer` is one packet: a window, from its data
start on, over a chain of `Mdl`; an `Mdl` is a window over memory that somebody else may share.

Nearly every list is one packet in one piece of memory.  Such a list keeps that window itself and makes
the `NetBuffer` and the `Mdl` only when somebody asks for them; from then on they are the truth.

Nothing here knows who owns a list: `emulator.ownership` makes clones, counts and frees.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulator.flatlist import (
    CLONE,
    CREATED,
    DEEP_CLONE,
    DRIVER,
    FREED,
    IN_FLIGHT,
    INDICATED,
    REASSEMBLED,
    RETIRED,
    STACK,
    STREAM_CLONE,
    FlatList,
)
from emulator.origin import Origin

POISON = 0xDD
"""What memory reads as after it was freed."""
POINTER_MASK = 7
"""Bits of an address that are 0 where a pointer may lie, on x64; every memory begins at such an address."""


class Mdl:
    """A memory descriptor: `length` octets of `memory`, beginning at `offset`.

    The memory stays its maker's; several descriptors may show the same octets.
    Source: NB-1, NB-8.
    """

    __slots__ = ("memory", "offset", "length", "next", "from_retreat")

    def __init__(
        self, memory: bytearray, offset: int = 0, length: int | None = None, *, next: Mdl | None = None
    ) -> None:
        self.memory = memory
        self.offset = offset
        self.length = len(memory) - offset if length is None else length
        self.next = next
        self.from_retreat = False
        if offset < 0 or self.length < 0 or offset + self.length > len(memory):
            raise ValueError(f"descriptor {offset}+{self.length} lies outside its {len(memory)} octets of memory")

    def view(self) -> memoryview:
        """The octets described, writable in place."""
        return memoryview(self.memory)[self.offset : self.offset + self.length]

    def chain(self) -> Iterator[Mdl]:
        """This descriptor and those after it."""
        mdl: Mdl | None = self
        while mdl is not None:
            yield mdl
            mdl = mdl.next


class NetBuffer:
    """One packet: `data_length` octets, beginning `data_offset` octets into a chain of descriptors.

    Source: NB-13, NB-14, NB-17.
    """

    __slots__ = ("first_mdl", "data_offset", "data_length", "next", "origin")

    def __init__(
        self,
        first_mdl: Mdl | None,
        data_offset: int,
        data_length: int,
        *,
        next: NetBuffer | None = None,
        origin: Origin | None = None,
    ) -> None:
        have, mdl = 0, first_mdl
        while mdl is not None:
            have += mdl.length
            mdl = mdl.next
        if data_offset < 0 or data_length < 0 or data_offset + data_length > have:
            raise ValueError(f"data {data_offset}+{data_length} lies outside the chain's {have} octets")
        self.first_mdl = first_mdl
        self.data_offset = data_offset
        self.data_length = data_length
        self.next = next
        self.origin = origin

    def spans(self, start: int, length: int) -> Iterator[memoryview]:
        """Writable views, in order, that together are `length` octets from `start` octets after data start.

        Raises ValueError when that reaches past the end of the data.
        """
        if start < 0 or length < 0 or start + length > self.data_length:
            raise ValueError(f"octets {start}+{length} lie outside the {self.data_length} octets of data")
        skip = self.data_offset + start
        mdl = self.first_mdl
        while length and mdl is not None:
            if skip >= mdl.length:
                skip -= mdl.length
            else:
                take = min(length, mdl.length - skip)
                begin = mdl.offset + skip
                yield memoryview(mdl.memory)[begin : begin + take]
                length -= take
                skip = 0
            mdl = mdl.next

    @property
    def address(self) -> int:
        """Where in the memory of its descriptor the data start lies, octets (GE-18)."""
        skip = self.data_offset
        for mdl in self.first_mdl.chain() if self.first_mdl else ():
            if skip < mdl.length:
                return mdl.offset + skip
            skip -= mdl.length
        return 0

    def read(self, start: int, length: int) -> bytes:
        """A copy of `length` octets from `start` octets after data start; ValueError past the end."""
        return b"".join(self.spans(start, length))

    def write(self, start: int, octets: bytes | bytearray | memoryview) -> None:
        """Change octets in place, in every list that shares them; ValueError past the end."""
        done = 0
        for span in self.spans(start, len(octets)):
            span[:] = octets[done : done + len(span)]
            done += len(span)
        if self.origin is not None:
            self.origin.edited = True

    def retreat(self, delta: int, backfill: int = 0) -> None:
        """Move data start `delta` octets back: into unused space in front, or into new zeroed memory.

        `backfill` more octets are left unused in front when memory has to be made.
        Raises ValueError when `delta` or `backfill` is negative.  Source: NB-13.
        """
        if delta < 0 or backfill < 0:
            raise ValueError("retreat takes sizes of 0 or more")
        if delta > self.data_offset:
            self._prepend(delta - self.data_offset, backfill)
        self.data_offset -= delta
        self.data_length += delta

    def _prepend(self, short: int, backfill: int) -> None:
        made = Mdl(bytearray(backfill + short), next=self.first_mdl)
        made.from_retreat = True
        self.first_mdl = made
        self.data_offset += made.length

    def advance(self, delta: int, *, free_mdl: bool = True) -> None:
        """Move data start `delta` octets on; with `free_mdl`, drop memory a retreat had made in front.

        Raises ValueError when that passes the end of the data.  Source: NB-13.
        """
        if not 0 <= delta <= self.data_length:
            raise ValueError(f"cannot advance {delta} octets in {self.data_length} octets of data")
        self.data_offset += delta
        self.data_length -= delta
        while (
            free_mdl
            and self.first_mdl is not None
            and self.first_mdl.from_retreat
            and self.data_offset >= self.first_mdl.length
        ):
            self.data_offset -= self.first_mdl.length
            self.first_mdl = self.first_mdl.next

    def structure(self) -> tuple[tuple[int, int, int], ...]:
        """What the chain is made of, to compare: (identity of memory, offset, length) of each descriptor.

        What a retreat put in front is left out: it was not a change of the driver's (NB-3, NB-20).
        """
        if self.first_mdl is None:
            return ()
        kept = (mdl for mdl in self.first_mdl.chain() if not mdl.from_retreat)
        return tuple((id(mdl.memory), mdl.offset, mdl.length) for mdl in kept)

    def __len__(self) -> int:
        return self.data_length


class NetBufferList(FlatList):
    """A list of packets with one history, one status and one owner at a time.

    Attributes that drivers see: `first_net_buffer`, `next`, `parent`, `child_count`, `status`, `context`.
    The rest belongs to the emulator; `protocol` is the IP protocol number of the packet, 0 when unknown.
    """

    __slots__ = ()

    # -- the packet, without making a NetBuffer ---------------------------------------------------------

    @property
    def data_offset(self) -> int:
        """Octets of used or unused memory in front of the first packet's data start."""
        return self.start - self.base if self._first is None else self._first.data_offset

    @property
    def data_length(self) -> int:
        """Octets of the first packet, from data start on."""
        return self.end - self.start if self._first is None else self._first.data_length

    @property
    def single(self) -> bool:
        """True when the list holds exactly one packet."""
        return self._first is None or self._first.next is None

    @property
    def flat(self) -> bool:
        """True while the list is one packet in one piece of memory and nobody took it apart."""
        return self._first is None

    @property
    def octets(self) -> bytes:
        """A copy of the first packet, from data start on."""
        if self._first is None:
            return bytes(memoryview(self.memory)[self.start : self.end])
        return self._first.read(0, self._first.data_length)

    def read(self, start: int, length: int) -> bytes:
        """A copy of octets of the first packet, counted from data start; ValueError past the end."""
        if self._first is not None:
            return self._first.read(start, length)
        begin = self.start + start
        if start < 0 or length < 0 or begin + length > self.end:
            raise ValueError(f"octets {start}+{length} lie outside the {self.end - self.start} octets of data")
        return bytes(memoryview(self.memory)[begin : begin + length])

    def _retreat_apart(self, delta: int, backfill: int) -> None:
        if delta < 0 or backfill < 0:
            raise ValueError("retreat takes sizes of 0 or more")
        for buffer in self.net_buffers():
            buffer.retreat(delta, backfill)

    def _advance_apart(self, delta: int, free_mdl: bool) -> None:
        buffers = list(self.net_buffers())
        if delta < 0 or any(delta > buffer.data_length for buffer in buffers):
            raise ValueError(f"cannot advance {delta} octets: a packet of the list is shorter")
        for buffer in buffers:
            buffer.advance(delta, free_mdl=free_mdl)

    # -- the packets as such ----------------------------------------------------------------------------

    @property
    def first_net_buffer(self) -> NetBuffer:
        """The first packet of the list; from now on its octets count as possibly changed."""
        if self._first is None:
            mdl = Mdl(self.memory, self.base, self.end - self.base)
            self._first = NetBuffer(mdl, self.start - self.base, self.end - self.start, origin=self.origin)
            if self.origin is not None:
                self.origin.edited = True
        return self._first

    @first_net_buffer.setter
    def first_net_buffer(self, buffer: NetBuffer) -> None:
        self._first = buffer

    def net_buffers(self) -> Iterator[NetBuffer]:
        """The packets of the list, in order."""
        buffer: NetBuffer | None = self.first_net_buffer
        while buffer is not None:
            yield buffer
            buffer = buffer.next

    def lists(self) -> Iterator[NetBufferList]:
        """This list and those chained after it."""
        item: NetBufferList | None = self
        while item is not None:
            yield item
            item = item.next

    def packets(self) -> list[bytes]:
        """Copies of all packets of the list, each from its data start on."""
        if self._first is None:
            return [bytes(memoryview(self.memory)[self.start : self.end])]
        return [buffer.read(0, buffer.data_length) for buffer in self.net_buffers()]

    def addresses(self) -> list[int]:
        """Where in its memory each packet's data start lies, octets; 0 for a packet without memory (GE-18)."""
        if self._first is None:
            return [self.start]
        return [buffer.address for buffer in self.net_buffers()]

    def structure(self) -> tuple[object, ...]:
        """What the list is made of, to compare before and after: memory and extent of each descriptor (NB-3)."""
        if self._first is None:
            return (((id(self.memory), self.base, self.end - self.base),),)
        return tuple(buffer.structure() for buffer in self.net_buffers())

    def poison(self) -> None:
        """Forget the memory: whatever is read through this list from now on is `POISON`."""
        self.memory = bytearray([POISON]) * (self.end - self.base)
        self.start, self.end, self.base = self.start - self.base, self.end - self.base, 0
        if self._first is not None:
            for buffer in self.net_buffers():
                length = buffer.data_length
                buffer.first_mdl, buffer.data_offset = Mdl(bytearray([POISON]) * length), 0

    def __repr__(self) -> str:
        return f"<{KIND_NAMES[self.kind]} list, {self.data_length} octets, {STATE_NAMES[self.state]}>"


def is_aligned(item: FlatList) -> bool:
    """Whether each packet's data start lies where a pointer may lie (GE-18)."""
    buffer = item._first
    if buffer is None:
        return not item.start & POINTER_MASK
    while buffer is not None:
        mdl, skip = buffer.first_mdl, buffer.data_offset
        while mdl is not None and skip >= mdl.length:
            skip -= mdl.length
            mdl = mdl.next
        if mdl is not None and (mdl.offset + skip) & POINTER_MASK:
            return False
        buffer = buffer.next
    return True


class ChecksumInfo:
    """What the sender said about checksums: which the network card was to finish.

    Source: GE-17.
    """

    __slots__ = ("transmit_tcp", "transmit_udp")

    def __init__(self, *, transmit_tcp: bool = False, transmit_udp: bool = False) -> None:
        self.transmit_tcp = transmit_tcp
        self.transmit_udp = transmit_udp


KIND_NAMES = ("stack", "clone", "deep clone", "created", "stream clone", "reassembled")
STATE_NAMES = ("driver's", "indicated", "in flight", "freed", "retired")

__all__ = [
    "CLONE", "CREATED", "DEEP_CLONE", "DRIVER", "FREED", "INDICATED", "IN_FLIGHT", "KIND_NAMES", "POINTER_MASK",
    "POISON", "REASSEMBLED", "RETIRED", "STACK", "STATE_NAMES", "STREAM_CLONE", "ChecksumInfo", "Mdl", "NetBuffer",
    "NetBufferList", "is_aligned",
]  # fmt: skip
