"""The ordinary list: one packet in one piece of memory, which nobody has taken apart.

It is what is made, shown, cloned and injected for nearly every packet; whatever else a list can be is
`emulator.netbuffer`, whose `NetBufferList` derives from this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from emulator import spans
from emulator.defaults import set_defaults
from emulator.ntstatus import NtStatus

if TYPE_CHECKING:
    from emulator.ledger import History
    from emulator.netbuffer import ChecksumInfo, NetBuffer, NetBufferList

T = TypeVar("T", bound="FlatList")
_SUCCESS = NtStatus.SUCCESS

# Kinds and states are plain numbers: they are compared for every packet.
STACK, CLONE, DEEP_CLONE, CREATED, STREAM_CLONE, REASSEMBLED = range(6)
DRIVER, INDICATED, IN_FLIGHT, FREED, RETIRED = range(5)


class FlatList:
    """One window over one piece of memory, with a history, a status and one owner at a time."""

    memory: bytearray
    base: int
    start: int
    end: int
    kind: int
    history: History
    origin: Any
    """An `Origin` that holds the packet, or None; paths know more of theirs."""
    status: NtStatus
    _first: NetBuffer | None
    """Set once somebody has taken the list apart: then that is the truth."""
    next: NetBufferList | None
    parent: NetBufferList | None
    child_count: int
    references: int
    state: int
    context: bytearray | None
    made_of: Any
    info: ChecksumInfo | None
    protocol: int
    number: int
    """Of a list that a driver made, while the host is traced."""
    sight: int
    """Which queued packet it shows or was cloned from, while the host is traced."""
    notes: Any
    """What is known about it on a host that is watched closely; None on any other."""

    def __init__(
        self,
        memory: bytearray,
        start: int,
        end: int,
        kind: int,
        history: History = (),
        origin: Any = None,
    ) -> None:
        self.memory = memory
        self.base = self.start = start
        self.end = end
        self.kind = kind
        self.history = history
        self.origin = origin
        self.status = _SUCCESS

    def write(self, start: int, octets: bytes | bytearray | memoryview) -> None:
        """Change octets of the first packet in place, in every list that shares them; ValueError past the end.

        Source: NB-1, NB-4.
        """
        if self._first is not None:
            self._first.write(start, octets)
            return
        begin = self.start + start
        stop = begin + len(octets)
        if start < 0 or stop > self.end:
            raise ValueError(f"octets {start}+{len(octets)} lie outside the {self.end - self.start} octets of data")
        spans.overwrite(self.memory, begin, octets)
        if self.origin is not None:
            self.origin.edited = True

    def retreat(self, delta: int, backfill: int = 0) -> None:
        """Move the data start of every packet in the list `delta` octets back.

        Raises ValueError when a size is negative.  Source: NB-13, NB-14.
        """
        if self._first is None and 0 <= delta <= self.start - self.base:
            self.start -= delta
        else:
            self._retreat_apart(delta, backfill)

    def advance(self, delta: int, *, free_mdl: bool = True) -> None:
        """Move the data start of every packet in the list `delta` octets on.

        Raises ValueError, before any packet changed, when that passes an end.  Source: NB-13, NB-14.
        """
        if self._first is None:
            if not 0 <= delta <= self.end - self.start:
                raise ValueError(f"cannot advance {delta} octets in {self.end - self.start} octets of data")
            self.start += delta
        else:
            self._advance_apart(delta, free_mdl)

    def _retreat_apart(self, delta: int, backfill: int) -> None:
        raise NotImplementedError

    def _advance_apart(self, delta: int, free_mdl: bool) -> None:
        raise NotImplementedError


set_defaults(
    FlatList,
    _first=None, next=None, parent=None, child_count=0, references=0, state=0, context=None, made_of=None, info=None,
    protocol=0, number=0, sight=0, notes=None,
)  # fmt: skip


def new_list(
    kind_of_list: type[T], memory: bytearray, start: int, end: int, kind: int, history: History, origin: Any
) -> T:
    """The same as calling the class."""
    item = kind_of_list.__new__(kind_of_list)
    item.memory = memory
    item.base = item.start = start
    item.end = end
    item.kind = kind
    item.history = history
    item.origin = origin
    item.status = _SUCCESS
    return item
