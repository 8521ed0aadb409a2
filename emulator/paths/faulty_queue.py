"""A queue that loses or delays packets and verdicts on purpose, around one that does the work; losses are counted."""

from __future__ import annotations

from dataclasses import replace

from emulator.faults import FaultKind, Faults
from emulator.paths.queue import Octets, PacketQueue, QueueCounts, QueuedPacket, Verdict

LATE_FLUSHES = 2
"""How many flushes a late verdict waits for."""


class FaultyQueue(PacketQueue):
    """Has the queue it is put around do everything but what is to fail; closing closes that queue.

    A packet lost in receiving counts as a full receive buffer, a lost verdict as one that the kernel refused.
    """

    _closed = True  # there is nothing to warn of: the inner queue warns

    def __init__(self, inner: PacketQueue, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._lost = 0
        self._refused = 0
        self._waiting: list[QueuedPacket] = []
        """Packets that come late: with the next ones, or when nothing else comes."""
        self._late: list[tuple[int, QueuedPacket, Verdict, Octets | None, int | None]] = []
        self.backend = inner.backend
        self.numbers = inner.numbers
        self.limits = inner.limits

    def fileno(self) -> int:
        """As the inner queue."""
        return self._inner.fileno()

    def receive(self) -> list[QueuedPacket]:
        """As the inner queue, but for the packet that is lost or late."""
        kept, late = [], self._waiting
        self._waiting = []
        for packet in self._inner.receive():
            if not self._faults.strikes(FaultKind.RECEIVE):
                kept.append(packet)
            elif self._is_late():
                self._waiting.append(packet)
            else:
                self._lost += 1
                self._inner.settle(packet, Verdict.DROP)
        return kept + late

    def _is_late(self) -> bool:
        return self._faults.fault is not None and self._faults.fault.late

    def settle(
        self,
        packet: QueuedPacket,
        verdict: Verdict = Verdict.ACCEPT,
        payload: Octets | None = None,
        mark: int | None = None,
    ) -> None:
        """As the inner queue, but for the verdict that is lost or late."""
        if not self._faults.strikes(FaultKind.VERDICT):
            self._inner.settle(packet, verdict, payload, mark)
        elif self._is_late():
            octets = None if payload is None else bytes(payload)
            self._late.append((LATE_FLUSHES, packet, verdict, octets, mark))
        else:
            self._refused += 1
            self._inner.settle(packet, Verdict.DROP)

    def flush(self) -> None:
        """As the inner queue; late verdicts come nearer."""
        if self._late:
            self._late = [(left - 1, *rest) for left, *rest in self._late]  # type: ignore[misc]
            for left, packet, verdict, payload, mark in self._late:
                if left <= 0:
                    self._inner.settle(packet, verdict, payload, mark)
            self._late = [item for item in self._late if item[0] > 0]
        self._inner.flush()

    def counts(self) -> QueueCounts:
        """As the inner queue, and what was lost on purpose."""
        counts = self._inner.counts()
        return replace(
            counts,
            socket_overflowed=counts.socket_overflowed + self._lost,
            refused=counts.refused + self._refused,
        )

    def close(self) -> None:
        """Close the inner queue; verdicts that are still late are given first."""
        for _, packet, verdict, payload, mark in self._late:
            self._inner.settle(packet, verdict, payload, mark)
        self._late.clear()
        self._inner.close()
