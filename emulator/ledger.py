"""The ledger of injections: who injected which packet, in what order, and which mark tells it.

A packet's history is a tuple of `Entry`, oldest first, one for each successful injection in its lineage.
Between user space and the kernel it travels as a number in the packet's mark: 8 bits of magic, one that tells
fragments, 23 bits of record id.  This is the only module that knows the bits of a mark.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from emulator.wfptypes import InjectionState

MAGIC = 0xA6
"""Top octet of the mark of a packet whose record is in the ledger."""
EXEMPT_MAGIC = 0xA7
"""Top octet of the mark of a forward-injected packet: no layer sees it again (FW-3)."""
MAGIC_MASK = 0xFF000000
FRAGMENT_BIT = 0x00800000
"""Set in the mark of a fragment: what INPUT sees with it was put together from fragments (LA-20)."""
ID_MASK = 0x007FFFFF
BRIEF_KEPT = 256
"""Records of packets that have left: one is made and dropped for each packet that goes on by its verdict."""


class Entry:
    """One injection: which handle, and the context it was given.  Not to be changed."""

    handle: object
    context: Any
    serial: int

    def __init__(self, handle: object, context: Any, serial: int) -> None:
        self.handle = handle
        self.context = context
        self.serial = serial

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entry):
            return False
        return self.handle == other.handle and self.context == other.context and self.serial == other.serial

    __hash__ = None  # type: ignore[assignment]


def entry_of(handle: object, context: Any, serial: int) -> Entry:
    """The same as calling the class."""
    made = Entry.__new__(Entry)
    made.handle = handle
    made.context = context
    made.serial = serial
    return made


History = tuple[Entry, ...]


def injection_state(history: History, handle: object) -> tuple[InjectionState, Any]:
    """What `handle` is told of a packet with this history, and the context, which is None for a stranger.

    Handles are compared by identity: two handles of one driver are strangers to each other.
    Source: QS-2..QS-6, HC-16.
    """
    if not history:
        return InjectionState.NOT_INJECTED, None
    last = history[-1]
    if last.handle is handle:
        return InjectionState.INJECTED_BY_SELF, last.context
    for entry in reversed(history):
        if entry.handle is handle:
            return InjectionState.PREVIOUSLY_INJECTED_BY_SELF, entry.context
    return InjectionState.INJECTED_BY_OTHER, None


class Record:
    """What the emulator knows about a packet that is on its way through the kernel.  Not to be changed."""

    history: History
    injection: Any
    """The injection that put it there while that still waits for the packet; None otherwise."""
    fragment: bool
    """The packet was a fragment when it was marked: a whole packet with this record was reassembled."""


def _record(history: History, injection: Any, fragment: bool) -> Record:
    made = Record.__new__(Record)
    made.history = history
    made.injection = injection
    made.fragment = fragment
    return made


class Ledger:
    """Records of marked packets, by id; an id is not used again before two rotations have passed.

    `rotate` is called by whoever has a clock, every few seconds: a record lives for at least one whole
    period after it was made, and while its injection is pending.
    """

    __slots__ = ("_young", "_old", "_next", "serial", "_brief")

    def __init__(self) -> None:
        self._young: dict[int, Record] = {}
        self._old: dict[int, Record] = {}
        self._next = 0
        self._brief: deque[int] = deque()
        self.serial = 0

    def mark(self, history: History, injection: Any = None, fragment: bool = False) -> int:
        """A new mark for a packet with this history; the record is kept until it is too old."""
        number = self._next + 1
        if number > ID_MASK:
            number = 1
        while number in self._old or number in self._young:
            number = number % ID_MASK + 1
        self._next = number
        self._young[number] = _record(history, injection, fragment)
        return MAGIC << 24 | FRAGMENT_BIT | number if fragment else MAGIC << 24 | number

    def brief(self, history: History) -> int:
        """A mark for a packet that meets no hook on its way out of here.

        Its record is kept until some hundred more were made: should a hook be added at this very moment, it is known.
        """
        mark = self.mark(history)
        self._brief.append(mark)
        if len(self._brief) > BRIEF_KEPT:
            self.forget(self._brief.popleft())
        return mark

    def forget(self, mark: int) -> None:
        """Drop the record of a packet that no hook will see again."""
        number = mark & ID_MASK
        if self._young.pop(number, None) is None:
            self._old.pop(number, None)

    def record(self, mark: int) -> Record | None:
        """The record a packet's mark leads to; None for a mark of somebody else, or none (QS-2)."""
        if mark >> 24 != MAGIC:
            return None
        number = mark & ID_MASK
        return self._young.get(number) or self._old.get(number)

    def history(self, mark: int) -> History:
        """The history a packet's mark leads to; empty for a mark of somebody else, or none."""
        record = self.record(mark)
        return record.history if record is not None else ()

    def settle(self, mark: int) -> None:
        """Forget which injection waits for the packet: it has been completed."""
        if mark >> 24 != MAGIC:
            return
        number = mark & ID_MASK
        for table in (self._young, self._old):
            record = table.get(number)
            if record is not None:
                table[number] = _record(record.history, None, record.fragment)

    def rotate(self) -> None:
        """Drop the records made before the last rotation, but for those whose injection is pending."""
        kept = {number: record for number, record in self._old.items() if record.injection is not None}
        self._old = self._young
        self._old.update(kept)
        self._young = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


def exempt_mark() -> int:
    """The mark of a packet that no layer may see again."""
    return EXEMPT_MAGIC << 24
