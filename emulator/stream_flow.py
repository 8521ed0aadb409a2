"""One inspected connection: the waterfall of either direction, one classify at a time, and what comes out.

No I/O: whoever owns the connection brings octets in and takes them out.  Work on a flow never runs on two
threads at once; work brought by a second thread is done by the first one before it leaves (ST-18, ST-37).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.filters import Filter
from emulator.flows import Flow
from emulator.indication import Indication, OwnIndication
from emulator.injection import Injection
from emulator.ntstatus import NtStatus
from emulator.stream import ABORT, DISCONNECT, INBOUND_FLAGS, OUTBOUND_FLAGS, IoPacket, StreamData
from emulator.stream_stage import BELOW, Chunk, Place, Stage, Ticket
from emulator.wfptypes import Action, StreamFlag, WindowsVersion

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.stream_engine import StreamEngine

_PERMIT, _NONE, _BLOCK = int(Action.PERMIT), int(Action.NONE), int(Action.BLOCK)
_TERMINATING = int(Action.CALLOUT_TERMINATING)


class StreamDirection:
    """One direction of a connection: its stages, and what came out at the bottom.

    `out` is filled by whoever works on the flow and emptied by the connection's owner alone.
    """

    __slots__ = (
        "flow", "inbound", "base", "mask", "stages", "out", "produced", "written", "fin_indicated", "fin_out",
        "abort_indicated",
    )  # fmt: skip

    def __init__(self, flow: StreamFlow, *, inbound: bool) -> None:
        self.flow = flow
        self.inbound = inbound
        self.base = int(StreamFlag.RECEIVE if inbound else StreamFlag.SEND)
        self.mask = INBOUND_FLAGS if inbound else OUTBOUND_FLAGS
        self.stages: list[Stage] = []
        self.out: deque[Chunk] = deque()
        self.produced = self.written = 0
        self.fin_indicated = False
        self.fin_out = False
        self.abort_indicated = False

    @property
    def waiting(self) -> int:
        """Octets that came out and were not taken yet."""
        return self.produced - self.written

    @property
    def deferred(self) -> bool:
        """True while a callout has stopped the stream (ST-32)."""
        for stage in self.stages:  # noqa: SIM110  a generator costs more than the rest, and this is asked all the time
            if stage.deferred:
                return True
        return False

    @property
    def empty(self) -> bool:
        """True when nothing waits at any place."""
        return not self.out and not any(stage.queue for stage in self.stages)

    def push(self, chunk: Chunk, index: int) -> None:
        """Let octets fall from the place `index` on."""
        if self.flow.ended:
            self.flow.settle(chunk, NtStatus.CONNECTION_INVALID)
            return
        stages = self.stages
        while index < len(stages):
            stage = stages[index]
            if stage.queue or stage.wants(chunk):
                stage.offer(chunk)
                return
            index += 1
        if self.fin_out:
            self.flow.settle(chunk, NtStatus.CONNECTION_INVALID)
            return
        self.fin_out = bool(chunk.flags & DISCONNECT)
        self.produced += chunk.end - chunk.start
        self.out.append(chunk)

    def place(self, index: int) -> Place:
        """The stage at a place, or the place below all."""
        return self.stages[index] if index < len(self.stages) else BELOW

    def missed(self, index: int, octets: int) -> None:
        """Tell the stages below a place that these octets were kept from them (ST-24)."""
        for stage in self.stages[index + 1 :]:
            stage.missed += octets

    def below(self, callout_id: int, current: Stage | None) -> int | None:
        """Where octets injected by a callout begin to fall: under its sublayer.  None: it is not on this flow.

        Source: ST-15.
        """
        if current is not None and current.direction is self:
            return current.after
        return max((stage.after for stage in self.stages_of(callout_id)), default=None)

    def stages_of(self, callout_id: int) -> list[Stage]:
        """The stages that ask a callout."""
        return [
            stage
            for stage in self.stages
            if stage.filter.callout is not None and stage.filter.callout.callout_id == callout_id
        ]

    def arrange(self, layers: list[list[Filter]], newest: int) -> list[Stage]:
        """Rebuild the stages from the filters of each sublayer, heaviest first; those that went are returned."""
        old = {stage.filter.filter_id: stage for stage in self.stages}
        self.stages = []
        for sublayer in layers:
            end = len(self.stages) + len(sublayer)
            for item in sublayer:
                stage = old.pop(item.filter_id, None) or Stage(self, item, late=item.filter_id > newest)
                stage.index = len(self.stages)
                stage.after = end
                self.stages.append(stage)
        gone = list(old.values())
        for stage in gone:
            # What it held goes on where it would have gone next, ahead of what comes after.
            place = min(stage.index, len(self.stages))
            stage.index = -1
            for chunk in stage.clear():
                self.push(chunk, place)
        return gone

    def drain(self, status: NtStatus) -> None:
        """Give up everything that waits in stages; what came out is given up by the owner (`abandon`)."""
        for stage in self.stages:
            for chunk in stage.clear():
                self.flow.settle(chunk, status)

    def abandon(self, status: NtStatus) -> None:
        """For the owner: give up what came out and cannot be written any more."""
        while self.out:
            self.flow.settle(self.out.popleft(), status)
        self.written = self.produced


class StreamFlow:
    """One connection at the stream layer.

    `on_wake` is called, on any thread, when there may be output or a paused direction may go on;
    `on_drop` when a callout wants the connection reset.
    """

    def __init__(
        self, engine: StreamEngine, flow: Flow, layer: int, header: bytearray, newest_filter: int
    ) -> None:
        self.engine = engine
        self.core: Core = engine.core
        self.flow = flow
        self.layer = layer
        self.receive = StreamDirection(self, inbound=True)
        self.send = StreamDirection(self, inbound=False)
        self.ended = False
        self.newest_filter = newest_filter
        self.on_wake: Callable[[], None] | None = None
        self.on_drop: Callable[[], None] | None = None
        self.injecting = 0
        """Injections running right now (ST-43)."""
        self._header = header
        self._due: deque[tuple[Injection, NtStatus]] = deque()
        self._inbox: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._guard = threading.Lock()
        self._owner = 0
        self.filters: Any = None
        """The engine's filters this flow was arranged for."""

    @property
    def number(self) -> int:
        """The flow handle."""
        return self.flow.number

    def direction(self, inbound: bool) -> StreamDirection:
        """The direction of received or of sent octets."""
        return self.receive if inbound else self.send

    @property
    def busy(self) -> bool:
        """True while work waits for another thread to do it."""
        return bool(self._inbox)

    @property
    def inspected(self) -> bool:
        """True when some callout or filter would be shown the next octets."""
        for direction in (self.receive, self.send):
            for stage in direction.stages:
                if not stage.idle():
                    return True
        return False

    # -- one at a time ----------------------------------------------------------------------------------

    def run(self, work: Callable[[], None]) -> None:
        """Do `work` now, or have it done by the thread that works on the flow at the moment."""
        me = threading.get_ident()
        if self._owner == me:
            work()
            return
        self._inbox.append(work)
        while self._inbox:
            if not self._lock.acquire(blocking=False):
                return
            self._owner = me
            try:
                while self._inbox:
                    self._inbox.popleft()()
            finally:
                self._owner = 0
                self._lock.release()
        self.complete_due()

    def wait_idle(self) -> None:
        """Return once no other thread works on the flow."""
        if self._owner != threading.get_ident():
            with self._lock:
                pass
            self.run(lambda: None)

    def wake(self) -> None:
        """Let the owner look again; without one, go on here."""
        if self.on_wake is not None:
            self.on_wake()
        else:
            self.run(self.pump)

    def pump(self) -> None:
        """Go on with what waits in stages that may go on."""
        for direction in (self.receive, self.send):
            for stage in list(direction.stages):
                stage.process()

    # -- what happens on the connection -----------------------------------------------------------------

    def indicate(self, inbound: bool, memory: bytearray, start: int, end: int, flags: int = 0) -> None:
        """Octets of one end: `memory[start:end]`, which is the flow's from now on.

        `flags` are modifiers (PUSH, EXPEDITED) of the direction.
        """
        direction = self.direction(inbound)
        chunk = Chunk(memory, start, end, direction.base | flags, base=0)
        self.run(lambda: self._fall(direction, chunk))

    def finish(self, inbound: bool) -> None:
        """One end sent its FIN.  Source: ST-35."""
        direction = self.direction(inbound)
        direction.fin_indicated = True
        flag = direction.base | (DISCONNECT & direction.mask)
        self.run(lambda: self._fall(direction, Chunk(bytearray(), 0, 0, flag)))

    def abort(self, inbound: bool) -> None:
        """One end reset the connection: told to the callouts, then the flow ends.  Source: ST-36."""
        direction = self.direction(inbound)

        def tell() -> None:
            if self.ended:
                return
            self.receive.drain(NtStatus.CONNECTION_RESET)
            self.send.drain(NtStatus.CONNECTION_RESET)
            direction.abort_indicated = True
            if self.core.profile >= WindowsVersion.WINDOWS_7:
                for stage in list(direction.stages):
                    if stage.wants(Chunk(bytearray(), 0, 0, direction.base)) and stage.filter.callout is not None:
                        data = StreamData(direction.base | (ABORT & direction.mask), 0, [(bytearray(), 0, 0, 0)])
                        self.ask(stage, IoPacket(data), 0)
            self.end()

        self.run(tell)

    def _fall(self, direction: StreamDirection, chunk: Chunk) -> None:
        if self.ended:
            self.settle(chunk, NtStatus.CONNECTION_INVALID)
            return
        self.engine.arrange(self)
        direction.push(chunk, 0)

    def drop(self) -> None:
        """A callout wants the connection reset (ST-31), or its flow was aborted (FL-6)."""
        if not self.ended:
            self.end()
            if self.on_drop is not None:
                self.on_drop()

    def abandon(self, status: NtStatus = NtStatus.CONNECTION_INVALID) -> None:
        """For the owner, once the flow has ended: give up what came out."""
        self.receive.abandon(status)
        self.send.abandon(status)
        self.complete_due()

    def end(self) -> None:
        """The connection is over: what waits is given up, contexts go back.  Source: FL-5."""
        if self.ended:
            return
        self.ended = True
        for direction in (self.receive, self.send):
            direction.drain(NtStatus.CONNECTION_INVALID)
        self.engine.forget(self)

    # -- asking callouts --------------------------------------------------------------------------------

    def context(self, callout_id: int) -> Any:
        """The context a callout attached to this flow at the stream layer; 0 when it did not."""
        return self.flow.contexts.get((self.layer, callout_id), 0)

    def sight(self) -> Indication:
        """An indication of this connection, for conditions and for callouts."""
        seen = OwnIndication(
            self.core, self.layer, not self.flow.outbound, None, self._header, 0, len(self._header), 0,
            self.engine.interfaces,
        )  # fmt: skip
        seen.flow = self.flow
        seen.endpoint = self.flow.endpoint
        return seen

    def ask(self, stage: Stage, packet: IoPacket, out_flags: int) -> Indication:
        """Let a stage's callout classify; what it raises is recorded and counts as BLOCK from a terminating one."""
        item = stage.filter
        callout = item.callout
        assert callout is not None
        seen = self.sight()
        seen.stream = packet
        seen.filter = item
        seen.out_flags = out_flags
        if stage.index:
            # The right to write means nothing here, and callouts must not look at it (ST-34).
            seen.rights = 0
            seen.action = _PERMIT
        else:
            seen.action = _NONE
        outsider = self.engine.enter(stage, callout)
        try:
            seen.flow_context = self.context(callout.callout_id)
            callout.classify(seen)
        except Exception as error:  # the driver's own fault: told, and the octets do not slip through
            self.core.callback_raised(f"classifyFn of {callout!r}", error)
            seen.action = _BLOCK if item.action == _TERMINATING else _NONE
            packet.stream_action = packet.count_bytes_enforced = packet.count_bytes_required = 0
        finally:
            self.engine.leave(stage, callout, outsider)
        packet.stream_data.finish(self.core.ownership.retire)
        seen.ended = True
        self._tell(seen, item)
        return seen

    def _tell(self, seen: Indication, item: Filter) -> None:
        """Tell whoever watches decisions; those of a stream are made filter by filter."""
        engine = self.core.engine
        blocked = seen.action == _BLOCK
        if engine.on_classify is not None:
            engine.on_classify(seen, item, blocked or seen.action == _PERMIT)
        if engine.on_decided is not None:
            seen.blocked_by = item.filter_id if blocked else 0
            engine.on_decided(seen, not blocked)

    def allow(self, item: Filter) -> None:
        """No more classifies of the filter's callout on this flow.  Source: ST-33."""
        for direction in (self.receive, self.send):
            for stage in direction.stages:
                if stage.filter.callout is item.callout:
                    stage.allowed = True

    # -- injected lists ---------------------------------------------------------------------------------

    def settle(self, chunk: Chunk, status: NtStatus = NtStatus.SUCCESS) -> None:
        """These octets have left the stream: written, taken out, or lost with a failing status."""
        ticket = chunk.ticket
        if ticket is None:
            return
        with self._guard:
            ticket.left -= chunk.end - chunk.start or 1
            if status:
                ticket.status = status
            due = not ticket.left
        if due:
            self._due.append((ticket.injection, ticket.status))

    def settle_empty(self, ticket: Ticket) -> None:
        """Of this list nothing goes into the stream: it is done."""
        self._due.append((ticket.injection, NtStatus.SUCCESS))

    def complete_due(self) -> None:
        """Complete the lists of which nothing is left in the stream.  Source: ST-8, ST-19."""
        while self._due:
            try:
                injection, status = self._due.popleft()
            except IndexError:  # another thread took it
                return
            injection.handle.complete(injection, status)
