"""Results for people and for machines: progress, a readable summary, one JSON document."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from emulator.run.listener import Listener
from emulator.run.results import PASSED, UNMEASURED, counts

if TYPE_CHECKING:
    from emulator.checks import Check
    from emulator.run.results import Result
    from emulator.run.session import Wanted
    from emulator.scenario import Scenario

QUIET, NORMAL, VERBOSE = range(3)
_OF_ONE_RULE = 3
_SECTION_LINES = 40
"""Most lines of one section, unless verbose: the last ones."""
_STYLES = {"passed": "green", "failed": "bold red", "unmeasured": "bold yellow"}
_AGAIN = "\r\x1b[K"


class Progress(Listener):
    """Says which scenario runs, and how each one ended; quiet only how those ended that did not pass."""

    def __init__(self, total: int, *, verbosity: int, out: TextIO) -> None:
        self._total = total
        self._verbosity = verbosity
        self._out = out
        self._names: dict[int, str] = {}
        self._transient = out.isatty() and verbosity == NORMAL

    def begun(self, number: int, item: Scenario) -> None:
        self._names[number] = item.name
        self._passing(number, item.name)
        if self._verbosity == VERBOSE:
            self._line(f"[{number + 1}/{self._total}] {item.name}: {item.summary}")

    def step(self, number: int, text: str) -> None:
        self._passing(number, f"{self._names[number]}: {text}")
        if self._verbosity == VERBOSE:
            self._line(f"    {self._names[number]}: {text}")

    def checked(self, number: int, check: Check) -> None:
        if self._verbosity == VERBOSE:
            self._line(f"    {self._names[number]}: {'ok  ' if check.ok else 'NOT '} {check.name}")

    def ended(self, number: int, result: Result) -> None:
        if self._verbosity > QUIET or result.status != PASSED:
            self._clear()
            self._line(f"[{number + 1}/{self._total}] {result.name}: {result.status} ({result.seconds:.2f} s)")

    def interrupted(self) -> None:
        self._clear()
        self._line("wfplab: interrupted; removing what the run made")

    def aside(self) -> AbstractContextManager[object]:
        self._clear()
        return super().aside()

    def _passing(self, number: int, text: str) -> None:
        """A line that the next one replaces; only on a terminal."""
        if self._transient:
            self._out.write(f"{_AGAIN}[{number + 1}/{self._total}] {text} …")
            self._out.flush()

    def _clear(self) -> None:
        if self._transient:
            self._out.write(_AGAIN)

    def _line(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


@contextmanager
def watching(wanted: Wanted, total: int, out: TextIO) -> Iterator[Listener]:
    """Whoever is told of the run: the live view on a terminal, if that is wanted, else lines of text."""
    if wanted.live and out.isatty():
        from emulator.run.live import LiveView

        with LiveView(total, out) as view:
            yield view
        return
    unasked = wanted.json and not wanted.progress
    verbosity = QUIET if unasked and wanted.verbosity == NORMAL else wanted.verbosity
    yield Progress(total, verbosity=verbosity, out=out)


def colourless() -> bool:
    """True when the environment asks for no colours, by NO_COLOR."""
    return bool(os.environ.get("NO_COLOR"))


def as_json(results: Sequence[Result], out: TextIO) -> None:
    """One document: scenarios with their checks, violations and books, and a summary."""
    document: dict[str, Any] = {
        "scenarios": [result.as_dict() for result in results],
        "summary": counts(results),
    }
    json.dump(document, out, indent=1)
    out.write("\n")


def summary(results: Sequence[Result], out: TextIO, *, verbosity: int = NORMAL) -> None:
    """A table of the scenarios, and everything about those that did not pass; verbose, about all."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, no_color=colourless() or None, highlight=False, soft_wrap=True)
    if verbosity > QUIET:
        console.print(_table(results))
    for result in results:
        if result.status != PASSED or verbosity == VERBOSE:
            _explain(result, console, full=verbosity == VERBOSE)
    total = counts(results)
    console.print(Text(", ".join(f"{number} {word}" for word, number in total.items())))


def _table(results: Sequence[Result]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("scenario", "families", "checks", "packets", "result"):
        table.add_column(heading, justify="right" if heading in ("checks", "packets") else "left", no_wrap=True)
    for result in results:
        held = sum(1 for check in result.checks if check.ok)
        table.add_row(
            Text(result.name),
            " ".join(result.families),
            f"{held}/{len(result.checks)}",
            str(_packets(result)),
            Text(result.status, style=_STYLES[result.status]),
        )
    return table


def _packets(result: Result) -> int:
    hosts = result.books["hosts"].values()
    return sum(hook["offered"] for host in hosts for hook in host["hooks"].values())


def _explain(result: Result, console: Any, *, full: bool) -> None:
    from rich.text import Text

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style))

    say(f"\n{result.name}: {result.summary}", "bold")
    if result.status == UNMEASURED or result.unmeasured:
        for reason in result.unmeasured:
            say(f"  nothing was measured: {reason}", _STYLES["unmeasured"])
    for check in result.checks:
        if not check.ok:
            say(f"  {check.name}{f' ({check.where})' if check.where else ''}", _STYLES["failed"])
            say(f"    expected {check.expected}\n    seen     {check.seen}")
        elif full:
            say(f"  {check.name}: {check.seen}")
    _violations(result, say, full=full)
    if full:
        for step in result.steps:
            say(f"  step: {step}")
        say(f"  books: {json.dumps(result.books)}")
    if result.status != PASSED:
        _evidence(result, say, full=full)


def _violations(result: Result, say: Any, *, full: bool) -> None:
    """Each broken rule with its message; of many of one rule the first ones, unless verbose."""
    told: Counter[tuple[str, str]] = Counter()
    for violation in result.violations:
        kind = violation["family"], violation["rule"]
        told[kind] += 1
        if full or told[kind] <= _OF_ONE_RULE:
            say(f"  broken rule, {violation['family']}: {violation['text']}")
    for (family, rule), times in told.items():
        if not full and times > _OF_ONE_RULE:
            say(f"  broken rule, {family}: {rule} ... {times - _OF_ONE_RULE} more times (--verbose shows all)")


def _evidence(result: Result, say: Any, *, full: bool) -> None:
    for title, text in result.sections:
        if title.endswith((": broken rules", ": exceptions of callouts")):  # said already
            continue
        lines = text.splitlines()
        cut = 0 if full else max(0, len(lines) - _SECTION_LINES)
        say(f"  {title}" + (f" (the last {_SECTION_LINES} of {len(lines)} lines)" if cut else ""))
        for line in lines[cut:]:
            say(f"    {line}")
