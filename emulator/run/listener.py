"""Who is told of a run as it goes: the base that hears nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emulator.checks import Check
    from emulator.run.results import Result
    from emulator.run.snapshot import Snapshot
    from emulator.scenario import Scenario
    from emulator.topology import Bed


class Listener:
    """Told what happens in a run; `number` tells scenarios apart that run at the same time."""

    def begun(self, number: int, item: Scenario) -> None:
        """A scenario begins."""

    def step(self, number: int, text: str) -> None:
        """A scenario says what it does next."""

    def checked(self, number: int, check: Check) -> None:
        """A scenario has taken a check."""

    def watching(self, number: int, label: str, beds: Sequence[Bed]) -> AbstractContextManager[object]:
        """A scenario runs on these beds for one family, as long as the block lasts."""
        return nullcontext()

    def snapshot(self, number: int, snapshot: Snapshot) -> None:
        """What the hosts of a running scenario show at this moment."""

    def ended(self, number: int, result: Result) -> None:
        """A scenario has ended."""

    def interrupted(self) -> None:
        """The run was interrupted, and is being cleared up."""

    def finished(self) -> None:
        """All scenarios have ended; the results are printed next."""

    def aside(self) -> AbstractContextManager[object]:
        """Somebody else writes to the terminal while the block runs."""
        return nullcontext()
