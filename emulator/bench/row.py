"""One row of the bench: something of ours against a peer, in turns, and what came out.

Pure: what is measured is behind two functions.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

DRAWS: Final = 1000
"""Of two runs each, for the spread."""
WITHIN: Final = 0.99
"""The share of the draws that lie within the spread."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one run gave."""

    value: float
    """In the unit of its row."""
    loss: float = 0.0
    """The share of what was offered that nobody accounts for, 0 to 1."""
    cpu: float | None = None
    """Microseconds of processor time for each packet, the kernel's on its behalf included."""
    kernel: float | None = None
    """Of these, the kernel's."""
    closed: bool = True
    """Whether the books closed."""


Run = Callable[[], Reading]


@dataclass(frozen=True, slots=True)
class Row:
    """What is compared with what, and how it should come out."""

    name: str
    peer: str
    unit: str
    goal: float
    """The least ratio of ours to the peer's; the most, when `at_most`."""
    ours: Run
    theirs: Run
    at_most: bool = False
    rounds: int = 5
    value: str = "value"
    """What of the readings is compared: `value` or `cpu`."""
    limit: Callable[[Result], str] | None = None
    """Measures what keeps the row from its goal; None where processor time and a profile tell."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that could not be measured here, and what is missing."""

    name: str
    peer: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "peer_name": self.peer, "met": None, "skipped": self.why}


@dataclass(frozen=True, slots=True)
class Failed:
    """A row that broke off, and with what."""

    name: str
    peer: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "peer_name": self.peer, "met": False, "failed": self.why}


@dataclass(slots=True)
class Result:
    """The readings of a row, in pairs of ours and the peer's."""

    row: Row
    pairs: list[tuple[Reading, Reading]] = field(default_factory=list)
    limit: str = ""
    """What keeps it from its goal, when it missed it."""
    seconds: float = 0.0
    """That measuring took."""

    def _of(self, reading: Reading) -> float:
        return reading.value if self.row.value == "value" else reading.cpu or 0.0

    @property
    def ours(self) -> float:
        """The median of ours."""
        return statistics.median(self._of(ours) for ours, _ in self.pairs)

    @property
    def theirs(self) -> float:
        """The median of the peer's."""
        return statistics.median(self._of(theirs) for _, theirs in self.pairs)

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return _ratio(self._values())

    @property
    def spread(self) -> tuple[float, float]:
        """Between what the ratio of another run lies, 99 of 100 times, as far as the rounds tell.

        Two runs are drawn from the rounds, each round of theirs any that was measured; how far the ratio of the
        second is from that of the first, 1000 times, is how far another run's may be from this one's.
        """
        values, draw = self._values(), random.Random(0)

        def drawn() -> float:
            return _ratio(draw.choices(values, k=len(values)))

        off = sorted(drawn() / (drawn() or 1.0) for _ in range(DRAWS if values else 0)) or [0.0]
        outside = round(len(off) * (1 - WITHIN) / 2)
        return self.ratio * off[outside], self.ratio * off[-1 - outside]

    def _values(self) -> list[tuple[float, float]]:
        return [(self._of(ours), self._of(theirs)) for ours, theirs in self.pairs]

    @property
    def loss(self) -> float:
        """The greatest unaccounted share of ours."""
        return max(ours.loss for ours, _ in self.pairs)

    @property
    def closed(self) -> bool:
        """Whether our books closed in every run."""
        return all(ours.closed for ours, _ in self.pairs)

    @property
    def met(self) -> bool:
        """Whether the goal was reached, with nothing lost."""
        reached = self.ratio <= self.row.goal if self.row.at_most else self.ratio >= self.row.goal
        return reached and self.closed and not self.loss

    def cpu(self) -> tuple[float | None, float | None]:
        """Microseconds of processor time for each packet, ours and the peer's; None where it means nothing."""
        return self._costs("cpu")

    def kernel(self) -> tuple[float | None, float | None]:
        """Of these, the kernel's."""
        return self._costs("kernel")

    def _costs(self, name: str) -> tuple[float | None, float | None]:
        sides = ([getattr(pair[side], name) for pair in self.pairs] for side in (0, 1))
        mine, other = ([value for value in side if value is not None] for side in sides)
        return (statistics.median(mine) if mine else None, statistics.median(other) if other else None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        mine, other = self.cpu()
        return {
            "name": self.row.name,
            "ours": self.ours,
            "peer": self.theirs,
            "peer_name": self.row.peer,
            "ratio": self.ratio,
            "spread": list(self.spread),
            "loss": self.loss,
            "unit": self.row.unit,
            "goal": self.row.goal,
            "at_most": self.row.at_most,
            "met": self.met,
            "closed": self.closed,
            "cpu_us": mine,
            "peer_cpu_us": other,
            "rounds": len(self.pairs),
            "seconds": round(self.seconds, 1),
            **({"limit": self.limit} if self.limit else {}),
        }


def _ratio(rounds: Sequence[tuple[float, float]]) -> float:
    """Of the medians of both sides; 0 where there is none."""
    mine, other = (statistics.median(side) for side in zip(*rounds, strict=True)) if rounds else (0.0, 0.0)
    return mine / other if other else 0.0


def measured(row: Row, rounds: int | None = None) -> Result:
    """Run both sides of a row in turns; the side that begins changes from round to round."""
    result = Result(row)
    begun = time.monotonic()
    for number in range(rounds or row.rounds):
        if number % 2:
            theirs = row.theirs()
            ours = row.ours()
        else:
            ours = row.ours()
            theirs = row.theirs()
        result.pairs.append((ours, theirs))
    result.seconds = time.monotonic() - begun
    return result
