"""Our own queue backend: packets by recvmmsg, verdicts many in one send, every flag of the kernel."""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from emulator.paths import netlink_message as message
from emulator.paths.datagrams import DatagramBurst
from emulator.paths.netlink_message import MARK_OCTETS, PADDING, PLAIN, PLAIN_MARKED, REWRITE, REWRITE_MARKED, Layout
from emulator.paths.queue import (
    BURST,
    AlreadySettled,
    Arrival,
    NotRewritable,
    Octets,
    PacketQueue,
    QueueBackend,
    QueueCounts,
    QueuedPacket,
    QueueLimits,
    Verdict,
    checked_numbers,
    why_not_rewritable,
)
from emulator.paths.queue_counters import QueueTable, books
from netns.errors import Closed, MissingFeature, refused

NETLINK_NETFILTER: Final = 12
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
SEND_BUFFER_OCTETS: Final = 4 << 20
FLUSH_OCTETS: Final = 64 << 10
"""Rewrites pending before they are sent without waiting for `flush`."""
SLOT_OCTETS: Final = 65536 + 4096
"""A packet of the largest attribute, and all that may stand before it."""
LAYOUTS_KEPT: Final = 8
"""For each queue and hook. Only a bridge, or an attacker who changes its address each time, needs more."""

ACCEPT: Final = int(Verdict.ACCEPT)
UNREAD: Final = struct.Struct("=I20sI").unpack_from
new_packet = QueuedPacket.__new__
htonl = socket.htonl


class NetlinkQueue(PacketQueue):
    """The queue numbers of a host on one netlink socket, so one drain and one send serve all its hooks.

    Verdicts in order of arrival that merely accept are sent as one range verdict. It settles every id up to
    its own, and while the order is kept no lower one is held. From the first packet that is settled ahead of
    an older one, until nothing is held any more, every packet gets a message of its own.
    """

    backend = QueueBackend.NETLINK

    def __init__(self, numbers: Sequence[int], limits: QueueLimits) -> None:
        """Bind them, on a thread inside the namespace.

        Raises ValueError, NotPermitted, KernelRefused (EBUSY: somebody else has a number), MissingFeature.
        """
        self.numbers = checked_numbers(numbers)
        self._closed = True  # until all is bound
        self._tally: Counter[str] = Counter()
        self._received = self._settled = self._flushed = 0
        self._final = QueueCounts()
        self._early: list[bytes] = []
        self._layout: Layout | None = None
        self._layouts: dict[tuple[int, int], list[Layout]] = {}
        self._due: deque[QueuedPacket] | None = deque()
        """All that is held, in order of arrival; None once a packet was settled ahead of an older one."""
        self._run: tuple[Arrival, int] | None = None
        """The last of the accepted ones that still need a range verdict, and its token."""
        self._parts: list[Octets] = []
        self._pending_octets = 0
        self._prefixes = {number: _Prefixes(number) for number in self.numbers}
        with ExitStack() as undo:
            self._table = QueueTable()
            undo.callback(self._table.close)
            self._socket = undo.enter_context(_kernel_socket(limits))
            self._datagrams = DatagramBurst(self._socket.fileno(), BURST, SLOT_OCTETS)
            for number in self.numbers:
                self._bind(number, limits)
            self.limits = self._read_back(limits)
            self._undo = undo.pop_all()
        self._closed = False

    def fileno(self) -> int:
        """The netlink socket."""
        return self._socket.fileno()

    def receive(self) -> list[QueuedPacket]:
        """What waits, at most BURST packets, in order of arrival over all numbers; never blocks."""
        lengths = self._read()
        packets: list[QueuedPacket] = []
        append = packets.append
        buffer = self._datagrams.buffer
        layout = self._layout
        unpack_from, fixed, rest_at = UNREAD, (), 0
        if layout is not None:
            unpack_from, fixed, rest_at = layout.unpack_from, layout.fixed, layout.payload_at - 4
        for at, octets in zip(self._datagrams.offsets, lengths, strict=False):
            fields = unpack_from(buffer, at)
            # The usual message costs this line; all that is not just like the one before costs `_recognised`.
            if fields[1::2] != fixed or fields[0] != octets or not fields[-2] == octets - rest_at >= 4:
                layout = self._recognised(at, octets)
                if layout is None:
                    unpack_from, fixed = UNREAD, ()
                    continue
                unpack_from, fixed, rest_at = layout.unpack_from, layout.fixed, layout.payload_at - 4
                fields = unpack_from(buffer, at)
            payload = buffer[at + rest_at + 4 : at + octets]
            if layout.rare:  # type: ignore[union-attr]  # a Layout whenever `fixed` is not ()
                packet = layout.fill(fields, payload)  # type: ignore[union-attr]
                self._tally["truncated"] += packet.original_octets > 0
            else:
                packet = new_packet(QueuedPacket)
                packet.token = fields[2]
                packet.payload = payload
                packet.arrival = layout.arrival  # type: ignore[union-attr]
                packet.mark = htonl(fields[4]) if layout.marked else 0  # type: ignore[union-attr]
            append(packet)
        self._layout = layout
        self._admit(packets)
        return packets

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
        if payload is not None:
            why = why_not_rewritable(packet, payload)
            if why:
                self._tally["rewrites_refused"] += 1
                raise NotRewritable(why)
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
        if payload is not None:
            self._rewrite(prefixes.plain[verdict], token, payload, mark)
        elif mark is None:
            self._parts.append(PLAIN.pack(prefixes.plain[verdict], token))
        else:
            octets = PLAIN_MARKED.pack(prefixes.marked[verdict], token, MARK_OCTETS, message.MARK, htonl(mark))
            self._parts.append(octets)

    def flush(self) -> None:
        """Send all verdicts decided since, in one message burst."""
        if self._run is not None:
            self._end_run()
        if not self._parts:
            return
        octets = b"".join(self._parts)
        try:
            self._socket.send(octets)
        except OSError as error:
            self._parts = [octets]
            if self._closed:
                raise Closed(repr(self)) from error
            raise refused(f"sending {len(octets)} octets of verdicts to {self!r}", error) from error
        self._parts.clear()
        self._pending_octets = 0
        self._flushed = self._settled

    def counts(self) -> QueueCounts:
        """The books as they stand; after `close`, those of its moment."""
        if self._closed:
            return self._final
        table = self._table.read()
        lines = [table[number] for number in self.numbers if number in table]
        return books(lines, received=self._received, settled=self._settled, sent=self._flushed, tally=self._tally)

    def close(self) -> None:
        """Flush, hear what the kernel refused, take the last counts, unbind."""
        if self._closed:
            return
        with self._undo:
            self.flush()
            # Refusals stand behind packets that nobody wants any more: at most what the queues may hold.
            for _ in range(-(-self.limits.length * len(self.numbers) // BURST) + 1):
                if not self.receive():
                    break
            counts = self.counts()
            self._final = replace(counts, abandoned=counts.received - counts.settled)
            self._closed = True

    def _read(self) -> list[int]:
        """Fill slots, and return the lengths of what is in them."""
        if self._early:
            return self._replay()
        while True:
            try:
                return self._datagrams.receive()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    if self._closed:
                        raise Closed(repr(self)) from error
                    raise refused(f"reading {self!r}", error) from error
                self._tally["overruns"] += 1

    def _replay(self) -> list[int]:
        early, self._early = self._early[:BURST], self._early[BURST:]
        for at, data in zip(self._datagrams.offsets, early, strict=False):
            self._datagrams.buffer[at : at + len(data)] = data
        return [len(data) for data in early]

    def _recognised(self, at: int, octets: int) -> Layout | None:
        """The layout of the message at `at`, or None for one that is no packet; that is dealt with here."""
        buffer = self._datagrams.buffer
        kept = self._layouts.setdefault((buffer[at + 19], buffer[at + 30]), [])
        for layout in kept:
            fields = layout.unpack_from(buffer, at)
            rest = octets - layout.payload_at + 4
            if fields[1::2] == layout.fixed and fields[0] == octets and fields[-2] == rest >= 4:
                return layout
        data = bytes(buffer[at : at + octets])
        try:
            kind = message.read_header(data)
            if kind == message.PACKET:
                layout = Layout(data)
                if layout.arrival.queue not in self._prefixes:
                    raise message.Malformed(f"a packet of queue {layout.arrival.queue}")
                kept.insert(0, layout)
                del kept[LAYOUTS_KEPT:]
                return layout
            if kind == message.NLMSG_ERROR:
                self._tally["refused"] += message.read_answer(data).code != 0
                return None
        except message.Malformed:
            pass
        self._tally["malformed"] += 1
        return None

    def _admit(self, packets: list[QueuedPacket]) -> None:
        if self._tally["malformed"]:
            self._due = None  # an id that we do not know is held: never a range again
        elif self._received == self._settled:
            self._due = deque(packets)
        elif self._due is not None:
            self._due.extend(packets)
        self._received += len(packets)

    def _end_run(self) -> None:
        if self._run is not None:
            arrival, token = self._run
            self._run = None
            self._parts.append(PLAIN.pack(self._prefixes[arrival.queue].up_to, token))

    def _rewrite(self, prefix: bytes, token: int, payload: Octets, mark: int | None) -> None:
        octets = len(payload)
        if mark is None:
            head = REWRITE.pack(36 + octets, prefix[4:], token, 4 + octets, message.PAYLOAD)
        else:
            head = REWRITE_MARKED.pack(
                44 + octets, prefix[4:], token, MARK_OCTETS, message.MARK, htonl(mark), 4 + octets, message.PAYLOAD
            )
        self._parts += (head, payload, PADDING[-octets & 3])
        self._pending_octets += octets
        if self._pending_octets > FLUSH_OCTETS:
            self.flush()

    def _bind(self, number: int, limits: QueueLimits) -> None:
        action = f"binding queue {number}"
        try:
            self._socket.send(message.bind_message(number, limits, number + 1))
            while True:
                data = self._socket.recv(SLOT_OCTETS)
                if message.read_header(data) == message.NLMSG_ERROR:
                    answer = message.read_answer(data)
                    if answer.sequence == number + 1:
                        break
                else:
                    self._early.append(data)  # a packet that was quicker than the answer
        except OSError as error:
            raise refused(action, error) from error
        if answer.code == errno.EOPNOTSUPP:
            raise MissingFeature("a flag of nfnetlink_queue", detail=f"{action} with {limits}")
        if answer.code:
            raise refused(action, OSError(answer.code, "")) from OSError(answer.code, "")

    def _read_back(self, asked: QueueLimits) -> QueueLimits:
        table = self._table.read()
        return replace(
            asked,
            copy_octets=min(table[number].copy_octets for number in self.numbers),
            receive_octets=self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        )


class _Prefixes:
    """The starts of the verdict messages of one queue number, by verdict where they are several."""

    def __init__(self, number: int) -> None:
        self.up_to = message.prefix(number, Verdict.ACCEPT, up_to=True)
        self.plain = {int(verdict): message.prefix(number, verdict) for verdict in Verdict}
        self.marked = {int(verdict): message.prefix(number, verdict, marked=True) for verdict in Verdict}


def _kernel_socket(limits: QueueLimits) -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    except OSError as error:
        raise MissingFeature("nfnetlink", needed_by=("transport", "forward"), detail=str(error)) from error
    try:
        made.bind((0, 0))
        made.connect((0, 0))  # so that nobody but the kernel can send to it
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, limits.receive_octets)
        made.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_OCTETS)
        made.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)  # refusals without the octets of what was refused
    except OSError as error:
        made.close()
        raise refused("opening a netlink socket", error) from error
    return made
