"""Our own queue backend: packets by recvmmsg, verdicts many in one send, every flag of the kernel."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from emulator.paths import netlink_message as message
from emulator.paths.datagrams import DatagramBurst
from emulator.paths.netlink_packets import PacketReader
from emulator.paths.netlink_verdicts import QueueVerdicts, VerdictBuffer
from emulator.paths.queue import (
    BURST,
    PacketQueue,
    QueueBackend,
    QueueCounts,
    QueuedPacket,
    QueueLimits,
    checked_numbers,
)
from emulator.paths.queue_counters import QueueTable, books
from netns import buffers
from netns.errors import Closed, MissingFeature, refused

NETLINK_NETFILTER: Final = 12
SEQUENCE: Final = 1
"""Of the message that binds; those with verdicts have 0."""
SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
SEND_BUFFER_OCTETS: Final = 4 << 20
SLOT_OCTETS: Final = 65536 + 4096
"""A packet of the largest attribute, and all that may stand before it."""


class NetlinkQueue(VerdictBuffer, PacketQueue):
    """A netlink socket for each queue number, drained one by one.

    So a packet that meets several hooks is taken at the next one while it is still in the processor's cache,
    before other packets at the first.
    """

    backend = QueueBackend.NETLINK

    def __init__(self, numbers: Sequence[int], limits: QueueLimits) -> None:
        """Bind them, on a thread inside the namespace.

        Raises ValueError, NotPermitted, KernelRefused (EBUSY: somebody else has a number), MissingFeature.
        """
        self.numbers = checked_numbers(numbers)
        self._closed = True  # until all is bound
        self._tally: Counter[str] = Counter()
        super().__init__(self.numbers, self._tally)
        self._final = QueueCounts()
        self._bound: dict[int, _Bound] = {}
        self._order: list[_Bound] = []
        """Who is read first."""
        self._datagrams = DatagramBurst(BURST, SLOT_OCTETS)
        with ExitStack() as undo:
            self._table = QueueTable()
            undo.callback(self._table.close)
            self._poll = undo.enter_context(select.epoll())
            for number in self.numbers:
                made = undo.enter_context(_kernel_socket(limits))
                self._bind(number, limits, made)
                self._poll.register(made, select.EPOLLIN)
            self.limits = self._read_back(limits)
            self._undo = undo.pop_all()
        self._closed = False

    def fileno(self) -> int:
        """The netlink socket, or an epoll descriptor over several."""
        if len(self._bound) == 1:
            return self._bound[self.numbers[0]].socket.fileno()
        return self._poll.fileno()

    def receive(self) -> list[QueuedPacket]:
        """What waits, at most BURST packets, of one number after the other; never blocks."""
        for bound in self._waiting():
            lengths = self._replay(bound) if bound.early else self._read(bound)
            packets = bound.reader.read(self._datagrams.buffer, self._datagrams.offsets, lengths)
            bound.verdicts.admit(packets, ranges=not self._tally["malformed"])
            if packets:
                return packets
        return []

    def send(self, number: int, octets: bytes) -> None:
        """Hand messages of one number to the kernel. Raises Closed, KernelRefused; then nothing was taken."""
        try:
            self._bound[number].socket.send(octets)
        except OSError as error:
            if self._closed:
                raise Closed(repr(self)) from error
            raise refused(f"sending {len(octets)} octets of verdicts to {self!r}", error) from error

    def counts(self) -> QueueCounts:
        """The books as they stand; after `close`, those of its moment."""
        if self._closed:
            return self._final
        table = self._table.read()
        lines = [table[number] for number in self.numbers if number in table]
        queues = self._verdicts.values()
        return books(
            lines,
            received=sum(queue.received for queue in queues),
            settled=sum(queue.settled for queue in queues),
            sent=sum(queue.sent for queue in queues),
            tally=self._tally,
        )

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

    def _waiting(self) -> list[_Bound]:
        """The numbers that may have something to read, the one that was read last at the end."""
        if len(self._bound) == 1:
            return self._order
        try:
            ready = {fd for fd, _ in self._poll.poll(0)}
        except ValueError as error:  # how a closed epoll object says so
            raise Closed(repr(self)) from error
        waiting = [bound for bound in self._order if bound.early or bound.socket.fileno() in ready]
        if waiting:
            self._order.remove(waiting[0])
            self._order.append(waiting[0])
        return waiting

    def _read(self, bound: _Bound) -> list[int]:
        """Fill slots, and return the lengths of what is in them."""
        while True:
            try:
                return self._datagrams.receive(bound.socket.fileno())
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    if self._closed:
                        raise Closed(repr(self)) from error
                    raise refused(f"reading {self!r}", error) from error
                self._tally["overruns"] += 1

    def _replay(self, bound: _Bound) -> list[int]:
        early, bound.early = bound.early[:BURST], bound.early[BURST:]
        for at, data in zip(self._datagrams.offsets, early, strict=False):
            self._datagrams.buffer[at : at + len(data)] = data
        return [len(data) for data in early]

    def _bind(self, number: int, limits: QueueLimits, made: socket.socket) -> None:
        action = f"binding queue {number}"
        bound = _Bound(made, PacketReader((number,), self._tally), self._verdicts[number])
        try:
            made.send(message.bind_message(number, limits, SEQUENCE))
            while True:
                data = made.recv(SLOT_OCTETS)
                if message.read_header(data) == message.NLMSG_ERROR:
                    break
                bound.early.append(data)  # a packet that was quicker than the answer
        except OSError as error:
            raise refused(action, error) from error
        code = message.read_answer(data).code
        if code == errno.EOPNOTSUPP:
            raise MissingFeature("a flag of nfnetlink_queue", detail=f"{action} with {limits}")
        if code:
            # Source: nfqnl_recv_config, which says EPERM of a number that somebody else has.
            code = errno.EBUSY if number in self._table.read() else code
            raise refused(action, OSError(code, os.strerror(code)))
        self._bound[number] = bound
        self._order.append(bound)

    def _read_back(self, asked: QueueLimits) -> QueueLimits:
        table = self._table.read()
        return replace(
            asked,
            copy_octets=min(table[number].copy_octets for number in self.numbers),
            receive_octets=min(bound.buffer_octets() for bound in self._bound.values()),
        )


class _Bound:
    """A queue number on its socket."""

    __slots__ = ("socket", "reader", "verdicts", "early")

    def __init__(self, made: socket.socket, reader: PacketReader, verdicts: QueueVerdicts) -> None:
        self.socket = made
        self.reader = reader
        self.verdicts = verdicts
        self.early: list[bytes] = []
        """Datagrams that came before `receive` was called."""

    def buffer_octets(self) -> int:
        """The receive buffer, as the kernel counts it."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def _kernel_socket(limits: QueueLimits) -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    except OSError as error:
        raise MissingFeature("nfnetlink", needed_by=("transport", "forward"), detail=str(error)) from error
    try:
        made.bind((0, 0))
        made.connect((0, 0))  # so that nobody but the kernel can send to it
        buffers.widen(made, receive_octets=limits.receive_octets, send_octets=SEND_BUFFER_OCTETS)
        made.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)  # refusals without the octets of what was refused
    except OSError as error:
        made.close()
        raise refused("opening a netlink socket", error) from error
    return made
