"""The cells of the matrix: made from the rows, chosen, and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from emulator.matrix.rows import (
    CLOSURE,
    CONTAINERS,
    CORE,
    DPC,
    FAST,
    FAST_STREAM,
    FLOWS,
    GRADES,
    INJECTING,
    INLINE,
    NO_PROXY,
    PARTIAL,
    PENDING,
    PROXY,
    REDIRECT,
    SOURCES,
    STREAM,
    THREADED_DPC,
    TRIGGERS,
    WORK_ITEM,
    Row,
    discard_rows,
    verdict_rows,
)

PASSED, FAILED, UNMEASURED, NOT_EMULATED = "passed", "failed", "unmeasured", "not emulated"
STATUSES = (PASSED, FAILED, UNMEASURED, NOT_EMULATED)
FAMILIES = ("ipv4", "ipv6")
BY_CALLOUT, BY_FILTER = "callout", "filter"


@dataclass
class Cell:
    """One thing to be shown: a scenario at a layer, by one trigger, from one source, for one family."""

    row: str
    scenario: str
    layer: str
    family: str
    trigger: str
    """inline, DPC, threaded DPC, work item; for verdicts: by a callout or by a plain filter."""
    source: str
    """What is injected: clone, new list, edited, fast; for verdicts: which."""
    grade: str
    protocols: tuple[str, ...] = ()
    status: str = UNMEASURED
    reason: str = ""
    """Why it did not pass."""
    measured: str = ""
    """What was seen, in words; empty when nothing was."""

    @property
    def name(self) -> str:
        """The cell in one line."""
        return f"{self.row} {self.scenario} {self.layer} {self.family} {self.trigger} {self.source}"

    def as_plain(self) -> dict[str, Any]:
        """Everything, as values that JSON can carry."""
        return asdict(self)


def all_cells() -> list[Cell]:
    """Every cell of the matrix, in the order of its rows."""
    return [*_injecting(), *_streams(), *_others(), *_verdicts()]


def _injecting() -> Iterator[Cell]:
    """30 layers times S4, S5, S6 times four triggers, and S7: 390, less the inline ones that are TCP only."""
    for row in INJECTING:
        kinds = [(scenario, source, trigger) for scenario, source in SOURCES.items() for trigger in TRIGGERS]
        for scenario, source, trigger in [*kinds, ("S7", FAST, INLINE)]:
            protocols = tuple(name for name in row.protocols if name != "tcp" or trigger != INLINE)
            if protocols:
                yield from _cells(row, scenario, trigger, source, protocols=protocols, counted=True)


def _streams() -> Iterator[Cell]:
    for trigger in TRIGGERS:
        yield from _cells(STREAM, "S8", trigger, "clone")
    yield from _cells(FAST_STREAM, "S9", INLINE, FAST)


def _others() -> Iterator[Cell]:
    for row in (*PENDING, CLOSURE):
        for trigger in (DPC, THREADED_DPC, WORK_ITEM):
            yield from _cells(row, "S11" if row is CLOSURE else "S10", trigger, "pended")
    yield from _cells(FLOWS, "S12", INLINE, "context")
    for row in PROXY:
        for trigger in TRIGGERS:
            yield from _cells(row, "S13", trigger, "rewritten")
    for row in NO_PROXY:
        yield from _cells(row, "S13", INLINE, "rewritten")
    for row in REDIRECT:
        yield from _cells(row, "S14", INLINE, "redirected")
    yield from _cells(CONTAINERS, "S15", "none", "none")


def _verdicts() -> Iterator[Cell]:
    for row in verdict_rows(44, CORE):
        for source in ("block", "permit", "continue"):
            for trigger in (BY_CALLOUT, BY_FILTER):
                if source != "continue" or trigger == BY_CALLOUT:  # a plain filter cannot go on
                    yield from _cells(row, "S1", trigger, source)
    for row in verdict_rows(45, CORE):
        yield from _cells(row, "S2", BY_CALLOUT, "random")
    for row in (*verdict_rows(46, PARTIAL), *discard_rows()):
        yield from _cells(row, "S3", BY_CALLOUT, "examined")


def _cells(
    row: Row, scenario: str, trigger: str, source: str, *, protocols: tuple[str, ...] = (), counted: bool = False
) -> Iterator[Cell]:
    for place, family in enumerate(("any",) if row.single else FAMILIES):
        number = row.number + (place if counted else 0)
        yield Cell(
            f"M{number}", scenario, row.layer, family, trigger, source, row.grade, protocols or row.protocols,
            NOT_EMULATED if row.missing else UNMEASURED, row.missing,
        )  # fmt: skip


def sample(cells: Sequence[Cell], every: int) -> list[Cell]:
    """About one of `every` cells that can be run, spread over all; the others, which cost nothing, stay.

    Every scenario at every layer is in it, and over the whole every trigger and every source.
    """
    chosen: list[Cell] = []
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.status == NOT_EMULATED:
            chosen.append(cell)
        else:
            groups.setdefault((cell.scenario, cell.layer), []).append(cell)
    for place, members in enumerate(groups.values()):
        chosen += members[place % min(every, len(members)) :: every]
    order = {id(cell): place for place, cell in enumerate(cells)}
    return sorted(chosen, key=lambda cell: order[id(cell)])


def counted(cells: Iterable[Cell]) -> dict[str, int]:
    """How many cells have each status, and how many there are."""
    found = dict.fromkeys((*STATUSES, "total"), 0)
    for cell in cells:
        found[cell.status] += 1
        found["total"] += 1
    return found


def by_grade(cells: Sequence[Cell]) -> dict[str, dict[str, int]]:
    """The counts of each grade that has cells."""
    found = {grade: counted(cell for cell in cells if cell.grade == grade) for grade in GRADES}
    return {grade: counts for grade, counts in found.items() if counts["total"]}
