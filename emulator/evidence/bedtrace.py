"""The events of one bed, written as lines once it is over: every frame with what became of it.

Two passes over the same tuples: the first finds out how everything ends, the second writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulator.evidence import traceevents as event
from emulator.evidence.fate import Fates
from emulator.evidence.recordfile import RecordFile
from emulator.evidence.tracebuild import Builder
from emulator.evidence.traceevents import Place, TraceWriter
from emulator.evidence.tracetext import PATHS, frame_text
from emulator.evidence.visible import one_line

COMMENT_MOST = 1000
PACKET_TO_COME = "packet ?"
"""Stands in a comment for its packet, whose number in the whole run is not known yet."""


class Endings:
    """How injections and packets ended, known after the first pass."""

    def __init__(self, hosts: list[Place], records: RecordFile) -> None:
        self._injections: dict[tuple[str, int], event.Inject] = {}
        self._statuses: dict[tuple[str, int], str] = {}
        builder = Builder(hosts)
        self.last_time = 0
        for made in builder.events(records.in_order()):
            self.last_time = made.time
            if isinstance(made, event.Inject):
                made.packets = []
                self._injections[made.host, made.injection] = made
            elif isinstance(made, event.Complete):
                self._statuses[made.host, made.injection] = made.status
        fates = Fates(builder, complete=not records.left_out)
        self.fates = list(fates.events(self.last_time))
        self._outcomes = {fate.packet: fate for fate in self.fates}

    def comment(self, frame: event.Wire) -> str:
        """What is said of a frame: its packet, who injected it and how that ended, what became of it."""
        if not frame.packet:
            return f"no IP packet ({frame_text(frame.octets)}): no layer sees it"
        fate = self._outcomes[frame.packet]
        copy = f" copy {frame.copy}" if frame.copy else ""
        end = f"{PACKET_TO_COME}{copy}: {fate.outcome}: {fate.reason}"
        made = self._injections.get((frame.injector, frame.injection))
        if made is None:
            return one_line(f"no handle, state NOT_INJECTED; {end}")[:COMMENT_MOST]
        status = self._statuses.get((frame.injector, frame.injection), "PENDING")
        path = PATHS.get(made.function, made.function)
        by = f"handle {made.handle} ({made.types}) {path} at {frame.injector}"
        return one_line(f"{by}, state INJECTED_BY_SELF, status {status}; {end}")[:COMMENT_MOST]


def write_bed(
    out: TraceWriter, begun: event.Bed, records: RecordFile, *, status: str, books: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write one bed's events, from its beginning to its end; raises OSError."""
    endings = Endings(begun.hosts, records)
    out.write(begun)
    for made in Builder(begun.hosts).events(records.in_order()):
        if isinstance(made, event.Wire):
            made.comment = endings.comment(made)
        out.write(made)
    for fate in endings.fates:
        out.write(fate)
    last = max(endings.last_time, begun.time)
    left_out = dict(records.left_out)
    out.write(event.Ended(time=last, status=status, books=_summed(books), left_out=left_out))


def _summed(books: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Each host's books, summed over its hooks."""
    found: dict[str, dict[str, int]] = {}
    for host, plain in books.items():
        sums = found[host] = {}
        for hook in plain.get("hooks", {}).values():
            for name, count in hook.items():
                sums[name] = sums.get(name, 0) + count
        for name, count in plain.get("injections", {}).items():
            sums[f"injections {name.replace('_', ' ')}"] = count
        for cause, count in plain.get("lost", {}).items():
            sums[f"lost: {cause}"] = count
    return found
