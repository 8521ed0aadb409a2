"""Destroying handles: waiting for what is pending, refusing meanwhile, and never waiting for itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from emulator.errors import InjectHandleClosing, InvalidHandle, Unsuccessful
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.injection import Injection
from emulator.layers import Layer
from emulator.ledger import Entry
from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus
from emulator.wfptypes import InjectionState
from tests.unit.calling import FUNCTIONS, inject
from tests.unit.fakehost import PATIENCE, FakeHost, join, on_thread

PACKET_FUNCTIONS = [name for name in FUNCTIONS if name != "stream_inject"]


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


class Watched(threading.Condition):
    """Tells when somebody begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.waiting.set()
        return super().wait(timeout)


def destroying(handle: InjectionHandle) -> tuple[threading.Thread, list[object]]:
    """A thread that destroys the handle and has come to where it waits."""
    handle._changed = watched = Watched()
    thread, outcome = on_thread(handle.destroy)
    assert watched.waiting.wait(PATIENCE)
    return thread, outcome


@pytest.mark.rule("HD-1")
def test_a_destroyed_handle_is_gone(host: FakeHost) -> None:
    handle = host.handle()
    handle.destroy()
    assert (host.core.handles, host.core.leaks(), host.rules) == ([], [], [])
    with host.handle() as other:
        assert host.core.handles == [other]
    assert host.core.handles == []


@pytest.mark.rule("HD-2", "OR-5", "HD-8")
@pytest.mark.parametrize("function", PACKET_FUNCTIONS)
def test_destroy_waits_for_every_pending_injection(host: FakeHost, function: str) -> None:
    handle = host.handle()
    for _ in range(3):
        inject(host, handle, function)
    thread, outcome = destroying(handle)
    for left in (2, 1):
        injection = host.submitted.pop(0)
        handle.complete(injection, NtStatus.SUCCESS)
        assert handle.pending == left
        assert thread.is_alive()
        assert not handle.dead
    assert len(host.submitted) == 1  # destroying has cancelled nothing
    host.complete()
    join(thread)
    assert outcome == [None]
    assert handle.dead
    assert len(host.completed) == 3
    assert host.rules == []


@pytest.mark.rule("HD-2", "HD-3")
def test_destroy_returns_after_the_last_completion_function_has(host: FakeHost) -> None:
    handle = host.handle()
    entered, leave = threading.Event(), threading.Event()

    def slow(context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        entered.set()
        assert leave.wait(PATIENCE)
        host.free(item)

    handle.network_send(host.created(), slow)
    completing, _ = on_thread(host.complete)
    assert entered.wait(PATIENCE)
    thread, outcome = destroying(handle)
    assert handle.pending == 1
    assert thread.is_alive()
    leave.set()
    join(completing)
    join(thread)
    assert outcome == [None]


@pytest.mark.rule("HD-3")
def test_lists_that_a_driver_merely_holds_are_not_pending(host: FakeHost) -> None:
    handle = host.handle()
    seen = host.indication(Layer.OUTBOUND_IPPACKET_V4)
    clone, created = seen.clone(), host.created()
    assert handle.pending == 0
    handle.destroy()
    host.free(clone)
    host.free(created)
    assert (host.rules, host.core.leaks()) == ([], [])


@pytest.mark.rule("HD-4", "GE-2")
@pytest.mark.parametrize("function", PACKET_FUNCTIONS)
def test_while_a_handle_is_destroyed_it_takes_nothing_new(host: FakeHost, function: str) -> None:
    handle = host.handle()
    inject(host, handle, "network_send")
    thread, _ = destroying(handle)
    with pytest.raises(InjectHandleClosing) as refusal:
        inject(host, handle, function)
    assert refusal.value.status == 0xC0220101
    assert len(host.submitted) == 1
    host.complete()
    join(thread)
    assert len(host.completed) == 1
    assert host.rules == []


@pytest.mark.rule("HD-2", "HD-4")
def test_an_injection_that_meets_a_destroy_half_way_leaves_it_nothing_to_wait_for(host: FakeHost) -> None:
    """The destroy begins when the injection is in flight already but not yet accepted."""
    handle = host.handle()
    handle._changed = watched = Watched()
    threads: list[threading.Thread] = []

    class InFlight(dict[Injection, None]):
        def __setitem__(self, injection: Injection, value: None) -> None:
            super().__setitem__(injection, value)
            threads.append(on_thread(handle.destroy)[0])
            assert watched.waiting.wait(PATIENCE)

    handle.in_flight = InFlight()
    item = host.created()
    with pytest.raises(InjectHandleClosing):
        handle.network_send(item, host.done)
    join(threads[0])
    assert handle.dead
    assert host.submitted == []
    host.free(item)
    assert host.rules == []


@pytest.mark.rule("HD-5")
@pytest.mark.parametrize("known", [False, True])
def test_a_completion_does_not_destroy_the_handle_it_belongs_to(host: FakeHost, known: bool) -> None:
    """Whether or not the thread is one that is known to run completions."""
    handle = host.handle()
    refusals: list[NtStatus] = []

    def greedy(context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        host.free(item)
        with pytest.raises(Unsuccessful) as refusal:
            handle.destroy()
        refusals.append(refusal.value.status)

    handle.network_send(host.created(), greedy)
    if known:
        host.core.dispatch_threads.add(threading.get_ident())
    host.complete()
    assert (refusals, host.rules) == ([NtStatus.UNSUCCESSFUL], ["HD-5"])
    assert not handle.closing
    host.core.dispatch_threads.clear()
    inject(host, handle, "network_send")
    host.complete()
    handle.destroy()
    assert host.rules == ["HD-5"]


@pytest.mark.rule("HD-5", "GE-5")
@pytest.mark.parametrize("step", ["destroy", "create", "register", "unregister"])
def test_what_may_wait_is_not_called_from_a_callback(host: FakeHost, step: str) -> None:
    handle = host.handle()
    registered = host.callout(lambda seen: None)
    steps: dict[str, Callable[[], object]] = {
        "destroy": handle.destroy,
        "create": lambda: host.handle(),
        "register": lambda: host.callout(lambda seen: None),
        "unregister": lambda: host.engine.callouts.unregister(registered.callout_id),
    }

    def classify(seen: Indication) -> None:
        if step == "destroy":
            with pytest.raises(Unsuccessful):
                steps[step]()
        else:
            steps[step]()

    host.filter(Layer.OUTBOUND_IPPACKET_V4, classify)
    steps[step if step != "destroy" else "create"]()
    assert host.rules == []
    registered = host.callout(lambda seen: None)
    host.core.dispatch_threads.add(threading.get_ident())
    host.show(host.indication(Layer.OUTBOUND_IPPACKET_V4))
    assert host.rules == ["HD-5" if step == "destroy" else "GE-5"]


@pytest.mark.rule("CF-7", "GE-5")
def test_a_completion_makes_no_handle(host: FakeHost) -> None:
    handle = host.handle()
    handle.network_send(host.created(), lambda context, item, level: host.handle())
    host.complete()
    assert host.rules == ["GE-5"]
    assert host.core.dispatch_threads == set()


@pytest.mark.rule("HD-6", "GE-9")
@pytest.mark.parametrize("function", PACKET_FUNCTIONS)
def test_a_dead_handle_does_nothing_any_more(host: FakeHost, function: str) -> None:
    handle = host.handle()
    handle.destroy()
    with pytest.raises(InvalidHandle) as refusal:
        inject(host, handle, function)
    assert refusal.value.status == 0xC0000008
    assert host.submitted == []
    with pytest.raises(InvalidHandle):
        handle.destroy()
    seen = host.indication(Layer.OUTBOUND_IPPACKET_V4, history=(Entry(handle, 1, 1),))
    assert handle.state(seen.net_buffer_list) == (InjectionState.NOT_INJECTED, None)
    assert host.rules == ["HD-6"] * 3
    assert all(repr(handle) == violation.handle for violation in host.core.violations)


@pytest.mark.rule("HD-6")
def test_a_second_destroy_beside_the_first_is_refused(host: FakeHost) -> None:
    handle = host.handle()
    inject(host, handle, "network_send")
    thread, outcome = destroying(handle)
    with pytest.raises(InvalidHandle):
        handle.destroy()
    assert host.rules == ["HD-6"]
    host.complete()
    join(thread)
    assert outcome == [None]


@pytest.mark.rule("HD-6")
def test_the_values_of_handles_are_not_used_again(host: FakeHost) -> None:
    numbers = []
    for _ in range(5):
        with host.handle() as handle:
            numbers.append(handle.number)
    assert len(set(numbers)) == 5


@pytest.mark.rule("HD-7")
def test_a_destroyed_handle_stays_in_the_history_of_packets(host: FakeHost) -> None:
    first, second = host.handle(), host.handle()
    inject(host, first, "network_send")
    history = host.submitted[0].history
    mark = host.core.ledger.mark(history)
    host.complete()
    first.destroy()
    seen = host.indication(Layer.OUTBOUND_IPPACKET_V4, history=host.core.ledger.history(mark))
    assert second.state(seen.net_buffer_list) == (InjectionState.INJECTED_BY_OTHER, None)
    assert host.rules == []


@pytest.mark.rule("HD-2", "CF-6")
def test_injecting_completing_and_destroying_at_once_loses_nothing(host: FakeHost) -> None:
    """Four threads inject until the handle closes, two complete, one destroys: all accepted lists come back."""
    handle = host.handle()
    start = threading.Barrier(7, timeout=PATIENCE)
    stop = threading.Event()
    accepted = [0] * 4
    returned = []

    def injector(number: int) -> None:
        start.wait()
        while True:
            item = host.created()
            try:
                handle.network_send(item, lambda context, item, level: returned.append(item))
            except (InjectHandleClosing, InvalidHandle):  # being destroyed, or destroyed since the last one
                host.free(item)
                return
            accepted[number] += 1

    def completer() -> None:
        start.wait()
        while not stop.is_set() or host.submitted:
            try:
                injection = host.submitted.pop()
            except IndexError:
                continue
            injection.handle.complete(injection, NtStatus.SUCCESS)

    def destroyer() -> None:
        start.wait()
        while sum(accepted) < 200:
            pass
        handle.destroy()

    threads = [on_thread(lambda number=number: injector(number)) for number in range(4)]  # type: ignore[misc]
    threads += [on_thread(completer), on_thread(completer)]
    last, outcome = on_thread(destroyer)
    join(last)
    stop.set()
    for thread, _ in threads:
        join(thread)
    assert [outcome, *(ended for _, ended in threads)] == [[None]] * 7
    assert len(returned) == sum(accepted) >= 200
    assert handle.pending == 0
    assert set(host.rules) <= {"HD-6"}
