"""The core of a host as a whole: readiness, what is told, what leaks, and callouts that inject in circles."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import uuid4

import pytest

from emulator.core import Core
from emulator.errors import FwpInvalidParameter
from emulator.filters import Condition, MatchType, SubLayer
from emulator.flows import FlowKey
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.layers import Layer
from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus
from emulator.violations import Violation, ViolationLog, call_stack
from emulator.wfptypes import AddressFamily, InjectionState
from tests.unit.fakehost import FakeHost, udp

OUT = Layer.OUTBOUND_IPPACKET_V4


# -- readiness ------------------------------------------------------------------------------------------------


@pytest.mark.rule("ER-1", "HC-13")
def test_a_stack_that_was_up_once_is_ready_for_good() -> None:
    core = Core(lambda injection: None)
    assert not core.ready()
    assert core.not_ready_because() == "the host was not started"
    core.readiness = lambda: None
    assert core.ready()
    core.readiness = lambda: "the links went down"
    assert core.ready()


def test_a_stack_that_comes_up_between_two_looks_is_said_to_be_starting() -> None:
    core = Core(lambda injection: None)
    core.readiness = lambda: None
    assert core.not_ready_because() == "the host is starting"


# -- what is told ---------------------------------------------------------------------------------------------


@pytest.mark.rule("GE-9")
def test_a_violation_names_rule_call_handle_and_packet() -> None:
    host = FakeHost()
    told: list[Violation] = []
    host.core.violations.on_record = told.append
    handle = host.handle()
    host.core.violate("GE-3", "FwpsInjectForwardAsync0", "it was freed", handle=handle, packet="IPv4 UDP")
    (entry,) = host.core.violations
    assert (entry.rule, entry.call, entry.message, entry.packet) == (
        "GE-3", "FwpsInjectForwardAsync0", "it was freed", "IPv4 UDP",
    )  # fmt: skip
    assert entry.handle == repr(handle)
    assert told == [entry]
    assert str(entry) == f"GE-3 FwpsInjectForwardAsync0 ({handle!r}): it was freed"
    assert len(host.core.violations) == 1


@pytest.mark.rule("GE-9")
def test_an_untouched_log_is_empty() -> None:
    log = ViolationLog()
    assert (list(log), log.rules(), len(log)) == ([], [], 0)
    assert str(Violation("GE-3", "call", "message")) == "GE-3 call: message"


def test_a_place_in_the_drivers_code_is_told_innermost_first() -> None:
    def inner() -> tuple[str, ...]:
        return call_stack()

    places = inner()
    assert places[0].endswith("in inner")
    assert places[1].endswith("in test_a_place_in_the_drivers_code_is_told_innermost_first")
    assert len(places) <= 12


def test_what_linux_refused_is_told_apart_from_misuse() -> None:
    core = FakeHost().core
    error = OSError("no such device")
    core.lab_failed("an injection", error)
    assert core.lab_errors == [("an injection", error)]
    assert core.violations.rules() == []


@pytest.mark.rule("GE-5")
def test_only_known_threads_run_callbacks() -> None:
    core = FakeHost().core
    assert not core.at_dispatch()
    core.dispatch_threads.add(threading.get_ident())
    assert core.at_dispatch()


# -- what leaks -----------------------------------------------------------------------------------------------


@pytest.mark.rule("OR-3", "HC-15", "NB-9", "NB-12", "CO-4")
def test_everything_that_is_still_held_is_listed_with_its_rule() -> None:
    host = FakeHost(stacks=True)
    assert host.core.leaks() == []
    handle = host.handle()
    seen = host.indication(OUT)
    clone, created = seen.clone(), host.created()
    host.ownership.reference(seen.net_buffer_list)
    callout = host.callout(lambda seen: None, flow_delete=lambda layer, callout, context: None)
    key = FlowKey(17, bytes([10, 0, 0, 1]), 5000, bytes([10, 0, 0, 2]), 53)
    flow = host.engine.flows.table.begin(key, outbound=True, now=0)
    host.engine.flows.associate(flow.number, OUT, callout.callout_id, 7)
    leaks = host.core.leaks()
    assert [sum(rule in leak for leak in leaks) for rule in ("(HC-15)", "(NB-9)", "(NB-12)", "(CO-4)")] == [1, 2, 1, 1]
    assert all("/tests/unit/" in leak for leak in leaks if "(NB-9)" in leak)
    handle.destroy()
    host.free(clone)
    host.free(created)
    assert seen.net_buffer_list is not None
    host.ownership.dereference(seen.net_buffer_list)
    host.engine.flows.table.end(flow)
    assert (host.core.leaks(), host.rules) == ([], [])


# -- callouts that inject what they see -----------------------------------------------------------------------


class Ring:
    """A host that shows every injected packet again at one layer, as a stack would, until `limit` injections."""

    def __init__(self, limit: int = 50) -> None:
        self.host = FakeHost()
        self.limit = limit
        self.injections = 0
        self.sent: list[bytes] = []

    def receive(self, packet: bytes) -> None:
        """Show a packet of the stack's own, then everything that follows from it."""
        if self.host.show(self.host.indication(OUT, packet)):
            self.sent.append(packet)
        while self.host.submitted and self.injections < self.limit:
            injection = self.host.submitted.pop(0)
            self.injections += 1
            octets = injection.net_buffer_list.octets
            if self.host.show(self.host.indication(OUT, octets, history=injection.history)):
                self.sent.append(octets)
            injection.handle.complete(injection, NtStatus.SUCCESS)


def modifier(
    ring: Ring,
    handle: InjectionHandle,
    states: list[InjectionState],
    *,
    asks: bool = True,
    rebuilds: bool = False,
    change: Callable[[NetBufferList], None] = lambda item: None,
) -> Callable[[Indication], None]:
    """A callout that replaces what it sees by a clone, or by a packet built anew."""

    def classify(seen: Indication) -> None:
        item = seen.net_buffer_list
        if not seen.may_decide or item is None:
            return
        state, _ = handle.state(item)
        states.append(state)
        if asks and state in (InjectionState.INJECTED_BY_SELF, InjectionState.PREVIOUSLY_INJECTED_BY_SELF):
            seen.permit()
            return
        made = ring.host.created(item.octets) if rebuilds else seen.clone()
        change(made)
        handle.network_send(made, ring.host.done)
        seen.block(absorb=True)

    return classify


@pytest.mark.rule("GE-12", "QS-10", "GE-13", "DC-21")
def test_an_injected_packet_is_shown_to_its_injector_again() -> None:
    ring = Ring()
    states: list[InjectionState] = []
    ring.host.filter(OUT, modifier(ring, ring.host.handle(), states))
    ring.receive(udp(4, inbound=False))
    assert states == [InjectionState.NOT_INJECTED, InjectionState.INJECTED_BY_SELF]
    assert ring.sent == [udp(4, inbound=False)]
    assert ring.host.rules == []


@pytest.mark.rule("GE-12")
def test_a_packet_changed_out_of_the_filter_is_not_shown_again() -> None:
    ring = Ring()
    states: list[InjectionState] = []

    def elsewhere(item: NetBufferList) -> None:
        item.write(16, bytes([10, 0, 0, 3]))

    ring.host.filter(
        OUT,
        modifier(ring, ring.host.handle(), states, change=elsewhere),
        conditions=(Condition("IP_REMOTE_ADDRESS", MatchType.EQUAL, "10.0.0.2"),),
    )
    ring.receive(udp(4, inbound=False))
    assert states == [InjectionState.NOT_INJECTED]


@pytest.mark.rule("GE-13")
def test_nothing_stops_a_callout_that_does_not_ask() -> None:
    ring = Ring(limit=50)
    states: list[InjectionState] = []
    ring.host.filter(OUT, modifier(ring, ring.host.handle(), states, asks=False))
    ring.receive(udp(4, inbound=False))
    assert len(states) == 51
    assert set(states[1:]) == {InjectionState.INJECTED_BY_SELF}
    assert ring.sent == []


@pytest.mark.rule("GE-14", "QS-4", "QS-8")
@pytest.mark.parametrize("rebuilds", [False, True])
def test_two_callouts_stop_after_one_pass_each_unless_they_rebuild(rebuilds: bool) -> None:
    ring = Ring(limit=50)
    for weight in (1, 2):
        sublayer = ring.host.engine.add_sublayer(SubLayer(uuid4(), weight))
        classify = modifier(ring, ring.host.handle(), [], rebuilds=rebuilds)
        ring.host.filter(OUT, classify, sublayer=sublayer.key)
    ring.receive(udp(4, inbound=False))
    assert ring.injections == (50 if rebuilds else 2)
    assert len(ring.sent) == (0 if rebuilds else 1)


@pytest.mark.rule("GE-19", "QS-3", "QS-10")
def test_other_callouts_see_an_injected_packet_in_their_turn() -> None:
    ring = Ring()
    injector, other = ring.host.handle(), ring.host.handle()
    order: list[tuple[str, InjectionState]] = []

    def looks(name: str) -> Callable[[Indication], None]:
        return lambda seen: order.append((name, other.state(seen.net_buffer_list)[0]))

    for weight, name in ((3, "first"), (2, ""), (1, "last")):
        sublayer = ring.host.engine.add_sublayer(SubLayer(uuid4(), weight))
        classify = looks(name) if name else modifier(ring, injector, [])
        ring.host.filter(OUT, classify, sublayer=sublayer.key)
    ring.receive(udp(4, inbound=False))
    assert order == [
        ("first", InjectionState.NOT_INJECTED),
        ("last", InjectionState.NOT_INJECTED),
        ("first", InjectionState.INJECTED_BY_OTHER),
        ("last", InjectionState.INJECTED_BY_OTHER),
    ]


@pytest.mark.rule("HC-10", "HC-11")
def test_a_host_for_both_families_has_two_network_handles() -> None:
    core = FakeHost().core
    with pytest.raises(FwpInvalidParameter):
        core.create_handle(AddressFamily.UNSPEC, 4)
    assert [core.create_handle(family, 4).family for family in (2, 23)] == [AddressFamily.INET, AddressFamily.INET6]
