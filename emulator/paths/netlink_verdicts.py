"""From verdicts to the octets of one send; pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Final

from emulator.paths import netlink_heads
from emulator.paths.netlink_message import PADDING, prefix
from emulator.paths.queue import (
    COPY_MOST_OCTETS,
    AlreadySettled,
    Octets,
    PacketQueue,
    Verdict,
    not_rewritable,
)
from emulator.paths.queued import QueuedPacket

FLUSH_OCTETS: Final = 64 << 10
"""Rewrites pending before they are sent without waiting for `flush`."""
VERDICTS: Final = frozenset(map(int, Verdict))
ACCEPT: Final = int(Verdict.ACCEPT)
_FLUSH_AT = FLUSH_OCTETS
_ACCEPT = ACCEPT


class QueueVerdicts:
    """The verdicts of one queue number since its last send, as messages in the order of settling.

    Verdicts in order of arrival that merely accept become one range verdict. It settles every id up to its
    own, and while the order is kept no lower one is held. From the first packet that is settled ahead of an
    older one, until nothing is held any more, every packet gets a message of its own.
    """

    __slots__ = ("received", "settled", "sent", "due", "run", "parts", "octets", "up_to", "starts")

    def __init__(self, number: int) -> None:
        self.received = 0
        self.settled = 0
        self.sent = 0
        """Those of the settled that the kernel has been told of."""
        self.due: deque[QueuedPacket] | None = deque()
        """All that is held, in order of arrival; None once a packet was settled ahead of an older one."""
        self.run: int | None = None
        """The token of the last of the accepted ones that still need a range verdict."""
        self.parts: list[Octets] = []
        self.octets = 0
        """Of the payloads in `parts`."""
        # What messages begin with, by verdict where there are several.
        verdicts = [Verdict(value) if value in VERDICTS else Verdict.DROP for value in range(max(VERDICTS) + 1)]
        self.up_to = prefix(number, Verdict.ACCEPT, up_to=True)
        self.starts = [prefix(number, verdict) for verdict in verdicts]

    def admit(self, packets: Sequence[QueuedPacket], *, ranges: bool) -> None:
        """Take note of packets just received. Without `ranges` there are held ids that nobody here knows of."""
        if not ranges:
            self.due = None
        elif self.received == self.settled:
            self.due = deque(packets)
        elif self.due is not None:
            self.due.extend(packets)
        self.received += len(packets)

    def pending(self) -> bytes:
        """The octets of all messages that were not taken."""
        if self.run is not None:
            self.parts.append(netlink_heads.verdict(self.up_to, self.run, False, 0, -1))
            self.run = None
        self.parts[:] = [b"".join(self.parts)]
        return bytes(self.parts[0])

    def taken(self) -> None:
        """The kernel has what was pending."""
        self.parts.clear()
        self.octets = 0
        self.sent = self.settled


class VerdictBuffer:
    """The verdicts given on some queue numbers, until they are sent."""

    def __init__(self, numbers: Iterable[int], tally: Counter[str]) -> None:
        """`tally` is the caller's; counted in it is `rewrites_refused`."""
        self._tally = tally
        self._verdicts = {number: QueueVerdicts(number) for number in numbers}

    def send(self, number: int, octets: bytes) -> None:
        """Hand messages of one number to the kernel, or raise: the subclass's."""
        raise NotImplementedError

    def settle(
        self,
        packet: QueuedPacket,
        verdict: Verdict = Verdict.ACCEPT,
        payload: Octets | None = None,
        mark: int | None = None,
    ) -> None:
        """Decide on a packet; it takes effect at `flush`, in order of settling (see PacketQueue)."""
        if mark is None:
            self.decide(packet, verdict, payload, False, 0)
        else:
            self.decide(packet, verdict, payload, True, mark)

    def decide(
        self, packet: QueuedPacket, verdict: int, payload: Octets | None, marked: bool, mark: int
    ) -> None:
        """The same, with plain numbers."""
        token = packet.token
        if token is None:
            raise AlreadySettled(packet)
        octets = -1
        if payload is not None:
            octets = len(payload)
            if packet.original_octets or not 1 <= octets <= COPY_MOST_OCTETS:
                self._tally["rewrites_refused"] += 1
                raise not_rewritable(packet, payload)
        packet.token = None
        queue = self._verdicts[packet.arrival.queue]
        queue.settled += 1
        parts = queue.parts
        due = queue.due
        if due is not None and due.popleft() is packet:
            if verdict == _ACCEPT and octets < 0 and not marked:
                queue.run = token
                return
        else:
            queue.due = None
        if queue.run is not None:
            parts.append(netlink_heads.verdict(queue.up_to, queue.run, False, 0, -1))
            queue.run = None
        parts.append(netlink_heads.verdict(queue.starts[verdict], token, marked, mark, octets))
        if payload is None:
            return
        parts.append(payload)
        if octets & 3:
            parts.append(PADDING[-octets & 3])
        queue.octets += octets
        if queue.octets > _FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Send all verdicts decided since, those of each number in one burst of messages."""
        for number, queue in self._verdicts.items():
            if queue.parts or queue.run is not None:
                self.send(number, queue.pending())
                queue.taken()


def settle(
    queue: PacketQueue, packet: QueuedPacket, verdict: int, payload: Octets | None, marked: bool, mark: int
) -> None:
    """Decide on a packet of whatever queue; of ours in fewer steps."""
    if isinstance(queue, VerdictBuffer):
        buffer: VerdictBuffer = queue
        buffer.decide(packet, verdict, payload, marked, mark)
    else:
        queue.settle(packet, Verdict(verdict), payload, mark if marked else None)
