"""Results for people and for machines: progress, a readable summary, one JSON document."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from emulator.runner import Result
    from emulator.scenario import Scenario


class Progress:
    """Says on standard error which scenario runs, and how each one ended; nothing when `quiet`."""

    def __init__(self, total: int, *, quiet: bool, out: TextIO) -> None:
        self._total = total
        self._quiet = quiet
        self._out = out
        self._number = 0
        self._live = out.isatty() and not quiet

    def begin(self, item: Scenario) -> None:
        """A scenario begins."""
        self._number += 1
        if self._live:
            self._out.write(f"\r\x1b[K[{self._number}/{self._total}] {item.name} …")
            self._out.flush()

    def step(self, text: str) -> None:
        """A scenario says what it does next."""
        if self._live:
            self._out.write(f"\r\x1b[K[{self._number}/{self._total}] {text} …")
            self._out.flush()

    def end(self, result: Result) -> None:
        """A scenario has ended."""
        if self._quiet:
            return
        if self._live:
            self._out.write("\r\x1b[K")
        line = f"[{self._number}/{self._total}] {result.name}: {result.status} ({result.seconds:.2f} s)"
        self._out.write(f"{line}\n")
        self._out.flush()


@contextmanager
def progress(total: int, quiet: bool) -> Iterator[Progress]:
    """Progress on standard error; a line cut short by an exception is ended."""
    shown = Progress(total, quiet=quiet, out=sys.stderr)
    try:
        yield shown
    finally:
        sys.stderr.flush()


def listing(items: Sequence[Scenario], out: TextIO) -> None:
    """Names and first lines of scenarios."""
    width = max((len(item.name) for item in items), default=0)
    for item in items:
        out.write(f"{item.name:<{width}}  {item.summary}\n")


def counts(results: Sequence[Result]) -> dict[str, int]:
    """How many passed, failed, were unmeasured."""
    found = {"passed": 0, "failed": 0, "unmeasured": 0}
    for result in results:
        found[result.status] += 1
    return found


def as_json(results: Sequence[Result], out: TextIO) -> None:
    """One document: scenarios with their checks, violations and books, and a summary."""
    document: dict[str, Any] = {
        "scenarios": [result.as_dict() for result in results],
        "summary": counts(results),
    }
    json.dump(document, out, indent=1)
    out.write("\n")


def summary(results: Sequence[Result], out: TextIO) -> None:
    """A table of the scenarios, and everything about those that did not pass."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out, no_color="NO_COLOR" in os.environ, highlight=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("scenario", "families", "checks", "packets", "result"):
        table.add_column(heading, justify="right" if heading in ("checks", "packets") else "left", no_wrap=True)
    for result in results:
        colour = {"passed": "green", "failed": "bold red", "unmeasured": "bold yellow"}[result.status]
        held = sum(1 for check in result.checks if check.ok)
        table.add_row(
            Text(result.name),
            " ".join(result.families),
            f"{held}/{len(result.checks)}",
            str(_packets(result)),
            Text(result.status, style=colour),
        )
    console.print(table)
    for result in results:
        if result.status != "passed":
            _explain(result, console)
    total = counts(results)
    console.print(Text(", ".join(f"{number} {word}" for word, number in total.items())))


def _packets(result: Result) -> int:
    hosts = result.books["hosts"].values()
    return sum(hook["offered"] for host in hosts for hook in host["hooks"].values())


def _explain(result: Result, console: Any) -> None:
    from rich.text import Text

    console.print(Text(f"\n{result.name}: {result.summary}", style="bold"))
    if not result.measured:
        console.print(Text("  nothing was measured: a scenario that checks nothing proves nothing"))
    for check in result.checks:
        if not check.ok:
            console.print(Text(f"  {check.name}\n    expected {check.expected}\n    seen     {check.seen}"))
    for violation in result.violations:
        console.print(Text(f"  broken rule, {violation['family']}: {violation['text']}"))
