"""Work that a callout puts off: a DPC, a threaded DPC, a work item.

    Dpc           on the host's own thread, between two packets       at dispatch level, never inside a callback
    ThreadedDpc   on a thread of its own                              at dispatch level
    WorkItem      on a thread of its own                              at passive level

At dispatch level the calls that need PASSIVE_LEVEL are refused and recorded (GE-5).  None of the three is inside
a classify, so TCP may be injected from all of them (TS-16, TR-11).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.callouts_stream import Worker

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.stack import Stack


def _deferred(core: Core, work: Callable[[], object], what: str) -> None:
    """Run deferred work at dispatch level; what it raises is the driver's fault, and told (GE-9)."""
    me = threading.get_ident()
    core.deferred_threads.add(me)
    try:
        work()
    except Exception as error:
        core.callback_raised(what, error)
    finally:
        core.deferred_threads.discard(me)


class Dpc:
    """Runs work on the host's thread as soon as what it is at has returned: it holds up the packets meanwhile."""

    def __init__(self, stack: Stack) -> None:
        self._core = stack.core
        self._post = stack.loop.post

    def post(self, work: Callable[[], object]) -> None:
        """Run `work` after what was given before; an exception is recorded as a violation (GE-9)."""
        self._post(lambda: _deferred(self._core, work, "DPC"))


class ThreadedDpc:
    """Runs work on a thread of its own that counts as being at dispatch level; whoever makes it closes it."""

    def __init__(self, stack: Stack) -> None:
        self._core = stack.core
        self._worker = Worker("threaded-dpc")
        self._worker.post(self._rise)

    def post(self, work: Callable[[], object]) -> None:
        """Run `work` after what was given before; an exception is recorded as a violation (GE-9)."""
        self._worker.post(lambda: _deferred(self._core, work, "threaded DPC"))

    def close(self) -> None:
        """Run what was given, then end."""
        self._worker.post(self._fall)
        self._worker.close()

    def _rise(self) -> None:
        self._core.dispatch_threads.add(threading.get_ident())

    def _fall(self) -> None:
        self._core.dispatch_threads.discard(threading.get_ident())

    def __enter__(self) -> ThreadedDpc:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WorkItem(Worker):
    """Runs work on a thread of its own, at passive level; whoever makes it closes it."""
