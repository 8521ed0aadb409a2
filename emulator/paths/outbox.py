"""Accepted injections on their way: taken in from any thread, performed in order, completed by their last packet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING

from emulator.ntstatus import NtStatus, nt_success

if TYPE_CHECKING:
    from emulator.injection import Injection
    from emulator.paths.books import InjectionBook
    from emulator.paths.injector import Injector

VANISH_SECONDS = 5.0
"""How long a sent packet may take to come by the hook that has to see it, before it counts as overdue."""
GIVE_WAY = 512
"""Of so many that wait to be performed, and of twice as many, whoever injected the last one gives way."""
GIVE_WAY_SECONDS = 0.00005
_SUCCESS = NtStatus.SUCCESS


class Outbox:
    """The injections of one host between acceptance and completion."""

    injector: Injector
    """Performs them."""

    def __init__(self, book: InjectionBook) -> None:
        self.book = book
        self.queue: deque[Injection] = deque()
        """Accepted and not yet performed."""
        self.waiting: dict[Injection, float] = {}
        """Sent, and complete when a hook has seen them: until when that may take, in monotonic seconds."""
        self.thread_id = 0
        """Of the thread that performs."""
        self.woken = False
        """Whether `perform` will surely be called once more: its thread was woken and has not come to it since."""
        self.wake: Callable[[], None] = lambda: None
        """Called when another thread has put something in."""

    def submit(self, injection: Injection) -> None:
        """Take in an accepted injection; from any thread.

        One that injects faster than packets leave gives way now and then, so that little waits.
        """
        queue = self.queue
        queue.append(injection)
        if not self.woken and get_ident() != self.thread_id:
            self.woken = True
            self.wake()
        if not len(queue) % GIVE_WAY and queue and get_ident() != self.thread_id:
            time.sleep(GIVE_WAY_SECONDS)

    def perform(self) -> None:
        """Perform what is there, in order; on the host's thread, and after every time that it was woken."""
        self.woken = False  # before looking: what is put in from now on wakes again
        queue = self.queue
        if not queue:
            return
        injector, book = self.injector, self.book
        departures = injector.departures
        while queue:
            while queue:
                injection = queue.popleft()
                book.accepted += 1
                injector.perform(injection)
            if departures.injections:
                departures.leave()  # and what is injected by those who are told of it

    def wait_for(self, injection: Injection) -> None:
        """Note that an injection was sent and has to be seen again."""
        self.waiting[injection] = time.monotonic() + VANISH_SECONDS

    def done(self, injection: Injection, status: NtStatus) -> None:
        """One packet of an injection is through or stopped; the last one completes the list.

        The first failing status counts for the whole list.  A packet that had vanished, and comes late after all, has
        been completed with the rest.  Source: CF-1, CF-5, NS-17, OR-7.
        """
        if injection.packets_left <= 0:
            return
        injection.packets_left -= 1
        if status is not _SUCCESS and nt_success(injection.status) and not nt_success(status):
            injection.status = status
        if injection.packets_left > 0:
            return
        if self.waiting:
            self.waiting.pop(injection, None)
        book = self.book
        book.completed += 1
        if injection.status is not _SUCCESS and not nt_success(injection.status):
            book.failed += 1
        self.injector.done(injection)
        if not injection.given_back:
            handle = injection.handle
            handle.complete(injection, injection.status)
