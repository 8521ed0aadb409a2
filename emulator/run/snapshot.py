"""What the hosts of a running scenario show at one moment, and a thread that takes such moments."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from emulator.layerids import Layer
from emulator.octets import describe

if TYPE_CHECKING:
    from emulator.filters import Filter
    from emulator.indication import Indication
    from emulator.stack import Stack
    from emulator.topology import Bed

PERIOD_SECONDS = 0.2
REMEMBERED = 6
"""Packets, the last ones that a filter was asked about."""
_DECISIONS = {0x1001: "block", 0x1002: "permit"}


@dataclass(frozen=True)
class HostMoment:
    """One host: which layers have filters, and its books."""

    name: str
    emulated: bool
    layers: list[str] = field(default_factory=list)
    books: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """One moment of one scenario."""

    label: str
    hosts: list[HostMoment]
    packets: list[str]
    """The last ones, the newest at the end."""
    violations: list[str]

    def as_plain(self) -> dict[str, Any]:
        """Values that JSON can carry."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Snapshot:
        """The snapshot that `as_plain` was made from."""
        return cls(**{**plain, "hosts": [HostMoment(**host) for host in plain["hosts"]]})


class Sampler:
    """While its block runs, takes a snapshot of some beds five times a second and hands it over.

    The beds may still grow.  Listens to the engines' decisions, after whoever listened before.
    """

    def __init__(self, label: str, beds: Sequence[Bed], take: Callable[[Snapshot], None]) -> None:
        self._label = label
        self._beds = beds
        self._take = take
        self._packets: deque[str] = deque(maxlen=REMEMBERED)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wfplab-sampler", daemon=True)

    def __enter__(self) -> Self:
        for bed in self._beds:
            for stack in bed.stacks:
                self._listen(stack)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._take(self.now())

    def now(self) -> Snapshot:
        """The present moment."""
        hosts = [moment(host.name, host.emulated) for bed in self._beds for host in bed]
        stacks = [stack for bed in self._beds for stack in bed.stacks]
        violations = [str(violation) for stack in stacks for violation in list(stack.core.violations.entries)]
        return Snapshot(self._label, hosts, list(self._packets), violations)

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_SECONDS):
            self._take(self.now())

    def _listen(self, stack: Stack) -> None:
        engine, before, name = stack.core.engine, stack.core.engine.on_classify, stack.namespace.name
        host = name.rpartition("-")[2]

        def listen(seen: Indication, item: Filter, decided: bool) -> None:
            if before is not None:
                before(seen, item, decided)
            self._packets.append(f"{host} {decision_on(seen)}")

        engine.on_classify = listen


def decision_on(seen: Indication) -> str:
    """One line on a packet at a layer: what it is, who injected it, what was decided."""
    item = seen.net_buffer_list
    history = item.history if item is not None else ()
    origin = " ".join(f"injected by {entry.handle!r}" for entry in history[-1:]) or "not injected"
    decision = _DECISIONS.get(int(seen.action), "continue") + (", absorbed" if seen.absorbed else "")
    what = describe(seen.memory, seen.ip_start, seen.ip_end)
    return f"{Layer(seen.layer).name}: {what}; {origin}: {decision}"


def moment(name: str, stack: Stack | None) -> HostMoment:
    """What one host shows now."""
    if stack is None:
        return HostMoment(name, False)
    layers = sorted(Layer(number).name for number in stack.core.engine.layers())
    books: dict[str, int] = {}
    for book in list(stack.books.hooks.values()):
        for key in ("offered", "passed", "blocked", "absorbed", "reinjected", "held"):
            books[key] = books.get(key, 0) + int(getattr(book, key))
    injections = stack.books.injections
    books["injected"] = injections.accepted
    books["completed"] = injections.completed
    books["failed"] = injections.failed
    return HostMoment(name, True, layers, books)
