"""What tests of ownership share: one packet that the stack shows, and who keeps it."""

from __future__ import annotations

from emulator.ledger import Entry
from emulator.netbuffer import INDICATED, STACK, Mdl, NetBufferList
from emulator.ownership import Ownership
from emulator.violations import ViolationLog
from tests.unit.fakehost import Origin

OCTETS = bytes(range(60))
HISTORY = (Entry("handle", "context", 1),)


class Desk:
    """An ownership, the packet that the stack shows, and its origin."""

    def __init__(self, *, stacks: bool = False) -> None:
        self.log = ViolationLog()
        self.own = Ownership(self.log, stacks=stacks)
        self.origin = Origin()
        self.original = NetBufferList(bytearray(20) + OCTETS, 20, 80, STACK, HISTORY, self.origin)
        self.original.base = 0
        self.original.state = INDICATED
        self.original.protocol = 17

    @property
    def rules(self) -> list[str]:
        return self.log.rules()

    @property
    def clean(self) -> bool:
        return self.own.counters().clean


def pieces(*sizes: int) -> Mdl:
    """A chain of descriptors in the middle of memories of their own, of these sizes, showing 0, 1, 2, ..."""
    first = last = None
    begin = 0
    for size in sizes:
        made = Mdl(bytearray(3) + bytearray(range(begin, begin + size)) + bytearray(3), 3, size)
        begin += size
        if last is None:
            first = made
        else:
            last.next = made
        last = made
    assert first is not None
    return first
