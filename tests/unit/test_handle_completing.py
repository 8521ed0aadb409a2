"""Completions: one for each accepted list, with its status, in any order and from anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.layers import Layer
from emulator.netbuffer import NetBuffer, NetBufferList
from emulator.ntstatus import NtStatus
from tests.unit.calling import FUNCTIONS, inject
from tests.unit.fakehost import FakeHost, udp

PACKET_FUNCTIONS = [name for name in FUNCTIONS if name != "stream_inject"]


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.mark.rule("GE-1", "CF-1", "CF-2", "CF-3", "CF-5", "CF-6")
@pytest.mark.parametrize("function", PACKET_FUNCTIONS)
@pytest.mark.parametrize("status", [NtStatus.SUCCESS, NtStatus.NETWORK_UNREACHABLE])
def test_an_accepted_list_comes_back_once_with_its_status(host: FakeHost, function: str, status: NtStatus) -> None:
    handle = host.handle()
    inject(host, handle, function, completion_context="mine")
    item = host.submitted[0].net_buffer_list
    assert host.completed == []
    host.complete(status)
    assert host.completed == [("mine", item, True)]
    assert item.status == status
    assert handle.pending == 0
    assert host.ownership.counters().clean


@pytest.mark.rule("CF-1")
@pytest.mark.parametrize("dispatch_level", [False, True])
def test_the_completion_is_told_its_level(host: FakeHost, dispatch_level: bool) -> None:
    handle = host.handle()
    inject(host, handle, "forward")
    handle.complete(host.submitted[0], NtStatus.SUCCESS, dispatch_level=dispatch_level)
    assert [level for _, _, level in host.completed] == [dispatch_level]


@pytest.mark.rule("CF-4", "NB-9")
def test_a_failing_status_does_not_change_the_duty_to_free(host: FakeHost) -> None:
    handle = host.handle()
    for _ in range(5):
        inject(host, handle, "network_send")
    host.completed.clear()
    for injection in host.submitted:
        injection.completion = lambda context, item, level: None
    host.complete(NtStatus.DATA_NOT_ACCEPTED)
    assert host.ownership.counters().created == 5


@pytest.mark.rule("CF-7")
def test_a_completion_may_inject_again(host: FakeHost) -> None:
    handle = host.handle()
    rounds = 0

    def again(context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        nonlocal rounds
        rounds += 1
        host.free(item)
        if rounds < 1000:
            handle.network_send(host.created(), again)

    handle.network_send(host.created(), again)
    host.complete()
    assert rounds == 1000
    assert (host.rules, handle.pending, host.ownership.counters().clean) == ([], 0, True)


@pytest.mark.rule("GE-4", "CF-6")
@pytest.mark.parametrize("function", PACKET_FUNCTIONS)
def test_a_completion_may_come_before_the_call_returns(function: str) -> None:
    host = FakeHost()
    host.core.submit = lambda injection: injection.handle.complete(injection, NtStatus.SUCCESS)
    handle = host.handle()
    inject(host, handle, function)
    assert len(host.completed) == 1
    assert handle.pending == 0
    handle.destroy()
    assert (host.rules, host.core.leaks()) == ([], [])


@pytest.mark.rule("GE-9", "HD-3")
def test_a_completion_that_raises_is_told_and_ends_the_injection(host: FakeHost) -> None:
    handle = host.handle()

    def broken(context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        raise KeyError("mine")

    handle.network_send(host.created(), broken)
    host.complete()
    assert handle.pending == 0
    assert host.rules == ["GE-9"]
    assert [(where, type(error)) for where, error in host.core.callback_errors] == [("completion function", KeyError)]
    assert repr(handle) in str(host.core.violations.entries[0])


@pytest.mark.rule("CF-8")
@pytest.mark.parametrize("apart", [False, True])
def test_the_data_start_may_differ_at_completion(host: FakeHost, apart: bool) -> None:
    host.core.scramble_offsets = True
    handle = host.handle()
    seen = host.indication(Layer.OUTBOUND_IPPACKET_V4, udp(4, inbound=False))
    for item in (seen.clone(), host.created(b"\x45" * 7)):
        if apart:
            assert isinstance(item.first_net_buffer, NetBuffer)
        length = item.data_length
        handle.network_send(item, host.done)
        host.complete()
        assert item.data_length == length - min(20, length)
    assert (host.rules, host.ownership.counters().clean) == ([], True)
