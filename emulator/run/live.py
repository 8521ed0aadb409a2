"""The live view: hosts, packets, states and books of the running scenarios, drawn on a terminal as they change."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TextIO

from emulator.run.listener import Listener
from emulator.run.results import PASSED
from emulator.run.snapshot import Sampler, Snapshot

if TYPE_CHECKING:
    from emulator.checks import Check
    from emulator.run.results import Result
    from emulator.scenario import Scenario
    from emulator.topology import Bed

PER_SECOND = 8


@dataclass
class Running:
    """What is known of a scenario that runs."""

    item: Scenario
    step: str = ""
    good: int = 0
    bad: list[str] = field(default_factory=list)
    last: Snapshot | None = None


class LiveView(Listener):
    """Draws what it is told; each scenario that has ended becomes a line above the picture."""

    def __init__(self, total: int, out: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        from emulator.run.report import colourless

        self._total = total
        self._console = Console(file=out, no_color=colourless() or None, highlight=False)
        self._lock = threading.Lock()
        self._running: dict[int, Running] = {}
        self._live = Live(
            get_renderable=self._picture, console=self._console, refresh_per_second=PER_SECOND, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begun(self, number: int, item: Scenario) -> None:
        with self._lock:
            self._running[number] = Running(item)

    def step(self, number: int, text: str) -> None:
        self._running[number].step = text

    def checked(self, number: int, check: Check) -> None:
        running = self._running[number]
        if check.ok:
            running.good += 1
        else:
            running.bad.append(f"{check.name}: expected {check.expected}, seen {check.seen}")

    def watching(self, number: int, label: str, beds: Sequence[Bed]) -> AbstractContextManager[object]:
        return Sampler(label, beds, lambda taken: self.snapshot(number, taken))

    def snapshot(self, number: int, snapshot: Snapshot) -> None:
        self._running[number].last = snapshot

    def ended(self, number: int, result: Result) -> None:
        from rich.text import Text

        with self._lock:
            del self._running[number]
        style = "green" if result.status == PASSED else "bold red"
        line = f"[{number + 1}/{self._total}] {result.name}: {result.status} ({result.seconds:.2f} s)"
        self._console.print(Text(line, style=style))

    def interrupted(self) -> None:
        self._console.print("wfplab: interrupted; removing what the run made")

    def finished(self) -> None:
        self._live.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the picture away while somebody else writes."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def _picture(self) -> Any:
        from rich.console import Group

        with self._lock:
            shown = list(self._running.values())
        return Group(*(picture(running) for running in shown))


def picture(running: Running) -> Any:
    """One running scenario: its hosts and their books, the last packets, the checks so far."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    parts: list[Any] = []
    if running.step:
        parts.append(Text(running.step, style="italic"))
    last = running.last
    if last is not None:
        parts.append(_hosts(last))
        parts += [Text(line, no_wrap=True, overflow="ellipsis") for line in last.packets]
        parts += [Text(f"broken rule: {line}", style="bold red") for line in last.violations[-3:]]
    parts.append(Text(f"{running.good} checks hold"))
    parts += [Text(line, style="bold red") for line in running.bad[-3:]]
    return Panel(Group(*parts), title=Text(last.label if last is not None else running.item.name), title_align="left")


def _hosts(snapshot: Snapshot) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("host", no_wrap=True)
    table.add_column("layers with filters")
    table.add_column("books")
    for host in snapshot.hosts:
        # In words, and without what is 0: so it fits a narrow terminal too.
        books = ", ".join(f"{count} {name}" for name, count in host.books.items() if count)
        table.add_row(Text(host.name), " ".join(host.layers) if host.emulated else "(plain)", books)
    return table
