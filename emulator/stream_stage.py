"""One filter's place in the waterfall of a stream: what it holds, and what its callout answers.

A stage is one filter, for one direction of one connection.  Octets wait in it while its callout wants more
or has deferred them; what it lets through goes to the next stage at once.
Source: ST-24..ST-43.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from emulator.netbuffer import DRIVER, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.stream import DISCONNECT, EXPEDITED, IoPacket, Span, StreamData
from emulator.wfptypes import Action, ClassifyOutFlag, FilterFlag, IncomingFlag, StreamAction

if TYPE_CHECKING:
    from emulator.filters import Filter
    from emulator.indication import Indication
    from emulator.injection import Injection
    from emulator.stream_flow import StreamDirection

BUFFER_LIMIT = 8 << 20
"""Octets that a stage holds for a callout that wants more; then it must decide.  Source: ST-29."""

_BLOCK, _PERMIT, _NONE, _CONTINUE = (int(a) for a in (Action.BLOCK, Action.PERMIT, Action.NONE, Action.CONTINUE))
_TERMINATING, _INSPECTION = int(Action.CALLOUT_TERMINATING), int(Action.CALLOUT_INSPECTION)
_LIMIT_REACHED = int(ClassifyOutFlag.BUFFER_LIMIT_REACHED)
_NO_MORE_DATA = int(ClassifyOutFlag.NO_MORE_DATA)
_NEED_MORE, _DROP, _DEFER, _ALLOW = (
    int(a)
    for a in (
        StreamAction.NEED_MORE_DATA,
        StreamAction.DROP_CONNECTION,
        StreamAction.DEFER,
        StreamAction.ALLOW_CONNECTION,
    )
)


class Place:
    """A place in the waterfall, counted from the top."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


BELOW: Final = Place(1 << 30)
"""The place below all stages."""


class Ticket:
    """What an accepted list still has in the stream, in octets, a FIN counting as one."""

    __slots__ = ("injection", "left", "status")

    def __init__(self, injection: Injection, left: int) -> None:
        self.injection = injection
        self.left = left
        self.status = NtStatus.SUCCESS


class Chunk:
    """Octets on their way down the waterfall, or a mark between octets (FIN).

    `passes` is the place of the first stage that may see them; `injector` the callout that never does.
    """

    __slots__ = ("memory", "base", "start", "end", "flags", "injector", "passes", "ticket")

    def __init__(
        self,
        memory: bytearray,
        start: int,
        end: int,
        flags: int,
        *,
        injector: int = 0,
        ticket: Ticket | None = None,
        base: int | None = None,
    ) -> None:
        self.memory = memory
        self.base = start if base is None else base
        self.start = start
        self.end = end
        self.flags = flags
        self.injector = injector
        self.passes: Place | None = None
        self.ticket = ticket

    @property
    def length(self) -> int:
        """Octets; 0 for a FIN."""
        return self.end - self.start

    @property
    def urgent(self) -> bool:
        """True for out-of-band data."""
        return bool(self.flags & EXPEDITED)

    def head(self, size: int) -> Chunk:
        """Split the first `size` octets off."""
        first = Chunk(
            self.memory, self.start, self.start + size, self.flags, injector=self.injector, ticket=self.ticket,
            base=self.base,
        )  # fmt: skip
        first.passes = self.passes
        self.start += size
        return first

    def view(self) -> memoryview:
        """The octets in place."""
        return memoryview(self.memory)[self.start : self.end]


_ANY: Final = Chunk(bytearray(), 0, 0, 0)
"""Octets of an end, whichever."""


class Stage(Place):
    """One filter on one direction of one connection."""

    __slots__ = (
        "direction", "filter", "after", "late", "queue", "held", "need", "missed", "running", "deferred",
        "deferred_flags", "allowed", "introduced", "permitted", "oob", "fin_pended", "clones", "fresh",
    )  # fmt: skip

    def __init__(self, direction: StreamDirection, item: Filter, *, late: bool) -> None:
        super().__init__(0)
        self.direction = direction
        self.filter = item
        self.after = 0
        """The first stage of the next sublayer: where permitted octets go."""
        self.late = late
        """The filter is younger than the connection (ST-42)."""
        self.queue: deque[Chunk] = deque()
        self.held = 0
        self.need = 0
        self.missed = 0
        self.running = False
        self.deferred = False
        self.deferred_flags = 0
        self.allowed = False
        self.introduced = False
        self.permitted = False
        """Octets of the other end went on by this callout's PERMIT: it works inline."""
        self.oob = False
        """It injected outside of classify, as only a callout that blocks everything may (ST-38)."""
        self.fin_pended = False
        self.clones: list[NetBufferList] = []
        """Of octets it blocked: pending, as long as they are the driver's (ST-40)."""
        self.fresh: list[NetBufferList] = []

    # -- which octets it is shown -----------------------------------------------------------------------

    def wants(self, chunk: Chunk) -> bool:
        """True when these octets are for this stage's callout or filter to decide."""
        if self.allowed or (chunk.passes is not None and chunk.passes.index > self.index):
            return False
        item = self.filter
        callout = item.callout
        if callout is None or callout.unregistering:
            return item.kind != _INSPECTION
        if chunk.injector == callout.callout_id or (self.late and not callout.mid_stream):
            return False
        return not callout.conditional_on_flow or bool(self.direction.flow.context(callout.callout_id))

    def idle(self) -> bool:
        """True when it has nothing and, as things are, will be shown nothing."""
        if self.queue:
            return False
        item = self.filter
        callout = item.callout
        if callout is None:
            return item.kind in (_INSPECTION, _PERMIT)
        return not self.wants(_ANY)

    def offer(self, chunk: Chunk) -> None:
        """Take octets in behind those that wait, and deal with what can be dealt with."""
        self.queue.append(chunk)
        self.held += chunk.end - chunk.start
        if not self.running:
            self.process()

    def process(self) -> None:
        """Show the callout what waits, until nothing does or it has to wait for more."""
        if self.running or self.deferred:
            return
        flow = self.direction.flow
        self.running = True
        try:
            while self.queue and not self.deferred and not flow.ended:
                if not self._step():
                    return
        finally:
            self.running = False

    def _step(self) -> bool:
        """Deal with what is in front; False when more has to come first."""
        head = self.queue[0]
        if not self.wants(head):
            self._pop()
            self.direction.push(head, self.index + 1)
            return True
        if head.flags & DISCONNECT:
            self._show((head,), 0, _NO_MORE_DATA)
            return True
        if self.held < self.need and self._last_is_plain():
            return False
        window, length, bounded = self._window()
        flags = _NO_MORE_DATA if bounded else 0
        if length >= BUFFER_LIMIT and self.need:
            flags |= _LIMIT_REACHED
        if length < self.need and not flags:
            return False
        self._show(window, length, flags)
        return True

    def _last_is_plain(self) -> bool:
        last = self.queue[-1]
        return not (last.flags & DISCONNECT or last.injector or last.passes is not None)

    def _window(self) -> tuple[list[Chunk], int, bool]:
        """The octets that can be shown together; True when no more can ever join them."""
        if len(self.queue) == 1:
            return list(self.queue), self.held, False
        window: list[Chunk] = []
        length = 0
        for chunk in self.queue:
            if chunk.flags & DISCONNECT or (window and not self.wants(chunk)):
                return window, length, True
            if window and not self.need and (chunk.flags ^ window[0].flags) & EXPEDITED:
                return window, length, False
            window.append(chunk)
            length += chunk.end - chunk.start
        return window, length, False

    # -- asking -----------------------------------------------------------------------------------------

    def _show(self, window: list[Chunk] | tuple[Chunk, ...], length: int, out_flags: int) -> None:
        item = self.filter
        callout = item.callout
        self.need = 0
        if callout is None or callout.unregistering:
            permit = item.kind == _PERMIT or (
                item.kind != _BLOCK and item.flags & FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED
            )
            self._apply(_PERMIT if permit else _BLOCK, length)
            return
        spans: list[Span] = []
        flags = 0
        for chunk in window:
            spans.append((chunk.memory, chunk.base, chunk.start, chunk.end))
            flags |= chunk.flags
        incoming = 0
        if not self.introduced:
            self.introduced = True
            incoming = int(IncomingFlag.MID_STREAM_INSPECTION) if self.late else 0
        packet = IoPacket(StreamData(flags, length, spans, self._cloned), self.missed, incoming)
        self.missed = 0
        self.fresh = []
        seen = self.direction.flow.ask(self, packet, out_flags)
        if not self.direction.flow.ended:
            self._answer(seen, packet, length, out_flags)

    def _cloned(self, made: list[NetBufferList]) -> None:
        self.fresh += made

    def _forget_clones(self) -> None:
        self.clones = [clone for clone in self.clones if clone.state == DRIVER]

    def _answer(self, seen: Indication, packet: IoPacket, length: int, out_flags: int) -> None:
        """Carry out what the callout answered.  Source: ST-25..ST-33, CO-16."""
        kind = self.filter.kind
        action, wish = seen.action, packet.stream_action
        if packet.count_bytes_required and wish != _NEED_MORE:
            self._violate("ST-28", "countBytesRequired must be 0 unless it asks for more data")
        if wish == _NEED_MORE:
            self._more(packet.count_bytes_required, length, out_flags)
            return
        if wish == _DROP and kind != _INSPECTION:
            self.direction.flow.drop()
            return
        if wish == _DEFER:
            if self.direction.inbound:
                self.deferred = True
                self.deferred_flags = packet.stream_data.flags
                return
            self._violate("ST-32", "only an inbound stream can be deferred")
            action = _PERMIT if action == _NONE else action
        elif wish == _ALLOW:
            self.direction.flow.allow(self.filter)
            action = _PERMIT
        if kind == _INSPECTION:
            action = _CONTINUE
        elif action not in (_BLOCK, _PERMIT):
            action = _BLOCK if kind == _TERMINATING else _CONTINUE
        enforced = packet.count_bytes_enforced
        self._apply(action, min(enforced, length) if enforced and wish != _ALLOW else length)

    def _more(self, required: int, length: int, out_flags: int) -> None:
        """The callout wants to see more before it decides.  Source: ST-28..ST-30."""
        if out_flags & _NO_MORE_DATA:
            self._violate("ST-30", "it asked for more data at the end of the stream; what there is was permitted")
            self._apply(_PERMIT, length)
        elif out_flags & _LIMIT_REACHED:
            self._violate("ST-29", "it asked for more data than the engine holds; the connection was dropped")
            self.direction.flow.drop()
        else:
            self.need = min(length + max(required, 1), BUFFER_LIMIT)

    def _apply(self, action: int, size: int) -> None:
        """Let the first `size` octets go down, or take them out; 0 stands for a FIN."""
        chunks = self._take(size)
        if action == _BLOCK:
            self._block(chunks, size)
            return
        if action == _PERMIT and size:
            self._check_inline()
        for chunk in chunks:
            if action == _PERMIT and self.after != self.index + 1:
                chunk.passes = self.direction.place(self.after)
            self.direction.push(chunk, self.index + 1)

    def _block(self, chunks: list[Chunk], size: int) -> None:
        self.direction.missed(self.index, size)
        if self.fresh:
            if len(self.clones) > 64:
                self._forget_clones()
            self.clones += self.fresh
        for chunk in chunks:
            if chunk.flags & DISCONNECT:
                self.fin_pended = True
            self.direction.flow.settle(chunk)

    def _check_inline(self) -> None:
        """A callout that lets octets pass is inline; with clones still pending it breaks the order (ST-38)."""
        self.permitted = True
        if self.oob:
            self._violate("ST-38", "it injected out of band before and now permits: never switch on one flow")
        elif self.clones:
            self._forget_clones()
            if self.clones:
                self._violate("ST-38", "it permits octets while earlier ones, cloned, are still pending")

    def _take(self, size: int) -> list[Chunk]:
        """The first `size` octets out of the queue; the FIN in front when `size` is 0."""
        if not size:
            return [self._pop()]
        taken: list[Chunk] = []
        while size:
            head = self.queue[0]
            have = head.end - head.start
            if have > size:
                taken.append(head.head(size))
                self.held -= size
                break
            taken.append(self._pop())
            size -= have
        return taken

    def _pop(self) -> Chunk:
        chunk = self.queue.popleft()
        self.held -= chunk.end - chunk.start
        return chunk

    def pending_clones(self) -> bool:
        """True while clones of what it blocked are still the driver's."""
        self._forget_clones()
        return bool(self.clones)

    def clear(self) -> list[Chunk]:
        """Give up everything that waits."""
        dropped = list(self.queue)
        self.queue.clear()
        self.held = self.need = 0
        self.deferred = False
        return dropped

    def _violate(self, rule: str, message: str) -> None:
        self.direction.flow.core.violate(rule, f"classifyFn of {self.filter.callout!r}", message)
