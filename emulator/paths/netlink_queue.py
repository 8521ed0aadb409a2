"""Our own queue backend: packets by recvmmsg, verdicts many in one send, every flag of the kernel."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from emulator.paths import netlink_message as message
from emulator.paths.datagrams import DatagramBurst
from emulator.paths.netlink_packets import PacketReader
from emulator.paths.netlink_verdicts import VerdictBuffer
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
from netns.errors import Closed, MissingFeature, refused

NETLINK_NETFILTER: Final = 12
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
SOL_NETLINK: Final = 270
NETLINK_CAP_ACK: Final = 10
SEND_BUFFER_OCTETS: Final = 4 << 20
SLOT_OCTETS: Final = 65536 + 4096
"""A packet of the largest attribute, and all that may stand before it."""


class NetlinkQueue(VerdictBuffer, PacketQueue):
    """The queue numbers of a host on one netlink socket, so one drain and one send serve all its hooks."""

    backend = QueueBackend.NETLINK

    def __init__(self, numbers: Sequence[int], limits: QueueLimits) -> None:
        """Bind them, on a thread inside the namespace.

        Raises ValueError, NotPermitted, KernelRefused (EBUSY: somebody else has a number), MissingFeature.
        """
        self.numbers = checked_numbers(numbers)
        self._closed = True  # until all is bound
        self._tally: Counter[str] = Counter()
        super().__init__(self.numbers, self._tally)
        self._reader = PacketReader(self.numbers, self._tally)
        self._flushed = 0
        self._final = QueueCounts()
        self._early: list[bytes] = []
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
        packets = self._reader.read(self._datagrams.buffer, self._datagrams.offsets, lengths)
        self.admit(packets, ranges=not self._tally["malformed"])
        return packets

    def flush(self) -> None:
        """Send all verdicts decided since, in one burst of messages."""
        octets = self.pending()
        if not octets:
            return
        try:
            self._socket.send(octets)
        except OSError as error:
            if self._closed:
                raise Closed(repr(self)) from error
            raise refused(f"sending {len(octets)} octets of verdicts to {self!r}", error) from error
        self.sent()
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
            # Source: nfqnl_recv_config, which says EPERM of a number that somebody else has.
            code = errno.EBUSY if number in self._table.read() else answer.code
            raise refused(action, OSError(code, os.strerror(code)))

    def _read_back(self, asked: QueueLimits) -> QueueLimits:
        table = self._table.read()
        return replace(
            asked,
            copy_octets=min(table[number].copy_octets for number in self.numbers),
            receive_octets=self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
        )


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
