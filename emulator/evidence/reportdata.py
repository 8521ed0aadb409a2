"""What a report shows, gathered from results and from the events of a trace, with bounds on all of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from emulator.evidence import traceevents as event
from emulator.evidence.diagram import Diagram
from emulator.evidence.traceevents import AnyEvent, Place
from emulator.evidence.tracetext import PATHS
from emulator.run.results import PASSED, Result

STEPS_OF_BED = 300
STEPS_OF_FAILED_BED = 1500
STEPS_OF_RUN = 12_000
"""More than these are left out, and said to be; the trace has them all."""
BEDS_MOST = 1000
CHECKS_MOST = 500
LISTED_MOST = 200


@dataclass
class Timing:
    """How long something took, in nanoseconds."""

    name: str
    count: int
    middle: float
    longest: int


@dataclass
class BedView:
    """One scenario on one bed."""

    begun: event.Bed
    diagram: Diagram
    books: dict[str, dict[str, int]] = field(default_factory=dict)
    frames: dict[tuple[str, str], int] = field(default_factory=dict)
    """Frames that left an interface, by host and interface."""
    left_out: dict[str, int] = field(default_factory=dict)
    ended: int = 0
    status: str = ""
    spans: dict[str, list[int]] = field(default_factory=dict)

    @property
    def hosts(self) -> list[Place]:
        """From left to right."""
        return self.diagram.hosts

    @property
    def nanoseconds(self) -> int:
        """From the beginning to the last event."""
        return max(self.ended - self.begun.time, 0)

    @property
    def timings(self) -> list[Timing]:
        """What took how long."""
        return [Timing(name, len(spans), median(spans), max(spans)) for name, spans in self.spans.items() if spans]

    @property
    def columns(self) -> list[str]:
        """The books' columns that are not zero for every host."""
        found: dict[str, None] = {}
        for book in self.books.values():
            found.update(dict.fromkeys(name for name, count in book.items() if count))
        return list(found)

    def between(self, left: str, right: str) -> list[str]:
        """The cables that join two hosts: interface names, and how many frames passed."""
        texts = []
        for link in self.begun.links:
            if len(link) != 4 or {link[0], link[2]} != {left, right}:
                continue
            one, first, other, second = link if link[0] == left else (*link[2:], *link[:2])
            count = self.frames.get((one, first), 0) + self.frames.get((other, second), 0)
            texts.append(f"{first} ─ {second} · {count} frames")
        return texts


class Gathering:
    """Goes over the events of a trace once and keeps what is shown."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.run: event.Run | None = None
        self.beds: dict[str, list[BedView]] = {}
        """By scenario."""
        self.beds_left_out = 0
        self.steps_left = STEPS_OF_RUN
        self._failed = {result.name for result in results if result.status != PASSED}
        self._now: BedView | None = None
        self._since: dict[tuple[str, str, int], int] = {}
        self._count = 0

    def go(self, events: Iterable[AnyEvent]) -> Gathering:
        """Take all events; the gathering itself."""
        for seen in events:
            if isinstance(seen, event.Run):
                self.run = seen
            elif isinstance(seen, event.Bed):
                self._begin(seen)
            elif self._now is not None:
                self._take(self._now, seen)
        return self

    def _begin(self, begun: event.Bed) -> None:
        self._finish()
        self._count += 1
        if self._count > BEDS_MOST:
            self.beds_left_out += 1
            self._now = None
            return
        most = STEPS_OF_FAILED_BED if begun.scenario in self._failed else STEPS_OF_BED
        self._now = BedView(begun, Diagram(begun, max(min(most, self.steps_left), 0)))
        self.beds.setdefault(begun.scenario, []).append(self._now)

    def _finish(self) -> None:
        if self._now is not None:
            self.steps_left -= len(self._now.diagram.steps)
        self._since.clear()

    def _take(self, view: BedView, seen: AnyEvent) -> None:
        view.ended = max(view.ended, seen.time)
        if isinstance(seen, event.Ended):
            view.status, view.books, view.left_out = seen.status, seen.books, seen.left_out
            return
        if isinstance(seen, event.Wire) and seen.outgoing:
            key = (seen.host, seen.interface)
            view.frames[key] = view.frames.get(key, 0) + 1
        self._time(view, seen)
        view.diagram.take(seen)

    def _time(self, view: BedView, seen: AnyEvent) -> None:
        match seen:
            case event.Arrival():
                self._since[seen.host, seen.hook, seen.packet] = seen.time
            case event.Verdict():
                self._span(view, (seen.host, seen.hook, seen.packet), seen.time, "from arrival to verdict")
            case event.Inject():
                self._since[seen.host, "injection", seen.injection] = seen.time
            case event.Complete():
                path = PATHS.get(seen.function, seen.function)
                self._span(view, (seen.host, "injection", seen.injection), seen.time, f"{path} until completed")

    def _span(self, view: BedView, key: tuple[str, str, int], time: int, name: str) -> None:
        began = self._since.pop(key, None)
        if began is not None:
            view.spans.setdefault(name, []).append(time - began)
