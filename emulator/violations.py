"""The violation log: obligations that a callout broke, where Windows would promise nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path
from types import CodeType, FrameType

_OWN = f"{Path(__file__).parent}/"
_DRIVERS = (f"{_OWN}scenarios/", f"{_OWN}callouts_stream.py")
"""What lies among the emulator's own files and yet is a driver's code."""
_FOREIGN = ("/site-packages/", "/lib/python3")
"""Whoever runs the driver: no part of its stack."""
_DEEPEST = 12

RawStack = tuple[tuple[CodeType, int], ...]
"""Where a driver's code stood: functions and instructions, innermost first; `told_stack` makes words of it."""


class Level(IntEnum):
    """How closely drivers are watched."""

    OFF = 0
    """Nothing is noted: for measurements."""
    NORMAL = 1
    """What the calls themselves show; costs nothing on a packet's way."""
    FULL = 2
    """Also every list, each octet, and where things were made."""


class Reaction(Enum):
    """What happens when a driver breaks a rule."""

    REPORT = "report"
    """It is told at the end."""
    FAIL = "fail"
    """The scenario fails."""
    RAISE = "raise"
    """The call that broke it raises, where a driver's code can be reached by that; the scenario fails."""


@dataclass(frozen=True)
class Violation:
    """One broken obligation of a caller.

    Source: GE-9.
    """

    rule: str
    """Id of the contract's rule, for example "HD-5"."""
    call: str
    """The function, callback or step in which it was noticed."""
    message: str
    """One sentence that names the objects and says what to do."""
    handle: str = ""
    packet: str = ""
    made_at: tuple[str, ...] = ()
    """Where the object came from: innermost call first; empty when that was not recorded."""
    noticed_at: tuple[str, ...] = ()
    others: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What else belongs to it: (what happened there, where)."""

    def __str__(self) -> str:
        where = f" ({self.handle})" if self.handle else ""
        return f"{self.rule} {self.call}{where}: {self.message}"


class RuleBroken(Exception):
    """Raised out of the call that broke a rule, when that was asked for; not a WfpError: no driver expects it."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


@dataclass
class ViolationLog:
    """Violations in the order they were noticed; a test may assert that it is empty.

    Source: GE-9.
    """

    entries: list[Violation] = field(default_factory=list)
    on_record: Callable[[Violation], None] | None = None
    """Told of every violation at once: by it a scenario fails or stops early."""
    level: Level = Level.NORMAL
    reaction: Reaction = Reaction.FAIL

    def record(self, violation: Violation) -> None:
        """Add one violation and tell `on_record`; raises RuleBroken when that is the reaction."""
        if self.level == Level.OFF:
            return
        self.entries.append(violation)
        if self.on_record is not None:
            self.on_record(violation)
        if self.reaction == Reaction.RAISE and call_stack():
            raise RuleBroken(violation)

    def rules(self) -> list[str]:
        """The rule ids of all violations, in order."""
        return [violation.rule for violation in self.entries]

    def __iter__(self) -> Iterator[Violation]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def raw_stack() -> RawStack:
    """Where the driver's code stands, innermost call first: without the emulator's own frames."""
    found: list[tuple[CodeType, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < _DEEPEST:
        code = frame.f_code
        if is_drivers(code.co_filename):
            found.append((code, frame.f_lasti))
        frame = frame.f_back
    return tuple(found)


def told_stack(raw: RawStack | None) -> tuple[str, ...]:
    """A stack in words, such as `driver.py:12 in classify`; empty for None."""
    return tuple(f"{code.co_filename}:{_line(code, at)} in {code.co_name}" for code, at in raw or ())


def call_stack() -> tuple[str, ...]:
    """`raw_stack` in words."""
    return told_stack(raw_stack())


def is_drivers(file: str) -> bool:
    """True for a file that holds a driver's code: not the emulator's, nor of whoever runs it."""
    if file.startswith(_OWN):
        return file.startswith(_DRIVERS)
    return not any(part in file for part in _FOREIGN)


def _line(code: CodeType, at: int) -> int:
    line = code.co_firstlineno
    for first, last, number in code.co_lines():
        if first <= at < last and number is not None:
            line = number
    return line
