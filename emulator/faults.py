"""Faults on purpose: the k-th allocation, clone, injection, receive or verdict of a host fails, or comes late.

    faults = Faults(Fault.parse("clone:3"))
    faults.attach(core)

A fault is made at exactly one place, so that a run with it can be repeated, and so that every place can be tried.
Source: GE-2, NB-9.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from emulator.core import Core


class FaultKind(StrEnum):
    """What can be made to fail."""

    ALLOCATE = "allocate"
    """Making a list, a pool or memory for headers."""
    CLONE = "clone"
    """Cloning a list or octets of a stream."""
    INJECT = "inject"
    """An injection call."""
    HANDLE = "handle"
    """Making an injection handle."""
    RECEIVE = "receive"
    """Taking a packet from the kernel: it is lost, as when the receive buffer is full; or it comes late."""
    VERDICT = "verdict"
    """Giving a packet its verdict: the kernel has it no longer; or the verdict comes late."""


CAN_BE_LATE = frozenset({FaultKind.RECEIVE, FaultKind.VERDICT})
"""Kinds that may come late instead of failing; when injections come is a schedule's to choose."""
_CALLS = {
    "FwpsAllocateCloneNetBufferList0": FaultKind.CLONE,
    "FwpsAllocateDeepCloneNetBufferList0": FaultKind.CLONE,
    "FwpsCloneStreamData0": FaultKind.CLONE,
    "FwpsInjectionHandleCreate0": FaultKind.HANDLE,
}
_FORMAT = "KIND:NUMBER or KIND:NUMBER:late"


@dataclass(frozen=True)
class Fault:
    """One fault: the `number`th of a kind, counted from 1, on each host."""

    kind: FaultKind
    number: int
    late: bool = False
    """It does not fail, it only comes late; packets and verdicts only."""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"faults are counted from 1, not from {self.number}")
        if self.late and self.kind not in CAN_BE_LATE:
            raise ValueError("only packets and verdicts can be late")

    @classmethod
    def parse(cls, text: str) -> Self:
        """A fault written as `clone:3` or `verdict:2:late`; raises ValueError."""
        kind, _, rest = text.partition(":")
        number, _, late = rest.partition(":")
        if not number.isdecimal() or late not in ("", "late"):
            raise ValueError(f"{text!r} is no fault: write {_FORMAT}")
        try:
            return cls(FaultKind(kind), int(number), late == "late")
        except ValueError as error:
            kinds = ", ".join(FaultKind)
            raise ValueError(f"{text!r} is no fault: {error}; kinds are {kinds}") from None

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}" + (":late" if self.late else "")


class Faults:
    """Counts what happens on one host, and makes one of it fail; without a fault it only counts."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.counted: Counter[FaultKind] = Counter()
        """How often each kind came so far."""
        self.struck = 0
        """How often it was made to fail."""

    def attach(self, core: Core) -> Self:
        """Have a host ask before allocations and injections."""
        core.deny = core.ownership.deny = self.deny
        return self

    def deny(self, call: str) -> bool:
        """Whether this call of a function fails."""
        kind = _CALLS.get(call)
        if kind is None:
            kind = FaultKind.INJECT if "Inject" in call else FaultKind.ALLOCATE
        return self.strikes(kind)

    def strikes(self, kind: FaultKind) -> bool:
        """Count one more of a kind, and tell whether it is the one."""
        self.counted[kind] += 1
        if self.fault is None or self.fault.kind != kind or self.counted[kind] != self.fault.number:
            return False
        self.struck += 1
        return True
