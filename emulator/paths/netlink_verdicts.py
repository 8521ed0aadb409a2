"""From verdicts to the octets of one send; pure."""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Final

from emulator.paths.netlink_message import (
    MARK,
    MARK_OCTETS,
    PADDING,
    PAYLOAD,
    PLAIN,
    PLAIN_MARKED,
    REWRITE,
    REWRITE_MARKED,
    prefix,
)
from emulator.paths.queue import (
    COPY_MOST_OCTETS,
    AlreadySettled,
    Arrival,
    Octets,
    QueuedPacket,
    Verdict,
    not_rewritable,
)

FLUSH_OCTETS: Final = 64 << 10
"""Rewrites pending before they are sent without waiting for `flush`."""
VERDICTS: Final = frozenset(map(int, Verdict))
ACCEPT: Final = int(Verdict.ACCEPT)

htonl = socket.htonl


class VerdictBuffer:
    """The verdicts given since the last send, as messages in the order of settling.

    Verdicts in order of arrival that merely accept become one range verdict. It settles every id up to its
    own, and while the order is kept no lower one is held. From the first packet that is settled ahead of an
    older one, until nothing is held any more, every packet gets a message of its own.
    """

    def __init__(self, numbers: Iterable[int], tally: Counter[str]) -> None:
        """For packets of these queue numbers; `tally` is the caller's, counted in it is `rewrites_refused`."""
        self._tally = tally
        self._received = self._settled = 0
        self._due: deque[QueuedPacket] | None = deque()
        """All that is held, in order of arrival; None once a packet was settled ahead of an older one."""
        self._run: tuple[Arrival, int] | None = None
        """The last of the accepted ones that still need a range verdict, and its token."""
        self._parts: list[Octets] = []
        self._pending_octets = 0
        self._prefixes = {number: _Prefixes(number) for number in numbers}

    def flush(self) -> None:
        """Send `pending()`, then say `sent`: the subclass's."""
        raise NotImplementedError

    def admit(self, packets: Sequence[QueuedPacket], *, ranges: bool) -> None:
        """Take note of packets just received. Without `ranges` there are held ids that nobody here knows of."""
        if not ranges:
            self._due = None
        elif self._received == self._settled:
            self._due = deque(packets)
        elif self._due is not None:
            self._due.extend(packets)
        self._received += len(packets)

    def settle(
        self,
        packet: QueuedPacket,
        verdict: Verdict = Verdict.ACCEPT,
        payload: Octets | None = None,
        mark: int | None = None,
    ) -> None:
        """Decide on a packet; it takes effect at `flush`, in order of settling (see PacketQueue)."""
        token = packet.token
        if token is None:
            raise AlreadySettled(packet)
        octets = 0
        if payload is not None:
            octets = len(payload)
            if packet.original_octets or not 1 <= octets <= COPY_MOST_OCTETS:
                self._tally["rewrites_refused"] += 1
                raise not_rewritable(packet, payload)
        packet.token = None
        self._settled += 1
        due = self._due
        if due is not None and due.popleft() is packet:
            if verdict == ACCEPT and payload is None and mark is None:
                run = self._run
                if run is not None and run[0].queue != packet.arrival.queue:
                    self._end_run()
                self._run = packet.arrival, token
                return
        else:
            self._due = None
        if self._run is not None:
            self._end_run()
        prefixes = self._prefixes[packet.arrival.queue]
        if payload is None:
            if mark is None:
                self._parts.append(PLAIN.pack(prefixes.plain[verdict], token))
            else:
                head = PLAIN_MARKED.pack(prefixes.marked[verdict], token, MARK_OCTETS, MARK, htonl(mark))
                self._parts.append(head)
            return
        begun = prefixes.rewrite[verdict]
        if mark is None:
            head = REWRITE.pack(36 + octets, begun, token, 4 + octets, PAYLOAD)
        else:
            head = REWRITE_MARKED.pack(44 + octets, begun, token, MARK_OCTETS, MARK, htonl(mark), 4 + octets, PAYLOAD)
        self._parts += (head, payload, PADDING[-octets & 3])
        self._pending_octets += octets
        if self._pending_octets > FLUSH_OCTETS:
            self.flush()

    def pending(self) -> bytes:
        """The octets of all messages since `sent`."""
        if self._run is not None:
            self._end_run()
        if len(self._parts) > 1:
            self._parts[:] = [b"".join(self._parts)]
        return bytes(self._parts[0]) if self._parts else b""

    def sent(self) -> None:
        """What was pending is the kernel's now."""
        self._parts.clear()
        self._pending_octets = 0

    def _end_run(self) -> None:
        if self._run is not None:
            arrival, token = self._run
            self._run = None
            self._parts.append(PLAIN.pack(self._prefixes[arrival.queue].up_to, token))


class _Prefixes:
    """The starts of the verdict messages of one queue number, by verdict where they are several."""

    def __init__(self, number: int) -> None:
        verdicts = [Verdict(value) if value in VERDICTS else Verdict.DROP for value in range(max(VERDICTS) + 1)]
        self.up_to = prefix(number, Verdict.ACCEPT, up_to=True)
        self.plain = [prefix(number, verdict) for verdict in verdicts]
        self.marked = [prefix(number, verdict, marked=True) for verdict in verdicts]
        self.rewrite = [begun[4:] for begun in self.plain]
