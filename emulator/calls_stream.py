"""The stream injection call of a handle.

Checked in the order of the other injection calls (GE-8): pointers, flags, layer, stream flags, handle,
readiness, flow, lists.  Source: ST-1..ST-19, ST-38, ST-39.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from emulator.errors import (
    FwpIncompatibleLayer,
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNullPointer,
    InjectHandleClosing,
    InjectHandleStale,
    InsufficientResources,
    InvalidHandle,
    TcpipNotReady,
)
from emulator.flight import Flight
from emulator.injection import STREAM, CompletionFn, Injection, new_injection
from emulator.netbuffer import DRIVER, FREED, IN_FLIGHT, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.stream import ABORT, DISCONNECT, INBOUND_FLAGS
from emulator.stream_engine import VERSION_OF_LAYER
from emulator.stream_flow import StreamDirection, StreamFlow
from emulator.stream_stage import Chunk, Stage, Ticket
from emulator.wfptypes import AddressFamily, InjectionType, StreamFlag, WindowsVersion

if TYPE_CHECKING:
    from emulator.flatlist import FlatList

CALL = "FwpsStreamInjectAsync0"
_STREAM_BIT = int(InjectionType.STREAM)
_RECEIVE, _SEND = int(StreamFlag.RECEIVE), int(StreamFlag.SEND)
_PUSH, _SEND_DISCONNECT = int(StreamFlag.RECEIVE_PUSH), int(StreamFlag.SEND_DISCONNECT)
_FAMILIES = {layer: AddressFamily.of_version(version) for layer, version in VERSION_OF_LAYER.items()}
_INJECTABLE = int(
    StreamFlag.RECEIVE | StreamFlag.RECEIVE_DISCONNECT | StreamFlag.RECEIVE_EXPEDITED | StreamFlag.RECEIVE_PUSH
    | StreamFlag.SEND | StreamFlag.SEND_EXPEDITED | StreamFlag.SEND_NODELAY | StreamFlag.SEND_DISCONNECT
)  # fmt: skip


class StreamCalls(Flight):
    """The stream injection function as a method of a handle; `InjectionHandle` is the only subclass."""

    def stream_inject(
        self,
        net_buffer_list: NetBufferList | None,
        completion: CompletionFn | None,
        *,
        flow_id: int,
        callout_id: int,
        layer: int,
        stream_flags: int,
        data_length: int,
        context: Any = None,
        flags: int = 0,
        completion_context: Any = None,
    ) -> None:
        """Put octets, and with a DISCONNECT flag a FIN behind them, into one direction of a connection.

        `data_length` is how many octets of the chain.  On return the lists are the stack's until `completion`
        was called with each of them; for no list (a bare FIN) it is not called.  When this raises, they are
        still the caller's.  Callouts of lighter sublayers classify the octets before this returns.
        Raises FwpNullPointer, FwpInvalidFlags, FwpIncompatibleLayer, FwpInvalidParameter, InvalidHandle,
        InjectHandleStale, InjectHandleClosing, TcpipNotReady, InsufficientResources.
        """
        if completion is None:
            raise FwpNullPointer(f"{CALL}: completionFn is missing", rule="ST-7")
        if net_buffer_list is None and not stream_flags & DISCONNECT:
            raise FwpNullPointer(f"{CALL}: netBufferList may be missing only with a DISCONNECT flag", rule="ST-6")
        if flags:
            raise FwpInvalidFlags(f"{CALL}: flags are reserved and must be 0, not {flags:#x}", rule="GE-6")
        if layer not in VERSION_OF_LAYER:
            raise FwpIncompatibleLayer(f"{CALL}: layer {layer} is not a stream layer", rule="ST-2")
        if stream_flags not in (_RECEIVE, _SEND):
            self._check_stream_flags(stream_flags)
        family = _FAMILIES[layer]
        self._check_handle(family)
        streams = self.core.streams
        flow = streams.flow_at(CALL, flow_id, callout_id, layer)
        direction = flow.direction(bool(stream_flags & INBOUND_FLAGS))
        current = streams.current(flow, callout_id)
        if direction.below(callout_id, current) is None:
            raise FwpInvalidParameter(f"{CALL}: callout {callout_id} is not on {flow.flow!r}", rule="ST-1")
        _check_lists(self, net_buffer_list, stream_flags, data_length)
        if current is None or direction.abort_indicated:
            self._check_place(direction, callout_id, current, stream_flags)
        injections = _admit_lists(self, net_buffer_list, completion, context, completion_context, family)
        chunks = _chunks(injections, data_length, stream_flags, callout_id, flow)
        _let_fall(direction, callout_id, current, chunks)
        if current is None and not streams.in_classify():
            flow.wake()

    # -- checks -----------------------------------------------------------------------------------------

    def _check_stream_flags(self, stream_flags: int) -> None:
        """Source: ST-3, ST-4, ST-5."""
        bases = stream_flags & (_RECEIVE | _SEND)
        if stream_flags & DISCONNECT and not bases:
            raise FwpInvalidParameter(f"{CALL}: DISCONNECT needs RECEIVE or SEND with it", rule="ST-4")
        if bases not in (_RECEIVE, _SEND):
            raise FwpInvalidParameter(f"{CALL}: streamFlags {stream_flags:#x} name no one direction", rule="ST-3")
        if stream_flags & ~_INJECTABLE or stream_flags & ABORT:
            raise FwpInvalidParameter(f"{CALL}: streamFlags {stream_flags:#x} cannot be injected", rule="ST-5")
        half = INBOUND_FLAGS if bases == _RECEIVE else ~INBOUND_FLAGS
        if stream_flags & ~half:
            rule = "ST-4" if stream_flags & DISCONNECT & ~half else "ST-5"
            raise FwpInvalidParameter(f"{CALL}: streamFlags {stream_flags:#x} mix directions", rule=rule)
        if stream_flags & _PUSH and self.core.profile == WindowsVersion.VISTA:
            raise FwpInvalidParameter(f"{CALL}: RECEIVE_PUSH came with Vista SP1", rule="ST-5")

    def _check_handle(self, family: AddressFamily) -> None:
        core = self.core
        if self.dead:
            core.violate("HD-6", CALL, "the handle was destroyed before", handle=self)
            raise InvalidHandle(f"{CALL}: {self!r} was destroyed before", rule="HD-6")
        if not self.type_bits & _STREAM_BIT:
            raise InjectHandleStale(f"{CALL}: {self!r} does not permit STREAM injection", rule="ST-13")
        if self.family and self.family != family:
            raise FwpInvalidParameter(f"{CALL}: {self!r} does not serve {family.name}", rule="HC-18")
        if self.closing:
            raise InjectHandleClosing(f"{CALL}: {self!r} is being destroyed", rule="HD-4")
        if not core.ready():
            raise TcpipNotReady(f"{CALL}: {core.not_ready_because()}; try again later", rule="ER-1")

    def _check_place(
        self, direction: StreamDirection, callout_id: int, current: Stage | None, stream_flags: int
    ) -> None:
        """Whether an injection may be made here and now.  Source: ST-12, ST-14, ST-38, ST-39."""
        core = self.core
        if direction.abort_indicated:
            core.violate("ST-12", CALL, "the stream was reset: nothing can be injected any more", handle=self)
            raise FwpInvalidParameter(f"{CALL}: the stream was reset", rule="ST-12")
        if current is not None:
            return
        stages = direction.stages_of(callout_id)
        if any(stage.deferred or stage.fin_pended for stage in stages):
            pass
        elif any(stage.permitted for stage in stages):
            core.violate(
                "ST-14", CALL, "an inline callout injected outside of classify without having deferred", handle=self
            )
        else:
            for stage in stages:
                stage.oob = True
        if stream_flags & _SEND_DISCONNECT and not direction.fin_indicated:
            core.violate(
                "ST-39", CALL, "a FIN was made up for the outbound stream: set DROP_CONNECTION to end it", handle=self
            )


def _check_lists(handle: Flight, chain: FlatList | None, stream_flags: int, data_length: int) -> None:
    """Source: ST-9, GE-3, GE-20."""
    core = handle.core
    owned = core.ownership.live
    have = 0
    item = chain
    while item is not None:
        if item.state != FREED and item not in owned:
            core.violate("GE-20", CALL, f"{item!r} is not the driver's: inject a clone", handle=handle)
            raise FwpInvalidParameter(f"{CALL}: {item!r} is not the driver's to inject", rule="GE-20")
        if item.state != DRIVER:
            rule = "GE-3" if item.state == IN_FLIGHT else "NB-9"
            core.violate(rule, CALL, f"{item!r} cannot be injected", handle=handle)
            raise FwpInvalidParameter(f"{CALL}: {item!r} cannot be injected", rule=rule)
        have += item.end - item.start if item._first is None else _length(item)
        item = item.next
    if not 0 <= data_length <= have:
        raise FwpInvalidParameter(f"{CALL}: dataLength {data_length}, but the lists hold {have}", rule="ST-9")
    if not data_length and not stream_flags & DISCONNECT:
        raise FwpInvalidParameter(f"{CALL}: dataLength 0 goes only with a DISCONNECT flag", rule="ST-9")
    if core.deny is not None and core.deny(CALL):
        raise InsufficientResources(f"{CALL}: made to fail by fault injection", rule="GE-2")


def _admit_lists(
    handle: Flight,
    chain: FlatList | None,
    completion: CompletionFn,
    context: Any,
    completion_context: Any,
    family: AddressFamily,
) -> list[Injection]:
    """Take every list of the chain into flight, one injection each.  Source: ST-8."""
    made: list[Injection] = []
    item = chain
    while item is not None:
        made.append(
            new_injection(STREAM, handle, context, item, completion, completion_context, family, ())  # type: ignore[arg-type]
        )
        item = item.next
    for injection in made:
        handle.in_flight[injection] = None
    if handle.closing:
        for injection in made:
            del handle.in_flight[injection]
        raise InjectHandleClosing(f"{handle!r} is being destroyed", rule="HD-4")
    told = handle.core.on_accept
    for injection in made:
        injection.net_buffer_list.state = IN_FLIGHT
        if told is not None:
            told(injection)
    return made


def _let_fall(direction: StreamDirection, callout_id: int, current: Stage | None, chunks: list[Chunk]) -> None:
    """Continuing the flow meanwhile is a fault (ST-43)."""
    flow = direction.flow
    flow.injecting += 1
    try:
        if current is None:
            flow.run(partial(_fall, direction, callout_id, None, chunks))
        else:  # this thread works on the flow
            _fall(direction, callout_id, current, chunks)
    finally:
        flow.injecting -= 1


def _fall(direction: StreamDirection, callout_id: int, current: Stage | None, chunks: list[Chunk]) -> None:
    """The place is looked up when it is used: filters may change before another thread comes to it."""
    place = direction.below(callout_id, current)
    for chunk in chunks:
        if place is None:
            direction.flow.settle(chunk, NtStatus.CONNECTION_INVALID)
        else:
            direction.push(chunk, place)


def _length(item: Any) -> int:
    return sum(buffer.data_length for buffer in item.net_buffers())


def _views(item: Any) -> Iterable[memoryview]:
    if item.flat:
        return (memoryview(item.memory)[item.start : item.end],)
    return (view for buffer in item.net_buffers() for view in buffer.spans(0, buffer.data_length))


def _chunks(
    injections: list[Injection], data_length: int, stream_flags: int, callout_id: int, flow: StreamFlow
) -> list[Chunk]:
    """The octets of the lists, copied: callouts below may keep them after the lists were completed."""
    if len(injections) == 1 and not stream_flags & DISCONNECT:
        injection = injections[0]
        item = injection.net_buffer_list
        if item._first is None:
            octets = bytearray(memoryview(item.memory)[item.start : item.start + data_length])
            ticket = Ticket(injection, data_length)
            return [Chunk(octets, 0, data_length, stream_flags, injector=callout_id, ticket=ticket)]
    return _chunks_of_chain(injections, data_length, stream_flags, callout_id, flow)


def _chunks_of_chain(
    injections: list[Injection], data_length: int, stream_flags: int, callout_id: int, flow: StreamFlow
) -> list[Chunk]:
    made: list[Chunk] = []
    left = data_length
    data_flags = stream_flags & ~DISCONNECT
    mark = bool(stream_flags & DISCONNECT)
    for number, injection in enumerate(injections):
        ticket = Ticket(injection, 0)
        for view in _views(injection.net_buffer_list):
            take = min(left, len(view))
            if take:
                made.append(
                    Chunk(bytearray(view[:take]), 0, take, data_flags, injector=callout_id, ticket=ticket)
                )
                ticket.left += take
                left -= take
        last = number == len(injections) - 1
        if last and mark:
            ticket.left += 1
            made.append(Chunk(bytearray(), 0, 0, stream_flags, injector=callout_id, ticket=ticket))
        elif not ticket.left:
            flow.settle_empty(ticket)
    if mark and not injections:
        made.append(Chunk(bytearray(), 0, 0, stream_flags, injector=callout_id))
    return made
