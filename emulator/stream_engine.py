"""The stream layer of one host: its connections, which filters they meet, deferring and continuing.

No I/O: whoever owns a connection begins it here, brings its octets to the flow and takes them out.
Source: ST-1..ST-45, SD-7..SD-10.
"""

from __future__ import annotations

import struct
from threading import get_ident
from typing import TYPE_CHECKING

from emulator.errors import FwpIncompatibleLayer, FwpInvalidParameter
from emulator.filters import Filter
from emulator.flows import Flow, FlowKey
from emulator.indication import OwnIndication
from emulator.interfaces import InterfaceTable
from emulator.layerids import Layer
from emulator.stream_flow import StreamFlow
from emulator.stream_stage import Stage
from emulator.wfptypes import WindowsVersion

if TYPE_CHECKING:
    from emulator.callout import RegisteredCallout
    from emulator.core import Core

STREAM_LAYERS = {4: int(Layer.STREAM_V4), 6: int(Layer.STREAM_V6)}
ESTABLISHED_LAYERS = {4: int(Layer.ALE_FLOW_ESTABLISHED_V4), 6: int(Layer.ALE_FLOW_ESTABLISHED_V6)}
VERSION_OF_LAYER = {layer: version for version, layer in STREAM_LAYERS.items()}
_TCP = 6


class StreamEngine:
    """The connections of one host that stream callouts may see."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.flows: dict[int, StreamFlow] = {}
        self.interfaces = InterfaceTable()
        """Whose addresses are the host's own: for address types."""
        self.active: dict[int, list[Stage]] = {}
        """What each thread is classifying right now, the innermost last."""

    # -- connections ------------------------------------------------------------------------------------

    def begin(self, key: FlowKey, *, outbound: bool, now: float) -> StreamFlow | None:
        """A connection that was just established; None when a callout blocked it at FLOW_ESTABLISHED.

        `outbound` when this host opened it; `now` in seconds.  A flow that the packet layers have begun was
        authorised there.  Source: CO-20, FL-3, FL-8.
        """
        table = self.core.engine.flows.table
        flow = table.find(key)
        known = flow is not None and flow.number not in self.flows
        if flow is None or not known:
            flow = table.begin(key, outbound=outbound, now=now)
        flow.outbound = outbound
        flow.kept = True
        version = 4 if len(key.local_address) == 4 else 6
        made = StreamFlow(self, flow, STREAM_LAYERS[version], _header(key, outbound), self._newest())
        self.flows[flow.number] = made
        if not known and not self._authorized(made, version):
            made.end()
            return None
        self.arrange(made)
        return made

    def _authorized(self, made: StreamFlow, version: int) -> bool:
        layer = ESTABLISHED_LAYERS[version]
        engine = self.core.engine
        if layer not in engine.at_layer:
            return True
        header = _header(made.flow.key, made.flow.outbound)
        seen = OwnIndication(
            self.core, layer, not made.flow.outbound, None, header, 0, len(header), 0, self.interfaces
        )
        seen.flow = made.flow
        seen.endpoint = made.flow.endpoint
        return engine.classify(seen)

    def forget(self, flow: StreamFlow) -> None:
        """A connection is over: its contexts are given back (FL-5)."""
        if self.flows.pop(flow.number, None) is not None:
            flow.flow.kept = False
            self.core.engine.flows.table.end(flow.flow)

    def detach(self) -> None:
        """End every connection: the host goes away.  A FIN that was consumed is told."""
        for flow in list(self.flows.values()):
            for line in pended_ends(flow):
                self.core.violate("ST-35", "detach", line)
            flow.run(flow.drop)

    def abort(self, flow: Flow) -> None:
        """Reset the connection of a flow that a callout wants ended; nothing when it is none of ours (FL-6)."""
        mine = self.flows.get(flow.number)
        if mine is not None:
            mine.run(mine.drop)

    def leaks(self) -> list[str]:
        """Streams still deferred and FINs never injected again, in words.  Source: OR-3."""
        held = []
        for flow in self.flows.values():
            if flow.receive.deferred:
                held.append(f"{flow.flow!r} is deferred and was never continued (ST-32)")
            held += pended_ends(flow)
        return held

    # -- filters ----------------------------------------------------------------------------------------

    def arrange(self, flow: StreamFlow) -> None:
        """Let a connection meet the filters of now.  Source: FI-7, ST-41, ST-42."""
        filters = self.core.engine.at_layer.get(flow.layer, ())
        if filters is flow.filters:
            return
        first = flow.filters is None
        flow.filters = filters
        seen = flow.sight()
        layers = [[item for item in sublayer.all if item.matches(seen)] for sublayer in filters]
        seen.ended = True
        newest = self._newest() if first else flow.newest_filter
        removed: dict[Filter, str] = {}
        for direction in (flow.receive, flow.send):
            reasons = {stage: _reason(stage) for stage in direction.stages}
            for stage in direction.arrange(layers, newest):
                removed[stage.filter] = removed.get(stage.filter) or reasons[stage]
        for item, why in removed.items():
            self._removed(item, why)

    def _removed(self, item: Filter, why: str) -> None:
        if self.core.profile == WindowsVersion.VISTA:
            self.core.violate("ST-41", "filter removal", f"{item!r}: Vista cannot remove filters at stream layers")
        elif why:
            self.core.violate("ST-41", "filter removal", f"{item!r} was removed while {why}")

    def refresh(self) -> None:
        """Look at the filters again for every connection: some were added or deleted."""
        for flow in list(self.flows.values()):
            flow.run(lambda flow=flow: self._again(flow))  # type: ignore[misc]
            if flow.on_wake is not None:
                flow.on_wake()

    def _again(self, flow: StreamFlow) -> None:
        if not flow.ended:
            self.arrange(flow)
            flow.pump()

    def _newest(self) -> int:
        return max(self.core.engine.filters, default=0)

    # -- what threads are doing -------------------------------------------------------------------------

    def enter(self, stage: Stage, callout: RegisteredCallout) -> bool:
        """The calling thread begins a classify; give what this returns to `leave`, which follows in any case."""
        callout.running += 1
        self.core.engine.flows.enter(stage.direction.flow.flow, callout.callout_id)
        me = get_ident()
        stack = self.active.get(me)
        if stack is None:
            stack = self.active[me] = []
        stack.append(stage)
        if me in self.core.dispatch_threads:
            return False
        self.core.dispatch_threads.add(me)
        return True

    def leave(self, stage: Stage, callout: RegisteredCallout, outsider: bool) -> None:
        """The classify has returned; `outsider` is what `enter` said."""
        me = get_ident()
        stack = self.active[me]
        stack.pop()
        if outsider:
            self.core.dispatch_threads.discard(me)
            if not stack:
                del self.active[me]  # drivers' threads come and go
        callout.running -= 1
        self.core.engine.flows.leave(stage.direction.flow.flow, callout.callout_id)
        if callout.unregistering:
            with callout.idle:
                callout.idle.notify_all()

    def current(self, flow: StreamFlow, callout_id: int) -> Stage | None:
        """The stage whose classify, for this flow and callout, the calling thread is in."""
        for stage in reversed(self.active.get(get_ident(), ())):
            callout = stage.filter.callout
            if stage.direction.flow is flow and callout is not None and callout.callout_id == callout_id:
                return stage
        return None

    def in_classify(self) -> bool:
        """True when the calling thread is in a stream callout's classify function."""
        return bool(self.active.get(get_ident()))

    # -- continuing -------------------------------------------------------------------------------------

    def flow_at(self, call: str, flow_id: int, callout_id: int, layer: int) -> StreamFlow:
        """The connection that a call names.

        Raises FwpIncompatibleLayer (no stream layer), FwpInvalidParameter (no such flow or callout, or the
        flow is of the other IP version).  Source: ST-2.
        """
        if layer not in VERSION_OF_LAYER:
            raise FwpIncompatibleLayer(f"{call}: layer {layer} is not a stream layer", rule="ST-2")
        flow = self.flows.get(flow_id)
        if flow is None or flow.ended:
            raise FwpInvalidParameter(f"{call}: there is no TCP flow {flow_id}", rule="ST-2")
        if layer != flow.layer:
            raise FwpInvalidParameter(
                f"{call}: {flow.flow!r} is at {Layer(flow.layer).name}, not {Layer(layer).name}", rule="ST-2"
            )
        if self.core.engine.callouts.by_id(callout_id) is None:
            raise FwpInvalidParameter(f"{call}: there is no callout {callout_id}", rule="ST-2")
        return flow

    def resume(self, flow_id: int, callout_id: int, layer: int, stream_flags: int) -> None:
        """Go on with an inbound stream that a callout deferred: the same octets are shown again.

        `stream_flags` are those at which it was deferred.  Raises FwpIncompatibleLayer, FwpInvalidParameter
        (not deferred by this callout, other flags, called inside classify).  Source: SD-7..SD-9, ST-43.
        """
        call = "FwpsStreamContinue0"
        if self.in_classify():
            self.core.violate("SD-9", call, "called from inside a stream classify function")
            raise FwpInvalidParameter(f"{call} must not be called from inside classifyFn", rule="SD-9")
        flow = self.flow_at(call, flow_id, callout_id, layer)
        if flow.injecting:
            self.core.violate("ST-43", call, "called while FwpsStreamInjectAsync0 runs for this flow")
        stage = _deferred(flow, callout_id)
        if stage is None:
            # The classify that defers may be about to return on another thread.
            flow.wait_idle()
            stage = _deferred(flow, callout_id)
        if stage is None:
            raise FwpInvalidParameter(f"{call}: callout {callout_id} has not deferred {flow.flow!r}", rule="SD-8")
        if stream_flags != stage.deferred_flags:
            raise FwpInvalidParameter(
                f"{call}: streamFlags {stream_flags:#x} are not those of the deferred data, "
                f"{stage.deferred_flags:#x}",
                rule="SD-8",
            )
        stage.deferred = False
        flow.wake()


def pended_ends(flow: StreamFlow) -> list[str]:
    """The FINs of a connection that a callout consumed and never injected again, in words (ST-35)."""
    return [
        f"{flow.flow!r}: FIN consumed, never reinjected, by {stage.filter.callout!r}"
        for direction in (flow.receive, flow.send)
        if not direction.fin_out
        for stage in direction.stages
        if stage.fin_pended
    ]


def _deferred(flow: StreamFlow, callout_id: int) -> Stage | None:
    return next((stage for stage in flow.receive.stages_of(callout_id) if stage.deferred), None)


def _reason(stage: Stage) -> str:
    """Why a filter may not be removed now; empty when it may.  Source: ST-41."""
    if stage.deferred:
        return "its callout has deferred a stream"
    if stage.need:
        return "its callout waits for more data"
    return "clones of its callout are still pending" if stage.pending_clones() else ""


def _header(key: FlowKey, outbound: bool) -> bytearray:
    """The headers of the segment that opened the connection: conditions and fields are read from them."""
    ends = ((key.local_address, key.local_port), (key.remote_address, key.remote_port))
    (source, source_port), (destination, destination_port) = ends if outbound else ends[::-1]
    segment = struct.pack("!HHIIHHHH", source_port, destination_port, 0, 0, 0x5002, 0, 0, 0)
    if len(source) == 4:
        fixed = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, _TCP, 0)
    else:
        fixed = struct.pack("!IHBB", 0x60000000, 20, _TCP, 64)
    return bytearray(fixed + source + destination + segment)
