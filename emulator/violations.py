"""The violation log: obligations that a callout broke, where Windows would promise nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

_OWN = f"{Path(__file__).parent}/"
_SCENARIOS = f"{_OWN}scenarios/"
_DEEPEST = 12


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

    def __str__(self) -> str:
        where = f" ({self.handle})" if self.handle else ""
        return f"{self.rule} {self.call}{where}: {self.message}"


@dataclass
class ViolationLog:
    """Violations in the order they were noticed; a test may assert that it is empty.

    Source: GE-9.
    """

    entries: list[Violation] = field(default_factory=list)
    on_record: Callable[[Violation], None] | None = None
    """Told of every violation at once: by it a scenario fails or stops early."""

    def record(self, violation: Violation) -> None:
        """Add one violation and tell `on_record`."""
        self.entries.append(violation)
        if self.on_record is not None:
            self.on_record(violation)

    def rules(self) -> list[str]:
        """The rule ids of all violations, in order."""
        return [violation.rule for violation in self.entries]

    def __iter__(self) -> Iterator[Violation]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def call_stack() -> tuple[str, ...]:
    """Where the driver's code stands, innermost call first: without the emulator's own frames."""
    found: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(found) < _DEEPEST:
        code = frame.f_code
        if not code.co_filename.startswith(_OWN) or code.co_filename.startswith(_SCENARIOS):
            found.append(f"{code.co_filename}:{frame.f_lineno} in {code.co_name}")
        frame = frame.f_back
    return tuple(found)
