"""Scenarios: functions that show one thing on a test bed, and the checks they leave behind.

A scenario names what it needs by its arguments: a topology (`pair`, `routed`, `alone`), `family`, and
`check`.  The command line and pytest run the same function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from emulator.wfptypes import AddressFamily

Function = TypeVar("Function", bound=Callable[..., None])
BOTH = (AddressFamily.INET, AddressFamily.INET6)
FAMILY_NAMES = {AddressFamily.UNSPEC: "any", AddressFamily.INET: "ipv4", AddressFamily.INET6: "ipv6"}


@dataclass(frozen=True)
class Check:
    """One thing that was measured: what was expected, and what was seen."""

    name: str
    ok: bool
    expected: str
    seen: str


@dataclass
class Checks:
    """What one run of a scenario measured.

    Call it with a name, what was seen and what was expected.  A scenario that checks nothing proves
    nothing: it counts as unmeasured.
    """

    taken: list[Check] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    expected_violations: list[str] = field(default_factory=list)
    on_step: Callable[[str], None] | None = None

    def __call__(self, name: str, seen: object, expected: object) -> bool:
        """Take a check: `seen` has to equal `expected`; tells whether it does."""
        ok = bool(seen == expected)
        self.taken.append(Check(name, ok, _short(expected), _short(seen)))
        return ok

    def that(self, name: str, holds: bool, seen: object = None) -> bool:
        """Take a check that something holds; `seen` is what to show when it does not."""
        self.taken.append(Check(name, bool(holds), "True", _short(holds if seen is None else seen)))
        return bool(holds)

    def step(self, text: str) -> None:
        """Say what happens next, for whoever watches."""
        self.steps.append(text)
        if self.on_step is not None:
            self.on_step(text)

    def expect_violation(self, *rules: str) -> None:
        """Say which rules this scenario breaks on purpose; others, and missing ones, fail it."""
        self.expected_violations.extend(rules)

    @contextmanager
    def raises(self, name: str, kind: type[BaseException]) -> Iterator[None]:
        """Take a check that the block raises `kind`."""
        try:
            yield
        except kind:
            self.taken.append(Check(name, True, kind.__name__, kind.__name__))
        except Exception as error:
            self.taken.append(Check(name, False, kind.__name__, f"{type(error).__name__}: {error}"))
        else:
            self.taken.append(Check(name, False, kind.__name__, "nothing was raised"))

    @property
    def passed(self) -> bool:
        """True when something was measured and all of it holds."""
        return bool(self.taken) and all(check.ok for check in self.taken)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 400 else f"{text[:380]}… ({len(text)} characters)"


@dataclass(frozen=True)
class Scenario:
    """A function made to be run on a test bed, and what is known about it."""

    name: str
    function: Callable[..., None]
    families: tuple[AddressFamily, ...]
    cases: tuple[str, ...]
    """Acceptance cases it stands for, such as B01."""
    group: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the arguments that have to be supplied."""
        return tuple(inspect.signature(self.function).parameters)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


def scenario(
    *, families: tuple[AddressFamily, ...] = BOTH, cases: tuple[str, ...] = (), group: str = ""
) -> Callable[[Function], Function]:
    """Mark a function as a scenario, run once for each family; its own name is the scenario's."""

    def mark(function: Function) -> Function:
        where = group or function.__module__.rpartition(".")[2]
        function.__wfplab__ = Scenario(function.__name__, function, families, cases, where)  # type: ignore[attr-defined]
        return function

    return mark


def scenarios_in(module: Any) -> list[Scenario]:
    """The scenarios that a module defines, in the order of their definition."""
    found = []
    for value in vars(module).values():
        marked = getattr(value, "__wfplab__", None)
        if isinstance(marked, Scenario) and value.__module__ == module.__name__:
            found.append(marked)
    return found
