"""Who owns which list: cloning, creating, referencing and freeing, counted and checked.

One `Ownership` belongs to one emulated host.  It does no I/O.  When the last thing that kept a held packet
alive goes away, the packet's origin is told by `release`, and decides what becomes of the packet.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulator.errors import FwpInvalidFlags, FwpNullPointer, InsufficientResources, InvalidParameter
from emulator.netbuffer import (
    CLONE,
    CREATED,
    DEEP_CLONE,
    DRIVER,
    FREED,
    IN_FLIGHT,
    REASSEMBLED,
    RETIRED,
    STREAM_CLONE,
    Mdl,
    NetBuffer,
    NetBufferList,
)
from emulator.violations import Violation, ViolationLog

ALIGNMENT = 16
"""MEMORY_ALLOCATION_ALIGNMENT on x64, octets (NB-7)."""

CLONES = (CLONE, DEEP_CLONE, STREAM_CLONE)


@dataclass(frozen=True)
class Counters:
    """What drivers hold at one moment; all zero when nothing leaked.

    Source: OR-3.
    """

    clones: int
    created: int
    references: int

    @property
    def clean(self) -> bool:
        """True when nothing is held."""
        return not (self.clones or self.created or self.references)


class Ownership:
    """Makes and frees lists for drivers, and knows at any time which ones they still hold.

    With `stacks`, every list remembers where it was made, to be shown when it leaks.
    `deny`, when set, is asked before each allocation by the name of the call, and makes it fail by
    answering True.
    """

    def __init__(self, violations: ViolationLog, *, stacks: bool = False) -> None:
        self.violations = violations
        self.stacks = stacks
        self.deny: Callable[[str], bool] | None = None
        self._live: dict[NetBufferList, Any] = {}
        self._referenced: dict[NetBufferList, int] = {}

    # -- making -----------------------------------------------------------------------------------------

    def clone(self, original: NetBufferList | None, flags: int = 0) -> NetBufferList:
        """A second list over the same octets, from the original's current data start on.

        The caller owns the clone and frees it with `free_clone`; the original cannot go before.
        Raises FwpNullPointer, FwpInvalidFlags, InvalidParameter (freed original), InsufficientResources.
        Source: NB-1, NB-2.
        """
        if original is None or flags or original.state >= FREED or self.deny is not None:
            self._check_source("FwpsAllocateCloneNetBufferList0", original, flags)
            assert original is not None
        made = NetBufferList(
            original.memory, original.start, original.end, CLONE, original.history, original.origin
        )
        if original._first is not None:
            made.first_net_buffer = _shared(original._first)
            made.made_of = made.structure()
        else:
            made.made_of = original.memory
        return self._adopt(made, original)

    def deep_clone(self, original: NetBufferList | None, flags: int = 0) -> NetBufferList:
        """A copy of the list and its octets, with the original as parent; freed with `free_clone`.

        Raises as `clone`.  Source: NB-6.
        """
        self._check_source("FwpsAllocateDeepCloneNetBufferList0", original, flags)
        assert original is not None
        packets = original.packets()
        made = _list_of(packets, DEEP_CLONE, original.history)
        made.context = bytearray()
        made.made_of = made.structure()
        return self._adopt(made, original)

    def create(
        self,
        mdl_chain: Mdl | None = None,
        data_offset: int = 0,
        data_length: int = 0,
        *,
        context_size: int = 0,
        context_backfill: int = 0,
        kind: int = CREATED,
    ) -> NetBufferList:
        """A fresh list with one packet over the caller's memory and an empty injection history.

        Sizes in octets; the memory stays the caller's; the list is freed with `free_list`.
        Raises InvalidParameter (sizes not a multiple of 16, window outside the chain), InsufficientResources.
        Source: NB-7, NB-8, QS-8.
        """
        self._maybe_deny("FwpsAllocateNetBufferAndNetBufferList0")
        if context_size % ALIGNMENT or context_backfill % ALIGNMENT or context_size < 0 or context_backfill < 0:
            raise InvalidParameter(
                f"context sizes {context_size} and {context_backfill} are not multiples of {ALIGNMENT}",
                rule="NB-7",
            )
        try:
            buffer = NetBuffer(mdl_chain, data_offset, data_length)
        except ValueError as error:
            raise InvalidParameter(str(error), rule="NB-7") from error
        made = NetBufferList(bytearray(), 0, 0, kind)
        made.first_net_buffer = buffer
        made.context = bytearray(context_size)
        self._live[made] = self._stack()
        return made

    def create_from(self, octets: bytes | bytearray, *, backfill: int = 0) -> NetBufferList:
        """A fresh list over a copy of `octets`, with `backfill` unused octets in front.

        The same as `create` over memory of one's own; freed with `free_list`.
        Raises InsufficientResources.  Source: NB-7.
        """
        self._maybe_deny("FwpsAllocateNetBufferAndNetBufferList0")
        memory = bytearray(backfill) + octets
        made = NetBufferList(memory, backfill, len(memory), CREATED)
        made.base = 0
        self._live[made] = self._stack()
        return made

    def adopt_created(self, made: NetBufferList) -> NetBufferList:
        """Count a list that some other function made for the driver; freed with `free_list`."""
        self._live[made] = self._stack()
        return made

    def adopt_clone(self, made: NetBufferList, parent: NetBufferList | None) -> NetBufferList:
        """Count a clone that some other function made for the driver; freed with `free_clone`."""
        if parent is not None:
            return self._adopt(made, parent)
        self._live[made] = self._stack()
        return made

    def _adopt(self, made: NetBufferList, parent: NetBufferList) -> NetBufferList:
        made.parent = parent
        made.protocol = parent.protocol
        parent.child_count += 1
        origin = parent.origin
        if origin is not None:
            origin.claims += 1
        self._live[made] = self._stack() if self.stacks else None
        return made

    # -- freeing ----------------------------------------------------------------------------------------

    def free_clone(self, clone: NetBufferList, flags: int = 0) -> None:
        """Free one clone, deep clone or stream clone; a wrong or second call is a violation.

        Source: NB-3, NB-5, NB-9.
        """
        call = "FwpsFreeCloneNetBufferList0"
        suspect = clone.state or clone.kind not in CLONES or flags or clone not in self._live
        if suspect and not self._freeable(call, clone, CLONES, flags):
            return
        first = clone._first
        unchanged = clone.memory is clone.made_of if first is None else clone.structure() == _made(clone)
        if not unchanged:
            self._violation("NB-3", call, clone, "its buffers or descriptors were changed and not put back")
        if clone.child_count:
            self._violation("NB-9", call, clone, f"{clone.child_count} clones of it still exist")
        parent = clone.parent
        if parent is not None:
            parent.child_count -= 1
            origin = parent.origin
            if origin is not None:
                origin.claims -= 1
                if not origin.claims:
                    origin.release()
        self._forget(clone)

    def free_list(self, created: NetBufferList) -> None:
        """Free a list from `create`; its memory stays the driver's.  A wrong or second call is a violation.

        Source: NB-8, NB-9.
        """
        if self._freeable("FwpsFreeNetBufferList0", created, (CREATED, REASSEMBLED), 0):
            if created.child_count:
                self._violation(
                    "NB-9", "FwpsFreeNetBufferList0", created, f"{created.child_count} clones of it still exist"
                )
            if created.kind == REASSEMBLED:
                created.made_of()  # gives back what it was put together from (NB-24)
            self._forget(created)

    def _freeable(self, call: str, item: NetBufferList, kinds: tuple[int, ...], flags: int) -> bool:
        if flags:
            self._violation("GE-6", call, item, f"flags are reserved and must be 0, not {flags:#x}")
        if item.state == FREED:
            self._violation("NB-9", call, item, "it was freed before")
        elif item.kind not in kinds:
            rule = "NB-8" if call == "FwpsFreeCloneNetBufferList0" else "NB-5"
            self._violation(rule, call, item, "it was not made by the function that this one belongs to")
        elif item.state == IN_FLIGHT:
            self._violation("GE-3", call, item, "it is in flight and the stack's until its completion")
        elif item not in self._live:
            self._violation("NB-9", call, item, "it does not belong to this host")
        else:
            return True
        return False

    def _forget(self, item: NetBufferList) -> None:
        del self._live[item]
        item.state = FREED
        item.parent = None
        if self.stacks:
            item.poison()

    # -- references -------------------------------------------------------------------------------------

    def reference(self, original: NetBufferList | None, intend_to_modify: bool = False) -> None:
        """Keep an indicated list valid after classify returns, until `dereference`.

        Raises FwpNullPointer.  Source: NB-11.
        """
        if original is None:
            raise FwpNullPointer("the list to reference is missing", rule="GE-7")
        if original.state >= FREED:
            self._violation("NB-11", "FwpsReferenceNetBufferList0", original, "it is no longer valid")
            return
        original.references += 1
        if original.origin is not None:
            original.origin.claims += 1
            if intend_to_modify:
                original.origin.modified_later = True
        self._referenced[original] = self._referenced.get(original, 0) + 1

    def dereference(self, original: NetBufferList, dispatch_level: bool = False) -> None:
        """Give one reference back; without a reference that is a violation.  Source: NB-12."""
        if not original.references:
            self._violation("NB-12", "FwpsDereferenceNetBufferList0", original, "it holds no reference")
            return
        original.references -= 1
        left = self._referenced[original] - 1
        if left:
            self._referenced[original] = left
        else:
            del self._referenced[original]
        origin = original.origin
        if origin is not None:
            origin.claims -= 1
            if not origin.claims:
                origin.release()
        if not original.references and original.made_of is RETIRED_MARK:
            self.retire(original)

    def retire(self, original: NetBufferList) -> None:
        """End the validity of an indicated list: classify has returned and nobody referenced it.

        Source: CO-12, NB-11.
        """
        if original.references:
            original.made_of = RETIRED_MARK
        else:
            original.state = RETIRED

    # -- counting ---------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        """What drivers hold right now."""
        clones = sum(1 for item in self._live if item.kind in CLONES)
        return Counters(clones, len(self._live) - clones, sum(self._referenced.values()))

    def leaks(self) -> list[tuple[NetBufferList, tuple[str, ...]]]:
        """Every list still held, with the stack of its making where that was recorded."""
        held = [(item, tuple(stack or ())) for item, stack in self._live.items()]
        return held + [(item, ()) for item in self._referenced if item not in self._live]

    def owns(self, item: NetBufferList) -> bool:
        """True when a driver made this list and has not freed it (GE-20)."""
        return item in self._live

    def made_at(self, item: NetBufferList) -> tuple[str, ...]:
        """The stack of a list's making, innermost call first; empty when not recorded."""
        return tuple(self._live.get(item) or ())

    def _stack(self) -> tuple[str, ...] | None:
        return call_stack(3) if self.stacks else None

    def _maybe_deny(self, call: str) -> None:
        if self.deny is not None and self.deny(call):
            raise InsufficientResources(f"{call}: made to fail by fault injection", rule="ER")

    def _check_source(self, call: str, original: NetBufferList | None, flags: int) -> None:
        if original is None:
            raise FwpNullPointer(f"{call}: the list to clone is missing", rule="GE-7")
        if flags:
            raise FwpInvalidFlags(f"{call}: flags are reserved and must be 0, not {flags:#x}", rule="GE-6")
        if original.state in (FREED, RETIRED):
            self._violation("NB-11", call, original, "it is no longer valid: reference it during classify")
            raise InvalidParameter(f"{call}: {original!r} is no longer valid", rule="NB-11")
        self._maybe_deny(call)

    def _violation(self, rule: str, call: str, item: NetBufferList, message: str) -> None:
        self.violations.record(
            Violation(
                rule,
                call,
                f"{item!r}: {message}",
                made_at=self.made_at(item),
                noticed_at=call_stack(3) if self.stacks else (),
            )
        )


class _RetiredMark:
    """Marks an original whose validity ends with its last reference."""


RETIRED_MARK = _RetiredMark()


def call_stack(skip: int) -> tuple[str, ...]:
    """Where we are, innermost call first, without the `skip` innermost frames and the emulator's own."""
    frames = traceback.extract_stack()[:-skip]
    return tuple(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(frames))[:12]


def _made(clone: NetBufferList) -> object:
    made = clone.made_of
    if isinstance(made, bytearray):  # it was one piece of memory when it was made, and was taken apart since
        return (((id(made), clone.base, clone.end - clone.base),),)
    return made


def _shared(buffer: NetBuffer) -> NetBuffer:
    """A chain of buffers over the same memory, each beginning at the given one's data start."""
    first: NetBuffer | None = None
    last: NetBuffer | None = None
    source: NetBuffer | None = buffer
    while source is not None:
        mdls = _window(source)
        made = NetBuffer(mdls, 0, source.data_length, origin=source._origin)
        if last is None:
            first = made
        else:
            last.next = made
        last = made
        source = source.next
    assert first is not None
    return first


def _window(source: NetBuffer) -> Mdl | None:
    """Descriptors for exactly the data of `source`, over the same memory."""
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


def _list_of(packets: list[bytes], kind: int, history: Any) -> NetBufferList:
    memory = bytearray(packets[0])
    made = NetBufferList(memory, 0, len(memory), kind, history)
    last = made.first_net_buffer if len(packets) > 1 else None
    for octets in packets[1:]:
        assert last is not None
        last.next = NetBuffer(Mdl(bytearray(octets)), 0, len(octets))
        last = last.next
    return made


__all__ = ["ALIGNMENT", "DRIVER", "Counters", "Ownership", "call_stack"]
