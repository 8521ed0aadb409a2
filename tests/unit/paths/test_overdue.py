"""When an injection that was sent and not seen again counts as vanished."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from emulator.paths.overdue import Overdue


class Queue:
    """A queue that says how far it was read."""

    def __init__(self, received: int, unread: int) -> None:
        self.received, self.unread = received, unread

    def counts(self) -> Any:
        return SimpleNamespace(received=self.received, unread=self.unread)


@pytest.fixture
def injection() -> Any:
    return object()


def told(overdue: Overdue, injection: Any, now: float, queue: Queue | None) -> list[Any]:
    return overdue.vanished({injection: 5.0}, now, queue)  # type: ignore[arg-type]


def test_nothing_has_vanished_before_its_time(injection: Any) -> None:
    assert told(Overdue(), injection, 4.9, Queue(10, 0)) == []


def test_where_nothing_waits_what_is_late_has_vanished(injection: Any) -> None:
    assert told(Overdue(), injection, 5.0, Queue(10, 0)) == [injection]


def test_what_may_be_among_the_packets_that_wait_has_not_vanished_until_they_are_read(injection: Any) -> None:
    overdue = Overdue()
    assert told(overdue, injection, 6.0, Queue(10, 3)) == []
    assert told(overdue, injection, 7.0, Queue(12, 100)) == [], "one of the three is still to come"
    assert told(overdue, injection, 8.0, Queue(13, 200)) == [injection], "what came later does not matter"


def test_without_a_queue_nothing_is_told(injection: Any) -> None:
    assert told(Overdue(), injection, 9.0, None) == []
