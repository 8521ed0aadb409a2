"""The injection functions: each wrong argument alone, and any two at once."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from emulator.netbuffer import IN_FLIGHT, Mdl, NetBuffer
from emulator.ntstatus import NtStatus
from emulator.wfptypes import AddressFamily
from tests.unit.calling import TYPES, WITH_FAMILY, Call

INET, INET6 = AddressFamily.INET, AddressFamily.INET6


# -- one wrong argument, in the order in which they are looked for (GE-8) --------------------------------------


def no_list(call: Call) -> None:
    call.item = None


def no_completion(call: Call) -> None:
    call.completion = None


def no_address(call: Call) -> None:
    call.named["send_params"].remote_address = None


def reserved(call: Call) -> None:
    call.named["reserved"] = object()


def flags(call: Call) -> None:
    call.named["flags"] = 1


def linux_family(call: Call) -> None:
    call.named["family"] = 10


def unspecified_family(call: Call) -> None:
    call.named["family"] = 0


def compartment(call: Call) -> None:
    call.named["compartment"] = 2


def negative_compartment(call: Call) -> None:
    call.named["compartment"] = -1


def short_address(call: Call) -> None:
    address = call.named["send_params"].remote_address
    if address is not None:
        call.named["send_params"].remote_address = address[:-1]


def dead(call: Call) -> None:
    call.handle.closing = call.handle.dead = True


def stale(call: Call) -> None:
    call.handle.type_bits = 0x3F & ~int(TYPES[call.function])


def other_family(call: Call) -> None:
    call.handle.family = INET6


def closing(call: Call) -> None:
    call.handle.closing = True


def not_ready(call: Call) -> None:
    call.host.core.not_ready = True
    call.host.core.readiness = lambda: "the links are down"


def chain(call: Call) -> None:
    if call.item is not None:
        call.item.next = call.host.created()


def two_packets(call: Call) -> None:
    if call.item is not None:
        call.item.first_net_buffer.next = NetBuffer(Mdl(bytearray(40)), 0, 40)


Fault = Callable[[Call], None]
ORDER: list[tuple[Fault, NtStatus, str]] = [
    (no_list, NtStatus.FWP_NULL_POINTER, ""),
    (no_completion, NtStatus.FWP_NULL_POINTER, ""),
    (no_address, NtStatus.FWP_NULL_POINTER, "transport_send"),
    (reserved, NtStatus.FWP_RESERVED, "transport_receive"),
    (flags, NtStatus.FWP_INVALID_FLAGS, ""),
    (linux_family, NtStatus.FWP_INVALID_PARAMETER, "transport_send transport_receive forward"),
    (unspecified_family, NtStatus.FWP_INVALID_PARAMETER, "transport_send transport_receive forward"),
    (compartment, NtStatus.FWP_INVALID_PARAMETER, ""),
    (negative_compartment, NtStatus.FWP_INVALID_PARAMETER, ""),
    (short_address, NtStatus.FWP_INVALID_PARAMETER, "transport_send"),
    (dead, NtStatus.INVALID_HANDLE, ""),
    (stale, NtStatus.FWP_INJECT_HANDLE_STALE, ""),
    (other_family, NtStatus.FWP_INVALID_PARAMETER, "transport_send transport_receive forward"),
    (closing, NtStatus.FWP_INJECT_HANDLE_CLOSING, ""),
    (not_ready, NtStatus.FWP_TCPIP_NOT_READY, ""),
    (chain, NtStatus.FWP_INVALID_PARAMETER, ""),
    (two_packets, NtStatus.FWP_INVALID_PARAMETER, "network_receive transport_receive"),
]
CASES = [
    (function, fault, status)
    for function in TYPES
    for fault, status, only in ORDER
    if not only or function in only.split()
]
SAME_CLASS = {linux_family, unspecified_family, compartment, negative_compartment, short_address}
PAIRS = [
    (function, first, status, second)
    for function in TYPES
    for (one, first, status), (other, second, _) in itertools.combinations(CASES, 2)
    if one == other == function and not {first, second} <= SAME_CLASS
]


@pytest.mark.rule(
    "GE-2", "GE-6", "GE-7", "NS-1", "NS-5", "NS-7", "NS-8", "NS-18", "NR-12", "NR-15", "TS-6", "TS-21", "TS-23",
    "TR-1", "TR-12", "FW-9", "HD-4", "HD-6", "ER-1", "ER-2", "HC-18",
)  # fmt: skip
@pytest.mark.parametrize(("function", "fault", "status"), CASES)
def test_each_wrong_argument_has_its_status(function: str, fault: Fault, status: NtStatus) -> None:
    call = Call(function)
    fault(call)
    assert call.refused().status == status
    assert call.host.rules == (["HD-6"] if fault is dead else [])


@pytest.mark.rule("GE-8")
@pytest.mark.parametrize(("function", "first", "status", "second"), PAIRS)
def test_of_two_faults_the_earlier_is_told(function: str, first: Fault, status: NtStatus, second: Fault) -> None:
    call = Call(function)
    for fault in (first, second):
        fault(call)
    assert call.refused().status == status


@pytest.mark.parametrize("function", TYPES)
def test_a_call_without_a_fault_is_accepted(function: str, family: AddressFamily) -> None:
    call = Call(function, family)
    call.make()
    (injection,) = call.host.submitted
    assert injection.family == family
    assert call.item is not None
    assert call.item.state == IN_FLIGHT
    call.host.complete()
    assert len(call.host.completed) == 1
    assert call.host.rules == []


@pytest.mark.rule("NS-5")
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("function", TYPES)
def test_the_unspecified_and_the_default_compartment_are_there(function: str, number: int) -> None:
    call = Call(function)
    call.named["compartment"] = number
    call.make()
    assert len(call.host.submitted) == 1


@pytest.mark.rule("HC-18", "HC-5")
@pytest.mark.parametrize("function", WITH_FAMILY)
def test_a_handle_of_no_family_serves_both(function: str, family: AddressFamily) -> None:
    call = Call(function, family)
    call.handle = call.host.handle(AddressFamily.UNSPEC, TYPES[function])
    call.make()
    assert call.host.submitted[0].family == family


@pytest.mark.rule("HC-10")
@pytest.mark.parametrize("function", ["network_send", "network_receive"])
def test_the_handle_tells_the_family_of_network_injection(function: str, family: AddressFamily) -> None:
    call = Call(function, family)
    call.make()
    assert call.host.submitted[0].family == family


@pytest.mark.rule("GE-2")
@pytest.mark.parametrize("function", TYPES)
def test_every_injection_can_be_made_to_fail(function: str) -> None:
    call = Call(function)
    asked: list[str] = []
    call.host.core.deny = lambda name: not asked.append(name)  # type: ignore[func-returns-value]
    assert call.refused().status == NtStatus.INSUFFICIENT_RESOURCES
    call.host.core.deny = lambda name: False
    call.make()
    assert len(asked) == 1
