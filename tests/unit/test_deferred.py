"""Work that is put off runs at its level, outside of every callback, and what it raises is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulator.deferred import Dpc, ThreadedDpc, WorkItem
from emulator.stack import Stack
from emulator.wfptypes import AddressFamily, InjectionType
from tests.unit.fakehost import PATIENCE, FakeHost, tcp


class Deferring:
    """A host without I/O whose own thread is the test's, and the three ways to put work off."""

    def __init__(self) -> None:
        self.host = FakeHost()
        self.core = self.host.core
        self.handle = self.host.handle(AddressFamily.INET, InjectionType.TRANSPORT)
        self.core.dispatch_threads.add(threading.get_ident())
        self.posted: list[Callable[[], None]] = []
        self.stack = cast(Stack, SimpleNamespace(core=self.core, loop=SimpleNamespace(post=self.posted.append)))

    def run(self, work: Callable[[], object], how: type[Any]) -> None:
        """Have it done, and wait."""
        if how is Dpc:
            Dpc(self.stack).post(work)
            assert len(self.posted) == 1, "a DPC runs when what the host is at has returned"
            self.posted.pop()()
        elif how is ThreadedDpc:
            with ThreadedDpc(self.stack) as deferred:
                deferred.post(work)
        else:
            with WorkItem() as deferred:
                deferred.post(work)


@pytest.fixture
def deferring() -> Iterator[Deferring]:
    """A host, with the test's thread in place of its own."""
    made = Deferring()
    yield made
    assert made.core.deferred_threads == set()
    assert made.core.dispatch_threads == {threading.get_ident()}, "a thread that has ended is at no level"


@pytest.mark.rule("GE-5")
@pytest.mark.parametrize(("how", "at_dispatch"), [(Dpc, True), (ThreadedDpc, True), (WorkItem, False)])
def test_both_kinds_of_dpc_are_at_dispatch_level_and_a_work_item_is_not(
    deferring: Deferring, how: type[Any], at_dispatch: bool
) -> None:
    done = threading.Event()

    def work() -> None:
        deferring.core.create_handle(AddressFamily.INET, InjectionType.NETWORK)
        done.set()

    deferring.run(work, how)
    assert done.wait(PATIENCE)
    assert deferring.core.violations.rules() == (["GE-5"] if at_dispatch else [])


@pytest.mark.rule("TS-16")
@pytest.mark.parametrize("how", [Dpc, ThreadedDpc, WorkItem])
def test_tcp_may_be_injected_by_each_of_them(deferring: Deferring, how: type[Any]) -> None:
    host = deferring.host

    def inject() -> None:
        item = host.created(tcp(4, inbound=False))  # whose IP header tells the protocol
        deferring.handle.transport_send(item, host.done, family=AddressFamily.INET, send_params=None)

    deferring.run(inject, how)
    assert deferring.core.violations.rules() == []
    assert len(host.submitted) == 1
    inject()  # the same from the thread that runs callbacks
    assert deferring.core.violations.rules() == ["TS-16"]


@pytest.mark.rule("GE-9")
@pytest.mark.parametrize("how", [Dpc, ThreadedDpc])
def test_what_it_raises_is_told_and_ends_nothing(deferring: Deferring, how: type[Any]) -> None:
    done = threading.Event()
    deferring.run(lambda: 1 // 0, how)
    deferring.run(done.set, how)
    assert done.wait(PATIENCE)
    [violation] = deferring.core.violations
    assert violation.rule == "GE-9"
    assert "DPC" in violation.call
    assert "ZeroDivisionError" in violation.message
