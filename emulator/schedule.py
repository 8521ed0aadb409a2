"""Schedules: when injections are performed and completed, chosen by a seed, the same each time it is asked.

A driver may rely on none of these times (GE-4, CF-6), so whatever seed is given, it has to work.  Decisions hang on
the host's name, the handle's number and how many injections the handle made before: never on a clock.
Source: GE-4, CF-5..CF-8, OR-1, TR-3; docs/decisions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

_LONGEST_DELAY = 3
_LONGEST_HOLD = 3


@dataclass(frozen=True)
class When:
    """What is done with one injection."""

    inline: bool = False
    """It is performed and completed before the call returns, and before any layer sees the packet again."""
    delay: int = 0
    """Turns of the host's thread before it is performed; those after it wait too (OR-1)."""
    hold: int = 0
    """Turns before its completion function is called; others may come first."""
    scramble: bool = False
    """Its list comes back with another data start than it left with (CF-8)."""

    @property
    def ordinary(self) -> bool:
        """True when nothing is changed about it."""
        return self == _ORDINARY


_ORDINARY = When()
INLINE = When(inline=True)


class Schedule:
    """The decisions of one seed; with `always`, the same one for every injection."""

    def __init__(self, seed: int = 0, *, always: When | None = None) -> None:
        self.seed = seed
        self.always = always

    def injection(self, host: str, handle: int, number: int) -> When:
        """What is done with the `number`th injection of a handle on a host."""
        if self.always is not None:
            return self.always
        way, delay, hold, scramble = self._dice("injection", host, handle, number)
        return When(
            inline=way < 64,
            delay=0 if way < 64 or delay < 160 else 1 + delay % _LONGEST_DELAY,
            hold=0 if way < 64 or hold < 128 else 1 + hold % _LONGEST_HOLD,
            scramble=scramble < 64,
        )

    def retreated(self, host: str, number: int) -> bool:
        """Whether the stack retreats the `number`th original that a driver keeps, after it was blocked (TR-3)."""
        if self.always is not None:
            return False
        return self._dice("retreat", host, 0, number)[0] < 128

    def _dice(self, *what: object) -> tuple[int, int, int, int]:
        """Four numbers from 0 to 255."""
        digest = blake2b("/".join(map(str, (self.seed, *what))).encode(), digest_size=4).digest()
        return digest[0], digest[1], digest[2], digest[3]

    def __repr__(self) -> str:
        return f"<schedule of seed {self.seed}>" if self.always is None else f"<schedule: always {self.always}>"


def schedules(seed: int, count: int) -> list[Schedule]:
    """`count` schedules, those of `seed` and the numbers after it."""
    return [Schedule(number) for number in range(seed, seed + count)]
