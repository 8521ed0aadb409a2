"""The one I/O thread of an emulated host: descriptors, timers, and work handed in from other threads."""

from __future__ import annotations

import ctypes
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from netns import capabilities
from netns.patience import patient

GIVEN_UP_SECONDS = 0.5
"""How long `call` waits for a thread that was interrupted, and may stand where nothing interrupts it."""
JOIN_SECONDS = 5.0
"""How long `close` waits for the thread: a callback that does not return must not keep everything else."""
_OWN = f"{Path(__file__).parent}/"
_SCENARIOS = f"{_OWN}scenarios/"


class Abandoned(BaseException):
    """Raised in a loop's thread to end a callback that does not return."""


class IoLoop:
    """Calls back when descriptors become readable, when time has come, and for work from other threads.

    Everything it calls runs on its own thread, which keeps only the capabilities that it needs.  An exception
    that leaves a callback stops the loop and is kept in `failure`; `close` then raises it, so that a fault of
    ours is never swallowed.
    """

    def __init__(self, name: str, *, after: Callable[[], None]) -> None:
        """`after` runs once after every round of callbacks: the place to flush what they gathered."""
        self._after = after
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._inbox: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, float, Callable[[], None]]] = []
        self._running = True
        self._given_up = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"wfplab-{name}", daemon=True)

    def start(self) -> None:
        """Begin to call back."""
        self._thread.start()

    @property
    def thread_id(self) -> int:
        """Identity of the loop's thread; 0 before `start`."""
        return self._thread.ident or 0

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `descriptor` is readable; the descriptor stays its owner's."""
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Stop watching a descriptor, before its owner closes it; one not watched is no fault."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def every(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` about every so many seconds."""
        self._timers.append((time.monotonic() + seconds, seconds, callback))

    def post(self, work: Callable[[], None]) -> None:
        """Run `work` soon on the loop's thread; may be called from any thread."""
        self._inbox.append(work)
        self.wake()

    def wake(self) -> None:
        """Make the loop go round once more."""
        os.eventfd_write(self._wake, 1)

    def call(self, work: Callable[[], object], *, timeout: float = 30.0) -> None:
        """Run `work` on the loop's thread and wait until it is done; on that thread, at once.

        Raises what `work` raises, TimeoutError, and RuntimeError when the loop has stopped.
        """
        if threading.get_ident() == self._thread.ident:
            work()
            return
        done = threading.Event()
        raised: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:
                raised.append(error)
            finally:
                done.set()

        if not self._thread.is_alive():
            raise RuntimeError("the host's I/O loop has stopped") from self.failure
        self.post(run)
        timeout = GIVEN_UP_SECONDS if self._given_up else patient(timeout)
        deadline = time.monotonic() + timeout
        while not done.wait(0.2):
            if not self._thread.is_alive() and not done.is_set():
                raise RuntimeError("the host's I/O loop has stopped") from self.failure
            if time.monotonic() > deadline:
                raise TimeoutError(f"the host's I/O thread did not answer in {timeout:g} s: {self.standing()}")
        if raised:
            raise raised[0]

    def _run(self) -> None:
        try:
            capabilities.keep(capabilities.CALLOUTS)
            while self._running:
                self._round()
        except BaseException as error:
            self.failure = error

    def _round(self) -> None:
        wait = -1.0
        if self._timers:
            wait = max(0.0, min(when for when, _, _ in self._timers) - time.monotonic())
        for descriptor, _ in self._epoll.poll(wait):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            else:
                callback = self._callbacks.get(descriptor)
                if callback is not None:
                    callback()
        inbox = self._inbox
        while inbox:
            inbox.popleft()()
        if self._timers:
            self._run_timers()
        self._after()

    def _run_timers(self) -> None:
        now = time.monotonic()
        for place, (when, period, callback) in enumerate(self._timers):
            if when <= now:
                self._timers[place] = (now + period, period, callback)
                callback()

    def standing(self) -> str:
        """Where the thread is right now, in words: the innermost line that is not the emulator's own."""
        frame = sys._current_frames().get(self.thread_id)
        if frame is None:
            return "it has ended"
        innermost = frame
        while frame is not None:
            path = frame.f_code.co_filename
            if (not path.startswith(_OWN) or path.startswith(_SCENARIOS)) and "/threading.py" not in path:
                return f"it stands in {frame.f_code.co_qualname} ({Path(path).name}:{frame.f_lineno})"
            frame = frame.f_back
        return f"it stands in {innermost.f_code.co_qualname}"

    def interrupt(self) -> None:
        """End a callback that does not return, if it runs Python code; the loop then ends with it."""
        self._given_up = True
        if self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread_id), ctypes.py_object(Abandoned))

    def close(self) -> None:
        """Stop and join the thread and close our descriptors; raises what had stopped the loop early.

        A thread that a callback keeps for more than 5 s (0.5 s once it was interrupted) is left to itself:
        RuntimeError says where it stands.
        """
        self._running = False
        if self._thread.is_alive():
            self.wake()
            self._thread.join(GIVEN_UP_SECONDS if self._given_up else JOIN_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError(f"the host's I/O thread does not come back: {self.standing()}")
        if self._wake >= 0:
            self._epoll.close()
            os.close(self._wake)
            self._wake = -1
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise RuntimeError("the host's I/O loop stopped early") from failure
