"""Who owns which list: cloning, creating, referencing and freeing, counted and checked.

One `Ownership` belongs to one emulated host.  It does no I/O.  When the last thing that kept a held packet
alive goes away, the packet's origin is told by `release`, and decides what becomes of the packet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulator.cloning import copied, shared
from emulator.errors import FwpInvalidFlags, FwpNullPointer, InsufficientResources, InvalidParameter
from emulator.flatlist import new_list
from emulator.netbuffer import (
    CLONE,
    CREATED,
    DEEP_CLONE,
    DRIVER,
    FREED,
    IN_FLIGHT,
    REASSEMBLED,
    RETIRED,
    STACK,
    STREAM_CLONE,
    Mdl,
    NetBuffer,
    NetBufferList,
)
from emulator.violations import RawStack, Violation, ViolationLog, call_stack, raw_stack, told_stack

ALIGNMENT = 16
"""MEMORY_ALLOCATION_ALIGNMENT on x64, octets (NB-7)."""

CLONES = (CLONE, DEEP_CLONE, STREAM_CLONE)
LISTS = (CREATED, REASSEMBLED)


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
        self.on_made: Callable[[NetBufferList, NetBufferList | None], None] | None = None
        """Told of every list a driver was given, and what it was cloned from: for the trace."""
        self.on_freed: Callable[[NetBufferList], None] | None = None
        """Told of every list a driver gave back."""
        self.on_kept: Callable[[NetBufferList], None] | None = None
        """Told of every original that a driver referenced, when its classify has returned (TR-3)."""
        self.live: dict[NetBufferList, Any] = {}
        """What drivers made and have not freed, with the stack of its making or None."""
        self._referenced: dict[NetBufferList, int] = {}
        self._ages: dict[NetBufferList, int] = {}

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
        made = new_list(
            NetBufferList, original.memory, original.start, original.end, CLONE, original.history, original.origin
        )
        if original._first is not None:
            made.first_net_buffer = shared(original._first)
        return self._adopt(made, original)

    def deep_clone(self, original: NetBufferList | None, flags: int = 0) -> NetBufferList:
        """A copy of the list and its octets, with the original as parent; freed with `free_clone`.

        Raises as `clone`.  Source: NB-6.
        """
        self._check_source("FwpsAllocateDeepCloneNetBufferList0", original, flags)
        assert original is not None
        made = copied(original.packets(), DEEP_CLONE, original.history)
        made.context = bytearray()
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
        return self.adopt_created(made)

    def create_from(self, octets: bytes | bytearray, *, backfill: int = 0) -> NetBufferList:
        """A fresh list over a copy of `octets`, with `backfill` unused octets in front.

        The same as `create` over memory of one's own; freed with `free_list`.
        Raises InsufficientResources.  Source: NB-7.
        """
        if self.deny is not None:
            self._maybe_deny("FwpsAllocateNetBufferAndNetBufferList0")
        memory = bytearray(octets) if not backfill and type(octets) is bytes else bytearray(backfill) + octets
        made = new_list(NetBufferList, memory, backfill, len(memory), CREATED, (), None)
        if backfill:
            made.base = 0
        return self.adopt_created(made)

    def adopt_created(self, made: NetBufferList) -> NetBufferList:
        """Count a list that some other function made for the driver; freed with `free_list`."""
        self.live[made] = self._stack() if self.stacks else None
        if self.on_made is not None:
            self.on_made(made, None)
        return made

    def adopt_clone(self, made: NetBufferList, parent: NetBufferList | None) -> NetBufferList:
        """Count a clone that some other function made for the driver; freed with `free_clone`."""
        if parent is not None:
            return self._adopt(made, parent)
        made.made_of = made.memory if made.flat else made.structure()
        return self.adopt_created(made)

    def _adopt(self, made: NetBufferList, parent: NetBufferList) -> NetBufferList:
        made.made_of = made.memory if made._first is None else made.structure()
        made.parent = parent
        made.protocol = parent.protocol
        if parent.info is not None:
            made.info = parent.info
        parent.child_count += 1
        origin = parent.origin
        if origin is not None:
            origin.claims += 1
        self.live[made] = self._stack() if self.stacks else None
        if self.on_made is not None:
            self.on_made(made, parent)
        return made

    # -- freeing ----------------------------------------------------------------------------------------

    def free_clone(self, clone: NetBufferList, flags: int = 0) -> None:
        """Free one clone, deep clone or stream clone; a wrong or second call is a violation.

        Source: NB-3, NB-5, NB-9.
        """
        call = "FwpsFreeCloneNetBufferList0"
        if (
            flags or clone.state or (clone.kind != CLONE and clone.kind not in CLONES) or clone not in self.live
        ) and not self._freeable(call, clone, CLONES, flags):
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
        call = "FwpsFreeNetBufferList0"
        suspect = created is None or created.state or created.kind not in LISTS or created not in self.live
        if suspect and not self._freeable(call, created, LISTS, 0):
            return
        if created.child_count:
            self._violation("NB-9", call, created, f"{created.child_count} clones of it still exist")
        if created.kind == REASSEMBLED:
            created.made_of()  # gives back what it was put together from (NB-24)
        self._forget(created)

    def _freeable(self, call: str, item: NetBufferList, kinds: tuple[int, ...], flags: int) -> bool:
        if flags:
            self._violation("GE-6", call, item, f"flags are reserved and must be 0, not {flags:#x}")
        if item.state == FREED:
            self._violation("NB-9", call, item, "it was freed before")
        elif item.kind not in kinds:
            clone = item.kind in CLONES or (item.kind == STACK and kinds is CLONES)
            rule = "NB-5" if clone else "NB-8"
            self._violation(rule, call, item, "it was not made by the function that this one belongs to")
        elif item.state == IN_FLIGHT:
            self._violation("GE-3", call, item, "it is in flight and the stack's until its completion")
        elif item not in self.live:
            self._violation("NB-9", call, item, "it does not belong to this host")
        else:
            return True
        return False

    def _forget(self, item: NetBufferList) -> None:
        del self.live[item]
        if self.on_freed is not None:
            self.on_freed(item)
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
        if original not in self._referenced:
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
            if self.on_kept is not None:
                self.on_kept(original)
        else:
            original.state = RETIRED

    # -- counting ---------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        """What drivers hold right now."""
        held = list(self.live)
        clones = sum(1 for item in held if item.kind in CLONES)
        return Counters(clones, len(held) - clones, sum(list(self._referenced.values())))

    def grow_older(self, limit: int) -> None:
        """Count one more tick for what drivers keep the stack from freeing; `limit` ticks are a violation, once.

        How long a tick lasts is for whoever has a clock.  Lists in flight are the stack's and do not count.
        Source: NB-10.
        """
        kept = [item for item in list(self.live) if item.kind in CLONES and item.state == DRIVER]
        self._ages = {item: self._ages.get(item, 0) + 1 for item in (*kept, *list(self._referenced))}
        for item in [item for item, age in self._ages.items() if age == limit]:
            call = "FwpsAllocateCloneNetBufferList0" if item in self.live else "FwpsReferenceNetBufferList0"
            self._violation("NB-10", call, item, "it is held for too long: copy what is needed and give it back")

    def leaks(self) -> list[tuple[NetBufferList, tuple[str, ...]]]:
        """Every list still held, with the stack of its making where that was recorded."""
        held = [(item, told_stack(stack)) for item, stack in list(self.live.items())]
        return held + [(item, ()) for item in list(self._referenced) if item not in self.live]

    def owns(self, item: NetBufferList) -> bool:
        """True when a driver made this list and has not freed it (GE-20)."""
        return item in self.live

    def made_at(self, item: NetBufferList) -> tuple[str, ...]:
        """The stack of a list's making, innermost call first; empty when not recorded."""
        return told_stack(self.live.get(item))

    def _stack(self) -> RawStack | None:
        return raw_stack() if self.stacks else None

    def _maybe_deny(self, call: str) -> None:
        if self.deny is not None and self.deny(call):
            raise InsufficientResources(f"{call}: made to fail by fault injection", rule="GE-2")

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
                noticed_at=call_stack() if self.stacks else (),
            )
        )


class _RetiredMark:
    """Marks an original whose validity ends with its last reference."""


RETIRED_MARK = _RetiredMark()


def _made(clone: NetBufferList) -> object:
    made = clone.made_of
    if isinstance(made, bytearray):  # it was one piece of memory when it was made, and was taken apart since
        return (((id(made), clone.base, clone.end - clone.base),),)
    return made


__all__ = ["ALIGNMENT", "Counters", "Ownership"]
