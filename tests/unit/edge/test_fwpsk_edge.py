"""Handles from outside: creating, destroying and querying, and what stands for a value that is none."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.core import Core
from emulator.edge.fwpsk_edge import Edge, as_status, as_void
from emulator.errors import FwpInvalidFlags, WfpError
from emulator.fwpsk import Fwpsk
from emulator.injection import Injection
from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus
from emulator.wdk import (
    AF_INET,
    AF_UNSPEC,
    FWPS_INJECTION_TYPE_L2,
    FWPS_INJECTION_TYPE_NETWORK,
    FWPS_INJECTION_TYPE_TRANSPORT,
    FWPS_PACKET_INJECTED_BY_OTHER,
    FWPS_PACKET_INJECTED_BY_SELF,
    FWPS_PACKET_NOT_INJECTED,
    FWPS_PACKET_PREVIOUSLY_INJECTED_BY_SELF,
    STATUS_FWP_INVALID_FLAGS,
    STATUS_FWP_INVALID_PARAMETER,
    STATUS_INVALID_HANDLE,
    STATUS_PENDING,
    STATUS_SUCCESS,
)
from emulator.wfptypes import WindowsVersion

EVERY = 0x0F


class Bench:
    """A core that is up, its edge, and one handle for everything."""

    def __init__(self, **options: Any) -> None:
        self.injected: list[Injection] = []
        self.core = Core(self.injected.append, **options)
        self.core.readiness = lambda: None
        self.fwpsk = Fwpsk(self.core)
        self.handle: Any = self.create(AF_INET, EVERY)

    def create(self, family: int, flags: int) -> Any:
        status, handle = self.fwpsk.FwpsInjectionHandleCreate0(family, flags)
        assert status == STATUS_SUCCESS
        return handle

    def packet(self) -> NetBufferList:
        return self.core.ownership.create_from(bytes(20))


@pytest.mark.rule("HC-2", "HC-4", "HC-13")
@pytest.mark.parametrize("family", [0, 2, 23])
def test_a_handle_is_made_for_each_family_and_differs_from_all_others(family: int) -> None:
    bench = Bench()
    made = [bench.fwpsk.FwpsInjectionHandleCreate0(family, FWPS_INJECTION_TYPE_TRANSPORT) for _ in range(3)]
    assert [status for status, _ in made] == [STATUS_SUCCESS] * 3
    handles = [bench.handle, *(handle for _, handle in made)]
    assert None not in handles
    assert all(one is other or one != other for one in handles for other in handles)
    assert len(set(handles)) == 4


@pytest.mark.rule("HC-6", "HC-11", "HC-14")
@pytest.mark.parametrize(
    ("family", "flags", "expected"),
    [
        (10, FWPS_INJECTION_TYPE_NETWORK, STATUS_FWP_INVALID_PARAMETER),
        (17, FWPS_INJECTION_TYPE_TRANSPORT, STATUS_FWP_INVALID_PARAMETER),
        (AF_UNSPEC, FWPS_INJECTION_TYPE_NETWORK, STATUS_FWP_INVALID_PARAMETER),
        (AF_UNSPEC, EVERY, STATUS_FWP_INVALID_PARAMETER),
        (AF_INET, 0x40, STATUS_FWP_INVALID_FLAGS),
        (AF_INET, 0x80000000, STATUS_FWP_INVALID_FLAGS),
    ],
)
def test_a_bad_family_or_type_makes_no_handle(family: int, flags: int, expected: NtStatus) -> None:
    bench = Bench()
    before = list(bench.core.handles)
    assert bench.fwpsk.FwpsInjectionHandleCreate0(family, flags) == (expected, None)
    assert bench.core.handles == before


@pytest.mark.rule("HC-12", "HC-17", "VE-1")
def test_a_handle_for_frames_takes_any_family_and_comes_with_windows_8() -> None:
    assert Bench().fwpsk.FwpsInjectionHandleCreate0(17, FWPS_INJECTION_TYPE_L2)[0] == STATUS_SUCCESS
    old = Bench(profile=WindowsVersion.WINDOWS_7)
    status, handle = old.fwpsk.FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_L2)
    assert (status, handle) == (STATUS_FWP_INVALID_FLAGS, None)


@pytest.mark.rule("HD-1", "HD-6")
def test_a_handle_is_destroyed_once() -> None:
    bench = Bench()
    assert bench.fwpsk.FwpsInjectionHandleDestroy0(bench.handle) == STATUS_SUCCESS
    assert bench.core.leaks() == []
    assert bench.fwpsk.FwpsInjectionHandleDestroy0(bench.handle) == STATUS_INVALID_HANDLE
    assert bench.fwpsk.FwpsInjectionHandleDestroy0(None) == STATUS_INVALID_HANDLE
    assert bench.core.violations.rules() == ["HD-6", "HD-6"]


@pytest.mark.rule("QS-1", "QS-3", "QS-4", "QS-6", "QS-7", "HC-16")
def test_each_handle_is_told_its_own_state_and_context() -> None:
    bench = Bench()
    second, third = bench.create(AF_INET, EVERY), bench.create(AF_INET, EVERY)
    query = bench.fwpsk.FwpsQueryPacketInjectionState0
    first_list = bench.packet()
    assert query(bench.handle, first_list) == (FWPS_PACKET_NOT_INJECTED, None)
    first_list.history = once(bench, bench.handle, 0x1234)
    assert query(bench.handle, first_list) == (FWPS_PACKET_INJECTED_BY_SELF, 0x1234)
    assert query(second, first_list) == (FWPS_PACKET_INJECTED_BY_OTHER, None)
    first_list.history += once(bench, second, 0x5678)
    assert query(bench.handle, first_list) == (FWPS_PACKET_PREVIOUSLY_INJECTED_BY_SELF, 0x1234)
    assert query(second, first_list) == (FWPS_PACKET_INJECTED_BY_SELF, 0x5678)
    assert query(third, first_list) == (FWPS_PACKET_INJECTED_BY_OTHER, None)
    assert list(bench.core.violations) == []


def once(bench: Bench, handle: Any, context: int) -> Any:
    """The history of a packet that one handle injects, with a context of its own and another at completion."""
    send = bench.fwpsk.FwpsInjectNetworkSendAsync0
    assert send(handle, context, 0, 0, bench.packet(), lambda *_: None, 1) == STATUS_SUCCESS
    return bench.injected[-1].history


@pytest.mark.rule("HD-6", "QS-11")
def test_a_query_without_a_list_or_a_handle_answers_and_is_a_violation() -> None:
    bench = Bench()
    query = bench.fwpsk.FwpsQueryPacketInjectionState0
    assert query(bench.handle, None) == (FWPS_PACKET_NOT_INJECTED, None)
    assert query(None, bench.packet()) == (FWPS_PACKET_NOT_INJECTED, None)
    assert bench.core.violations.rules() == ["QS-11", "HD-6"]


# -- where a refusal becomes a status -------------------------------------------------------------------------


class Small(Edge):
    """An edge with one function of each shape."""

    @as_status()
    def plain(self, outcome: object) -> NtStatus | None:
        return act(outcome)

    @as_status(out=True, since=WindowsVersion.WINDOWS_8)
    def with_out(self, outcome: object) -> NtStatus | None:
        return act(outcome)

    @as_void
    def void(self, outcome: object) -> None:
        act(outcome)


def act(outcome: object) -> NtStatus | None:
    if isinstance(outcome, Exception):
        raise outcome
    assert outcome is None or isinstance(outcome, NtStatus)
    return outcome


REFUSAL = FwpInvalidFlags("flags 0x1", rule="GE-6")


def test_a_refusal_becomes_its_status_and_is_kept() -> None:
    edge = Small(Core(lambda injection: None))
    assert (edge.plain(None), edge.plain(STATUS_PENDING)) == (STATUS_SUCCESS, STATUS_PENDING)
    assert edge.with_out(None) == (STATUS_SUCCESS, None)
    assert edge.refused is None
    assert edge.plain(REFUSAL) == STATUS_FWP_INVALID_FLAGS
    assert edge.with_out(REFUSAL) == (STATUS_FWP_INVALID_FLAGS, None)
    assert edge.refused is REFUSAL


@pytest.mark.rule("GE-9")
def test_a_function_that_returns_nothing_records_what_it_cannot_refuse() -> None:
    edge = Small(Core(lambda injection: None))
    edge.void(None)
    assert list(edge.core.violations) == []
    edge.void(REFUSAL)
    [violation] = edge.core.violations
    assert (violation.rule, violation.call, violation.message) == ("GE-6", "void", "flags 0x1")


@pytest.mark.parametrize("name", ["plain", "with_out", "void"])
def test_a_bug_is_not_taken_for_a_refusal(name: str) -> None:
    edge = Small(Core(lambda injection: None))
    assert not issubclass(KeyError, WfpError)
    with pytest.raises(KeyError):
        getattr(edge, name)(KeyError("a bug"))
