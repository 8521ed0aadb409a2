"""Checks: what a scenario measured, what it expected, and what it did on the way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from emulator.expect import Like, compare

_OWN = Path(__file__).parent
_SHOWN_MOST = 400


@dataclass(frozen=True)
class Check:
    """One thing that was measured: what was expected, and what was seen."""

    name: str
    ok: bool
    expected: str
    seen: str
    where: str = ""
    """File and line of a check that failed, as `redact.py:23`."""


@dataclass
class Checks:
    """What one run of a scenario measured.

    Call it with a name, what was seen and what was expected.  A scenario that checks nothing proves
    nothing: it counts as unmeasured.  After a failed check the scenario goes on.
    """

    taken: list[Check] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    expected_violations: list[str] = field(default_factory=list)
    full: bool = False
    """Whether the long version is wanted, of scenarios that have one."""
    on_step: Callable[[str], None] | None = None
    on_check: Callable[[Check], None] | None = None
    """Told of every check at once: for whoever watches, or pauses on a failure."""

    def __call__(self, name: str, seen: object, expected: object) -> bool:
        """Take a check: `seen` has to equal `expected`; tells whether it does."""
        return self.take(name, bool(seen == expected), _short(expected), _short(seen))

    def that(self, name: str, holds: object, seen: object = None) -> bool:
        """Take a check that something holds; `seen` is what to show when it does not."""
        return self.take(name, bool(holds), "True", _short(holds if seen is None else seen))

    def packets(self, name: str, seen: Iterable[bytes], expected: Sequence[Like]) -> bool:
        """Take a check that these packets, from their IP header on, are like those: as many, in this order."""
        ok, wanted, found = compare(list(seen), expected)
        return self.take(name, ok, wanted, found)

    def step(self, text: str) -> None:
        """Say what happens next, for whoever watches."""
        self.steps.append(text)
        if self.on_step is not None:
            self.on_step(text)

    def expect_violation(self, *rules: str) -> None:
        """Say which rules this scenario breaks on purpose, once for each time; others, and missing ones, fail it."""
        self.expected_violations.extend(rules)

    @contextmanager
    def raises(self, name: str, kind: type[BaseException]) -> Iterator[None]:
        """Take a check that the block raises `kind`; another exception is the check's failure, and goes no further."""
        try:
            yield
        except kind:
            self.take(name, True, kind.__name__, kind.__name__)
        except Exception as error:
            self.take(name, False, kind.__name__, f"{type(error).__name__}: {error}")
        else:
            self.take(name, False, kind.__name__, "nothing was raised")

    def take(self, name: str, ok: bool, expected: str, seen: str) -> bool:
        """Take a check whose answer is known; tells whether it holds."""
        check = Check(name, ok, expected, seen, "" if ok else _caller())
        self.taken.append(check)
        if self.on_check is not None:
            self.on_check(check)
        return ok

    @property
    def passed(self) -> bool:
        """True when something was measured and all of it holds."""
        return bool(self.taken) and all(check.ok for check in self.taken)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_MOST else f"{text[: _SHOWN_MOST - 20]}… ({len(text)} characters)"


def _caller() -> str:
    """The innermost line outside of this file and of the standard library's context managers."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.endswith(("emulator/checks.py", "contextlib.py")):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    if path.is_relative_to(_OWN / "run"):  # the runner's own checks: there is no line of the scenario
        return ""
    return f"{path.name}:{frame.f_lineno}"
