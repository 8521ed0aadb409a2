"""What a run of the matrix came to: a table for people, a document for programs, lines while it goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any, TextIO

from emulator.matrix.cells import FAILED, NOT_EMULATED, PASSED, STATUSES, UNMEASURED, Cell, by_grade, counted
from emulator.run.report import colourless

_AGAIN = "\r\x1b[K"
_STYLES = {PASSED: "green", FAILED: "bold red", UNMEASURED: "bold yellow", NOT_EMULATED: "dim"}


class Progress:
    """Says which cell is measured: on a terminal in one line, elsewhere a line for each scenario and layer."""

    def __init__(self, total: int, out: TextIO, *, quiet: bool) -> None:
        self._total = total
        self._out = out
        self._transient = out.isatty()
        self._quiet = quiet and not self._transient
        self._done = 0
        self._group: list[Cell] = []

    def begins(self, cell: Cell) -> None:
        """A cell is measured next."""
        if self._group and (self._group[0].scenario, self._group[0].layer) != (cell.scenario, cell.layer):
            self._tell()
        if self._transient:
            self._out.write(f"{_AGAIN}[{self._done + 1}/{self._total}] {cell.name} …")
            self._out.flush()

    def ended(self, cell: Cell) -> None:
        """A cell was measured."""
        self._done += 1
        self._group.append(cell)
        if cell.status != PASSED:
            self._line(f"{cell.name}: {cell.status}: {cell.reason}")

    def finished(self) -> None:
        """There are no more."""
        if self._group:
            self._tell()
        if self._transient:
            self._out.write(_AGAIN)
            self._out.flush()

    def interrupted(self) -> None:
        """The run ends before its time; its beds have been removed."""
        self._line(f"wfplab: ended after {self._done} of {self._total} cells; what they had made is removed")

    def _tell(self) -> None:
        first, passed = self._group[0], sum(1 for cell in self._group if cell.status == PASSED)
        if not self._transient and not self._quiet:
            self._line(
                f"[{self._done}/{self._total}] {first.scenario} {first.layer}: {passed} of {len(self._group)} passed"
            )
        self._group = []

    def _line(self, text: str) -> None:
        self._out.write((_AGAIN if self._transient else "") + text + "\n")
        self._out.flush()


def as_document(cells: Sequence[Cell], out: TextIO, *, sampled: bool) -> None:
    """Write one JSON document: the counts, those of each grade, and every cell."""
    counts = counted(cells)
    document: dict[str, Any] = {
        "passed": counts[PASSED],
        "total": counts["total"],
        "failed": counts[FAILED],
        "unmeasured": counts[UNMEASURED],
        "not_emulated": counts[NOT_EMULATED],
        "sampled": sampled,
        "grades": by_grade(cells),
        "cells": [cell.as_plain() for cell in cells],
    }
    json.dump(document, out, indent=1)
    out.write("\n")


def as_text(cells: Sequence[Cell], out: TextIO, *, verbose: bool) -> None:
    """Write the tables of layers and of grades, what is not emulated and why, and what did not pass."""
    from rich.console import Console

    console = Console(file=out, no_color=colourless() or None, highlight=False, soft_wrap=True)
    if verbose:
        for cell in cells:
            console.print(f"{cell.name}: {cell.status}  {cell.measured or cell.reason}", style=_STYLES[cell.status])
    console.print(_layers(cells))
    _not_emulated(cells, console)
    console.print(_grades(cells))
    for cell in cells:
        if cell.status in (FAILED, UNMEASURED):
            console.print(f"{cell.name}: {cell.status}: {cell.reason}", style=_STYLES[cell.status], markup=False)
    counts = counted(cells)
    realisable = counts["total"] - counts[NOT_EMULATED]
    console.print(f"{counts[PASSED]} of {realisable} cells passed; {counts[NOT_EMULATED]} are not emulated")


def _layers(cells: Sequence[Cell]) -> Any:
    """Cells passed by layer and scenario, of those that can be run; a dash where a scenario has none."""
    from rich.table import Table

    can = [cell for cell in cells if cell.status != NOT_EMULATED]
    columns = [name for name in _COLUMNS if any(_column(cell) == name for cell in can)]
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(("layer", *columns)):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for line in dict.fromkeys(map(_line, can)):
        table.add_row(line, *(_share([c for c in can if (_line(c), _column(c)) == (line, name)]) for name in columns))
    return table


_COLUMNS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8-S13")


def _column(cell: Cell) -> str:
    return cell.scenario if cell.scenario in _COLUMNS else _COLUMNS[-1]


def _line(cell: Cell) -> str:
    return "*_DISCARD" if cell.layer.endswith("_DISCARD") else cell.layer


def _share(cells: Sequence[Cell]) -> str:
    if not cells:
        return "-"
    passed = sum(1 for cell in cells if cell.status == PASSED)
    style = _STYLES[PASSED if passed == len(cells) else FAILED]
    return f"[{style}]{passed}/{len(cells)}[/]"


def _not_emulated(cells: Sequence[Cell], console: Any) -> None:
    """Which layers and scenarios are left out, one line for each reason."""
    left = sorted((cell for cell in cells if cell.status == NOT_EMULATED), key=lambda cell: cell.reason)
    console.print("\nnot emulated:" if left else "")
    for reason, members in groupby(left, key=lambda cell: cell.reason):
        some = list(members)
        rows = sorted({cell.row for cell in some}, key=lambda row: int(row[1:]))
        console.print(f"  {len(some)} cells, {_spans(rows)}: {reason}", style=_STYLES[NOT_EMULATED])
    console.print()


def _spans(rows: Sequence[str]) -> str:
    """M25 M26 M27 M33 as M25-M27, M33."""
    numbers, found = [int(row[1:]) for row in rows], []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        span = [number for _, number in run]
        found.append(f"M{span[0]}" + (f"-M{span[-1]}" if len(span) > 1 else ""))
    return ", ".join(found)


def _grades(cells: Sequence[Cell]) -> Any:
    """One line for each grade."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("grade", *STATUSES, "total"):
        table.add_column(heading, justify="left" if heading == "grade" else "right", no_wrap=True)
    for grade, counts in (*by_grade(cells).items(), ("all", counted(cells))):
        style = "bold" if grade == "all" else ""
        table.add_row(grade, *(str(counts[status]) for status in STATUSES), str(counts["total"]), style=style)
    return table
