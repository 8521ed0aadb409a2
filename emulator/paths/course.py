"""The course of a packet through the layers of each hook: shown, step by step, until one blocks it.

The same functions show a packet that came from the queue and one that was injected and passes again
(GE-10): they know nothing of verdicts.  Everything here runs on the host's I/O thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.checksums import transport_checksum_ok
from emulator.flowtracking import BEGINS, Conversation, FlowTracker
from emulator.indication import Indication
from emulator.interfaces import InterfaceTable
from emulator.layerids import Layer
from emulator.layers import discard_layer
from emulator.netbuffer import INDICATED, RETIRED, STACK, NetBufferList
from emulator.octets import TCP, UDP, IpView
from emulator.paths.endpoints import Endpoints, has_handler
from emulator.paths.held import NOT_ASKED, Held
from emulator.paths.indicated import EndpointIndication, PathIndication
from emulator.paths.plans import (
    FORWARD,
    INPUT,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    Plan,
    Plans,
    Step,
    behind_ip,
    kind_of,
    make_plans,
    payload,
)
from emulator.paths.routing import Routing
from emulator.wfptypes import ConditionFlag, DiscardModule

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.ledger import History

_FRAGMENT = int(ConditionFlag.IS_FRAGMENT)
_REASSEMBLED = int(ConditionFlag.IS_REASSEMBLED)
_INBOUND_PASS_THRU = int(ConditionFlag.IS_INBOUND_PASS_THRU)
_OUTBOUND_PASS_THRU = int(ConditionFlag.IS_OUTBOUND_PASS_THRU)
_AUTH = frozenset(
    int(Layer[f"{name}_V{version}"]) for name in ("ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT") for version in (4, 6)
)
_ESTABLISHED = frozenset((int(Layer.ALE_FLOW_ESTABLISHED_V4), int(Layer.ALE_FLOW_ESTABLISHED_V6)))

# Source: INET_DISCARD_REASON and IP_DISCARD_REASON of fwpsk.h.
_CHECKSUM_INVALID = (int(DiscardModule.TRANSPORT), 3, 0)
_ENDPOINT_NOT_FOUND = (int(DiscardModule.TRANSPORT), 4, 0)
_PORT_UNREACHABLE = (int(DiscardModule.NETWORK), 3, 0)


class Course:
    """The layers of one host, as packets meet them.

    A function of a hook returns None when the packet may go on, else the indication that blocked it.
    """

    def __init__(self, core: Core, endpoints: Endpoints, routing: Routing) -> None:
        self.core = core
        self.engine = core.engine
        self.endpoints = endpoints
        self.routing = routing
        self.tracker = FlowTracker(core.engine.flows.table)
        self.interfaces = InterfaceTable()
        self.plans: Plans = make_plans(set())
        self.forwards: frozenset[int] = frozenset()
        """IP versions that this host forwards: only there is weak-host traffic shown at IPFORWARD (FW-5)."""
        self.both_ways: frozenset[int] = frozenset()
        """IP versions of which both directions are seen, so that an answer is known as one."""
        self.reset: Callable[[Held, IpView, bool], None] = lambda held, view, inbound: None
        """Close a connection, one of whose packets this is; True for an incoming one (CO-20)."""
        self.at: dict[int, Callable[[Held, IpView, History, int, int], Indication | None]] = {
            PREROUTING: self.prerouting,
            INPUT: self.input,
            FORWARD: self.forward,
            OUTPUT: self.output,
            POSTROUTING: self.postrouting,
        }

    def replan(self, hooks: set[tuple[int, int]]) -> None:
        """Take over which layers have filters now, and which hooks are watched for them."""
        self.plans = make_plans(self.engine.layers())
        self.both_ways = frozenset(version for version in (4, 6) if {(INPUT, version), (OUTPUT, version)} <= hooks)

    def path_mtu(self, destination: bytes, interface: int) -> int:
        """The largest packet that leaves whole for a destination, octets.  Source: MD-12."""
        return self.routing.mtu(destination, self.interfaces.get(interface))

    # -- the hooks --------------------------------------------------------------------------------------

    def prerouting(self, held: Held, view: IpView, history: History, interface: int, flags: int) -> Indication | None:
        """A packet has come in; a fragment is shown as a packet and then as a fragment (LA-20, LA-21)."""
        steps = self.plans[PREROUTING, view.version, 0].steps
        if not view.is_fragment:
            return self._walk(steps, held, view, history, interface, flags)
        return self._walk(steps, held, view, history, interface, flags) or self._walk(
            steps, held, view, history, interface, flags | _FRAGMENT
        )

    def reassembled(self, held: Held, view: IpView, history: History, interface: int, flags: int) -> Indication | None:
        """A packet was put together from fragments that PREROUTING has shown (LA-20)."""
        steps = self.plans[PREROUTING, view.version, 0].steps
        return self._walk(steps, held, view, history, interface, flags | _REASSEMBLED)

    def input(self, held: Held, view: IpView, history: History, interface: int, flags: int) -> Indication | None:
        """A whole packet is about to reach a socket of this host."""
        version = view.version
        if self.forwards and version in self.forwards:
            seen = self._passes_in(held, view, history, interface, flags)
            if seen is not None:
                return seen
        plan = self.plans[INPUT, version, kind_of(view)]
        if not plan.finds and not plan.tracks:
            return None
        unverified = held.edited or held.packet.arrival.checksum_unverified
        if unverified and transport_checksum_ok(view) is False:  # the kernel will drop it, unseen (NR-7)
            return self._unfit(held, view, history, interface, flags, _CHECKSUM_INVALID)
        if plan.finds and not has_handler(view):
            found = held.endpoint = self.endpoints.of_packet(view, held.first_octets(), True, interface)
            if found is None and view.protocol in (TCP, UDP):
                reason = _ENDPOINT_NOT_FOUND if view.protocol == TCP else _PORT_UNREACHABLE
                return self._unfit(held, view, history, interface, flags, reason)
        return self._flow(plan, True, held, view, history, interface, flags)

    def forward(self, held: Held, view: IpView, history: History, interface: int, flags: int) -> Indication | None:
        """A packet is on its way through this host."""
        return self._walk(self.plans[FORWARD, view.version, 0].steps, held, view, history, interface, flags)

    def output(self, held: Held, view: IpView, history: History, interface: int, flags: int) -> Indication | None:
        """A socket of this host, or its stack, sends a packet, whole."""
        plan = self.plans[OUTPUT, view.version, kind_of(view)]
        if not plan.steps:
            return None
        return self._flow(plan, False, held, view, history, interface, flags)

    def postrouting(self, held: Held, view: IpView, history: History, interface: int, flags: int) -> Indication | None:
        """A packet of this host is about to leave, whole."""
        version = view.version
        steps = self.plans[POSTROUTING, version, 0].steps
        seen = self._walk(steps, held, view, history, interface, flags)
        if seen is None and version in self.forwards:
            return self._passes_out(held, view, history, interface, flags)
        return seen

    # -- what the hooks have in common ------------------------------------------------------------------

    def _walk(
        self, steps: tuple[Step, ...], held: Held, view: IpView, history: History, interface: int, flags: int
    ) -> Indication | None:
        for step in steps:
            seen = self.indicate(step, held, view, history, interface, flags)
            if seen is not None:
                return seen
        return None

    def _flow(
        self, plan: Plan, inbound: bool, held: Held, view: IpView, history: History, interface: int, flags: int
    ) -> Indication | None:
        """Show a packet at the layers above IP; its flow begins, is established and ends on the way."""
        tracker = self.tracker
        found, due = tracker.look(view, held.first_octets(), inbound) if plan.tracks else (None, 0)
        held.flow = found.flow if found is not None else None
        if inbound:
            held.authorisation_due = bool(due & BEGINS) and view.version in self.both_ways
        for step in plan.steps:
            if step.due:
                if not step.due & due:
                    continue
                if step.layer < 0:
                    found = tracker.begin(view, held.first_octets(), inbound)
                    held.flow = found.flow
                    held.authorisation_due = False
                    continue
            seen = self.indicate(step, held, view, history, interface, flags)
            if seen is not None:
                self._refused(step, held, view, seen, found)
                return seen
        if due and found is not None:
            tracker.passed(found, due)
        return None

    def _refused(
        self, step: Step, held: Held, view: IpView, seen: Indication, found: Conversation | None
    ) -> None:
        """Blocked where flows are authorised, a flow does not begin; blocked where it is established, it ends."""
        if found is None or not step.due:
            return
        if step.layer in _ESTABLISHED and view.protocol == TCP:
            self.reset(held, view, step.inbound)
            self.tracker.end(found)
        elif step.layer in _AUTH:
            self.tracker.end(found)
            if not step.inbound and not seen.absorbed and view.protocol == TCP:
                self.reset(held, view, step.inbound)  # so that connect fails now

    def indicate(
        self, step: Step, held: Held, view: IpView, history: History, interface: int, flags: int
    ) -> Indication | None:
        """Show a packet at one layer; the indication when it was blocked there, None when it may go on."""
        if not step.with_data:
            return self._indicate_bare(step, held, view, interface, flags)
        base, start = step.offsets(view)
        memory = held.packet.payload
        item = NetBufferList(memory, start, view.end, STACK, history, held)
        item.base = base
        item.state = INDICATED
        item.protocol = view.protocol
        if held.info is not None:
            item.info = held.info
        seen = step.kind(
            self.core, step.layer, step.inbound, item, memory, view.start, view.end, interface, self.interfaces
        )
        seen.held = held
        seen.known_view = view
        seen.condition_flags = flags
        seen.flow = held.flow
        arrival = held.packet.arrival
        if arrival.in_device and arrival.out_device:
            seen.source_interface, seen.destination_interface = arrival.in_device, arrival.out_device
        passed = self.engine.classify(seen)
        if item.start != start or item.flat is False:
            self._check_offset(item, start - base)
        if held.claims:
            self.core.ownership.retire(item)
        else:
            item.state = RETIRED
        return None if passed else seen

    def _indicate_bare(
        self, step: Step, held: Held, view: IpView, interface: int, flags: int
    ) -> Indication | None:
        """Show a layer that has no packet: layerData is NULL (QS-11)."""
        seen = step.kind(
            self.core, step.layer, step.inbound, None, held.packet.payload, view.start, view.end, interface,
            self.interfaces,
        )  # fmt: skip
        seen.held = held
        seen.known_view = view
        seen.condition_flags = flags
        seen.flow = held.flow
        return None if self.engine.classify(seen) else seen

    def _check_offset(self, item: NetBufferList, offset: int) -> None:
        if item.data_offset != offset:
            delta = item.data_offset - offset
            self.core.violate(
                "NB-13",
                "classifyFn",
                f"the data start of {item!r} was left {abs(delta)} octets too {'far on' if delta > 0 else 'far back'}: "
                "every retreat of an original is undone before classify returns",
            )

    # -- weak-host traffic ------------------------------------------------------------------------------

    def _passes_in(self, held: Held, view: IpView, history: History, interface: int, flags: int) -> Indication | None:
        """A packet for an address of another interface is shown as one that passes through (FW-7)."""
        steps = self.plans[FORWARD, view.version, 0].steps
        owner = self.interfaces.owner(view.destination) if steps else None
        if owner is None or owner.index == interface or owner.loopback or flags & 1:
            return None
        held.passes_through = True
        return self._pass_through(steps[0], held, view, history, (interface, owner.index), flags | _INBOUND_PASS_THRU)

    def _passes_out(self, held: Held, view: IpView, history: History, interface: int, flags: int) -> Indication | None:
        """A packet from an address of another interface is shown as one that passes through (FW-7)."""
        steps = self.plans[FORWARD, view.version, 0].steps
        owner = self.interfaces.owner(view.source) if steps else None
        if owner is None or owner.index == interface or owner.loopback or flags & 1:
            return None
        held.passes_through = True
        return self._pass_through(steps[0], held, view, history, (owner.index, interface), flags | _OUTBOUND_PASS_THRU)

    def _pass_through(
        self, step: Step, held: Held, view: IpView, history: History, interfaces: tuple[int, int], flags: int
    ) -> Indication | None:
        item = NetBufferList(held.packet.payload, view.start, view.end, STACK, history, held)
        item.state = INDICATED
        item.protocol = view.protocol
        seen = self._shown(step.layer, True, held, view, item, interfaces[0], flags)
        seen.source_interface, seen.destination_interface = interfaces
        passed = self.engine.classify(seen)
        self.core.ownership.retire(item)
        return None if passed else seen

    # -- discards ---------------------------------------------------------------------------------------

    def _unfit(
        self, held: Held, view: IpView, history: History, interface: int, flags: int, reason: tuple[int, int, int]
    ) -> Indication | None:
        """Show what the transport would throw away, and answer; a BLOCK keeps it silent (LA-13, LA-15)."""
        network = reason[0] == DiscardModule.NETWORK
        group = "INBOUND_IPPACKET" if network else "INBOUND_TRANSPORT"
        layer = int(Layer[f"{group}_V{view.version}_DISCARD"])
        if layer not in self.engine.at_layer:
            return None
        base, start = behind_ip(view) if network else payload(view)
        item = NetBufferList(held.packet.payload, start, view.end, STACK, history, held)
        item.base = base
        item.state = INDICATED
        item.protocol = view.protocol
        seen = self._shown(layer, True, held, view, item, interface, flags)
        seen.discard = reason
        passed = self.engine.classify(seen)
        self.core.ownership.retire(item)
        return None if passed else seen

    def discarded(self, held: Held, seen: Indication) -> None:
        """Show a packet that was not blocked silently at the discard layer, which only looks (CO-17, MD-13)."""
        layer = discard_layer(seen.layer)
        original = seen.net_buffer_list
        if layer is None or original is None or int(layer) not in self.engine.at_layer:
            return
        item = NetBufferList(held.packet.payload, original.start, seen.ip_end, STACK, original.history, held)
        item.state = INDICATED
        shown = self._shown(int(layer), seen.inbound, held, seen.view, item, seen.interface, seen.condition_flags)
        shown.discard = (int(DiscardModule.GENERAL), 0, seen.blocked_by)
        self.engine.classify(shown)
        self.core.ownership.retire(item)

    def _shown(
        self, layer: int, inbound: bool, held: Held, view: IpView, item: NetBufferList, interface: int, flags: int
    ) -> PathIndication:
        kind = EndpointIndication if layer >= int(Layer.INBOUND_TRANSPORT_V4) else PathIndication
        seen = kind(
            self.core, layer, inbound, item, item.memory, view.start, view.end, interface, self.interfaces
        )
        seen.held = held
        seen.known_view = view
        seen.condition_flags = flags
        seen.flow = held.flow
        return seen


__all__ = ["NOT_ASKED", "Course"]
