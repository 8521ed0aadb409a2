"""Ownership that remembers where every list was made, referenced, injected and freed.

Source: NB-9, NB-11, NB-12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.netbuffer import FREED, NetBufferList
from emulator.octets import describe
from emulator.ownership import Ownership
from emulator.violations import RawStack, Violation, ViolationLog, call_stack, raw_stack, told_stack

if TYPE_CHECKING:
    from emulator.watching import Watch


class WatchedOwnership(Ownership):
    """The ownership of a host that is watched closely: its lists are `WatchedList`, freed ones are poisoned."""

    def __init__(self, violations: ViolationLog, watch: Watch) -> None:
        super().__init__(violations, stacks=True)
        self.watch = watch
        self._reference_stacks: dict[NetBufferList, list[RawStack]] = {}

    def adopt_created(self, made: NetBufferList) -> NetBufferList:
        made = super().adopt_created(made)
        self.watch.made(made, self.live[made])
        return made

    def _adopt(self, made: NetBufferList, parent: NetBufferList) -> NetBufferList:
        made = super()._adopt(made, parent)
        self.watch.made(made, self.live[made])
        return made

    def _forget(self, item: NetBufferList) -> None:
        self.watch.adopt(item).notes.freed_stack = raw_stack()
        super()._forget(item)

    def reference(self, original: NetBufferList | None, intend_to_modify: bool = False) -> None:
        super().reference(original, intend_to_modify)
        if original is not None and original.state < FREED:
            self._reference_stacks.setdefault(original, []).append(raw_stack())

    def dereference(self, original: NetBufferList, dispatch_level: bool = False) -> None:
        super().dereference(original, dispatch_level)
        stacks = self._reference_stacks.get(original)
        if stacks:
            stacks.pop()
            if not stacks:
                del self._reference_stacks[original]

    def made_at(self, item: NetBufferList) -> tuple[str, ...]:
        made = item.notes.made_stack if item.notes is not None else None
        return told_stack(made or self._referenced_at(item))

    def leaks(self) -> list[tuple[NetBufferList, tuple[str, ...]]]:
        return [(item, self.made_at(item)) for item, _ in super().leaks()]

    def _referenced_at(self, item: NetBufferList) -> RawStack | None:
        stacks = self._reference_stacks.get(item)
        return stacks[0] if stacks else None

    def _violation(self, rule: str, call: str, item: NetBufferList, message: str) -> None:
        self.violations.record(
            Violation(
                rule,
                call,
                f"{item!r}: {message}",
                packet="" if item.state == FREED else describe(item.octets),
                made_at=self.made_at(item),
                noticed_at=call_stack(),
                others=self.watch.events_of(item),
            )
        )
