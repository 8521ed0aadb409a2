"""A thread that lives inside one network namespace for as long as the namespace has an owner.

Two things need it. A netlink library that opens sockets per thread must only ever be used by a thread
that is inside. And the signal that makes children die with us (PR_SET_PDEATHSIG) fires when the *thread*
that spawned them ends, so a short-lived thread must not spawn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from netns.errors import Closed

T = TypeVar("T")
Outcome = tuple[object, BaseException | None]
Job = tuple[Callable[[], object], "SimpleQueue[Outcome]"]


class Resident:
    """Runs calls, one after the other, on its own thread; `enter` is the first of them."""

    __slots__ = ("_closing", "_jobs", "_lock", "_name", "_thread")

    def __init__(self, name: str, enter: Callable[[], object]) -> None:
        """Start the thread and run `enter` on it. Raises what `enter` raises, and then leaves no thread."""
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closing = False
        # A daemon: a forgotten namespace must not keep the interpreter from ending.
        self._thread = threading.Thread(target=_serve, args=(self._jobs,), name=f"netns-{name}", daemon=True)
        self._thread.start()
        try:
            self.call(enter)
        except BaseException:
            self.close()
            raise

    def call(self, job: Callable[[], T]) -> T:
        """Run `job` on the thread and return its result or raise its exception; Closed after `close`."""
        if threading.current_thread() is self._thread:
            return job()
        reply: SimpleQueue[Outcome] = SimpleQueue()
        with self._lock:
            if self._closing:
                raise Closed(f"namespace {self._name}")
            self._jobs.put((job, reply))
        result, error = reply.get()
        if error is not None:
            try:
                raise error
            finally:
                del error  # else the traceback refers to this frame, and this frame to the traceback
        return result  # type: ignore[return-value]

    def close(self) -> None:
        """End the thread after the jobs it has; the kernel then kills the children it spawned."""
        with self._lock:
            if not self._closing:
                self._closing = True
                self._jobs.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _serve(jobs: SimpleQueue[Job | None]) -> None:
    while (item := jobs.get()) is not None:
        job, reply = item
        outcome: Outcome
        try:
            outcome = (job(), None)
        except BaseException as error:  # handed to the caller, who raises it
            outcome = (None, error)
        reply.put(outcome)
        # While the thread waits, its frame must not keep the caller's descriptors alive.
        del item, job, reply, outcome
