"""`wfplab matrix`: chooses cells, measures them, and says how many passed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emulator.matrix.cells import FAILED, NOT_EMULATED, UNMEASURED, Cell, all_cells, counted, sample
from emulator.matrix.printing import Progress, as_document, as_text
from emulator.run.loading import BadTarget

PASSED_ALL, FAILED_SOME, CANNOT_RUN = 0, 1, 77
SAMPLED = 5
"""--quick measures about one cell of so many."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asked for."""

    quick: bool = False
    json: bool = False
    verbose: bool = False
    queue: str = ""
    """Name of the queue backend; empty is the default one."""


def chosen(targets: Sequence[str], *, quick: bool) -> list[Cell]:
    """The cells of these rows (M7), scenarios (S13) or layers (STREAM); of all, if none is named.

    Raises BadTarget for what is none of them.
    """
    cells = all_cells()
    wanted: list[Cell] = []
    for target in targets:
        named = target.upper()
        found = [cell for cell in cells if named in (cell.row, cell.scenario, cell.layer)]
        if not found:
            known = "rows are M1 to M48, scenarios S1 to S15"
            raise BadTarget(f"the matrix has no row, scenario or layer {target}; {known}")
        wanted += [cell for cell in found if cell not in wanted]
    cells = wanted or cells
    return sample(cells, SAMPLED) if quick else cells


def run(targets: Sequence[str], asked: Asked, *, before: Callable[[], None] = lambda: None) -> int:
    """Measure, print, and tell the exit status: 0 when every cell that is emulated has passed.

    `before` is called when it is known what is to run.  Raises BadTarget, LabError, KeyboardInterrupt.
    """
    cells = chosen(targets, quick=asked.quick)
    before()
    from emulator.matrix.running import run as measure_all
    from emulator.run.interrupts import orderly_end
    from emulator.run.session import clear_up_before, queue_named
    from emulator.topology import HostOptions

    options = HostOptions(backend=queue_named(asked.queue)) if asked.queue else HostOptions()
    clear_up_before()
    progress = Progress(sum(cell.status != NOT_EMULATED for cell in cells), sys.stderr, quiet=asked.json)
    with orderly_end():
        try:
            measure_all(cells, options, begins=progress.begins, ended=progress.ended)
        except BaseException:
            progress.interrupted()
            raise
    progress.finished()
    if asked.json:
        as_document(cells, sys.stdout, sampled=asked.quick)
    else:
        as_text(cells, sys.stdout, verbose=asked.verbose)
    sys.stdout.flush()
    return exit_status(cells)


def exit_status(cells: Sequence[Cell]) -> int:
    """0 when everything emulated has passed; 77 when nothing failed, and something could not be measured."""
    counts = counted(cells)
    if counts[FAILED]:
        return FAILED_SOME
    return CANNOT_RUN if counts[UNMEASURED] else PASSED_ALL
