"""The order of a trace, without what no seed can choose: times, ports, addresses, what the kernel says by itself.

Two runs under one seed have to tell the same of every packet, injection and stream.  What the kernel does with
several packets that are under way at one time is its own affair, so each is compared by itself.
Source: GE-4, OR-1; docs/decisions.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from emulator.evidence import traceevents as event
from emulator.evidence.traceevents import AnyEvent, kind_of
from emulator.octets import ICMPV6, IpView, Malformed

Stories = dict[str, list[str]]
"""What happened to each thing that a trace tells of, by the thing's name."""

_OWN_ICMPV6 = range(130, 144)
"""Neighbour and group messages: the kernel sends them when it pleases."""
_SEND_FLAG = 0x10000
_LEFT_OUT = frozenset({
    "seq", "time", "bed", "host", "packet", "copy", "octets", "packets", "item", "parent", "injection", "flow",
    "cause", "length", "interface", "into", "out", "context",
})  # fmt: skip
_TOLD = (
    event.Arrival, event.Classify, event.Decision, event.Inject, event.Complete, event.Verdict, event.Violation,
)  # fmt: skip


class _Order:
    """Reads one trace."""

    def __init__(self) -> None:
        self.stories: Stories = {}
        self._packets: dict[tuple[int, int], str] = {}
        self._injections: dict[tuple[int, str, int], str] = {}
        self._counts: Counter[str] = Counter()

    def take(self, seen: AnyEvent) -> None:
        """Add one event to the story it belongs to."""
        if not isinstance(seen, _TOLD):
            return
        name = self._name(seen)
        if name:
            self.stories.setdefault(name, []).append(_words(seen))

    def _name(self, seen: AnyEvent) -> str:
        place = f"bed {seen.bed}, {seen.host}"
        if isinstance(seen, event.Inject | event.Complete):
            return self._injection(seen, place)
        if seen.packet:
            key = (seen.bed, seen.packet)
            if key not in self._packets:
                octets = getattr(seen, "octets", None)
                what = _what(octets) if octets else "packet"
                self._counts[what] += bool(what)
                self._packets[key] = f"bed {seen.bed}, {what} {self._counts[what]}" if what else ""
            return self._packets[key]
        note = getattr(seen, "note", "")
        if isinstance(seen, event.Classify) and "flags 0x" in note:
            sent = int(note.rpartition("flags ")[2], 16) & _SEND_FLAG
            return f"{place}, flow {seen.flow}, {'sent' if sent else 'received'}"
        return f"{place}, broken rules" if isinstance(seen, event.Violation) else ""

    def _injection(self, seen: event.Inject | event.Complete, place: str) -> str:
        key = (seen.bed, seen.host, seen.injection)
        if key not in self._injections:
            handle = f"{place}, handle {seen.handle}"
            self._counts[handle] += 1
            self._injections[key] = f"{handle}, injection {self._counts[handle]}"
        return self._injections[key]


def _what(octets: bytes) -> str:
    """What kind of packet it is; empty for what the kernel sends by itself."""
    try:
        view = IpView(octets)
    except Malformed:
        return "octets"
    if view.protocol == ICMPV6 and view.icmp_type in _OWN_ICMPV6:
        return ""
    known = sorted(port for port in view.ports or () if port < 32768)
    return f"protocol {view.protocol} {'/'.join(map(str, known))}".rstrip()


def _words(seen: AnyEvent) -> str:
    said = [f"{name}={value}" for name, value in _fields(seen) if name not in _LEFT_OUT and value not in ("", 0, None)]
    return " ".join([kind_of(seen), *said])


def _fields(seen: AnyEvent) -> Iterable[tuple[str, object]]:
    return ((name, getattr(seen, name)) for name in seen.__struct_fields__)


def stories(events: Iterable[AnyEvent]) -> Stories:
    """What a trace tells of each packet, injection and stream; raises BadTrace as its source does."""
    order = _Order()
    for seen in events:
        order.take(seen)
    return order.stories


def differences(one: Stories, other: Stories) -> list[str]:
    """What two traces tell otherwise, a line for each thing; none when they are the same."""
    found = []
    for name in [*one, *(name for name in other if name not in one)]:
        first, second = one.get(name, []), other.get(name, [])
        if first != second:
            at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
            at = min(len(first), len(second)) if at is None else at
            found.append(f"{name}, step {at + 1}: {_step(first, at)}, and then {_step(second, at)}")
    return found


def _step(steps: list[str], at: int) -> str:
    return steps[at] if at < len(steps) else "nothing more"
