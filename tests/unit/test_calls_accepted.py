"""Injections that are accepted or nearly so: whose list it is, and what the call holds on to."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from emulator.errors import WfpError
from emulator.injection import SendParams
from emulator.ledger import Entry
from emulator.netbuffer import DRIVER, Mdl, NetBuffer, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.wfptypes import AddressFamily, WindowsVersion
from tests.unit.calling import TYPES, Call
from tests.unit.fakehost import REMOTE, FakeHost, ip, tcp, udp

INET, INET6 = AddressFamily.INET, AddressFamily.INET6


# -- whose list it is -----------------------------------------------------------------------------------------


@pytest.mark.rule("GE-20")
@pytest.mark.parametrize("function", TYPES)
def test_only_what_the_driver_owns_is_injected(function: str) -> None:
    call = Call(function)
    seen = call.host.indication(12 if function != "network_send" else 4, udp(4))
    call.item = seen.net_buffer_list
    refusal = call.refused()
    assert (refusal.status, refusal.rule) == (NtStatus.FWP_INVALID_PARAMETER, "GE-20")
    call.item = FakeHost().created()
    assert call.refused().rule == "GE-20"
    assert call.host.rules == ["GE-20", "GE-20"]


@pytest.mark.rule("GE-3", "NB-9")
@pytest.mark.parametrize("function", TYPES)
def test_neither_a_list_in_flight_nor_a_freed_one_is_injected(function: str) -> None:
    call = Call(function)
    call.make()
    call.host.submitted.clear()
    with pytest.raises(WfpError) as refusal:
        call.make()
    assert refusal.value.rule == "GE-3"
    freed = Call(function)
    assert freed.item is not None
    freed.host.free(freed.item)
    assert freed.refused().rule == "NB-9"
    assert (call.host.rules, freed.host.rules) == (["GE-3"], ["NB-9"])


@pytest.mark.rule("GE-3")
def test_a_list_in_flight_cannot_be_freed_and_is_the_drivers_again_afterwards() -> None:
    call = Call("network_send")
    states: list[int] = []

    def done(context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        states.append(item.state)
        call.host.free(item)

    call.completion = done
    call.make()
    assert call.item is not None
    call.host.free(call.item)
    assert call.host.rules == ["GE-3"]
    call.host.complete()
    assert states == [DRIVER]
    assert call.host.core.leaks() == [f"{call.handle!r} was never destroyed (HC-15)"]


@pytest.mark.rule("QS-8")
@pytest.mark.parametrize("function", TYPES)
def test_an_injection_appends_to_the_history_of_the_list(function: str) -> None:
    call = Call(function)
    assert call.item is not None
    past = call.item.history = (Entry("other handle", 0, 0),)
    call.named["context"] = 0x1234
    call.make()
    injection = call.host.submitted[0]
    assert injection.history[:-1] == past
    last = injection.history[-1]
    assert (last.handle, last.context) == (call.handle, 0x1234)


@pytest.mark.parametrize("function", ["network_send", "transport_send", "forward"])
def test_outgoing_lists_may_hold_several_packets(function: str) -> None:
    call = Call(function)
    assert call.item is not None
    call.item.first_net_buffer.next = NetBuffer(Mdl(bytearray(40)), 0, 40)
    call.make()
    assert len(call.host.submitted[0].net_buffer_list.packets()) == 2
    call.host.complete()
    assert len(call.host.completed) == 1


# -- what the send parameters name ----------------------------------------------------------------------------


def sending(params: SendParams, family: AddressFamily = INET) -> Call:
    call = Call("transport_send", family)
    call.named["send_params"] = params
    return call


@pytest.mark.rule("TS-7", "TS-10", "TS-12")
@pytest.mark.parametrize(
    ("name", "rule"),
    [("remote_address", "TS-7"), ("control_data", "TS-10"), ("header_include_header", "TS-12")],
)
@pytest.mark.parametrize("how", ["overwritten", "shortened", "released", "kept"])
def test_the_buffers_must_stay_until_completion(name: str, rule: str, how: str) -> None:
    buffer = bytearray(REMOTE[4])
    view = memoryview(buffer)
    params = SendParams(REMOTE[4])
    setattr(params, name, view if how == "released" else buffer)
    call = sending(params)
    call.make()
    if how == "shortened":
        view.release()
        del buffer[2:]
    elif how == "overwritten":
        buffer[3] += 1
    elif how == "released":
        view.release()
    held = call.host.submitted[0].send_params
    assert held is not None
    assert getattr(held, name) == REMOTE[4]
    call.host.complete()
    assert call.host.rules == ([] if how == "kept" else [rule])


@pytest.mark.rule("TS-11")
def test_the_structure_itself_may_change_after_the_call() -> None:
    params = SendParams(bytearray(REMOTE[4]), remote_scope_id=7, control_data=b"data")
    call = sending(params)
    call.make()
    params.remote_address, params.remote_scope_id, params.control_data = b"", 0, None
    held = call.host.submitted[0].send_params
    assert held is not None
    assert (held.remote_address, held.remote_scope_id, held.control_data) == (REMOTE[4], 7, b"data")
    call.host.complete()
    assert call.host.rules == []


@pytest.mark.rule("TS-23")
def test_an_address_has_the_length_of_the_family(family: AddressFamily) -> None:
    other = 4 if family is INET6 else 6
    refusal = sending(SendParams(REMOTE[other]), family).refused()
    assert (refusal.status, refusal.rule) == (NtStatus.FWP_INVALID_PARAMETER, "TS-23")


@pytest.mark.rule("VE-1")
def test_the_second_form_of_send_parameters_came_with_windows_7() -> None:
    params = SendParams(REMOTE[4], header_include_header=ip(4, 17, b""))
    for profile, accepted in ((WindowsVersion.VISTA_SP1, False), (WindowsVersion.WINDOWS_7, True)):
        call = Call("transport_send", profile=profile)
        call.named["send_params"] = params
        if accepted:
            call.make()
        else:
            assert call.refused().status == NtStatus.NOT_IMPLEMENTED


def test_without_send_parameters_the_packet_brings_its_ip_header() -> None:
    call = Call("transport_send")
    call.named |= {"send_params": None, "endpoint": 77}
    call.make()
    injection = call.host.submitted[0]
    assert injection.send_params is None
    assert injection.endpoint == 77


@pytest.mark.parametrize("function", ["network_receive", "transport_receive", "forward"])
def test_the_interface_goes_with_the_injection(function: str) -> None:
    call = Call(function)
    call.named["interface"] = 3
    if function != "forward":
        call.named["sub_interface"] = 1
    call.make()
    assert call.host.submitted[0].interface == 3
    assert call.host.submitted[0].sub_interface == (0 if function == "forward" else 1)


# -- flags, alignment, deadlocks ------------------------------------------------------------------------------


@pytest.mark.rule("NS-4", "DC-7", "VE-1")
@pytest.mark.parametrize(
    ("header_flags", "profile", "given", "accepted"),
    [
        (False, WindowsVersion.WINDOWS_8, 1, False),
        (True, WindowsVersion.WINDOWS_8, 1, True),
        (True, WindowsVersion.WINDOWS_7, 1, False),
        (True, WindowsVersion.WINDOWS_8, 2, False),
        (True, WindowsVersion.WINDOWS_8, 3, False),
        (True, WindowsVersion.WINDOWS_8, 0, True),
    ],
)
def test_the_newer_send_flag_is_for_newer_headers(
    header_flags: bool, profile: WindowsVersion, given: int, accepted: bool
) -> None:
    call = Call("network_send", header_flags=header_flags, profile=profile)
    call.named["flags"] = given
    if accepted:
        call.make()
        assert call.host.submitted[0].preserve_id is bool(given)
    else:
        assert call.refused().status == NtStatus.FWP_INVALID_FLAGS
    for function in ("network_receive", "transport_send", "transport_receive", "forward"):
        other = Call(function, header_flags=header_flags, profile=profile)
        other.named["flags"] = 1
        assert other.refused().status == NtStatus.FWP_INVALID_FLAGS


@pytest.mark.rule("GE-18")
@pytest.mark.parametrize(("backfill", "rules"), [(0, []), (8, []), (14, ["GE-18"]), (20, ["GE-18"])])
@pytest.mark.parametrize("function", ["network_send", "transport_send"])
@pytest.mark.parametrize("apart", [False, True])
def test_an_outgoing_ip_header_lies_at_an_aligned_address(
    function: str, backfill: int, rules: list[str], apart: bool
) -> None:
    call = Call(function)
    call.item = call.host.created(udp(4), backfill=backfill)
    if apart:
        assert call.item.first_net_buffer.data_offset == backfill
    if function == "transport_send":
        call.named["send_params"] = None
    call.make()
    assert call.host.rules == rules
    assert len(call.host.submitted) == 1


@pytest.mark.rule("GE-18")
@pytest.mark.parametrize("function", ["network_receive", "transport_send", "transport_receive"])
def test_other_data_may_lie_anywhere(function: str) -> None:
    call = Call(function)
    call.item = call.host.created(udp(4), backfill=14)
    call.make()
    assert call.host.rules == []


@pytest.mark.rule("TS-16", "TR-11")
@pytest.mark.parametrize(("function", "rule"), [("transport_send", "TS-16"), ("transport_receive", "TR-11")])
@pytest.mark.parametrize("origin", ["clone", "created"])
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_tcp_injected_from_inside_a_callback_is_told(
    function: str, rule: str, origin: str, inline: bool, protocol: str
) -> None:
    call = Call(function)
    packet = (tcp if protocol == "tcp" else udp)(4, inbound=False)
    call.item = call.host.created(packet)
    if origin == "clone":
        seen = call.host.indication(4, packet)
        call.item = seen.clone()
    if function == "transport_send" and origin == "created":
        call.named["send_params"] = None  # then the data begins with an IP header, which tells the protocol

    def classify(seen: Any) -> None:
        call.make()

    call.host.filter(16, classify)
    if inline:
        call.host.core.dispatch_threads.add(threading.get_ident())
    call.host.show(call.host.indication(16, udp(4, inbound=False)))
    assert call.host.rules == ([rule] if inline and protocol == "tcp" else [])
    assert len(call.host.submitted) == 1
