"""What a torture run came to: figures, and complaints; none of them means that it passed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TextIO

PASSED, FAILED, CANNOT_RUN = 0, 1, 77
_COMPLAINTS_SHOWN = 20


@dataclass
class Figures:
    """One torture run, in numbers."""

    name: str
    figures: dict[str, int | float | str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    """What was lost, left, or went on otherwise than it should, one line each."""
    missing: str = ""
    """Why it could not run here; empty when it did."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """True when it ran, and nothing is to be complained of."""
        return not self.complaints and not self.missing

    def add(self, name: str, number: int | float = 1) -> None:
        """Count something."""
        before = self.figures.get(name, 0)
        assert not isinstance(before, str)
        self.figures[name] = before + number

    def complain(self, line: str) -> None:
        """Note something that must not be."""
        self.complaints.append(line)


def as_json(runs: Sequence[Figures], out: TextIO) -> None:
    """Write one document: every run, and whether all passed."""
    plain = [{**asdict(run), "ok": run.ok} for run in runs]
    out.write(json.dumps({"ok": all(run.ok for run in runs), "runs": plain}, indent=1) + "\n")


def as_text(runs: Sequence[Figures], out: TextIO) -> None:
    """Write each run with its figures and complaints for people."""
    for run in runs:
        state = "passed" if run.ok else f"could not run: {run.missing}" if run.missing else "FAILED"
        out.write(f"{run.name}: {state} ({run.seconds:.1f} s)\n")
        for name, value in run.figures.items():
            shown = f"{value:.2f}" if isinstance(value, float) else str(value)
            out.write(f"    {name}: {shown}\n")
        for line in run.complaints[:_COMPLAINTS_SHOWN]:
            out.write(f"    ! {line}\n")
        if len(run.complaints) > _COMPLAINTS_SHOWN:
            out.write(f"    ! and {len(run.complaints) - _COMPLAINTS_SHOWN} more\n")


def exit_status(runs: Sequence[Figures]) -> int:
    """0 when all passed; 77 when nothing failed and something could not run here."""
    if any(run.complaints for run in runs):
        return FAILED
    return CANNOT_RUN if any(run.missing for run in runs) else PASSED
