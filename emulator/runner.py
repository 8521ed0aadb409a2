"""Running scenarios: each on a bed of its own, once for every family, into results that say what was seen."""

from __future__ import annotations

import inspect
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_type_hints

from emulator.errors import WfpError
from emulator.scenario import FAMILY_NAMES, Check, Checks, Scenario, scenarios_in
from emulator.wfptypes import AddressFamily
from netns.errors import LabError

PASSED, FAILED, UNMEASURED = "passed", "failed", "unmeasured"


@dataclass
class Result:
    """What one scenario came to, over all its families."""

    name: str
    summary: str
    families: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    violations: list[dict[str, str]] = field(default_factory=list)
    books: dict[str, Any] = field(default_factory=lambda: {"hosts": {}, "closed": True})
    seconds: float = 0.0
    measured: bool = True

    @property
    def status(self) -> str:
        """passed, failed or unmeasured."""
        if not self.measured or not self.checks:
            return UNMEASURED if all(check.ok for check in self.checks) else FAILED
        return PASSED if all(check.ok for check in self.checks) else FAILED

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "summary": self.summary,
            "families": self.families,
            "status": self.status,
            "checks": [vars(check) for check in self.checks],
            "violations": self.violations,
            "books": self.books,
            "seconds": round(self.seconds, 3),
        }


def built_in() -> list[Scenario]:
    """All scenarios that come with the project, in the order of their modules' names."""
    import emulator.scenarios as package

    found: list[Scenario] = []
    for item in iter_modules(package.__path__):
        found += scenarios_in(import_module(f"{package.__name__}.{item.name}"))
    return found


def chosen(names: Iterable[str]) -> list[Scenario]:
    """The built-in scenarios of these names, or all; raises UnknownScenario."""
    everything = built_in()
    wanted = list(names)
    if not wanted:
        return everything
    known = {item.name: item for item in everything}
    for name in wanted:
        if name not in known:
            raise UnknownScenario(name, list(known))
    return [known[name] for name in wanted]


class UnknownScenario(LabError):
    """Raised for a name that no scenario has."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        from difflib import get_close_matches

        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        super().__init__(f"there is no scenario {name}{hint} `wfplab run --list` shows all")


def run_one(item: Scenario, options: Any = None, on_step: Callable[[str], None] | None = None) -> Result:
    """Run one scenario for each of its families, each on a new bed; never raises for what goes wrong in it."""
    result = Result(item.name, item.summary)
    began = time.monotonic()
    for family in item.families:
        result.families.append(FAMILY_NAMES[family])
        checks = Checks(on_step=on_step)
        try:
            _run_family(item, family, checks, result, options)
        except (LabError, WfpError, TimeoutError, OSError, AssertionError) as error:
            checks.taken.append(Check("ran to its end", False, "no exception", _told(error)))
        except Exception as error:
            checks.taken.append(Check("ran to its end", False, "no exception", _told(error)))
        result.measured = result.measured and bool(checks.taken)
        prefix = f"{FAMILY_NAMES[family]}: " if len(item.families) > 1 else ""
        result.checks += [Check(prefix + check.name, check.ok, check.expected, check.seen) for check in checks.taken]
    result.seconds = time.monotonic() - began
    return result


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (in {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _run_family(item: Scenario, family: AddressFamily, checks: Checks, result: Result, options: Any) -> None:
    from emulator.topology import Bed, HostOptions

    wanted = options or HostOptions()
    hints = get_type_hints(item.function)
    beds: dict[str, Bed] = {}
    arguments: dict[str, Any] = {}
    try:
        for name in item.needs:
            kind = hints.get(name)
            if name == "check":
                arguments[name] = checks
            elif name == "family":
                arguments[name] = family
            elif inspect.isclass(kind) and issubclass(kind, Bed):
                arguments[name] = beds[name] = kind(wanted)
            else:
                raise LabError(f"scenario {item.name} asks for {name!r}, which is no topology, `family` or `check`")
        item.function(**arguments)
        for bed in beds.values():
            _close_books(bed, checks, result, FAMILY_NAMES[family])
    finally:
        for bed in reversed(beds.values()):
            bed.close()


def _close_books(bed: Any, checks: Checks, result: Result, family: str) -> None:
    """Close the emulated hosts, then hold their books, leaks and violations against what was promised."""
    leaks = [leak for stack in bed.stacks for leak in stack.core.leaks()]
    bed.close_stacks()
    rules: list[str] = []
    for host in bed:
        if host.emulated is None:
            continue
        core, books = host.emulated.core, host.emulated.books
        result.books["hosts"][f"{family} {host.name}"] = books.as_dict()
        result.books["closed"] = result.books["closed"] and books.closed
        checks.that(f"the books of {host.name} close", books.closed, books.as_dict())
        for violation in core.violations:
            rules.append(violation.rule)
            result.violations.append({"family": family, "rule": violation.rule, "text": str(violation)})
        checks("Linux refused nothing", [_told(error) for _, error in core.lab_errors], [])
    checks("nothing leaked", leaks, [])
    checks("broken rules", sorted(Counter(rules)), sorted(Counter(checks.expected_violations)))


def run(names: Sequence[str], *, json: bool = False, list_only: bool = False) -> int:
    """Run scenarios and print what they came to; 0 only when everything was measured and passed."""
    from emulator import report

    items = chosen(names)
    if list_only:
        report.listing(items, sys.stdout)
        return 0
    results = []
    with report.progress(len(items), json) as shown:
        for item in items:
            shown.begin(item)
            result = run_one(item, on_step=shown.step)
            results.append(result)
            shown.end(result)
    if json:
        report.as_json(results, sys.stdout)
    else:
        report.summary(results, sys.stdout)
    return 0 if all(result.status == PASSED for result in results) else 1
