"""The injection functions from outside: which status, in which order, and that a refusal changed nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emulator.core import Core
from emulator.fwpsk import FWPS_TRANSPORT_SEND_PARAMS0, FWPS_TRANSPORT_SEND_PARAMS1, Fwpsk
from emulator.headers import build_ip_header
from emulator.injection import Injection
from emulator.netbuffer import STACK, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.wdk import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    FWPS_INJECTION_TYPE_FORWARD,
    FWPS_INJECTION_TYPE_NETWORK,
    FWPS_INJECTION_TYPE_STREAM,
    FWPS_INJECTION_TYPE_TRANSPORT,
    STATUS_FWP_INJECT_HANDLE_CLOSING,
    STATUS_FWP_INJECT_HANDLE_STALE,
    STATUS_FWP_INVALID_FLAGS,
    STATUS_FWP_INVALID_PARAMETER,
    STATUS_FWP_NULL_POINTER,
    STATUS_FWP_RESERVED,
    STATUS_FWP_TCPIP_NOT_READY,
    STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_HANDLE,
    STATUS_NETWORK_UNREACHABLE,
    STATUS_SUCCESS,
)

PACKET = build_ip_header(4, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 17, bytes([3, 232, 0, 53, 0, 8, 0, 0]))
REMOTE = bytes([10, 0, 0, 2])
EVERY = (
    FWPS_INJECTION_TYPE_NETWORK | FWPS_INJECTION_TYPE_TRANSPORT | FWPS_INJECTION_TYPE_FORWARD
    | FWPS_INJECTION_TYPE_STREAM
)  # fmt: skip


class Bench:
    """A core that is up, its edge, a handle for everything, and what was injected and completed."""

    def __init__(self, **options: Any) -> None:
        self.injected: list[Injection] = []
        self.completed: list[tuple[Any, NetBufferList, bool]] = []
        self.core = Core(self.injected.append, **options)
        self.core.readiness = lambda: None
        self.fwpsk = Fwpsk(self.core)
        self.handle: Any = self.create(AF_INET, EVERY)

    def create(self, family: int, flags: int) -> Any:
        status, handle = self.fwpsk.FwpsInjectionHandleCreate0(family, flags)
        assert status == STATUS_SUCCESS
        return handle

    def packet(self) -> NetBufferList:
        return self.core.ownership.create_from(PACKET)

    def complete(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        self.completed.append((context, item, dispatch_level))

    def arguments(self, name: str) -> dict[str, Any]:
        """Good arguments for one function, by name, in the page's order."""
        good = {
            "injectionHandle": self.handle, "injectionContext": 0x1234, "endpointHandle": 7, "reserved": None,
            "flags": 0, "sendArgs": FWPS_TRANSPORT_SEND_PARAMS1(REMOTE), "addressFamily": AF_INET,
            "compartmentId": 1, "interfaceIndex": 2, "subInterfaceIndex": 1, "netBufferList": self.packet(),
            "completionFn": self.complete, "completionContext": "mine",
        }  # fmt: skip
        return {word: good[word] for word in FUNCTIONS[name].split()}

    def call(self, name: str, **changed: Any) -> tuple[NtStatus, NetBufferList]:
        arguments = self.arguments(name) | changed
        return getattr(self.fwpsk, name)(*arguments.values()), arguments["netBufferList"]


TAIL = " netBufferList completionFn completionContext"
FUNCTIONS = {
    "FwpsInjectNetworkSendAsync0": "injectionHandle injectionContext flags compartmentId" + TAIL,
    "FwpsInjectNetworkReceiveAsync0":
        "injectionHandle injectionContext flags compartmentId interfaceIndex subInterfaceIndex" + TAIL,
    "FwpsInjectTransportSendAsync0":
        "injectionHandle injectionContext endpointHandle flags sendArgs addressFamily compartmentId" + TAIL,
    "FwpsInjectTransportSendAsync1":
        "injectionHandle injectionContext endpointHandle flags sendArgs addressFamily compartmentId" + TAIL,
    "FwpsInjectTransportReceiveAsync0":
        "injectionHandle injectionContext reserved flags addressFamily compartmentId interfaceIndex"
        " subInterfaceIndex" + TAIL,
    "FwpsInjectForwardAsync0":
        "injectionHandle injectionContext flags addressFamily compartmentId interfaceIndex" + TAIL,
}  # fmt: skip
TYPE_OF = {"Network": FWPS_INJECTION_TYPE_NETWORK, "Transport": FWPS_INJECTION_TYPE_TRANSPORT,
           "Forward": FWPS_INJECTION_TYPE_FORWARD}  # fmt: skip


def type_of(name: str) -> int:
    return next(kind for word, kind in TYPE_OF.items() if word in name)


every_function = pytest.mark.parametrize("name", FUNCTIONS)


@every_function
@pytest.mark.rule("CF-1", "CF-3", "QS-7", "DC-2", "DC-1")
def test_an_accepted_call_is_completed_with_its_own_list_and_context(name: str) -> None:
    bench = Bench()
    status, item = bench.call(name)
    assert status == STATUS_SUCCESS
    [injection] = bench.injected
    assert (injection.net_buffer_list, injection.context) == (item, 0x1234)
    given = set(FUNCTIONS[name].split())
    assert injection.interface == (2 if "interfaceIndex" in given else 0)
    assert injection.sub_interface == (1 if "subInterfaceIndex" in given else 0)
    assert injection.endpoint == (7 if "endpointHandle" in given else None)
    assert injection.family == AF_INET
    injection.handle.complete(injection, STATUS_NETWORK_UNREACHABLE)
    assert bench.completed == [("mine", item, True)]
    assert item.status == STATUS_NETWORK_UNREACHABLE
    bench.fwpsk.FwpsFreeNetBufferList0(item)
    assert bench.core.ownership.counters().clean


def refused(bench: Bench, name: str, expected: NtStatus, **changed: Any) -> None:
    """Call with one thing wrong: the status, and that nothing was sent, completed or taken."""
    arguments = bench.arguments(name) | changed
    status = getattr(bench.fwpsk, name)(*arguments.values())
    assert NtStatus(status).name == expected.name
    assert bench.injected == []
    assert bench.completed == []
    assert bench.handle.pending == 0
    item = arguments["netBufferList"]
    if isinstance(item, NetBufferList) and bench.core.ownership.owns(item):
        bench.fwpsk.FwpsFreeNetBufferList0(item)
        assert not bench.core.ownership.owns(item), "it was still the caller's to free"


@every_function
@pytest.mark.rule("GE-2", "GE-7", "NS-7")
@pytest.mark.parametrize("missing", ["netBufferList", "completionFn"])
def test_a_missing_pointer_is_refused(name: str, missing: str) -> None:
    refused(Bench(), name, STATUS_FWP_NULL_POINTER, **{missing: None})


@pytest.mark.rule("GE-7")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "TransportSend" in name])
def test_a_missing_remote_address_is_refused(name: str) -> None:
    refused(Bench(), name, STATUS_FWP_NULL_POINTER, sendArgs=FWPS_TRANSPORT_SEND_PARAMS1(None))


@every_function
@pytest.mark.rule("GE-6", "GE-7", "NS-4")
@pytest.mark.parametrize("flags", [1, 0x80000000])
def test_reserved_flags_are_refused(name: str, flags: int) -> None:
    refused(Bench(), name, STATUS_FWP_INVALID_FLAGS, flags=flags)


@pytest.mark.rule("GE-6", "GE-7", "TR-1")
def test_a_reserved_pointer_is_refused() -> None:
    refused(Bench(), "FwpsInjectTransportReceiveAsync0", STATUS_FWP_RESERVED, reserved=object())


@pytest.mark.rule("GE-7", "TS-6")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "addressFamily" in FUNCTIONS[name]])
@pytest.mark.parametrize("family", [AF_UNSPEC, 10, 29])
def test_a_family_that_no_packet_has_is_refused(name: str, family: int) -> None:
    refused(Bench(), name, STATUS_FWP_INVALID_PARAMETER, addressFamily=family)


@every_function
@pytest.mark.rule("GE-7", "NS-5")
def test_an_unknown_compartment_is_refused(name: str) -> None:
    refused(Bench(), name, STATUS_FWP_INVALID_PARAMETER, compartmentId=9)


@every_function
@pytest.mark.rule("HD-6", "GE-7")
@pytest.mark.parametrize("value", [None, 0, 0xBAD, "handle", object()])
def test_a_value_that_is_no_handle_is_refused(name: str, value: Any) -> None:
    bench = Bench()
    refused(bench, name, STATUS_INVALID_HANDLE, injectionHandle=value)
    assert repr(value) in str(bench.fwpsk.refused)


@every_function
@pytest.mark.rule("HD-6")
def test_a_destroyed_handle_is_refused(name: str) -> None:
    bench = Bench()
    assert bench.fwpsk.FwpsInjectionHandleDestroy0(bench.handle) == STATUS_SUCCESS
    refused(bench, name, STATUS_INVALID_HANDLE)
    assert bench.core.violations.rules() == ["HD-6"]


@every_function
def test_a_handle_of_another_host_is_no_handle_here(name: str) -> None:
    refused(Bench(), name, STATUS_INVALID_HANDLE, injectionHandle=Bench().handle)


@every_function
@pytest.mark.rule("HC-9", "ER-2")
def test_a_handle_without_the_type_is_stale(name: str) -> None:
    bench = Bench()
    other = bench.create(AF_INET, EVERY & ~type_of(name))
    refused(bench, name, STATUS_FWP_INJECT_HANDLE_STALE, injectionHandle=other)


@every_function
@pytest.mark.rule("HD-4")
def test_a_handle_that_is_being_destroyed_is_closing(name: str) -> None:
    bench = Bench()
    bench.handle.closing = True
    refused(bench, name, STATUS_FWP_INJECT_HANDLE_CLOSING)


@every_function
@pytest.mark.rule("GE-2")
def test_a_call_that_is_made_to_fail_returns_its_status(name: str) -> None:
    bench = Bench()
    bench.core.deny = lambda call: True
    refused(bench, name, STATUS_INSUFFICIENT_RESOURCES)


def never_up(bench: Bench) -> None:
    bench.core.not_ready = True
    bench.core.readiness = lambda: "down"


def closing(bench: Bench) -> None:
    bench.handle.closing = True


# GE-8: each is wrong in its own way; of any two, the upper one is reported.
ORDER: list[tuple[str, dict[str, Any], NtStatus]] = [
    ("pointer", {"completionFn": None}, STATUS_FWP_NULL_POINTER),
    ("reserved", {"reserved": object()}, STATUS_FWP_RESERVED),
    ("flags", {"flags": 4}, STATUS_FWP_INVALID_FLAGS),
    ("family", {"addressFamily": 10}, STATUS_FWP_INVALID_PARAMETER),
    ("handle", {"injectionHandle": 5}, STATUS_INVALID_HANDLE),
    ("type", {"injectionHandle": "stale"}, STATUS_FWP_INJECT_HANDLE_STALE),
    ("closing", {}, STATUS_FWP_INJECT_HANDLE_CLOSING),
    ("stack", {}, STATUS_FWP_TCPIP_NOT_READY),
    ("list", {"netBufferList": "chain"}, STATUS_FWP_INVALID_PARAMETER),
]
STATES: dict[str, Callable[[Bench], None]] = {"closing": closing, "stack": never_up}
PAIRS = [
    (first, second)
    for at, first in enumerate(ORDER)
    for second in ORDER[at + 1 :]
    # Two values for one argument cannot both be given.
    if not set(first[1]) & set(second[1])
]


@pytest.mark.rule("GE-8")
@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda case: case[0])
def test_of_two_mistakes_the_earlier_one_is_reported(first: Any, second: Any) -> None:
    bench = Bench()
    changed: dict[str, Any] = {**first[1], **second[1]}
    if changed.get("injectionHandle") == "stale":
        changed["injectionHandle"] = bench.create(AF_INET, FWPS_INJECTION_TYPE_NETWORK)
        changed["injectionHandle"].closing = "closing" in (first[0], second[0])
    if changed.get("netBufferList") == "chain":
        changed["netBufferList"] = bench.packet()
        changed["netBufferList"].next = bench.packet()
    for case in (first, second):
        if case[0] in STATES:
            STATES[case[0]](bench)
    arguments = bench.arguments("FwpsInjectTransportReceiveAsync0") | changed
    status = bench.fwpsk.FwpsInjectTransportReceiveAsync0(*arguments.values())
    assert NtStatus(status).name == first[2].name
    assert bench.injected == []


@pytest.mark.rule("HC-13", "ER-1")
def test_nothing_works_before_the_stack_is_up_and_all_works_after() -> None:
    bench = Bench()
    never_up(bench)
    made = bench.fwpsk.FwpsInjectionHandleCreate0(AF_INET, EVERY)
    assert made == (STATUS_FWP_TCPIP_NOT_READY, None)
    refused(bench, "FwpsInjectForwardAsync0", STATUS_FWP_TCPIP_NOT_READY)
    bench.core.readiness = lambda: None
    assert bench.fwpsk.FwpsInjectionHandleCreate0(AF_INET, EVERY)[0] == STATUS_SUCCESS
    bench.core.readiness = lambda: "down again"
    assert bench.call("FwpsInjectForwardAsync0")[0] == STATUS_SUCCESS


@every_function
@pytest.mark.rule("HC-7", "HC-8", "HC-9")
@pytest.mark.parametrize("flags", [1, 2, 4, 8, 0, int(EVERY)])
def test_a_handle_opens_the_functions_of_its_types_and_no_others(name: str, flags: int) -> None:
    bench = Bench()
    handle = bench.create(AF_INET, flags)
    status, _ = bench.call(name, injectionHandle=handle)
    opens = (flags or 0x0B) & type_of(name)
    assert status == (STATUS_SUCCESS if opens else STATUS_FWP_INJECT_HANDLE_STALE)


@pytest.mark.rule("HC-5", "HC-18")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "addressFamily" in FUNCTIONS[name]])
def test_a_handle_of_one_family_refuses_the_other_and_one_of_none_takes_both(name: str) -> None:
    bench = Bench()
    both = bench.create(AF_UNSPEC, 0)
    for family, remote in ((AF_INET, REMOTE), (AF_INET6, bytes(16))):
        args = {"sendArgs": FWPS_TRANSPORT_SEND_PARAMS1(remote)} if "sendArgs" in FUNCTIONS[name] else {}
        status, _ = bench.call(name, addressFamily=family, injectionHandle=both, **args)
        assert status == STATUS_SUCCESS
    bench.injected.clear()
    if "sendArgs" in FUNCTIONS[name]:
        args = {"sendArgs": FWPS_TRANSPORT_SEND_PARAMS1(bytes(16))}
    refused(bench, name, STATUS_FWP_INVALID_PARAMETER, addressFamily=AF_INET6, **args)


# -- what goes with a send ------------------------------------------------------------------------------------


@pytest.mark.rule("TS-11")
def test_the_send_parameters_may_go_after_the_call() -> None:
    bench = Bench()
    args = FWPS_TRANSPORT_SEND_PARAMS0(REMOTE, 5)
    assert bench.call("FwpsInjectTransportSendAsync0", sendArgs=args)[0] == STATUS_SUCCESS
    args.remoteAddress, args.remoteScopeId = bytes(4), 6
    held = bench.injected[0].send_params
    assert held is not None
    assert (held.remote_address, held.remote_scope_id) == (REMOTE, 5)
    assert held.died_early() is None


@pytest.mark.rule("TS-7", "TS-10", "TS-11")
@pytest.mark.parametrize("name", ["remoteAddress", "controlData"])
def test_the_buffers_of_the_send_parameters_may_not_change(name: str) -> None:
    bench = Bench()
    args = FWPS_TRANSPORT_SEND_PARAMS0(bytearray(REMOTE), 0, bytearray(b"control data and more"), 12)
    assert bench.call("FwpsInjectTransportSendAsync0", sendArgs=args)[0] == STATUS_SUCCESS
    held = bench.injected[0].send_params
    assert held is not None
    assert held.control_data == b"control data"
    getattr(args, name)[0] ^= 1
    assert held.died_early() == name


@pytest.mark.rule("TS-1", "TS-12", "DC-20")
def test_only_version_1_takes_a_raw_header_along() -> None:
    bench = Bench()
    args = FWPS_TRANSPORT_SEND_PARAMS1(REMOTE, 0, None, 0, PACKET, 20)
    bench.call("FwpsInjectTransportSendAsync0", sendArgs=args)
    bench.call("FwpsInjectTransportSendAsync1", sendArgs=args)
    old, new = (injection.send_params for injection in bench.injected)
    assert old is not None
    assert new is not None
    assert (old.header_include_header, new.header_include_header) == (None, PACKET[:20])


@pytest.mark.rule("TS-3")
def test_send_parameters_may_be_missing() -> None:
    bench = Bench()
    assert bench.call("FwpsInjectTransportSendAsync1", sendArgs=None)[0] == STATUS_SUCCESS
    assert bench.injected[0].send_params is None


@pytest.mark.rule("TS-23")
@pytest.mark.parametrize("size", [0, 5, 16])
def test_an_address_of_another_size_is_refused(size: int) -> None:
    args = FWPS_TRANSPORT_SEND_PARAMS1(bytes(size))
    refused(Bench(), "FwpsInjectTransportSendAsync1", STATUS_FWP_INVALID_PARAMETER, sendArgs=args)


@pytest.mark.rule("GE-20")
def test_the_stack_s_own_list_is_refused() -> None:
    bench = Bench()
    item = NetBufferList(bytearray(PACKET), 0, len(PACKET), STACK)
    refused(bench, "FwpsInjectNetworkSendAsync0", STATUS_FWP_INVALID_PARAMETER, netBufferList=item)
    assert bench.core.violations.rules() == ["GE-20"]


@pytest.mark.rule("NS-4", "DC-7")
def test_preserve_ipid_is_a_flag_of_newer_headers() -> None:
    bench = Bench(header_flags=True)
    assert bench.call("FwpsInjectNetworkSendAsync0", flags=1)[0] == STATUS_SUCCESS
    assert bench.injected[0].preserve_id
    refused(Bench(header_flags=True), "FwpsInjectNetworkReceiveAsync0", STATUS_FWP_INVALID_FLAGS, flags=1)
