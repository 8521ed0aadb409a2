"""The sequence diagram of a bed: lanes for hosts, their callouts and paths, and a step for what passes between.

No more than a limit of steps is kept; what is left out is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from emulator.evidence import traceevents as event
from emulator.evidence.lineage import SPLICE_PORT
from emulator.evidence.traceevents import AnyEvent
from emulator.evidence.tracetext import PATHS, fate_text, frame_text, number, packet_text, what

OCTETS_MOST = 192
"""Octets of a packet that are shown when a step is opened."""
DETAILS_MOST = 12
ALIKE_MOST = 5
"""Packets just like each other that are drawn one by one; those that follow are told by their numbers."""
NOTES_MOST = 100
"""Notes have room after the arrows' limit is reached: they say what went wrong."""
ETHERNET = 14
HOST, CALLOUTS, PATHS_LANE = "host", "callouts", "paths"


@dataclass
class Lane:
    """A vertical line of the diagram."""

    host: str
    kind: str
    label: str


@dataclass
class Step:
    """One arrow, or one note, of the diagram."""

    kind: str
    """wire, layer, inject, send, goes-on, complete, violation, loss, fate."""
    time: int
    host: str
    start: int
    """The lane it begins at; -1 outside."""
    end: int
    """The lane it ends at; -1 where nobody saw it come."""
    title: str
    packet: str = ""
    number: int = 0
    injected: bool = False
    outcome: str = ""
    """passed, blocked, absorbed, failed; empty for none."""
    details: list[str] = field(default_factory=list)
    before: bytes = b""
    after: bytes | None = None
    folded: list[int] = field(default_factory=list)
    """Packets just like it that followed, by number, and are not drawn."""
    during: int = 0
    """The packet that was being shown when it happened."""
    alike: str = ""
    """What packets that can be folded into one step have in common."""

    @property
    def numbers(self) -> str:
        """All packets of the step."""
        return " ".join(map(str, [self.number, *self.folded]))

    @property
    def is_note(self) -> bool:
        """It is no arrow."""
        return self.kind in ("violation", "loss", "fate")


class Diagram:
    """Takes the events of one bed, in order, and keeps at most `most` steps."""

    def __init__(self, begun: event.Bed, most: int) -> None:
        self.hosts = ordered(begun)
        self.lanes = lanes_of(self.hosts)
        self.steps: list[Step] = []
        self.left_out = 0
        self._most = most
        self._lane = {(lane.host, lane.kind): place for place, lane in enumerate(self.lanes)}
        self._leaving: dict[tuple[int, int] | bytes, Step] = {}
        self._run = 0
        """Steps alike at the end of the diagram."""
        self._arrived: dict[tuple[str, int, int], event.Arrival] = {}
        self._asked: dict[tuple[str, int], list[str]] = {}

    def take(self, seen: AnyEvent) -> None:
        """Add what one event shows, if it shows something."""
        match seen:
            case event.Wire():
                self._wire(seen)
            case event.Arrival():
                self._arrived[seen.host, seen.packet, seen.copy] = seen
            case event.Classify() | event.Right():
                asked = self._asked.setdefault((seen.host, seen.packet), [])
                if len(asked) < DETAILS_MOST:
                    asked.append(what(seen))
            case event.Decision():
                self._decide(seen)
            case event.Inject():
                self._inject(seen)
            case event.Send():
                self._send(seen)
            case event.Verdict():
                self._verdict(seen)
            case event.Complete():
                self._complete(seen)
            case event.Violation():
                self._note("violation", seen, f"{seen.rule}: {seen.message}", [f"in {seen.call}", seen.handle])
            case event.Loss():
                self._note("loss", seen, f"{seen.packets} lost: {seen.cause}", [])
            case event.Fate() if seen.outcome != "delivered":
                self._note("fate", seen, fate_text(seen), [])

    # -- what becomes a step ----------------------------------------------------------------------------

    def _wire(self, seen: event.Wire) -> None:
        here = self._at(seen.host, HOST)
        key = (seen.packet, seen.copy) if seen.packet else seen.octets
        if self._passes_on(seen, self._leaving.get(key), here):
            return
        title = frame_text(seen.octets)
        step = Step(
            "wire", seen.time, seen.host, here if seen.outgoing else -1, -1 if seen.outgoing else here, title,
            injected=bool(seen.injection), before=seen.octets,
            details=[f"{'left' if seen.outgoing else 'came in'} by {seen.host} {seen.interface}", seen.comment],
        )  # fmt: skip
        if seen.interface == "lo":
            step.start = step.end = here
        elif SPLICE_PORT.fullmatch(seen.interface):
            splice = self._at(seen.host, PATHS_LANE)
            step.start, step.end = (here, splice) if seen.outgoing else (splice, here)
        else:
            self._leaving[key] = step
        if not seen.injection and seen.packet:
            step.alike = f"{step.start} {step.end} {title.rpartition(',')[0]}"
        self._add(seen, step)

    def _passes_on(self, seen: event.Wire, before: Step | None, here: int) -> bool:
        """Whether a frame is what a step shows already: it comes in at last, or goes from device to device."""
        if before is None:
            return False
        arrives = not seen.outgoing and before.end < 0 and before.host != seen.host
        if arrives:
            before.end = here
        elif before.end != here if not seen.outgoing else (before.start != here or before.end >= 0):
            return False
        if len(before.details) < DETAILS_MOST:
            before.details.append(f"{'left' if seen.outgoing else 'came in'} by {seen.host} {seen.interface}")
        return True

    def _decide(self, seen: event.Decision) -> None:
        arrival = self._arrived.get((seen.host, seen.packet, seen.copy))
        outcome = "passed" if not seen.blocked else "absorbed" if seen.absorb else "blocked"
        by = f" by filter {seen.filter}" if seen.filter else ""
        step = Step(
            "layer", seen.time, seen.host, self._at(seen.host, HOST), self._at(seen.host, CALLOUTS),
            f"{seen.layer}: {outcome}{by}", outcome=outcome, injected=bool(seen.copy),
            details=self._asked.pop((seen.host, seen.packet), []),
        )  # fmt: skip
        if arrival is not None:
            step.before = arrival.octets
            step.details.insert(0, what(arrival))
        self._add(seen, step)
        self._put_first(step)

    def _put_first(self, step: Step) -> None:
        """Let an indication stand before what was injected while it was shown."""
        place = len(self.steps) - 1
        if place < 0 or self.steps[place] is not step:
            return
        while place and self.steps[place - 1].kind == "inject" and self.steps[place - 1].during == step.number:
            place -= 1
            self.steps[place].during = 0
        self.steps.remove(step)
        self.steps.insert(place, step)
        step.time = min(step.time, self.steps[min(place + 1, len(self.steps) - 1)].time)

    def _inject(self, seen: event.Inject) -> None:
        path = PATHS.get(seen.function, seen.function)
        octets = seen.packets[0] if seen.packets else b""
        details = [what(seen)]
        if seen.context:
            details.append(f"context {seen.context}")
        if len(seen.packets) > 1:
            details.append(f"{len(seen.packets)} packets in one list; the first is shown")
        step = Step(
            "inject", seen.time, seen.host, self._at(seen.host, CALLOUTS), self._at(seen.host, PATHS_LANE),
            f"{path} by handle {seen.handle}, {sum(map(len, seen.packets))} octets", injected=True, details=details,
            before=octets, during=seen.cause or seen.packet,
        )  # fmt: skip
        self._add(seen, step)

    def _send(self, seen: event.Send) -> None:
        step = Step(
            "send", seen.time, seen.host, self._at(seen.host, PATHS_LANE), self._at(seen.host, HOST),
            f"sent by {seen.way}: {packet_text(seen.octets)}", injected=True, before=seen.octets,
            details=[f"injection {seen.injection} of handle {seen.handle}"],
        )  # fmt: skip
        self._add(seen, step)

    def _verdict(self, seen: event.Verdict) -> None:
        if seen.outcome != "reinjected" and seen.octets is None:
            return  # what the layers said is on the diagram already
        reinjected = seen.outcome == "reinjected"
        arrival = self._arrived.get((seen.host, seen.packet, seen.copy))
        start = PATHS_LANE if reinjected else CALLOUTS
        title = f"goes on at {seen.hook}" + (", rewritten" if seen.octets is not None else "")
        step = Step(
            "goes-on", seen.time, seen.host, self._at(seen.host, start), self._at(seen.host, HOST), title,
            injected=reinjected, details=[what(seen)], after=seen.octets,
            before=arrival.octets if arrival is not None and seen.octets is not None else b"",
        )  # fmt: skip
        self._add(seen, step)

    def _complete(self, seen: event.Complete) -> None:
        good = seen.status == "SUCCESS"
        step = Step(
            "complete", seen.time, seen.host, self._at(seen.host, PATHS_LANE), self._at(seen.host, CALLOUTS),
            f"completed: {seen.status}", outcome="passed" if good else "failed", injected=True, details=[what(seen)],
        )  # fmt: skip
        self._add(seen, step)

    def _note(self, kind: str, seen: AnyEvent, title: str, details: list[str]) -> None:
        lane = self._at(seen.host, CALLOUTS)
        shown = [detail for detail in details if detail]
        self._add(seen, Step(kind, seen.time, seen.host, lane, lane, title, outcome="failed", details=shown))

    def _folds(self, step: Step) -> bool:
        """True when a step is just like those before it, and enough of them are drawn."""
        last = self.steps[-1] if self.steps else None
        if last is None or not step.alike or last.alike != step.alike:
            self._run = 0
            return False
        self._run += 1
        if self._run < ALIKE_MOST:
            return False
        last.folded.append(step.number)
        return True

    def _add(self, seen: AnyEvent, step: Step) -> None:
        step.packet, step.number = number(seen), seen.packet
        if self._folds(step):
            return
        if len(self.steps) >= self._most + (NOTES_MOST if step.is_note else 0):
            self.left_out += 1
            return
        step.before = step.before[:OCTETS_MOST]
        step.after = step.after[:OCTETS_MOST] if step.after is not None else None
        self.steps.append(step)

    def _at(self, host: str, kind: str) -> int:
        return self._lane.get((host, kind), self._lane.get((host, HOST), 0))


def ordered(begun: event.Bed) -> list[event.Place]:
    """The hosts as they stand in a row: each beside one it is linked to, as far as that goes."""
    neighbours: dict[str, list[str]] = {host.name: [] for host in begun.hosts}
    for one, _, other, _ in (link for link in begun.links if len(link) == 4):
        if one in neighbours and other in neighbours:
            neighbours[one].append(other)
            neighbours[other].append(one)
    places = {host.name: host for host in begun.hosts}
    # An end of a chain comes first; among ends a plain host, as senders mostly are.
    waiting = sorted(places, key=lambda name: (len(set(neighbours[name])), places[name].emulated))
    row: list[str] = []
    while waiting:
        name: str | None = waiting[0]
        while name is not None:
            waiting.remove(name)
            row.append(name)
            name = next((other for other in neighbours[name] if other in waiting), None)
    return [places[name] for name in row]


def lanes_of(hosts: list[event.Place]) -> list[Lane]:
    """A lane for every host, and for an emulated one two more: its callouts and its injection paths."""
    lanes: list[Lane] = []
    for place, host in enumerate(hosts):
        own = [Lane(host.name, HOST, host.name)]
        if host.emulated:
            own += [Lane(host.name, CALLOUTS, "callouts"), Lane(host.name, PATHS_LANE, "paths")]
        # The network is where the neighbours are.
        lanes += reversed(own) if place == 0 and len(hosts) > 1 else own
    return lanes


__all__ = ["Diagram", "Lane", "Step", "lanes_of", "ordered"]
