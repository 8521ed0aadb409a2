"""Handles: what they are created for, what they are told, how they complete."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from emulator.errors import (
    FwpInvalidFlags,
    FwpInvalidParameter,
    InjectHandleStale,
    InsufficientResources,
    TcpipNotReady,
    WfpError,
)
from emulator.handle import InjectionHandle
from emulator.layers import Layer
from emulator.ledger import Entry
from emulator.netbuffer import NetBufferList
from emulator.wfptypes import AddressFamily, InjectionState, InjectionType, WindowsVersion
from tests.unit.calling import FUNCTIONS, inject
from tests.unit.fakehost import FakeHost, udp

INET, INET6, UNSPEC = AddressFamily.INET, AddressFamily.INET6, AddressFamily.UNSPEC
NETWORK, TRANSPORT, FORWARD, STREAM, L2 = (
    InjectionType.NETWORK,
    InjectionType.TRANSPORT,
    InjectionType.FORWARD,
    InjectionType.STREAM,
    InjectionType.L2,
)
SINGLE = (NETWORK, TRANSPORT, FORWARD, STREAM)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def works(host: FakeHost, handle: InjectionHandle, function: str, family: AddressFamily = INET) -> bool:
    """Whether a handle permits a function; STALE when it does not."""
    try:
        inject(host, handle, function, family)
    except InjectHandleStale:
        return False
    except FwpInvalidParameter as refusal:  # there is no such flow: the handle was good
        return function == "stream_inject" and refusal.rule == "ST-2"
    return True


# -- creating -------------------------------------------------------------------------------------------------


@pytest.mark.rule("HC-1", "HC-2", "HC-4", "HC-13", "HC-19")
@pytest.mark.parametrize("number", [0, 2, 23])
def test_handles_are_made_for_the_three_families(host: FakeHost, number: int) -> None:
    made = [host.core.create_handle(number, TRANSPORT) for _ in range(100)]
    assert len(set(made)) == len({handle.number for handle in made}) == 100
    assert all(int(handle.family) == number for handle in made)
    assert host.submitted == []
    assert host.core.handles == made


@pytest.mark.rule("HC-7", "HC-8", "HC-9", "ER-2", "NS-1", "NR-1")
@pytest.mark.parametrize(
    "types", [sum(chosen) for size in range(1, 5) for chosen in itertools.combinations(SINGLE, size)]
)
def test_a_handle_permits_the_functions_of_its_types(host: FakeHost, types: int) -> None:
    handle = host.core.create_handle(INET, types)
    for function, needed in FUNCTIONS.items():
        assert works(host, handle, function) is bool(types & needed), function


@pytest.mark.rule("HC-9")
@pytest.mark.parametrize("number", [0, 2])
def test_flags_0_stand_for_transport_stream_and_forward(host: FakeHost, number: int) -> None:
    handle = host.core.create_handle(number, 0)
    permitted = {function for function in FUNCTIONS if works(host, handle, function)}
    assert permitted == {"transport_send", "transport_receive", "forward", "stream_inject"}
    assert handle.types == 0x0B


@pytest.mark.rule("HC-5")
def test_an_unspecified_family_serves_both(host: FakeHost) -> None:
    handle = host.core.create_handle(UNSPEC, 0)
    for function, version in itertools.product(("transport_send", "transport_receive", "forward"), (INET, INET6)):
        assert works(host, handle, function, version)
    assert [injection.family for injection in host.submitted] == [INET, INET6] * 3


@pytest.mark.rule("HC-10", "HC-11")
def test_network_injection_takes_a_handle_for_each_family(host: FakeHost) -> None:
    for types in (NETWORK, NETWORK | TRANSPORT, 0x0F):
        with pytest.raises(FwpInvalidParameter) as refusal:
            host.core.create_handle(UNSPEC, types)
        assert refusal.value.rule == "HC-11"
        assert refusal.value.status == 0xC0220035
    assert host.core.handles == []
    for family in (INET, INET6):
        inject(host, host.core.create_handle(family, NETWORK), "network_send", family)
    assert [injection.family for injection in host.submitted] == [INET, INET6]


@pytest.mark.rule("HC-6", "HC-14")
@pytest.mark.parametrize(
    ("number", "types", "refusal"),
    [
        (10, NETWORK, FwpInvalidParameter),
        (10, TRANSPORT, FwpInvalidParameter),
        (18, 0, FwpInvalidParameter),
        (-1, 0, FwpInvalidParameter),
        (10, L2 | TRANSPORT, FwpInvalidParameter),
        (2, 0x40, FwpInvalidFlags),
        (2, 0x80000000, FwpInvalidFlags),
        (10, 0x40 | 0x1, FwpInvalidFlags),
    ],
)
def test_unknown_families_and_types_make_no_handle(
    host: FakeHost, number: int, types: int, refusal: type[WfpError]
) -> None:
    with pytest.raises(refusal):
        host.core.create_handle(number, types)
    assert host.core.handles == []


@pytest.mark.rule("HC-6")
def test_linux_s_number_of_ipv6_is_explained(host: FakeHost) -> None:
    with pytest.raises(FwpInvalidParameter, match="23 on Windows"):
        host.core.create_handle(10, 0)


@pytest.mark.rule("HC-12", "HC-6")
@pytest.mark.parametrize("number", [0, 2, 23, 18, 10])
def test_a_frame_handle_ignores_the_family(host: FakeHost, number: int) -> None:
    handle = host.core.create_handle(number, L2)
    assert not any(works(host, handle, function) for function in FUNCTIONS)


@pytest.mark.rule("HC-17", "VE-1")
@pytest.mark.parametrize("types", [0x10, 0x20, 0x30, 0x11])
def test_the_newer_types_came_with_windows_8(types: int) -> None:
    for profile in (WindowsVersion.VISTA, WindowsVersion.WINDOWS_7):
        with pytest.raises(FwpInvalidFlags) as refusal:
            FakeHost(profile=profile).core.create_handle(0, types)
        assert refusal.value.rule == "HC-17"
    for profile in (WindowsVersion.WINDOWS_8, WindowsVersion.SERVER_2022_23H2):
        assert FakeHost(profile=profile).core.create_handle(0, types).types == types


@pytest.mark.rule("HC-13", "ER-1")
def test_before_the_stack_is_up_there_are_no_handles(host: FakeHost) -> None:
    host.core.not_ready = True
    host.core.readiness = lambda: "every link is down"
    with pytest.raises(TcpipNotReady, match="every link is down"):
        host.core.create_handle(2, NETWORK)
    assert host.core.handles == []
    host.core.readiness = lambda: None
    assert host.core.create_handle(2, NETWORK) in host.core.handles


@pytest.mark.rule("GE-2")
def test_making_a_handle_can_be_made_to_fail(host: FakeHost) -> None:
    host.core.deny = lambda call: call == "FwpsInjectionHandleCreate0"
    with pytest.raises(InsufficientResources):
        host.core.create_handle(2, NETWORK)
    assert host.core.handles == []


@pytest.mark.rule("HC-15", "OR-3")
def test_a_handle_that_was_never_destroyed_is_a_leak(host: FakeHost) -> None:
    handle = host.handle()
    assert host.core.leaks() == [f"{handle!r} was never destroyed (HC-15)"]
    handle.destroy()
    assert host.core.leaks() == []


def test_a_handle_says_what_it_is(host: FakeHost) -> None:
    assert repr(host.core.create_handle(23, 5)) == "<handle 1 INET6 STREAM|NETWORK>"


# -- the state of a packet ------------------------------------------------------------------------------------


def passed_on(host: FakeHost, handle: InjectionHandle, item: NetBufferList, **named: Any) -> NetBufferList:
    """Inject a clone; what the stack shows of it afterwards."""
    handle.network_send(host.ownership.clone(item), host.done, **named)
    history = host.submitted[-1].history
    host.complete()
    again = host.indication(Layer.OUTBOUND_IPPACKET_V4, udp(4, inbound=False), history=history).net_buffer_list
    assert again is not None
    return again


def fresh(host: FakeHost, layer: Layer = Layer.OUTBOUND_IPPACKET_V4) -> NetBufferList:
    item = host.indication(layer, udp(4, inbound=False)).net_buffer_list
    assert item is not None
    return item


@pytest.mark.rule("QS-1", "QS-2", "QS-3", "QS-4", "QS-6", "HC-1", "HC-16")
def test_every_handle_is_told_its_own_part_in_a_packets_past(host: FakeHost) -> None:
    a, b, c = (host.handle() for _ in range(3))
    packet = fresh(host)
    assert {handle.state(packet) for handle in (a, b, c)} == {(InjectionState.NOT_INJECTED, None)}
    packet = passed_on(host, a, packet, context=0x1234)
    assert a.state(packet) == (InjectionState.INJECTED_BY_SELF, 0x1234)
    assert b.state(packet) == (InjectionState.INJECTED_BY_OTHER, None)
    packet = passed_on(host, b, packet, context="b")
    assert a.state(packet) == (InjectionState.PREVIOUSLY_INJECTED_BY_SELF, 0x1234)
    assert b.state(packet) == (InjectionState.INJECTED_BY_SELF, "b")
    assert c.state(packet) == (InjectionState.INJECTED_BY_OTHER, None)
    assert [handle.is_mine(packet) for handle in (a, b, c)] == [True, True, False]
    assert host.rules == []


@pytest.mark.rule("QS-7", "DC-2")
def test_the_injection_context_is_not_the_completion_context(host: FakeHost) -> None:
    handle = host.handle()
    packet = passed_on(host, handle, fresh(host), context="injection", completion_context="completion")
    assert handle.state(packet) == (InjectionState.INJECTED_BY_SELF, "injection")
    assert host.completed[0][0] == "completion"
    assert handle.state(passed_on(host, handle, fresh(host))) == (InjectionState.INJECTED_BY_SELF, None)


@pytest.mark.rule("QS-8")
def test_a_packet_built_anew_has_no_past(host: FakeHost) -> None:
    a, b = host.handle(), host.handle()
    packet = passed_on(host, a, fresh(host))
    b.network_send(host.created(packet.octets), host.done)
    rebuilt = host.submitted[-1].history
    assert a.state(host.indication(4, history=rebuilt).net_buffer_list)[0] == InjectionState.INJECTED_BY_OTHER


@pytest.mark.rule("QS-13")
def test_asking_changes_nothing(host: FakeHost) -> None:
    handle = host.handle()
    packet = passed_on(host, handle, fresh(host), context=5)
    assert [handle.state(packet) for _ in range(3)] == [(InjectionState.INJECTED_BY_SELF, 5)] * 3
    assert len(packet.history) == 1


@pytest.mark.rule("QS-14")
@pytest.mark.parametrize("types", [NETWORK, TRANSPORT, FORWARD, STREAM, L2])
def test_a_handle_of_any_type_may_ask_at_any_layer(host: FakeHost, types: InjectionType) -> None:
    handle = host.core.create_handle(23 if types != L2 else 0, types)
    mine = (Entry(handle, "context", 1),)
    for where in (Layer.INBOUND_IPPACKET_V4, Layer.OUTBOUND_TRANSPORT_V4, Layer.DATAGRAM_DATA_V4, Layer.IPFORWARD_V4):
        item = host.indication(where, history=mine).net_buffer_list
        assert handle.state(item) == (InjectionState.INJECTED_BY_SELF, "context")
    assert host.rules == []


@pytest.mark.rule("QS-11")
def test_without_a_list_there_is_nothing_to_ask(host: FakeHost) -> None:
    assert host.handle().state(None) == (InjectionState.NOT_INJECTED, None)
    assert host.rules == ["QS-11"]


@pytest.mark.rule("NB-11", "CO-12")
def test_a_list_is_not_asked_about_when_classify_is_over(host: FakeHost) -> None:
    handle = host.handle()
    seen = host.indication(Layer.INBOUND_IPPACKET_V4, history=(Entry(handle, 1, 1),))
    host.show(seen)
    assert handle.state(seen.net_buffer_list) == (InjectionState.NOT_INJECTED, None)
    assert host.rules == ["NB-11"]
    kept = host.indication(Layer.INBOUND_IPPACKET_V4, history=(Entry(handle, 1, 1),))
    host.ownership.reference(kept.net_buffer_list)
    host.show(kept)
    assert handle.state(kept.net_buffer_list) == (InjectionState.INJECTED_BY_SELF, 1)
    assert host.rules == ["NB-11"]
