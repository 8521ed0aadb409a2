"""Processor time: of one's own thread, with the kernel's work on its behalf, and where it goes."""

from __future__ import annotations

import cProfile
import re
import resource
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType
from typing import Final, NamedTuple

SHOWN: Final = 6
"""Functions that a profile names."""
_BUILTIN: Final = re.compile(r"<(?:built-in )?method '?([\w.]+)'?(?: of '([\w.]+)' objects)?>")
_FUNCTION: Final = re.compile(r"<(?:cy)?function (?:[\w.]+\.)?(\w+\.\w+) at ")


class Spent(NamedTuple):
    """Seconds of processor time."""

    user: float
    kernel: float

    @property
    def all(self) -> float:
        """Both."""
        return self.user + self.kernel

    def since(self, before: Spent) -> Spent:
        """What was spent from `before` on."""
        return Spent(self.user - before.user, self.kernel - before.kernel)

    def with_(self, other: Spent) -> Spent:
        """The sum of two."""
        return Spent(self.user + other.user, self.kernel + other.kernel)


def thread_spent() -> Spent:
    """By the calling thread, since it began."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return Spent(usage.ru_utime, usage.ru_stime)


class Profiled:
    """Where threads spend their time: each calls `begin` on itself."""

    def __init__(self) -> None:
        self._profiles: list[cProfile.Profile] = []

    def begin(self) -> None:
        """Profile the calling thread from now on."""
        profile = cProfile.Profile()
        try:
            profile.enable()
        except ValueError:  # from Python 3.12 on there is one for all threads, and it is on already
            return
        self._profiles.append(profile)

    def told(self) -> str:
        """The functions that took most, with their share of the time, waiting left out."""
        took: Counter[str] = Counter()
        for profile in self._profiles:
            profile.disable()
            for entry in profile.getstats():
                took[_name(entry.code)] += int(entry.inlinetime * 1e9)
        for waiting in ("epoll.poll", "lock.acquire", "profiler.disable", "profiler.enable"):
            took.pop(waiting, None)
        return _shares(took.most_common(SHOWN), took.total())


def _shares(most: Iterable[tuple[str, int]], total: int) -> str:
    return ", ".join(f"{name} {time / total:.0%}" for name, time in most) if total else "nothing"


def _name(code: CodeType | str) -> str:
    if isinstance(code, str):
        found = _BUILTIN.match(code)
        if not found:
            function = _FUNCTION.match(code)
            return function[1] if function else code
        owner = (found[2] or "").rpartition(".")[2].lower()
        return f"{owner}.{found[1]}" if owner else found[1]
    return f"{Path(code.co_filename).stem}.{code.co_name}"


def limit(costs: tuple[float | None, float | None], kernel: tuple[float | None, float | None], left: float,
          profiled: Callable[[], str]) -> str:  # fmt: skip
    """What keeps a row from its goal: microseconds for each packet, ours and the peer's, and a profile of ours.

    `left` is what the goal leaves us of processor time.
    """
    told = []
    if costs[0] is not None and costs[1] is not None:
        parts = [f"{cost:.2f} µs" + (f" ({part:.2f} the kernel's)" if part is not None else "")
                 for cost, part in zip(costs, kernel, strict=True) if cost is not None]  # fmt: skip
        told.append(f"a packet costs {parts[0]}, the peer's {parts[1]}; the goal leaves {left:.2f} µs")
    told.append(f"profile of ours: {profiled()}")
    return "; ".join(told)
