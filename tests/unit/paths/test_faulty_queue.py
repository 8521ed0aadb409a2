"""A queue that loses or delays one packet or verdict on purpose, around one that does the work."""

from __future__ import annotations

from collections import deque

import pytest

from emulator.faults import Fault, Faults
from emulator.paths.faulty_queue import LATE_FLUSHES, FaultyQueue
from emulator.paths.queue import (
    Arrival,
    Octets,
    PacketQueue,
    QueueBackend,
    QueueCounts,
    QueuedPacket,
    QueueLimits,
    Verdict,
)


class Kernel(PacketQueue):
    """A queue whose packets a test brings, and whose verdicts it reads."""

    backend, numbers, limits = QueueBackend.NETLINK, (1,), QueueLimits()
    _closed = True

    def __init__(self) -> None:
        self.bursts: deque[list[QueuedPacket]] = deque()
        self.settled: list[tuple[QueuedPacket, Verdict]] = []

    def bring(self, count: int) -> list[QueuedPacket]:
        burst = []
        for number in range(count):
            packet = QueuedPacket()
            packet.token, packet.payload, packet.arrival, packet.mark = number, bytearray(20), Arrival(1, 3, 0x800), 0
            burst.append(packet)
        self.bursts.append(burst)
        return list(burst)

    def fileno(self) -> int:
        return -1

    def receive(self) -> list[QueuedPacket]:
        return self.bursts.popleft() if self.bursts else []

    def settle(
        self,
        packet: QueuedPacket,
        verdict: Verdict = Verdict.ACCEPT,
        payload: Octets | None = None,
        mark: int | None = None,
    ) -> None:
        self.settled.append((packet, verdict))

    def flush(self) -> None:
        pass

    def counts(self) -> QueueCounts:
        return QueueCounts(received=3, settled=len(self.settled))

    def close(self) -> None:
        pass


def made(fault: str) -> tuple[Kernel, FaultyQueue]:
    kernel = Kernel()
    return kernel, FaultyQueue(kernel, Faults(Fault.parse(fault)))


def test_a_packet_that_is_lost_counts_as_one_for_which_the_buffer_had_no_room() -> None:
    kernel, queue = made("receive:2")
    first, second, third = kernel.bring(3)
    assert queue.receive() == [first, third]
    assert kernel.settled == [(second, Verdict.DROP)]
    assert queue.counts().socket_overflowed == 1


def test_a_packet_that_is_late_comes_behind_the_next_ones_or_by_itself() -> None:
    kernel, queue = made("receive:1:late")
    first, second = kernel.bring(2)
    (third,) = kernel.bring(1)
    assert [queue.receive(), queue.receive()] == [[second], [third, first]]
    kernel, queue = made("receive:1:late")
    (alone,) = kernel.bring(1)
    assert [queue.receive(), queue.receive(), queue.receive()] == [[], [alone], []]
    assert queue.counts().socket_overflowed == 0


def test_a_verdict_that_is_lost_counts_as_one_that_the_kernel_refused() -> None:
    kernel, queue = made("verdict:1")
    first, second = kernel.bring(2)
    queue.settle(first)
    queue.settle(second)
    assert kernel.settled == [(first, Verdict.DROP), (second, Verdict.ACCEPT)]
    assert queue.counts().refused == 1


@pytest.mark.parametrize("closing", [False, True])
def test_a_verdict_that_is_late_is_given_some_flushes_later_or_at_the_end(closing: bool) -> None:
    kernel, queue = made("verdict:1:late")
    (packet,) = kernel.bring(1)
    queue.settle(packet)
    for _ in range(LATE_FLUSHES - 1):
        queue.flush()
        assert kernel.settled == []
    if closing:
        queue.close()
    else:
        queue.flush()
    assert kernel.settled == [(packet, Verdict.ACCEPT)]
