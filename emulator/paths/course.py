"""The course of a packet through the layers of each hook: shown, step by step, until one blocks it.

The same functions show a packet that came from the queue and one that was injected and passes again
(GE-10): they know nothing of verdicts.  Everything here runs on the host's I/O thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.checksums import transport_checksum_ok
from emulator.flowtracking import BEGINS, REACCEPTS, RECONNECTS, Conversation, FlowTracker
from emulator.indication import Indication
from emulator.interfaces import InterfaceTable
from emulator.layerids import Layer
from emulator.layers import discard_layer
from emulator.netbuffer import RETIRED, NetBufferList
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
    Plans,
    behind_ip,
    kind_of,
    make_plans,
    payload,
)
from emulator.paths.routing import Routing
from emulator.paths.sighted import sight
from emulator.paths.steps import Plan, Step
from emulator.wfptypes import ConditionFlag, DiscardModule

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.ledger import History

_FRAGMENT = int(ConditionFlag.IS_FRAGMENT)
_REAUTHORIZE = int(ConditionFlag.IS_REAUTHORIZE)
_AGAIN = RECONNECTS | REACCEPTS
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
        self.plans: Plans = {}
        self._plan_at: list[Plan] = []
        self._take(set())
        self.forwards: frozenset[int] = frozenset()
        """IP versions that this host forwards: only there is weak-host traffic shown at IPFORWARD (FW-5)."""
        self.passes_at_output: frozenset[int] = frozenset()
        """Of these, those that are shown at OUTPUT what leaves by weak-host, since no layer there is watched."""
        self.checks_all = False
        """Whether the queue cannot tell which transport checksums the kernel has checked."""
        self.both_ways: frozenset[int] = frozenset()
        """IP versions of which both directions are seen, so that an answer is known as one."""
        self.reset: Callable[[Held, IpView, bool], None] = lambda held, view, inbound: None
        """Close a connection, one of whose packets this is; True for an incoming one (CO-20)."""

    def replan(self, hooks: set[tuple[int, int]]) -> None:
        """Take over which layers have filters now, and which hooks are watched for them."""
        self._take(self.engine.layers())
        self.both_ways = frozenset(version for version in (4, 6) if {(INPUT, version), (OUTPUT, version)} <= hooks)

    def _take(self, layers: set[int]) -> None:
        self.plans = plans = make_plans(layers)
        ways = [(hook, version) for hook in (PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING) for version in (4, 6)]
        self._plan_at = [plans[hook, version, kind] for hook, version in ways for kind in range(3)]

    def _plan(self, hook: int, version: int, kind: int) -> Plan:
        return self._plan_at[hook * 6 + (3 if version == 6 else 0) + kind]

    def path_mtu(self, destination: bytes, interface: int) -> int:
        """The largest packet that leaves whole for a destination, octets.  Source: MD-12."""
        return self.routing.mtu(destination, self.interfaces.get(interface))

    def meet(self, hook: int, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A packet meets a hook."""
        if hook == OUTPUT:
            return self.output(held, history, interface, flags)
        if hook == POSTROUTING:
            return self.postrouting(held, history, interface, flags)
        if hook == PREROUTING:
            return self.prerouting(held, history, interface, flags)
        return self.input(held, history, interface, flags)

    # -- the hooks --------------------------------------------------------------------------------------

    def prerouting(self, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A packet has come in; a fragment is shown as a packet and then as a fragment (LA-20, LA-21)."""
        view = held.seen()
        plan = self._plan(PREROUTING, view.version, 0)
        steps = plan.steps
        if not view.is_fragment:
            return self._walk(steps, held, history, interface, flags)
        return self._walk(steps, held, history, interface, flags) or self._walk(
            steps, held, history, interface, flags | _FRAGMENT
        )

    def reassembled(self, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A packet was put together from fragments that PREROUTING has shown (LA-20)."""
        steps = self._plan(PREROUTING, held.version, 0).steps
        return self._walk(steps, held, history, interface, flags | _REASSEMBLED)

    def input(self, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A whole packet is about to reach a socket of this host."""
        view = held.seen()
        version = view.version
        if self.forwards and version in self.forwards:
            seen = self._passes_in(held, history, interface, flags)
            if seen is not None:
                return seen
        plan = self._plan(INPUT, version, kind_of(view))
        if not plan.finds and not plan.tracks:
            return None
        unsure = held.packet.arrival.checksum_unverified or held.edited or self.checks_all
        if unsure and transport_checksum_ok(view) is False:  # the kernel will drop it, unseen (NR-7)
            return self._unfit(held, history, interface, flags, _CHECKSUM_INVALID)
        if plan.finds and not has_handler(view):
            found = held.endpoint = self.endpoints.find(held.key(), view, True, interface)
            if found is None and view.protocol in (TCP, UDP):
                reason = _ENDPOINT_NOT_FOUND if view.protocol == TCP else _PORT_UNREACHABLE
                return self._unfit(held, history, interface, flags, reason)
        return self._flow(plan, True, held, history, interface, flags)

    def forward(self, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A packet is on its way through this host."""
        plan = self._plan(FORWARD, held.version, 0)
        if not plan.steps:
            return None
        return self.indicate(plan.steps[0], held, history, interface, flags)  # there is one at most

    def output(self, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A socket of this host, or its stack, sends a packet, whole."""
        view = held.seen()
        if view.version in self.passes_at_output:
            return self._passes_out(held, history, interface, flags)
        plan = self._plan(OUTPUT, view.version, kind_of(view))
        if not plan.steps:
            return None
        return self._flow(plan, False, held, history, interface, flags)

    def postrouting(self, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A packet of this host is about to leave, whole."""
        version = held.version
        seen = self._walk(self._plan(POSTROUTING, version, 0).steps, held, history, interface, flags)
        if seen is None and version in self.forwards:
            return self._passes_out(held, history, interface, flags)
        return seen

    # -- what the hooks have in common ------------------------------------------------------------------

    def _walk(
        self, steps: tuple[Step, ...], held: Held, history: History, interface: int, flags: int
    ) -> Indication | None:
        for step in steps:
            seen = self.indicate(step, held, history, interface, flags)
            if seen is not None:
                return seen
        return None

    def _flow(
        self, plan: Plan, inbound: bool, held: Held, history: History, interface: int, flags: int
    ) -> Indication | None:
        """Show a packet at the layers above IP; its flow begins, is established and ends on the way."""
        tracker = self.tracker
        found: Conversation | None = None
        due = 0
        if plan.tracks:
            found, due = tracker.find(held.key(), held.seen(), held.first_octets(), inbound)
        if found is not None:
            held.flow = found.flow
        elif held.flow is not None:
            held.flow = None
        if due and inbound:
            held.authorisation_due = bool(due & BEGINS) and held.version in self.both_ways
        for step in plan.steps:
            if step.due:
                if not step.due & due:
                    continue
                if step.layer < 0:
                    found = tracker.begin(held.seen(), held.first_octets(), inbound)
                    held.flow = found.flow
                    held.authorisation_due = False
                    continue
                if step.due & due & _AGAIN and found is not None:
                    seen = self._reauthorise(step, held, history, interface, flags, found)
                    if seen is not None:
                        return seen
                    continue
            seen = self.indicate(step, held, history, interface, flags)
            if seen is not None:
                self._refused(step, held, seen, found)
                return seen
        if due and found is not None:
            tracker.passed(found, due)
        return None

    def _reauthorise(
        self, step: Step, held: Held, history: History, interface: int, flags: int, found: Conversation
    ) -> PathIndication | None:
        """Ask again for a flow whose filters have changed; one that is refused ends (FI-7, LA-16).

        But for TCP: a segment without a flow counts as one of a connection that was authorised before. So the
        flow of a refused connection stays, and each of its segments asks again.
        """
        found.flow.stale = False  # before asking: a change meanwhile makes it stale again
        seen = self.indicate(step, held, history, interface, flags | _REAUTHORIZE)
        if seen is not None:
            if held.seen().protocol == TCP:
                found.flow.stale = True
            else:
                self.tracker.end(found)
        return seen

    def _refused(self, step: Step, held: Held, seen: Indication, found: Conversation | None) -> None:
        """Blocked where flows are authorised, a flow does not begin; blocked where it is established, it ends."""
        if found is None or not step.due:
            return
        view = held.seen()
        if step.layer in _ESTABLISHED and view.protocol == TCP:
            self.reset(held, view, step.inbound)
            self.tracker.end(found)
        elif step.layer in _AUTH:
            self.tracker.end(found)
            if not step.inbound and not seen.absorbed and view.protocol == TCP:
                self.reset(held, view, step.inbound)  # so that connect fails now

    def indicate(
        self, step: Step, held: Held, history: History, interface: int, flags: int
    ) -> PathIndication | None:
        """Show a packet at one layer; the indication when it was blocked there, None when it may go on."""
        seen = sight(self.core, step, held, history, interface, flags)
        return None if self._may_pass(seen) else seen

    def _may_pass(self, seen: PathIndication) -> bool:
        """What the callouts decide."""
        passed = self.engine.judge(seen)
        if seen.item is not None:
            self._take_back(seen.item, seen)
        return passed

    def _take_back(self, item: NetBufferList, seen: PathIndication) -> None:
        """The list that callouts were shown is no longer theirs."""
        if item.start != seen.start or item._first is not None:
            self._check_offset(item, seen.offset)
        if item.references:
            self.core.ownership.retire(item)
        else:
            item.state = RETIRED

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

    def _passes_in(self, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A packet for an address of another interface is shown as one that passes through (FW-7)."""
        steps = self._plan(FORWARD, held.version, 0).steps
        owner = self.interfaces.owner(held.seen().destination) if steps else None
        if owner is None or owner.index == interface or owner.loopback or flags & 1:
            return None
        return self._pass_through(steps[0], held, history, (interface, owner.index), flags | _INBOUND_PASS_THRU)

    def _passes_out(self, held: Held, history: History, interface: int, flags: int) -> Indication | None:
        """A packet from an address of another interface is shown as one that passes through (FW-7)."""
        steps = self._plan(FORWARD, held.version, 0).steps
        owner = self.interfaces.owner(held.seen().source) if steps else None
        if owner is None or owner.index == interface or owner.loopback or flags & 1:
            return None
        return self._pass_through(steps[0], held, history, (owner.index, interface), flags | _OUTBOUND_PASS_THRU)

    def _pass_through(
        self, step: Step, held: Held, history: History, devices: tuple[int, int], flags: int
    ) -> Indication | None:
        held.passes_through = True
        seen = PathIndication(self.core, step, held, history, devices[0], flags)
        seen.devices = devices
        return None if self._may_pass(seen) else seen

    # -- discards ---------------------------------------------------------------------------------------

    def _unfit(
        self, held: Held, history: History, interface: int, flags: int, reason: tuple[int, int, int]
    ) -> Indication | None:
        """Show what the transport would throw away, and answer; a BLOCK keeps it silent (LA-13, LA-15)."""
        network = reason[0] == DiscardModule.NETWORK
        group = "INBOUND_IPPACKET" if network else "INBOUND_TRANSPORT"
        layer = int(Layer[f"{group}_V{held.version}_DISCARD"])
        if layer not in self.engine.at_layer:
            return None
        step = Step(layer, True, behind_ip if network else payload, _kind(layer))
        seen = step.kind(self.core, step, held, history, interface, flags)
        seen.discard = reason
        return None if self._may_pass(seen) else seen

    def discarded(self, held: Held, seen: Indication) -> None:
        """Show a packet that was not blocked silently at the discard layer, which only looks (CO-17, MD-13)."""
        layer = discard_layer(seen.layer)
        original = seen.net_buffer_list
        if layer is None or original is None or int(layer) not in self.engine.at_layer:
            return
        start = original.start
        step = Step(int(layer), seen.inbound, lambda view: (start, start), _kind(layer))
        shown = step.kind(self.core, step, held, original.history, seen.interface, seen.condition_flags)
        shown.discard = (int(DiscardModule.GENERAL), 0, seen.blocked_by)
        self._may_pass(shown)


def _kind(layer: int) -> type[PathIndication]:
    return EndpointIndication if layer >= int(Layer.INBOUND_TRANSPORT_V4) else PathIndication


__all__ = ["NOT_ASKED", "Course"]
