"""Bursts of packets: the garbage collector rests while they are shown, and no longer."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any, cast

import pytest

from emulator.core import Core
from emulator.paths.books import Books
from emulator.paths.course import Course
from emulator.paths.packets import PacketPath
from emulator.paths.plans import PREROUTING
from emulator.paths.queued import Arrival, QueuedPacket


class Burst:
    """A queue with one packet of no IP version, whose verdict is refused."""

    def __init__(self) -> None:
        self.collecting: list[bool] = []

    def receive(self) -> list[QueuedPacket]:
        packet = QueuedPacket()
        packet.payload, packet.arrival, packet.mark = bytearray(1), Arrival(1, PREROUTING, 0x0800), 0
        return [packet]

    def settle(self, *_: Any) -> None:
        self.collecting.append(gc.isenabled())
        raise OSError


@pytest.fixture
def as_it_was() -> Iterator[None]:
    before = gc.isenabled()
    yield
    (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.usefixtures("as_it_was")
def test_the_collector_rests_during_a_burst_and_is_then_as_before_even_after_a_failure(collects: bool) -> None:
    core = Core(lambda injection: None)
    course = Course(core, cast(Any, None), cast(Any, None))
    path = PacketPath(core, Books(), course, lambda injection, status: None)
    path.queue = burst = cast(Any, Burst())
    (gc.enable if collects else gc.disable)()
    with pytest.raises(OSError):  # noqa: PT011  the one above
        path.drain()
    assert burst.collecting == [False]
    assert gc.isenabled() is collects
