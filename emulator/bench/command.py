"""`wfplab bench`: chooses the rows, tells how they go, and prints what they came to."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from subprocess import SubprocessError
from typing import Any, Final, TextIO

from emulator.bench.place import Place, machine
from emulator.bench.programs import Programs
from emulator.bench.row import Failed, Result, Row, Skipped, measured
from emulator.run.loading import BadTarget
from netns.errors import LabError, MissingFeature

KINDS: Final = ("queued", "sends", "latency", "many", "unmatched", "labs", "streams")
"""The modules that have rows, in the order they are run."""
MET, MISSED, CANNOT_RUN = 0, 1, 77
Outcome = Result | Skipped | Failed


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asked for."""

    json: bool = False
    quick: bool = False
    only: tuple[str, ...] = ()
    """Parts of names of rows; empty for all."""
    plot: Path | None = None
    """The folder for plots, for which the scale is measured too."""


def all_rows(place: Place, *, quick: bool) -> list[Row | Skipped]:
    """Every row there is, in order."""
    return [row for kind in KINDS for row in import_module(f"emulator.bench.{kind}").rows(place, quick=quick)]


def chosen(rows: Sequence[Row | Skipped], only: Sequence[str]) -> list[Row | Skipped]:
    """Those whose name holds one of `only`; all when that is empty.  Raises BadTarget when one fits none."""
    for name in only:
        if not any(name in row.name for row in rows):
            raise BadTarget(f"no row is called {name}; there are {', '.join(row.name for row in rows)}")
    return [row for row in rows if not only or any(name in row.name for name in only)]


def one(place: Place, row: Row | Skipped) -> Outcome:
    """Measure a row; what keeps it from being measured becomes its outcome."""
    if isinstance(row, Skipped):
        return row
    try:
        result = measured(row)
        if not result.met:
            result.limit = row.limit(result) if row.limit is not None else place.limit(result)
    except MissingFeature as error:
        return Skipped(row.name, row.peer, str(error))
    except (LabError, OSError, RuntimeError, SubprocessError) as error:
        return Failed(row.name, row.peer, f"{type(error).__name__}: {error}")
    return result


def run(asked: Asked, *, out: TextIO, err: TextIO) -> int:
    """Measure what is asked for and print it; the exit status.

    0: every goal was met; 1: one was missed, or a row broke off; 77: none was missed, and something is missing
    here.  Raises BadTarget, LabError, MissingFeature.
    """
    from emulator.bench.table import as_json, as_text

    before = time.monotonic()
    facts = machine()
    with Programs() as programs, Place(programs) as place:
        rows = chosen(all_rows(place, quick=asked.quick), asked.only)
        outcomes: list[Outcome] = []
        for number, row in enumerate(rows, 1):
            _say(err, f"{number}/{len(rows)} {row.name} against {row.peer}")
            outcomes.append(one(place, row))
        facts |= machine() | {"load_before": facts["load"]}
    if asked.plot is not None:
        _plot(asked, outcomes, facts, lambda line: _say(err, line))
    facts["seconds"] = round(time.monotonic() - before, 1)
    (as_json if asked.json else as_text)(outcomes, facts, out)
    out.flush()
    return exit_status(outcomes)


def _say(err: TextIO, line: str) -> None:
    err.write(f"wfplab: bench {line} …\n")
    err.flush()


def _plot(asked: Asked, outcomes: Sequence[Outcome], facts: dict[str, Any], say: Callable[[str], None]) -> None:
    from emulator.bench.plots import draw
    from emulator.bench.scale import all_series

    assert asked.plot is not None
    draw(asked.plot, outcomes, all_series(say, quick=asked.quick), facts)


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """What the process ends with."""
    if any(isinstance(item, Failed) or (isinstance(item, Result) and not item.met) for item in outcomes):
        return MISSED
    return CANNOT_RUN if any(isinstance(item, Skipped) for item in outcomes) or not outcomes else MET


def main(asked: Asked) -> int:
    """`run` on standard output and error."""
    return run(asked, out=sys.stdout, err=sys.stderr)
