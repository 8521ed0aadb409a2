"""The counts of a run: the same in the trace, the capture, the report and the JUnit file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emulator.evidence import traceevents as event
from emulator.evidence.traceevents import AnyEvent
from emulator.run.results import FAILED, PASSED, UNMEASURED, Result, counts

_KINDS: dict[type[AnyEvent], str] = {
    event.Bed: "beds", event.Arrival: "arrivals", event.Classify: "classifies", event.Inject: "injections",
    event.Complete: "completions", event.Verdict: "verdicts", event.Fate: "packets", event.Wire: "frames",
}  # fmt: skip
NAMES = (
    "scenarios", PASSED, FAILED, UNMEASURED, "checks", "failed checks", "violations", "beds", "packets", "delivered",
    "dropped", "replaced", "left", "frames", "injected frames", "arrivals", "classifies", "verdicts", "injections",
    "completions", "lost", "left out",
)  # fmt: skip
"""What is counted, in the order in which it is shown; all stand in every file, zeros too."""


class Tally:
    """Counts events one by one, and results."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(NAMES, 0)

    def event(self, seen: AnyEvent) -> None:
        """Count one event."""
        counts = self.counts
        name = _KINDS.get(type(seen))
        if name is not None:
            counts[name] += 1
        if isinstance(seen, event.Wire):
            counts["injected frames"] += bool(seen.injection)
        elif isinstance(seen, event.Fate):
            counts[seen.outcome] = counts.get(seen.outcome, 0) + 1
        elif isinstance(seen, event.Loss):
            counts["lost"] += seen.packets
        elif isinstance(seen, event.Ended):
            counts["left out"] += sum(seen.left_out.values())

    def results(self, results: Sequence[Result]) -> None:
        """Count what scenarios came to."""
        self.counts["scenarios"] += len(results)
        for status, number in counts(results).items():
            self.counts[status] += number
        for result in results:
            self.counts["checks"] += len(result.checks)
            self.counts["failed checks"] += sum(not check.ok for check in result.checks)
            self.counts["violations"] += len(result.violations)

    def line(self) -> str:
        """All counts in one line."""
        return ", ".join(f"{number} {name}" for name, number in self.counts.items())


def tally(events: Iterable[AnyEvent], results: Sequence[Result]) -> dict[str, int]:
    """The counts of events and results."""
    found = Tally()
    for seen in events:
        found.event(seen)
    found.results(results)
    return found.counts
