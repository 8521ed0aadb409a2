"""`wfplab torture`: chooses the runs, tells how they go, and what they came to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from emulator.run.loading import BadTarget
from emulator.torture.figures import Figures, as_json, as_text, exit_status
from netns.errors import MissingFeature, NotPermitted

KINDS = ("faults", "overload", "soak", "crash", "fuzz")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asked for."""

    quick: bool = False
    json: bool = False
    seconds: float | None = None
    """Of the soak and of the overload."""
    kills: int | None = None
    cases: int | None = None
    guided: float = 0.0
    seed: int | None = None
    keep: Path | None = None


def run(kinds: Sequence[str], asked: Asked, *, out: TextIO, err: TextIO) -> int:
    """Do what is asked, or all kinds; 0 only if nothing was lost, left or refused.

    Raises BadTarget for a kind that does not exist, LabError when Linux refuses.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise BadTarget(f"there is no torture {unknown[0]}; there are {', '.join(KINDS)}")
    done = []
    for kind in kinds or KINDS:
        err.write(f"wfplab: torture {kind}{', quick' if asked.quick else ''} …\n")
        err.flush()
        done.append(_one(kind, asked))
    (as_json if asked.json else as_text)(done, out)
    out.flush()
    return exit_status(done)


def _one(kind: str, asked: Asked) -> Figures:
    try:
        return _work(kind, asked)()
    except (MissingFeature, NotPermitted) as error:
        return Figures(kind, missing=str(error))


def _work(kind: str, asked: Asked) -> Callable[[], Figures]:
    if kind == "faults":
        from emulator.torture.faults import run as faults

        return lambda: faults(quick=asked.quick)
    if kind == "crash":
        from emulator.torture.crash import run as crash

        return lambda: crash(quick=asked.quick, kills=asked.kills, seed=asked.seed)
    if kind == "fuzz":
        from emulator.torture.fuzz import run as fuzz

        return lambda: fuzz(
            quick=asked.quick, cases=asked.cases, seed=asked.seed, keep=asked.keep, guided=asked.guided
        )
    from emulator.torture import load

    work = load.soak if kind == "soak" else load.overload
    return lambda: work(quick=asked.quick, seconds=asked.seconds)


def main(kinds: Sequence[str], asked: Asked) -> int:
    """`run` on standard output and error."""
    return run(kinds, asked, out=sys.stdout, err=sys.stderr)
