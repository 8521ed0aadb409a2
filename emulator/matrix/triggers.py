"""The four moments at which a callout injects: inside classify, by DPC, by threaded DPC, by work item."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from emulator.deferred import Dpc, ThreadedDpc, WorkItem
from emulator.matrix.rows import DPC, INLINE, THREADED_DPC, WORK_ITEM
from emulator.stack import Stack
from netns.patience import patient

_DRAIN_SECONDS = 10.0


class _Runner(Protocol):
    def post(self, work: Callable[[], object]) -> None: ...


class Trigger:
    """One of the four, on one host; notes at which level work really ran, and can hold it back for a while.

    Whoever makes it closes it.
    """

    def __init__(self, name: str, stack: Stack) -> None:
        self.name = name
        self.levels: set[str] = set()
        """Where work has run, by the names of the triggers."""
        self.holding = False
        """Whether work waits for `release`; never inside of classify."""
        self._waiting: list[Callable[[], object]] = []
        self._stack = stack
        self._thread = _thread_of(name, stack)
        self._runner: _Runner | None = Dpc(stack) if name == DPC else self._thread
        self._classifying = 0

    @property
    def inline(self) -> bool:
        """Whether it injects inside of classify."""
        return self._runner is None

    def __call__(self, work: Callable[[], object]) -> None:
        """Called in classify: run the work now, or later."""
        if self._runner is None:
            self._classifying = threading.get_ident()
            self._run(work)
            self._classifying = 0
        elif self.holding:
            self._waiting.append(work)
        else:
            self._post(work)

    def release(self) -> None:
        """Let what was held back run, and everything that comes from now on."""
        waiting, self._waiting = self._waiting, []
        self.holding = False
        for work in waiting:
            self._post(work)

    def drain(self) -> None:
        """Wait until everything that was posted has run; raises TimeoutError."""
        if self._runner is not None:
            done = threading.Event()
            self._runner.post(done.set)
            if not done.wait(patient(_DRAIN_SECONDS)):
                raise TimeoutError(f"the {self.name} does not come back")

    def close(self) -> None:
        """End its thread, if it has one, when everything posted has run."""
        if self._thread is not None:
            self._thread.close()

    def _post(self, work: Callable[[], object]) -> None:
        assert self._runner is not None
        self._runner.post(lambda: self._run(work))

    def _run(self, work: Callable[[], object]) -> None:
        self.levels.add(self._level())
        work()

    def _level(self) -> str:
        """What the calling thread is right now, found out and not remembered."""
        me = threading.get_ident()
        if me == self._classifying:
            return INLINE
        if me == self._stack.loop.thread_id:
            return DPC
        return THREADED_DPC if self._stack.core.at_dispatch() else WORK_ITEM


def _thread_of(name: str, stack: Stack) -> ThreadedDpc | WorkItem | None:
    if name == THREADED_DPC:
        return ThreadedDpc(stack)
    return WorkItem("work-item") if name == WORK_ITEM else None
