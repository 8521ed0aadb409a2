"""Tracing: what happens on the emulated hosts of a bed, as plain tuples appended while packets pass.

    tracer = Tracer(clock)          # a clock in nanoseconds
    tracer.attach(Place(name="host", emulated=True), stack)
    ...
    for event in tracer.events(): ...

Nothing is encoded or correlated here: `emulator.evidence.tracebuild` makes typed events of the tuples
afterwards.  A host that is not traced pays one comparison with None at each place that could tell something, and
nothing at its queue.

A tuple begins with its kind, the time in nanoseconds, and the number of its host.  A *sight* is the number of a
queued packet: one packet at one hook.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from emulator.evidence.traceevents import AnyEvent, Place
from emulator.injection import Injection
from emulator.layerids import Layer
from emulator.ledger import MAGIC
from emulator.netbuffer import KIND_NAMES, NetBufferList
from emulator.paths.traced_queue import TracedQueue

if TYPE_CHECKING:
    from emulator.filters import Filter
    from emulator.indication import Indication
    from emulator.ntstatus import NtStatus
    from emulator.paths.queue import QueuedPacket
    from emulator.stack import Stack
    from emulator.violations import Violation

(ARRIVE, CLASSIFY, DECIDE, MADE, FREED, INJECT, SEND, COMPLETE, VERDICT, VIOLATION, LOSS, WIRE, FILTER) = range(13)

KINDS = (
    "arrive", "classify", "decide", "clone", "free", "inject", "send", "complete", "verdict", "violation", "loss",
    "wire", "filter",
)  # fmt: skip
"""What events are made of the kinds."""

Record = tuple[Any, ...]
Clock = Callable[[], int]
PACKETS_MOST = 16
"""Packets of one injected list that are kept in the trace."""
OCTETS_MOST = 65536
"""Octets that are kept of one packet."""
TEXT_MOST = 200
REMEMBERED = 2000


class Tracer:
    """Collects what the emulated hosts of one bed do, all in one order.

    Whoever keeps the tuples elsewhere takes them out by `take`; the latest of those are remembered all the same.
    With `most`, only that many of the latest are kept.
    """

    def __init__(self, clock: Clock, *, most: int | None = None) -> None:
        self.clock = clock
        self.records: deque[Record] = deque(maxlen=most)
        self._taken: deque[Record] = deque(maxlen=REMEMBERED)
        self.hosts: list[Place] = []
        self.traces: list[HostTrace] = []

    def add_host(self, place: Place) -> int:
        """Name a host, emulated or not; its number in the tuples."""
        self.hosts.append(place)
        return len(self.hosts) - 1

    def attach(self, place: Place, stack: Stack) -> HostTrace:
        """Trace an emulated host, which is started, from now on.  Its `trace` is what is returned."""
        made = HostTrace(self, self.add_host(place), stack)
        self.traces.append(made)
        return made

    def take(self) -> Iterator[Record]:
        """Take out what was collected until now, on one thread; what comes meanwhile waits."""
        records, taken = self.records, self._taken.append
        for _ in range(len(records)):
            record = records.popleft()
            taken(record)
            yield record

    def events(self) -> Iterator[AnyEvent]:
        """The typed events of what was collected, of what was taken out the latest."""
        from emulator.evidence.tracebuild import Builder

        kept = [*list(self._taken), *list(self.records)]
        return Builder(self.hosts).events(sorted(kept, key=lambda record: record[1]))


class HostTrace:
    """What one emulated host tells: it hangs on the places of its stack that can tell something."""

    def __init__(self, tracer: Tracer, number: int, stack: Stack) -> None:
        self.number = number
        self.stack = stack
        self.tracer = tracer
        self._clock = tracer.clock
        self._append = tracer.records.append
        self._sights: dict[int, tuple[int, QueuedPacket]] = {}
        """By the identity of a held packet's memory: its sight, and the packet, which keeps the identity true."""
        self._last_sight = 0
        self._last_list = 0
        self._shown = 0
        """The sight whose packet is being shown on the I/O thread."""
        self._known: set[int] = set()
        self.abandoning = False
        self._hang_on()

    def _hang_on(self) -> None:
        core = self.stack.core
        engine, ownership, violations = core.engine, core.ownership, core.violations
        engine.on_indicate = self._indicated
        engine.on_decided = self._decided
        engine.on_classify = _both(engine.on_classify, self._classified)
        ownership.on_made = self._made
        ownership.on_freed = self._freed
        core.on_accept = self._accepted
        core.on_complete = self._completed
        violations.on_record = _both(violations.on_record, self._violated)
        self.stack.sockets.on_send = self.stack.raw.on_send = self._sent
        core.submit = _both(self._accepted, core.submit)
        self.stack.trace = self
        queue = self.stack.packets.queue
        if queue is not None:
            self.stack.packets.queue = TracedQueue(queue, self)
            self.stack.hooks.follow()  # from now on all packets are shown

    # -- the queue --------------------------------------------------------------------------------------

    def arrived(self, packet: QueuedPacket) -> None:
        """A packet was taken from the queue."""
        self._last_sight = sight = self._last_sight + 1
        self._sights[id(packet.payload)] = (sight, packet)
        arrival = packet.arrival
        history = self.stack.core.ledger.history(packet.mark)
        last = history[-1] if history else None
        self._append(
            (
                ARRIVE, self._clock(), self.number, sight, arrival.hook, arrival.in_device, arrival.out_device,
                last.serial if last else 0, bytes(packet.payload[:OCTETS_MOST]),
            )
        )  # fmt: skip

    def now(self) -> int:
        """The time, in nanoseconds."""
        return self._clock()

    def settled(self, when: int, packet: QueuedPacket, verdict: int, payload: Any, mark: int | None) -> None:
        """A packet was given its verdict at `when`; `payload` are its new octets, if any."""
        sight, _ = self._sights.pop(id(packet.payload), (0, None))
        serial = 0
        if mark is not None and mark >> 24 == MAGIC:
            history = self.stack.core.ledger.history(mark)
            serial = history[-1].serial if history else 0
        octets = None if payload is None else bytes(payload[:OCTETS_MOST])
        hook = packet.arrival.hook
        self._append(
            (VERDICT, when, self.number, sight, hook, int(verdict), serial, octets, self.abandoning)
        )

    # -- the layers -------------------------------------------------------------------------------------

    def _indicated(self, seen: Indication) -> None:
        found = self._sights.get(id(seen.memory))
        sight = found[0] if found is not None else 0
        item = seen.net_buffer_list
        if item is not None:
            item.sight = sight or item.sight
        self._shown = sight

    def _classified(self, seen: Indication, item: Filter, decided: bool) -> None:
        if item.filter_id not in self._known:
            self._introduce(item)
        data, note = seen.net_buffer_list, ""
        history = data.history if data is not None else ()
        stream = seen.stream
        if stream is not None:
            note = f"{stream.stream_data.data_length} octets, flags {stream.stream_data.flags:#x}"
        callout = item.callout
        self._append(
            (
                CLASSIFY, self._clock(), self.number, self._sight_of(seen), seen.layer, item.filter_id,
                callout.callout_id if callout is not None else 0, int(seen.action), decided, bool(seen.rights),
                seen.absorbed, history[-1].serial if history else 0,
                seen.flow.number if seen.flow is not None else 0, note,
            )
        )  # fmt: skip

    def _decided(self, seen: Indication, passed: bool) -> None:
        data = seen.net_buffer_list
        history = data.history if data is not None else ()
        self._append(
            (
                DECIDE, self._clock(), self.number, self._sight_of(seen), seen.layer, not passed, seen.absorbed,
                seen.blocked_by, history[-1].serial if history else 0,
                seen.flow.number if seen.flow is not None else 0,
            )
        )  # fmt: skip
        self._shown = 0

    def _sight_of(self, seen: Indication) -> int:
        found = self._sights.get(id(seen.memory))
        if found is not None:
            return found[0]
        return seen.net_buffer_list.sight if seen.net_buffer_list is not None else 0

    def _introduce(self, item: Filter) -> None:
        self._known.add(item.filter_id)
        callout = item.callout
        number = callout.callout_id if callout is not None else 0
        function = getattr(callout.classify, "__qualname__", "") if callout is not None else ""
        layer = Layer(item.layer).name
        title, function = _short(item.name), _short(function)
        self._append((FILTER, self._clock(), self.number, item.filter_id, title, layer, number, function))

    # -- lists and injections ---------------------------------------------------------------------------

    def _made(self, made: NetBufferList, parent: NetBufferList | None) -> None:
        self._last_list = made.number = self._last_list + 1
        above = 0
        if parent is not None:
            made.sight, above = parent.sight, parent.number
        self._append(
            (MADE, self._clock(), self.number, made.number, KIND_NAMES[made.kind], above, made.sight, made.data_length)
        )

    def _freed(self, item: NetBufferList) -> None:
        self._append((FREED, self._clock(), self.number, item.number, item.sight))

    def _accepted(self, injection: Injection) -> None:
        if injection.history:
            serial = injection.history[-1].serial
        else:  # octets for a stream: they have no history, and need a number all the same
            ledger = self.stack.core.ledger
            ledger.serial = serial = ledger.serial + 1
        injection.serial = serial
        item, handle = injection.net_buffer_list, injection.handle
        cause = 0
        if not item.sight and threading.get_ident() == self.stack.loop.thread_id:
            cause = self._shown
        packets = tuple(octets[:OCTETS_MOST] for octets in item.packets()[:PACKETS_MOST])
        types = "|".join(flag.name or "" for flag in type(handle.types) if flag in handle.types)
        context = "" if injection.context is None else _short(repr(injection.context))
        self._append(
            (
                INJECT, self._clock(), self.number, serial, injection.function, handle.number,
                f"{types} {handle.family.name}", item.number, item.sight, cause, injection.interface, context, packets,
            )
        )  # fmt: skip

    def _sent(self, octets: Any, mark: int, way: str) -> None:
        history = self.stack.core.ledger.history(mark)
        serial = history[-1].serial if history else 0
        self._append((SEND, self._clock(), self.number, serial, way, bytes(octets[:OCTETS_MOST])))

    def _completed(self, injection: Injection, status: NtStatus) -> None:
        self._append(
            (
                COMPLETE, self._clock(), self.number, injection.serial, injection.handle.number, injection.function,
                status.name,
            )
        )  # fmt: skip

    # -- faults -----------------------------------------------------------------------------------------

    def _violated(self, violation: Violation) -> None:
        texts = (violation.rule, _short(violation.call), _short(violation.message, 2000), _short(violation.handle))
        self._append((VIOLATION, self._clock(), self.number, self._shown, *texts))

    def closed(self) -> None:
        """The host is closed: what it lost is known now."""
        for cause, packets in self.stack.books.lost.items():
            if packets:
                self._append((LOSS, self._clock(), self.number, cause, packets))

    def text(self) -> str:
        """The host's events as lines, for people."""
        from emulator.evidence.tracetext import line

        name = self.tracer.hosts[self.number].name
        return "\n".join(line(event) for event in self.tracer.events() if event.host in ("", name))


def _both(first: Callable[..., None] | None, second: Callable[..., None]) -> Callable[..., None]:
    """Tell two listeners, the one that was there before first."""
    if first is None:
        return second

    def tell(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return tell


def _short(text: str, most: int = TEXT_MOST) -> str:
    """Not too much of a text; halves of characters, which no file could hold, as escapes."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else text[: most - 1] + "…"
