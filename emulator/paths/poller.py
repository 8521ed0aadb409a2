"""Many descriptors behind one: a poll of its own, itself a descriptor for the host's I/O loop."""

from __future__ import annotations

import select
from collections.abc import Callable

READ, WRITE, URGENT = select.EPOLLIN, select.EPOLLOUT, select.EPOLLPRI
ENDED, FAILED = select.EPOLLHUP, select.EPOLLERR

Callback = Callable[[int], None]
"""Called with the events that came: READ, WRITE, URGENT, ENDED, FAILED."""


class Poller:
    """Calls back for descriptors that are ready, when its owner says `turn`.

    The descriptors stay their owners'; all calls come from one thread.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}

    def fileno(self) -> int:
        """Readable when anything that is watched is ready."""
        return self._epoll.fileno()

    def add(self, descriptor: int, events: int, callback: Callback) -> None:
        """Watch a descriptor."""
        self._epoll.register(descriptor, events)
        self._callbacks[descriptor] = callback

    def change(self, descriptor: int, events: int) -> None:
        """Watch it for other events."""
        self._epoll.modify(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Stop watching it, before its owner closes it; one not watched is no fault."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def turn(self, wait: float = 0.0, most: int = 64) -> None:
        """Call back for what is ready now, or becomes ready within `wait` seconds."""
        for descriptor, events in self._epoll.poll(wait, most):
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback(events)

    def close(self) -> None:
        """Close the poll; closing twice is allowed."""
        if not self._epoll.closed:
            self._epoll.close()
        self._callbacks.clear()
