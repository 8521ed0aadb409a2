"""Stream data as a callout sees it: a window over real chains of lists, and what may be done with it.

The chain may hold octets before the window (already dealt with) and after it; only the window counts.
Source: ST-20..ST-23, SD-1..SD-6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emulator.errors import FwpInvalidFlags, FwpNullPointer, InsufficientResources, InvalidParameter
from emulator.netbuffer import DRIVER, FREED, IN_FLIGHT, STACK, STREAM_CLONE, Mdl, NetBuffer, NetBufferList
from emulator.violations import Violation
from emulator.wfptypes import StreamAction, StreamFlag

if TYPE_CHECKING:
    from emulator.ownership import Ownership

Span = tuple[bytearray, int, int, int]
"""One piece of memory and the window in it: (memory, first octet of the list, first and last of the window)."""

INBOUND_FLAGS = 0x0000FFFF
OUTBOUND_FLAGS = 0xFFFF0000
DISCONNECT = int(StreamFlag.RECEIVE_DISCONNECT | StreamFlag.SEND_DISCONNECT)
ABORT = int(StreamFlag.RECEIVE_ABORT | StreamFlag.SEND_ABORT)
EXPEDITED = int(StreamFlag.RECEIVE_EXPEDITED | StreamFlag.SEND_EXPEDITED)


CANDIDATES = 8
"""How many places that begin like what is looked for are tried before it is looked for as a whole."""


class StreamDataOffset(NamedTuple):
    """Where the first octet of a window lies.  Source: ST-22."""

    net_buffer_list: NetBufferList
    net_buffer: NetBuffer
    mdl: Mdl | None
    mdl_offset: int
    """Octets into the descriptor's data."""


class StreamData:
    """Octets of one direction of a connection, shown at a stream layer, or cloned from there.

    The lists of the chain come into being when somebody looks at them.  An indicated chain is the stack's
    and valid until classify returns.  Source: ST-20..ST-23.
    """

    __slots__ = ("flags", "data_length", "_spans", "_lists", "_chain", "ended", "on_clone")

    def __init__(
        self,
        flags: int,
        data_length: int,
        spans: Sequence[Span],
        on_clone: Callable[[list[NetBufferList]], None] | None = None,
    ) -> None:
        self.flags = flags
        """StreamFlag bits; always RECEIVE or SEND."""
        self.data_length = data_length
        """Octets in the window."""
        self._spans = spans
        self._lists: list[NetBufferList] | None = None
        self._chain: NetBufferList | None = None
        self.ended = False
        self.on_clone = on_clone

    @property
    def net_buffer_list_chain(self) -> NetBufferList:
        """The first list of the chain that the window lies in."""
        return self.lists()[0]

    @property
    def data_offset(self) -> StreamDataOffset:
        """Where the window begins: list, packet, descriptor, and octets into the descriptor."""
        first = self.lists()[0]
        mdl = first.first_net_buffer.first_mdl
        _, base, start, _ = self._spans[0]
        return StreamDataOffset(first, first.first_net_buffer, mdl, start - base)

    @property
    def inbound(self) -> bool:
        """True for octets that came from the other host, whoever opened the connection (ST-21)."""
        return bool(self.flags & StreamFlag.RECEIVE)

    @property
    def disconnect(self) -> bool:
        """True for the end of the stream: a FIN (ST-35)."""
        return bool(self.flags & DISCONNECT)

    @property
    def octets(self) -> bytes:
        """A copy of the window."""
        return b"".join(self.views())

    def find(self, octets: bytes, at: int = 0) -> int:
        """Where in the window `octets` begin for the first time, not before `at`; -1 when nowhere.

        Nothing is copied while the window is in one piece.
        """
        if len(self._spans) > 1:
            return self.octets.find(octets, at)
        memory, _, start, end = self._spans[0]
        at += start
        # A single octet is found many times faster than several: worth it where the first of them is rare.
        for _ in range(CANDIDATES):
            at = memory.find(octets[:1], at, end)
            if at < 0 or memory.startswith(octets, at, end):
                break
            at += 1
        else:
            at = memory.find(octets, at, end)
        return at - start if at >= 0 else -1

    def last(self, most: int) -> bytes:
        """A copy of the last octets of the window, up to `most` of them."""
        if len(self._spans) > 1:
            return self.octets[-most:] if most else b""
        memory, _, start, end = self._spans[0]
        return bytes(memory[max(start, end - most) : end])

    def views(self) -> list[memoryview]:
        """The window in place, piece by piece."""
        return [memoryview(memory)[start:end] for memory, _, start, end in self._spans]

    def lists(self) -> list[NetBufferList]:
        """The lists of the chain, in order."""
        if self._lists is None:
            self._lists = [_stack_list(span) for span in self._spans]
            for before, after in zip(self._lists, self._lists[1:], strict=False):
                before.next = after
        return self._lists

    def spans(self) -> Iterator[Span]:
        """The memory of the window, piece by piece."""
        return iter(self._spans)

    def finish(self, retire: Callable[[NetBufferList], None]) -> None:
        """End the validity of the chain: classify has returned (CO-12)."""
        self.ended = True
        for item in self._lists or ():
            retire(item)

    def __repr__(self) -> str:
        return f"<stream data, {self.data_length} octets, {StreamFlag(self.flags)!r}>"


class IoPacket:
    """What a stream callout is shown, and what it answers beside its action.

    `count_bytes_enforced` says how many leading octets the action is for (0: all of them);
    `count_bytes_required` how many more octets NEED_MORE_DATA asks for.
    Source: ST-20, ST-24, ST-25, ST-27, ST-28.
    """

    __slots__ = (
        "stream_data", "missed_bytes", "count_bytes_required", "count_bytes_enforced", "stream_action",
        "incoming_flags",
    )  # fmt: skip

    def __init__(self, stream_data: StreamData, missed_bytes: int = 0, incoming_flags: int = 0) -> None:
        self.stream_data = stream_data
        self.missed_bytes = missed_bytes
        """Octets that callouts of more weight kept from this one since it was last called."""
        self.count_bytes_required = 0
        self.count_bytes_enforced = 0
        self.stream_action: int = int(StreamAction.NONE)
        self.incoming_flags = incoming_flags
        """IncomingFlag bits: MID_STREAM_INSPECTION at the first sight of a connection older than the filter."""

    def need_more(self, octets: int) -> None:
        """Ask to be called again once at least so many more octets are there.  Source: ST-28."""
        self.stream_action = int(StreamAction.NEED_MORE_DATA)
        self.count_bytes_required = octets

    def defer(self) -> None:
        """Stop an inbound stream until it is continued.  Source: ST-32."""
        self.stream_action = int(StreamAction.DEFER)

    def drop_connection(self) -> None:
        """Reset the connection.  Source: ST-31."""
        self.stream_action = int(StreamAction.DROP_CONNECTION)

    def allow_connection(self) -> None:
        """Let the rest of the connection pass this callout unseen.  Source: ST-33."""
        self.stream_action = int(StreamAction.ALLOW_CONNECTION)


def copy_stream_data(stream_data: StreamData | None, buffer: bytearray | memoryview, size: int) -> int:
    """Copy up to `size` octets of the window into `buffer`; how many were copied.

    Raises FwpNullPointer, InvalidParameter (buffer shorter than `size`).  Source: SD-1.
    """
    call = "FwpsCopyStreamDataToBuffer0"
    if stream_data is None:
        raise FwpNullPointer(f"{call}: streamData is missing", rule="GE-7")
    if size < 0 or len(buffer) < size:
        raise InvalidParameter(f"{call}: a buffer of {len(buffer)} octets does not hold {size}", rule="SD-1")
    into = memoryview(buffer)
    done = 0
    for view in stream_data.views():
        take = min(len(view), size - done)
        into[done : done + take] = view[:take]
        done += take
        if done == size:
            break
    return done


def clone_stream_data(
    ownership: Ownership, stream_data: StreamData | None, flags: int = 0
) -> NetBufferList:
    """Clones of the chain over the same octets, trimmed to the window; one empty list for a bare FIN.

    The caller owns the lists and frees each with `free_clone`, or all with `discard_cloned`.
    Raises FwpNullPointer, FwpInvalidFlags, InvalidParameter (classify has returned), InsufficientResources.
    Source: SD-2, SD-5, SD-6.
    """
    call = "FwpsCloneStreamData0"
    if stream_data is None:
        raise FwpNullPointer(f"{call}: calloutStreamData is missing", rule="GE-7")
    if flags:
        raise FwpInvalidFlags(f"{call}: flags are reserved and must be 0, not {flags:#x}", rule="GE-6")
    if stream_data.ended:
        ownership.violations.record(Violation("CO-12", call, f"{stream_data!r} is no longer valid"))
        raise InvalidParameter(f"{call}: {stream_data!r} is no longer valid", rule="CO-12")
    if ownership.deny is not None and ownership.deny(call):
        raise InsufficientResources(f"{call}: made to fail by fault injection", rule="GE-2")
    made: list[NetBufferList] = []
    for original, (memory, _, start, end) in zip(stream_data.lists(), stream_data.spans(), strict=True):
        clone = NetBufferList(memory, start, end, STREAM_CLONE)
        clone.made_of = memory
        if made:
            made[-1].next = clone
        made.append(ownership.adopt_clone(clone, original))
    if stream_data.on_clone is not None:
        stream_data.on_clone(made)
    return made[0]


def discard_cloned(ownership: Ownership, chain: NetBufferList | None, flags: int = 0) -> None:
    """Free a whole chain of stream clones that was not injected.

    A list in flight or freed before is a violation.  Source: SD-4.
    """
    call = "FwpsDiscardClonedStreamData0"
    item = chain
    while item is not None:
        following = item.next
        if item.state == IN_FLIGHT:
            ownership.violations.record(Violation("SD-4", call, f"{item!r} was accepted for injection"))
        else:
            item.next = None
            ownership.free_clone(item, flags)
        item = following


def _stack_list(span: Span) -> NetBufferList:
    memory, base, _, end = span
    made = NetBufferList(memory, base, end, STACK)
    made.protocol = 6
    return made


__all__ = [
    "ABORT",
    "DISCONNECT",
    "DRIVER",
    "EXPEDITED",
    "FREED",
    "INBOUND_FLAGS",
    "OUTBOUND_FLAGS",
    "IoPacket",
    "Span",
    "StreamData",
    "StreamDataOffset",
    "clone_stream_data",
    "copy_stream_data",
    "discard_cloned",
]
