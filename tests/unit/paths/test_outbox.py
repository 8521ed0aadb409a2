"""Accepted injections on their way: who is woken for them, and how often."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulator.core import Core
from emulator.injection import NETWORK_SEND, Injection, new_injection
from emulator.ntstatus import NtStatus
from emulator.paths.books import Books, InjectionBook
from emulator.paths.course import Course
from emulator.paths.injector import Injector
from emulator.paths.network import NetworkInjector
from emulator.paths.outbox import GIVE_WAY, Outbox
from emulator.paths.packets import PacketPath
from emulator.wfptypes import AddressFamily


class Lists(list[NtStatus]):
    """A handle that notes what is given back."""

    def complete(self, injection: Injection, status: NtStatus) -> None:
        self.append(status)


def made(handle: Any = None, packets: int = 1) -> Injection:
    nothing = cast(Any, None)
    injection = new_injection(NETWORK_SEND, handle, None, nothing, nothing, None, AddressFamily.INET, ())
    injection.packets_left = packets
    return injection


class Desk:
    """An outbox whose injector performs nothing, and the times that its thread was woken."""

    def __init__(self, thread: int = 0) -> None:
        self.books = Books()
        self.outbox = Outbox(self.books.injections)
        core = Core(self.outbox.submit)
        course = Course(core, cast(Any, None), cast(Any, None))
        packets = PacketPath(core, self.books, course, self.outbox.done)
        nothing = cast(Any, SimpleNamespace())
        self.outbox.injector = Injector(packets, NetworkInjector(nothing), nothing, self.outbox.done)
        self.outbox.thread_id = thread
        self.woken = 0
        self.outbox.wake = self._wake

    def _wake(self) -> None:
        self.woken += 1

    def perform(self) -> None:
        """As the thread would, but for the work itself."""
        self.outbox.queue.clear()
        self.outbox.perform()


def test_another_thread_wakes_once_until_its_injections_are_looked_for() -> None:
    desk = Desk()
    for _ in range(3):
        desk.outbox.submit(made())
    assert (desk.woken, len(desk.outbox.queue)) == (1, 3)
    desk.perform()
    desk.outbox.submit(made())
    assert desk.woken == 2


def test_who_was_woken_for_nothing_is_woken_again() -> None:
    """The injection was performed between its submission and the waking."""
    desk = Desk()
    desk.outbox.submit(made())
    desk.perform()
    desk.perform()
    desk.outbox.submit(made())
    assert desk.woken == 2


def test_the_thread_that_performs_does_not_wake_itself() -> None:
    desk = Desk(threading.get_ident())
    desk.outbox.submit(made())
    assert desk.woken == 0


def test_who_injects_faster_than_packets_leave_gives_way_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    desk, own = Desk(), Desk(threading.get_ident())
    for number in range(3 * GIVE_WAY):
        assert len(pauses) == number // GIVE_WAY
        desk.outbox.submit(made())
    for _ in range(GIVE_WAY):
        own.outbox.submit(made())  # on the thread that performs
    assert len(pauses) == 3
    assert all(0 < pause < 0.001 for pause in pauses)


def test_the_last_packet_completes_and_the_first_failure_counts() -> None:
    desk, handle = Desk(), Lists()
    injection = made(handle, packets=3)
    for status in (NtStatus.SUCCESS, NtStatus.DATA_NOT_ACCEPTED, NtStatus.INVALID_PARAMETER):
        assert handle == []
        desk.outbox.done(injection, status)
    assert handle == [NtStatus.DATA_NOT_ACCEPTED]
    book: InjectionBook = desk.books.injections
    assert (book.completed, book.failed) == (1, 1)


@pytest.mark.rule("CF-1")
def test_a_packet_that_had_vanished_and_comes_late_completes_nothing_again() -> None:
    """Such as a fragment that was received, and waited in the kernel for the rest of its datagram."""
    desk, lists = Desk(), Lists()
    injection = made(lists, packets=2)
    desk.outbox.wait_for(injection)
    injection.packets_left = 1
    desk.outbox.done(injection, NtStatus.DATA_NOT_ACCEPTED)
    assert lists == [NtStatus.DATA_NOT_ACCEPTED]
    for _ in range(2):
        desk.outbox.done(injection, NtStatus.SUCCESS)
    assert lists == [NtStatus.DATA_NOT_ACCEPTED]
    assert (desk.books.injections.completed, desk.books.injections.failed) == (1, 1)
