"""Watching drivers closely: every list, handle and classify, with the places in the driver's code.

Only a host whose level is FULL has a `Watch`; then its lists, its ownership and its handles are of the classes
here.  Other hosts pay nothing: their classes are the plain ones.
Source: GE-3, GE-13, CF-6, CO-12, CO-18, CO-19, NB-4, NB-9, NB-11.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from types import CodeType
from typing import TYPE_CHECKING

from emulator.netbuffer import FREED, IN_FLIGHT, INDICATED, RETIRED, NetBuffer, NetBufferList
from emulator.violations import RawStack, raw_stack, told_stack
from emulator.wfptypes import Action

if TYPE_CHECKING:
    from pathlib import PurePath

    from emulator.callout import ClassifyFn
    from emulator.core import Core
    from emulator.handle import InjectionHandle
    from emulator.indication import Indication

_BLOCK = int(Action.BLOCK)
_ABSORB = 1
_EDGE = ("netbuffer", "watching", "ndis", "indication", "construct", "rewrite", "cloning", "wraps")
"""Modules that touch lists on behalf of whoever called them."""
_NOT_USABLE = {
    FREED: ("NB-9", "it was freed: its memory is poisoned now"),
    RETIRED: ("NB-11", "it was indicated, and classify has returned: reference it, or copy what is needed"),
    IN_FLIGHT: ("GE-3", "it is in flight, and the stack's until its completion"),
}


class Notes:
    """What is known about a watched list."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.made_stack: RawStack | None = None
        self.freed_stack: RawStack | None = None
        self.flight_stack: RawStack | None = None
        self.completed = ""
        """How its last injection was completed."""
        self.refused: tuple[str, str, RawStack] | None = None
        """The last injection call that refused it: which, why, from where."""
        self.visit: Visit | None = None
        """The classify in which it was cloned."""
        self.asked = False
        """Whether somebody queried its injection state."""
        self.digest: list[bytes] | None = None
        """What it held when it went into flight."""
        self.told_states: tuple[int, ...] = ()


class WatchedList(NetBufferList):
    """A list that tells when a driver uses it while it may not."""

    __slots__ = ()

    notes: Notes

    def _used(self, call: str) -> None:
        if self.state in _NOT_USABLE and self.notes.watch.by_driver():
            self.notes.watch.misused(self, call)

    @property
    def octets(self) -> bytes:
        self._used("reading")
        return super().octets

    def read(self, start: int, length: int) -> bytes:
        self._used("reading")
        return super().read(start, length)

    def write(self, start: int, octets: bytes | bytearray | memoryview) -> None:
        self._used("writing")
        if self.state == INDICATED and self.notes.watch.by_driver():
            self.notes.watch.original_written(self)
        super().write(start, octets)

    def retreat(self, delta: int, backfill: int = 0) -> None:
        self._used("retreating")
        super().retreat(delta, backfill)

    def advance(self, delta: int, *, free_mdl: bool = True) -> None:
        self._used("advancing")
        super().advance(delta, free_mdl=free_mdl)

    @property
    def first_net_buffer(self) -> NetBuffer:
        self._used("reading")
        return super().first_net_buffer

    @first_net_buffer.setter
    def first_net_buffer(self, buffer: NetBuffer) -> None:
        self._used("writing")
        self._first = buffer

    def net_buffers(self) -> Iterator[NetBuffer]:
        self._used("reading")
        return super().net_buffers()

    def packets(self) -> list[bytes]:
        self._used("reading")
        return super().packets()


class Visit:
    """One call of a callout's classify function: what it asked, cloned and injected."""

    __slots__ = ("item", "name", "asked", "clones", "injected", "plain_block", "soft_block", "ended")

    def __init__(self, item: NetBufferList | None, name: str) -> None:
        self.item = item
        self.name = name
        self.asked = False
        self.clones: list[WatchedList] = []
        self.injected: list[WatchedList] = []
        self.plain_block = False
        self.soft_block = False
        self.ended = False


class Watch:
    """Watches the drivers of one host."""

    def __init__(self, core: Core) -> None:
        from emulator.watchedcalls import WatchedHandle
        from emulator.watchedownership import WatchedOwnership

        self.core = core
        self.ownership = WatchedOwnership(core.violations, self)
        self.handle: Callable[..., InjectionHandle] = WatchedHandle
        self._visits: dict[int, list[Visit]] = {}
        self._known: dict[CodeType, int] = {}

    # -- lists ------------------------------------------------------------------------------------------

    def adopt(self, item: NetBufferList) -> WatchedList:
        """Watch a list from now on."""
        if not isinstance(item, WatchedList):
            item.__class__ = WatchedList
            assert isinstance(item, WatchedList)
            item.notes = Notes(self)
        return item

    def made(self, item: NetBufferList, stack: RawStack | None) -> None:
        """A driver was given a list."""
        watched = self.adopt(item)
        watched.notes.made_stack = stack
        visit = self.visit()
        if visit is not None and item.parent is not None:
            watched.notes.visit = visit
            visit.clones.append(watched)
        elif isinstance(item.parent, WatchedList):
            watched.notes.visit = item.parent.notes.visit
            watched.notes.asked = item.parent.notes.asked

    def misused(self, item: WatchedList, call: str) -> None:
        """A driver uses a list that is not its own to use; told once for each state of the list."""
        if item.state not in item.notes.told_states:
            item.notes.told_states += (item.state,)
            rule, why = _NOT_USABLE[item.state]
            self.core.violate(rule, f"{call} a list", f"{item!r}: {why}", item=item)

    def original_written(self, item: WatchedList) -> None:
        """A driver writes into a list that the stack shows it; told once for each list."""
        if INDICATED not in item.notes.told_states:
            item.notes.told_states += (INDICATED,)
            self.core.violate(
                "NB-4",
                "writing a list",
                f"{item!r} is the stack's original: clone it or copy it, and change that",
                item=item,
            )

    def events_of(self, item: NetBufferList) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What happened to a list after its making: (what, where), oldest first."""
        if not isinstance(item, WatchedList):
            return ()
        found = []
        notes = item.notes
        if notes.refused is not None:
            found.append((f"refused by {notes.refused[0]}: {notes.refused[1]}", told_stack(notes.refused[2])))
        if notes.flight_stack is not None:
            found.append(("injected", told_stack(notes.flight_stack)))
        if notes.completed:
            found.append((f"completed with {notes.completed}", ()))
        if notes.freed_stack is not None:
            found.append(("freed", told_stack(notes.freed_stack)))
        return tuple(found)

    def by_driver(self) -> bool:
        """True when a driver's code, not the emulator's own, asked for what is being done."""
        frame = sys._getframe(2)
        known = self._known
        while frame is not None:
            code = frame.f_code
            kind = known.get(code)
            if kind is None:
                kind = known[code] = _kind_of(code)
            if kind != _ON_BEHALF:
                return kind == _DRIVERS_OWN
            back = frame.f_back
            if back is None:
                return False
            frame = back
        return False

    # -- classifies -------------------------------------------------------------------------------------

    def visit(self) -> Visit | None:
        """The classify that the calling thread is in; None outside."""
        visits = self._visits.get(threading.get_ident())
        return visits[-1] if visits else None

    def watched(self, classify: ClassifyFn) -> ClassifyFn:
        """A classify function that is watched."""

        @wraps(classify)
        def watching(seen: Indication) -> None:
            self._classify(classify, seen)

        return watching

    def _classify(self, classify: ClassifyFn, seen: Indication) -> None:
        item = seen.net_buffer_list
        name = f"classifyFn of {getattr(classify, '__qualname__', classify)}"
        visit = Visit(item, name)
        before = None
        if item is not None:
            self.adopt(item).notes.asked = False
            before = bytes(item.memory)
        calling = self.core.locks.current_call()
        if calling is not None:
            self.core.locks.came_back(f"{name} ran inside it", calling)
        held = self.core.locks.held()
        visits = self._visits.setdefault(threading.get_ident(), [])
        visits.append(visit)
        try:
            classify(seen)
        finally:
            visits.remove(visit)
            visit.ended = True
        self._judge(visit, seen, before)
        for holding in self.core.locks.held()[len(held) :]:
            self.core.violate("CO-22", name, f"it returned and kept {holding.lock!r}: give it back before")

    def _judge(self, visit: Visit, seen: Indication, before: bytes | None) -> None:
        """What a classify left behind: its decision against what it cloned, injected and wrote."""
        item = visit.item
        if item is None or before is None:
            return
        blocks = seen.action == _BLOCK
        if not blocks and item.memory != before and not _told(item):
            self.core.violate(
                "NB-4",
                visit.name,
                f"the octets of {item!r} were changed, and the original goes on with them: block it, inject a clone",
                item=item,
            )
        if not blocks or not visit.clones or seen.stream is not None:
            return
        visit.plain_block = not seen.out_flags & _ABSORB and seen.info.absorb_allowed
        visit.soft_block = bool(seen.rights)
        if visit.injected:
            self.blocked_wrongly(visit, visit.injected[0])

    def blocked_wrongly(self, visit: Visit, clone: WatchedList) -> None:
        """Record that the original of an injected clone was not blocked for good, and silently; once."""
        if visit.plain_block:
            visit.plain_block = False
            self.core.violate(
                "CO-18",
                visit.name,
                f"the original of {clone!r}, which was injected, was blocked without ABSORB: it counts as discarded",
                item=clone,
            )
        if visit.soft_block:
            visit.soft_block = False
            self.core.violate(
                "CO-19",
                visit.name,
                f"the original of {clone!r}, which was injected, was blocked softly: another callout may still "
                "permit it, and then there are two: clear the right to decide",
                item=clone,
            )


_DRIVERS_OWN, _ON_BEHALF, _INTERNAL = range(3)


def _kind_of(code: CodeType) -> int:
    from pathlib import PurePath

    from emulator.violations import is_drivers

    if is_drivers(code.co_filename):
        return _DRIVERS_OWN
    return _ON_BEHALF if _on_behalf(PurePath(code.co_filename)) else _INTERNAL


def _on_behalf(path: PurePath) -> bool:
    return path.stem in _EDGE or path.stem.startswith("fwps") or path.stem == "functools"


def _told(item: NetBufferList) -> bool:
    return isinstance(item, WatchedList) and INDICATED in item.notes.told_states


__all__ = ["Visit", "Watch", "WatchedList", "raw_stack"]
