"""A queue that tells a trace of every packet taken and of every verdict, around one that does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.paths.queue import Octets, PacketQueue, QueueCounts, QueuedPacket, Verdict

if TYPE_CHECKING:
    from emulator.evidence.trace import HostTrace


class TracedQueue(PacketQueue):
    """Has the queue it is put around do everything, and tells the trace; closing closes that queue."""

    _closed = True  # there is nothing to warn of: the inner queue warns

    def __init__(self, inner: PacketQueue, trace: HostTrace) -> None:
        self._inner = inner
        self._trace = trace
        self.backend = inner.backend
        self.numbers = inner.numbers
        self.limits = inner.limits

    def fileno(self) -> int:
        """As the inner queue."""
        return self._inner.fileno()

    def receive(self) -> list[QueuedPacket]:
        """As the inner queue; each packet is told."""
        packets = self._inner.receive()
        for packet in packets:
            self._trace.arrived(packet)
        return packets

    def settle(
        self,
        packet: QueuedPacket,
        verdict: Verdict = Verdict.ACCEPT,
        payload: Octets | None = None,
        mark: int | None = None,
    ) -> None:
        """As the inner queue; what it does not refuse is told."""
        when = self._trace.now()  # before it may leave
        self._inner.settle(packet, verdict, payload, mark)
        self._trace.settled(when, packet, verdict, payload, mark)

    def flush(self) -> None:
        """As the inner queue."""
        self._inner.flush()

    def counts(self) -> QueueCounts:
        """As the inner queue."""
        return self._inner.counts()

    def close(self) -> None:
        """Close the inner queue."""
        self._inner.close()
