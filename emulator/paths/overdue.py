"""Which injections have vanished: they were sent, and do not come by the hook that has to see them.

A packet may also be late because the queue before it is long; so nothing has vanished until all that
waited in the queue when its time was over has been shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emulator.injection import Injection
    from emulator.paths.queue import PacketQueue


class Overdue:
    """The injections whose time is over, and how far the queue has to be read until they count as vanished."""

    def __init__(self) -> None:
        self._until: dict[Injection, int] = {}

    def vanished(
        self, deadlines: Mapping[Injection, float], now: float, queue: PacketQueue | None
    ) -> list[Injection]:
        """Those of `deadlines`, in monotonic seconds, that are past it and were not among what waited then."""
        late = [injection for injection, deadline in deadlines.items() if deadline <= now]
        if not late or queue is None:
            self._until.clear()
            return []
        counts = queue.counts()
        # Packets are read in the order in which they came: beyond this number there is nothing that waits now.
        reach = counts.received + counts.unread
        self._until = {injection: self._until.get(injection, reach) for injection in late}
        return [injection for injection, until in self._until.items() if counts.received >= until]
