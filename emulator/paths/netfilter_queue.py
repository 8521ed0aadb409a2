"""The queue backend on the NetfilterQueue package, with its silent losses guarded.

What it cannot do: set the GSO and fail-open flags, show more than 4016 octets of a packet, tell an unchecked
checksum, give many verdicts by one system call. Its verdicts take effect at once.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

from emulator.paths.queue import (
    BURST,
    AlreadySettled,
    Arrival,
    Octets,
    PacketQueue,
    QueueBackend,
    QueueCounts,
    QueuedPacket,
    QueueLimits,
    RareQueuedPacket,
    Verdict,
    checked_numbers,
    is_rewritable,
    not_rewritable,
)
from emulator.paths.queue_counters import QueueTable, books
from emulator.paths.queued import STAMP
from netns import buffers
from netns.errors import Closed, MissingFeature, refused

ETHERNET_ADDRESS_OCTETS: Final = 6
NLMSG_ERROR: Final = b"\x02\0" if struct.pack("=H", 2) == b"\x02\0" else b"\0\x02"
ATTRIBUTE_OCTETS: Final = 4096
"""Room beyond what the package asks for: it leaves 80 octets for all that comes with a packet's own, and a time
stamp, a mark and the length of a packet that was cut need more; a message that is cut off the package ignores."""
ARRIVALS_KEPT: Final = 64
TOTAL_LENGTH = struct.Struct(">2xH")
PAYLOAD_LENGTH = struct.Struct(">4xH")
IPV6_HEADER_OCTETS: Final = 40


class NetfilterQueueQueue(PacketQueue):
    """One NetfilterQueue object for each queue number, drained in turn."""

    backend = QueueBackend.NETFILTERQUEUE

    def __init__(self, numbers: Sequence[int], limits: QueueLimits) -> None:
        """Bind them, on a thread inside the namespace.

        Raises ValueError, MissingFeature (the package, or a flag it cannot set), NotPermitted, KernelRefused.
        """
        self.numbers = checked_numbers(numbers)
        self._closed = True  # until all is bound
        if limits.gso or limits.fail_open:
            raise MissingFeature(
                "the GSO and fail-open flags", detail="NetfilterQueue cannot set them", fallback="--queue netlink"
            )
        try:
            import netfilterqueue
        except ImportError as error:
            raise MissingFeature("the NetfilterQueue package", fallback="--queue netlink") from error
        self._make: Any = netfilterqueue.NetfilterQueue
        self._tally: Counter[str] = Counter()
        self._received = self._settled = 0
        self._final = QueueCounts()
        self._fresh: list[QueuedPacket] = []
        self._held: set[QueuedPacket] = set()
        self._arrivals: dict[tuple[object, ...], Arrival] = {}
        self._bound: list[tuple[Any, _BoundedReader]] = []
        with ExitStack() as undo:
            self._table = QueueTable()
            undo.callback(self._table.close)
            undo.callback(self._bound.clear)  # the last reference closes the package's socket
            self._poll = undo.enter_context(select.epoll())
            for number in self.numbers:
                self._bind(number, limits, undo)
            self.limits = self._read_back(limits)
            self._undo = undo.pop_all()
        self._closed = False

    def fileno(self) -> int:
        """An epoll descriptor over the sockets of all numbers."""
        return self._poll.fileno()

    def receive(self) -> list[QueuedPacket]:
        """What waits, at most BURST packets, number by number; never blocks."""
        room = BURST
        for bound, reader in self._bound:
            reader.room = room
            try:
                bound.run_socket(reader)
            except OSError as error:
                raise refused(f"reading {self!r}", error) from error
            room = reader.room
        self._bound.append(self._bound.pop(0))  # so that one busy number does not starve the others
        fresh, self._fresh = self._fresh, []
        self._received += len(fresh)
        self._held.update(fresh)
        return fresh

    def settle(
        self,
        packet: QueuedPacket,
        verdict: Verdict = Verdict.ACCEPT,
        payload: Octets | None = None,
        mark: int | None = None,
    ) -> None:
        """Decide on a packet, with effect at once (see PacketQueue)."""
        token = packet.token
        if token is None:
            raise Closed(repr(self)) if self._closed else AlreadySettled(packet)
        if payload is not None:
            # Handing back what was shown of a larger packet would make it vanish without an error.
            if not is_rewritable(packet, payload):
                self._tally["rewrites_refused"] += 1
                raise not_rewritable(packet, payload)
            token.set_payload(bytes(payload))
        if mark is not None:
            token.set_mark(mark)
        if verdict == Verdict.ACCEPT:
            token.accept()
        elif verdict == Verdict.DROP:
            token.drop()
        else:
            token.repeat()
        packet.token = None
        self._held.discard(packet)
        self._settled += 1

    def flush(self) -> None:
        """Nothing waits: every verdict was sent when it was given."""
        if self._closed:
            raise Closed(repr(self))

    def counts(self) -> QueueCounts:
        """The books as they stand; after `close`, those of its moment."""
        if self._closed:
            return self._final
        table = self._table.read()
        lines = [table[number] for number in self.numbers if number in table]
        return books(lines, received=self._received, settled=self._settled, sent=self._settled, tally=self._tally)

    def close(self) -> None:
        """Hear what the kernel refused, take the last counts, unbind."""
        if self._closed:
            return
        with self._undo:
            for _ in range(-(-self.limits.length * len(self.numbers) // BURST) + 1):
                if not self.receive():
                    break
            counts = self.counts()
            self._final = replace(counts, abandoned=counts.received - counts.settled)
            self._closed = True
            for packet in self._held:
                packet.token = None  # each holds the package's socket open
            self._held.clear()

    def _bind(self, number: int, limits: QueueLimits, undo: ExitStack) -> None:
        action = f"binding queue {number}"
        try:
            bound = self._make()
            undo.callback(bound.unbind)
            bound.bind(
                number,
                partial(self._on_packet, number),
                max_len=limits.length,
                range=limits.copy_octets,
                sock_len=buffers.most(limits.receive_octets),
            )
        except OSError as error:
            # The package does not say why. Being bound already is the usual reason.
            code = errno.EBUSY if number in self._table.read() else error.errno or errno.EPERM
            raise refused(action, OSError(code, str(error))) from error
        reader = _BoundedReader(bound.get_fd(), self._tally)
        undo.callback(reader.close)
        self._poll.register(reader.fd, select.EPOLLIN)
        self._bound.append((bound, reader))

    def _read_back(self, asked: QueueLimits) -> QueueLimits:
        table = self._table.read()
        return replace(
            asked,
            copy_octets=min(table[number].copy_octets for number in self.numbers),
            receive_octets=min(reader.buffer_octets for _, reader in self._bound),
        )

    def _on_packet(self, number: int, token: Any) -> None:
        payload = bytearray(token.get_payload())
        original = 0
        if len(payload) == self.limits.copy_octets:
            original = _original_octets(payload)
        seconds = token.get_timestamp()
        packet = RareQueuedPacket() if original or seconds else QueuedPacket()
        if isinstance(packet, RareQueuedPacket):
            packet.original_octets = original
            packet.stamp = STAMP.pack(int(seconds), int(seconds % 1 * 1e6)) if seconds else b""
            self._tally["truncated"] += original > 0
        packet.token, packet.payload, packet.mark = token, payload, token.mark
        way = number, token.hook, token.hw_protocol, token.indev, token.outdev, token.get_hw()
        arrival = self._arrivals.get(way)
        packet.arrival = arrival if arrival is not None else self._new_arrival(way)
        self._fresh.append(packet)

    def _new_arrival(self, way: tuple[Any, ...]) -> Arrival:
        number, hook, protocol, in_device, out_device, address = way
        if len(self._arrivals) == ARRIVALS_KEPT:
            self._arrivals.clear()
        return self._arrivals.setdefault(
            way,
            Arrival(
                number,
                hook,
                protocol,
                in_device=in_device,
                out_device=out_device,
                hardware_address=(address or b"")[:ETHERNET_ADDRESS_OCTETS],
            ),
        )


class _BoundedReader:
    """What the package takes for its socket: ends a drain after `room` packets, and hears what it would not."""

    def __init__(self, fd: int, tally: Counter[str]) -> None:
        self.fd = fd
        self.room = 0
        self._tally = tally
        self._socket = socket.socket(fileno=fd)

    @property
    def buffer_octets(self) -> int:
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def recv(self, octets: int) -> bytes:
        while self.room:
            try:
                data = self._socket.recv(octets + ATTRIBUTE_OCTETS, socket.MSG_DONTWAIT)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self._tally["overruns"] += 1
                raise
            if data[4:6] == NLMSG_ERROR:
                self._tally["refused"] += data[16:20] != bytes(4)
                continue
            self.room -= 1
            return data
        raise BlockingIOError(errno.EAGAIN, "enough for one burst")

    def close(self) -> None:
        """Let go of the descriptor, which the package closes."""
        self._socket.detach()


def _original_octets(visible: bytearray) -> int:
    """The length of a packet of which just the first octets may be visible, by its own header; 0 if all is."""
    if visible[0] >> 4 == 4:
        (said,) = TOTAL_LENGTH.unpack_from(visible)
    else:
        said = PAYLOAD_LENGTH.unpack_from(visible)[0] + IPV6_HEADER_OCTETS
    if said == len(visible):
        return 0
    # A sender may lie in a raw header; the packet counts as cut in any case.
    return int(max(said, len(visible)))
