"""What the rows came to: one JSON document, or a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from emulator.bench.row import Failed, Result, Skipped

WIDTH = 140
"""Of what is written to a file."""
Outcome = Result | Skipped | Failed


def as_json(outcomes: Sequence[Outcome], facts: Mapping[str, Any], out: TextIO) -> None:
    """Write one document: every row, and the machine."""
    json.dump({"rows": [item.as_dict() for item in outcomes], "machine": dict(facts)}, out, indent=1)
    out.write("\n")


def as_text(outcomes: Sequence[Outcome], facts: Mapping[str, Any], out: TextIO) -> None:
    """Write a table, then what limits the rows that missed their goal, and why others were not measured."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(file=out, highlight=False, width=None if out.isatty() else WIDTH)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("row", no_wrap=True)
    table.add_column("÷ peer")
    for name in ("ratio", "spread", "goal", "", "CPU µs, ours/peer", "loss", "books"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in outcomes:
        table.add_row(*_cells(item))
    console.print(table)
    for item in outcomes:
        name, note = (item.row.name, item.limit) if isinstance(item, Result) else (item.name, item.why)
        if note:
            console.print(f"{name}: {note}", soft_wrap=True)
    console.print(
        f"\n{facts.get('processors')} × {facts.get('processor')}, Linux {facts.get('kernel')}, "
        f"Python {facts.get('python')}, engine {facts.get('engine')}, load {facts.get('load_before', 0):.1f} to "
        f"{facts.get('load', 0):.1f}; {facts.get('seconds')} s",
        soft_wrap=True,
    )


def _cells(item: Outcome) -> tuple[str, ...]:
    if isinstance(item, Failed):
        return (item.name, item.peer, "", "", "", "broke off", "", "", "")
    if isinstance(item, Skipped):
        return (item.name, item.peer, "", "", "", "skipped", "", "", "")
    low, high = item.spread
    row = item.row
    return (
        row.name,
        row.peer,
        number(item.ratio),
        f"{number(low)}–{number(high)}",
        f"{'≤' if row.at_most else '≥'} {row.goal:g}",
        "met" if item.met else "MISSED",
        "/".join("–" if cost is None else number(cost) for cost in item.cpu()),
        f"{item.loss:.2%}" if item.loss else "0",
        "closed" if item.closed else "OPEN",
    )


def number(value: float) -> str:
    """Three digits that tell something."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
