"""One scenario under many schedules: what failed, under which seeds, and how to see it again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from emulator.checks import Check
from emulator.run.results import PASSED, Result
from emulator.schedule import schedules

if TYPE_CHECKING:
    from emulator.run.runner import Settings
    from emulator.scenario import Scenario

FAILURES_TOLD = 3
"""Seeds whose failures are told in full; the others are counted."""


def run_seeds(item: Scenario, settings: Settings, run: Callable[[Settings], Result]) -> Result:
    """Run a scenario under each schedule of the settings by `run`, into one result.

    A scenario that plays with time itself is run once, as ever.  Raises what `run` raises.
    """
    from emulator.topology import HostOptions

    plain = replace(settings, schedules=0)
    if item.own_timing:
        return run(plain)
    began = time.monotonic()
    whole = Result(item.name, item.summary)
    failed: list[int] = []
    for schedule in schedules(settings.seed, settings.schedules):
        host = replace(settings.host or HostOptions(), schedule=schedule)
        part = run(replace(plain, host=host))
        if part.status != PASSED:
            failed.append(schedule.seed)
        _add(whole, part, schedule.seed, shown=len(failed) <= FAILURES_TOLD)
        if part.missing:
            break
    again = f"`wfplab run {item.target} --seed {failed[0]}` shows it again" if failed else "none"
    whole.checks.append(Check(f"{settings.schedules} schedules pass", not failed, "none fails", _told(failed, again)))
    whole.seconds = time.monotonic() - began
    return whole


def _told(failed: list[int], again: str) -> str:
    if not failed:
        return "none fails"
    seeds = ", ".join(map(str, failed[:20])) + (" …" if len(failed) > 20 else "")
    return f"{len(failed)} fail, of seeds {seeds}: {again}"


def _add(whole: Result, part: Result, seed: int, *, shown: bool) -> None:
    prefix = f"seed {seed}: "
    whole.families = whole.families or part.families
    if part.status != PASSED and shown:
        whole.checks += [replace(check, name=prefix + check.name) for check in part.checks if not check.ok]
        whole.violations += part.violations
        whole.sections += [(prefix + title, text) for title, text in part.sections]
    whole.unmeasured += [prefix + reason for reason in part.unmeasured]
    whole.missing += [prefix + reason for reason in part.missing]
    whole.books["closed"] = whole.books["closed"] and part.books["closed"]
    whole.books["hosts"].update(part.books["hosts"])
