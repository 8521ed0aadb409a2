"""Spin locks of drivers, which know who holds them: a deadlock is told, with both places, and does not hang.

    lock = driver.lock("queue")
    with lock: ...

A completion function may run before the injection call returns, and a stream injection classifies at once: a
driver that holds a lock across the call and takes it there hangs on Windows.  Here it is recorded, and goes on.
Source: GE-4, CF-6, CO-22.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from emulator.violations import RawStack, Violation, call_stack, raw_stack, told_stack

if TYPE_CHECKING:
    from emulator.core import Core

_SLICE_SECONDS = 0.02
"""How long a thread waits for a lock before it looks whether that can ever end."""


@dataclass(eq=False)
class Holding:
    """One lock that a thread holds, and where it took it."""

    lock: SpinLock
    stack: RawStack


@dataclass(eq=False)
class Calling:
    """An injection call that has not returned, on one thread."""

    call: str
    stack: RawStack
    holding: tuple[Holding, ...]
    """The locks that the thread held when it called."""
    waits: bool = False
    """Whether it returns only after another thread has called the driver back."""
    told: bool = False


class HeldLocks:
    """Which thread of one host holds which locks, and which injection calls it is in."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._holding: dict[int, list[Holding]] = {}
        self._calling: dict[int, list[Calling]] = {}

    def held(self) -> tuple[Holding, ...]:
        """What the calling thread holds, the latest last."""
        return tuple(self._holding.get(threading.get_ident(), ()))

    def enter_call(self, call: str) -> Calling:
        """The calling thread begins an injection call; `leave_call` ends it."""
        made = Calling(call, raw_stack(), self.held())
        self._calling.setdefault(threading.get_ident(), []).append(made)
        return made

    def leave_call(self, calling: Calling) -> None:
        """The injection call returns."""
        self._calling[threading.get_ident()].remove(calling)

    def current_call(self, thread: int | None = None) -> Calling | None:
        """The innermost injection call that a thread (by default the calling one) is in."""
        calls = self._calling.get(threading.get_ident() if thread is None else thread)
        return calls[-1] if calls else None

    def came_back(self, what: str, calling: Calling) -> None:
        """Record, once for each call, that the driver was called back by a call it makes under a lock."""
        if calling.told or not calling.holding:
            return
        calling.told = True
        holding = calling.holding[-1]
        self.core.violations.record(
            Violation(
                "CF-6",
                calling.call,
                f"{holding.lock!r} was held across the call, and {what} before it returned: give locks back first",
                made_at=told_stack(holding.stack),
                noticed_at=told_stack(calling.stack),
            )
        )

    def taken(self, holding: Holding) -> None:
        """The calling thread holds a lock more."""
        self._holding.setdefault(threading.get_ident(), []).append(holding)

    def given_back(self, lock: SpinLock) -> bool:
        """The calling thread gives a lock back; False when it did not hold it."""
        mine = self._holding.get(threading.get_ident(), [])
        for holding in reversed(mine):
            if holding.lock is lock:
                mine.remove(holding)
                return True
        return False

    def deadlock(self, lock: SpinLock, owner: Holding, calling: Calling | None) -> None:
        """Record that a thread would wait for a lock for ever."""
        why = "the thread holds it already"
        others: tuple[tuple[str, tuple[str, ...]], ...] = ()
        if calling is not None:
            why = f"{calling.call}, called under it, has not returned"
            others = (("the call", told_stack(calling.stack)),)
        self.core.violations.record(
            Violation(
                "GE-4" if calling is not None else "CO-22",
                "acquiring a lock",
                f"{lock!r} would be waited for for ever: {why}",
                made_at=told_stack(owner.stack),
                noticed_at=call_stack(),
                others=others,
            )
        )


class SpinLock:
    """A lock of a driver: held by one thread at a time, not twice by the same one.

    Waiting for it ends when its holder gives it back, or when that is seen to be impossible: then the fault is
    recorded and the caller goes on as if it held the lock.
    """

    def __init__(self, core: Core, name: str = "lock") -> None:
        self.core = core
        self.name = name
        self._lock = threading.Lock()
        self._owner = 0
        self._holding: Holding | None = None
        self._borrowed = 0

    def acquire(self) -> None:
        """Take the lock; records GE-4 or CO-22 instead of a deadlock."""
        me = threading.get_ident()
        locks = self.core.locks
        while not self._lock.acquire(timeout=0 if self._owner == me else _SLICE_SECONDS):
            owner = self._owner
            holding = self._holding
            calling = locks.current_call(owner)
            under = calling is not None and any(item.lock is self for item in calling.holding)
            if holding is not None and (owner == me or (calling is not None and under and calling.waits)):
                locks.deadlock(self, holding, calling if under else None)
                self._borrowed += 1
                return
        self._owner = me
        self._holding = Holding(self, raw_stack())
        locks.taken(self._holding)

    def release(self) -> None:
        """Give the lock back; records CO-22 when the calling thread does not hold it."""
        if self._borrowed:
            self._borrowed -= 1
            return
        if not self.core.locks.given_back(self):
            self.core.violate("CO-22", "releasing a lock", f"{self!r} is not held by this thread")
            return
        self._owner = 0
        self._holding = None
        self._lock.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<spin lock {self.name}>"
