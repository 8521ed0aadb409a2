"""Scenarios: functions that show one thing on a test bed, and the checks they leave behind.

A scenario names what it needs by its arguments: a topology (`pair`, `routed`, `alone`, `bridged`,
`two_drivers`, or a bed class of one's own as the annotation), an empty `lab`, `family`, and `check`.
The command line and pytest run the same function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints, overload

from emulator.checks import Check, Checks
from emulator.wfptypes import AddressFamily

if TYPE_CHECKING:
    from emulator.topology import Bed

Function = TypeVar("Function", bound=Callable[..., None])
BOTH = (AddressFamily.INET, AddressFamily.INET6)
FAMILY_NAMES = {AddressFamily.UNSPEC: "any", AddressFamily.INET: "ipv4", AddressFamily.INET6: "ipv6"}
_MARK = "__wfplab__"


class BadScenario(Exception):
    """Raised for a scenario that cannot be run as it is written; the message says what to change."""


@dataclass(frozen=True)
class Scenario:
    """A function made to be run on a test bed, and what is known about it."""

    name: str
    function: Callable[..., None]
    families: tuple[AddressFamily, ...]
    cases: tuple[str, ...]
    """Acceptance cases it stands for, such as B01."""
    rules: tuple[str, ...]
    """Rules of the contract it proves: were one of them broken, the scenario would fail."""
    group: str
    programs: tuple[str, ...] = ()
    """Programs that it starts in its hosts; without one of them nothing can be measured."""
    file: str = ""
    """Where it was read from; empty for one that comes with the project."""
    own_timing: bool = False
    """It decides itself when completions come, and is not run under schedules."""

    @property
    def target(self) -> str:
        """What `wfplab run` takes for it."""
        return f"{self.file}::{self.name}" if self.file else self.name

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.text.partition("\n")[0]

    @property
    def text(self) -> str:
        """The docstring, which draws the topology."""
        return inspect.getdoc(self.function) or ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the arguments that have to be supplied."""
        return tuple(inspect.signature(self.function).parameters)

    def beds(self) -> dict[str, type[Bed] | None]:
        """The kind of bed each argument asks for; None for `check` and `family`.

        Raises BadScenario: an argument that nothing supplies, or an annotation that cannot be read.
        """
        try:
            hints = get_type_hints(self.function)
        except Exception as error:
            raise BadScenario(f"scenario {self.name}: an annotation cannot be read: {error}") from error
        return {name: self._kind(name, hints.get(name)) for name in self.needs}

    def _kind(self, name: str, hint: object) -> type[Bed] | None:
        from emulator.topology import BEDS, Bed

        if hint in (Checks, AddressFamily):
            return None
        if inspect.isclass(hint) and issubclass(hint, Bed):
            return hint
        if hint is None and name in ("check", "family"):
            return None
        if hint is None and name in BEDS:
            return BEDS[name]
        what = f"{name}: {getattr(hint, '__name__', hint)}" if hint is not None else name
        raise BadScenario(
            f"scenario {self.name} asks for `{what}`; it can have `check`, `family`, "
            f"{', '.join(f'`{bed}`' for bed in BEDS)}, or an argument annotated with a class derived from Bed"
        )


@overload
def scenario(function: Function, /) -> Function: ...


@overload
def scenario(
    *,
    families: tuple[AddressFamily, ...] = BOTH,
    cases: tuple[str, ...] = (),
    rules: tuple[str, ...] = (),
    programs: tuple[str, ...] = (),
    group: str = "",
    own_timing: bool = False,
) -> Callable[[Function], Function]: ...


def scenario(
    function: Any = None,
    /,
    *,
    families: tuple[AddressFamily, ...] = BOTH,
    cases: tuple[str, ...] = (),
    rules: tuple[str, ...] = (),
    programs: tuple[str, ...] = (),
    group: str = "",
    own_timing: bool = False,
) -> Any:
    """Mark a function as a scenario, run once for each family; its own name is the scenario's.

    `cases` are the acceptance cases it stands for, `rules` those of the contract that it proves, `programs`
    those it starts in its hosts.  With `own_timing` it is not run under schedules: it decides itself when
    completions come.
    Raises BadScenario for what is no function, has no docstring, or for one of these that is no tuple of names.
    """

    def mark(function: Function) -> Function:
        _check(function, families=families, cases=cases, rules=rules, programs=programs)
        where = group or function.__module__.rpartition(".")[2]
        made = Scenario(function.__name__, function, families, cases, rules, where, programs, own_timing=own_timing)
        setattr(function, _MARK, made)
        return function

    return mark if function is None else mark(function)


def _check(function: object, **named: object) -> None:
    if not inspect.isfunction(function):
        raise BadScenario(f"{function!r} is no function: `@scenario` stands above a function")
    name = function.__name__
    if not inspect.getdoc(function):
        raise BadScenario(f"scenario {name} needs a docstring: one line on what it shows, and a picture of the hosts")
    for what, values in named.items():
        kind = AddressFamily if what == "families" else str
        if not isinstance(values, tuple) or not all(isinstance(value, kind) for value in values):
            raise BadScenario(f"scenario {name}: {what} is a tuple, as in `{what}=({_EXAMPLES[what]},)`")
    if not named["families"]:
        raise BadScenario(f"scenario {name}: families is empty, so it would never run")


_EXAMPLES = {"families": "AddressFamily.INET", "cases": '"B01"', "rules": '"NS-9"', "programs": '"dig"'}


def marked(value: object) -> Scenario | None:
    """The scenario that a decorated function carries; None for anything else."""
    found = vars(value).get(_MARK) if inspect.isfunction(value) else None
    return found if isinstance(found, Scenario) else None


def scenarios_in(module: ModuleType) -> list[Scenario]:
    """The scenarios that a module defines, in the order of their definition."""
    found = []
    for value in vars(module).values():
        item = marked(value)
        if item is not None and item.function.__module__ == module.__name__:
            found.append(item)
    return found


__all__ = ["BOTH", "FAMILY_NAMES", "BadScenario", "Check", "Checks", "Scenario", "marked", "scenario", "scenarios_in"]
