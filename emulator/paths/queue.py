"""A netfilter queue as the paths see it: packets in, verdicts out, and every loss counted.

Two implementations pass the same tests: `netlink_queue` (own, the default: every flag, packets of any
length, bursts) and `netfilter_queue` (the NetfilterQueue package).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, Self

from emulator.paths.queued import Arrival as Arrival
from emulator.paths.queued import QueuedPacket as QueuedPacket
from emulator.paths.queued import RareQueuedPacket as RareQueuedPacket
from netns.errors import LabError

QUEUE_LAST: Final = 65535
COPY_MOST_OCTETS: Final = 65531
"""Most of a packet that fits in the attribute of a netlink message: its length field counts its header too."""
COPY_LEAST_OCTETS: Final = 64
"""Every IP header without options or extensions, and the ports behind it."""
BURST: Final = 128
"""Most packets of one `receive`: larger bursts measured hardly faster, and delay the first verdict."""

Octets = bytes | bytearray | memoryview


class Verdict(IntEnum):
    """What becomes of a packet. Source: linux/netfilter.h."""

    DROP = 0
    ACCEPT = 1
    REPEAT = 4
    """Through the same hook once more; only a changed mark keeps it from coming back here."""


class HookNumber(IntEnum):
    """Where in the kernel a packet was taken. Source: linux/netfilter.h, NF_INET_*."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


class QueueBackend(StrEnum):
    """The implementations, by the names that `--queue` takes."""

    NETLINK = "netlink"
    NETFILTERQUEUE = "netfilterqueue"


class QueueError(LabError):
    """A queue was used in a way that would lose a packet."""


class AlreadySettled(QueueError):
    """Raised for a second verdict on one packet; nothing is sent."""

    def __init__(self, packet: QueuedPacket) -> None:
        super().__init__(f"{packet!r} has had its verdict; a packet is settled once")


class NotRewritable(QueueError):
    """Raised when a new payload would cut the packet or be lost; the packet is still held, accept or drop it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """What is asked of a queue, and in `PacketQueue.limits` what it really has."""

    length: int = 8192
    """Most packets waiting for a verdict, for each queue number; the kernel drops what comes on top."""
    copy_octets: int = COPY_MOST_OCTETS
    """Most octets shown of a packet."""
    receive_octets: int = 64 << 20
    """The socket's receive buffer; the kernel charges a small packet with about 1 KiB."""
    gso: bool = False
    """Take packets as large as the sender's kernel made them, with checksums still to be filled in.

    Without it the kernel cuts them into segments and finishes checksums before they are queued."""
    fail_open: bool = False
    """Let packets pass unseen when the queue is full. The kernel does not count them: compare the rule's
    count with received + overflowed."""

    def __post_init__(self) -> None:
        if not 1 <= self.length <= 0xFFFFFFFF:
            raise ValueError(f"queue length {self.length} is not within 1 to 4294967295")
        if not COPY_LEAST_OCTETS <= self.copy_octets <= COPY_MOST_OCTETS:
            most = f"{COPY_LEAST_OCTETS} to {COPY_MOST_OCTETS}"
            raise ValueError(f"copying {self.copy_octets} octets is not within {most}")
        if self.receive_octets < 1:
            raise ValueError(f"a receive buffer of {self.receive_octets} octets holds nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """The books of a queue object, summed over its queue numbers, in packets.

    offered (what the rules matched) = received + overflowed + unread, unless the queue fails open.
    """

    received: int = 0
    settled: int = 0
    """Verdicts given, whether flushed or not."""
    queue_overflowed: int = 0
    """Dropped by the kernel because `length` packets were waiting."""
    socket_overflowed: int = 0
    """Dropped by the kernel because the receive buffer was full."""
    overruns: int = 0
    """Times the kernel announced a full receive buffer (ENOBUFS)."""
    truncated: int = 0
    """Received with only their first octets visible; they can be accepted or dropped, not rewritten."""
    malformed: int = 0
    """Messages that could not be read."""
    refused: int = 0
    """Verdicts the kernel refused: it no longer had the packet, for example because a device went away."""
    rewrites_refused: int = 0
    """New payloads refused here, with NotRewritable."""
    unread: int = 0
    """In the kernel, enqueued but not received yet; after closing, dropped so."""
    abandoned: int = 0
    """Received but never settled, so dropped by closing."""

    @property
    def held(self) -> int:
        """Received, neither settled nor dropped by closing."""
        return self.received - self.settled - self.abandoned

    @property
    def overflowed(self) -> int:
        """Dropped by the kernel because somebody was too slow."""
        return self.queue_overflowed + self.socket_overflowed


class PacketQueue(ABC):
    """One or more netfilter queue numbers of one network namespace, drained and settled together.

    A number for each hook is faster than one for all: a packet then passes them one after the other while it
    is still in the processor's cache, and each number keeps its packets in order by itself.

    It is made on a thread that is inside the namespace (`Namespace.open_in`) and works from any thread
    afterwards; one thread at a time calls it. Its owner removes the rules first, then closes it: packets
    not settled by then are dropped, and counted as abandoned.
    """

    backend: QueueBackend
    numbers: tuple[int, ...]
    limits: QueueLimits
    """What the kernel has accepted, read back as far as it can be."""

    @abstractmethod
    def fileno(self) -> int:
        """A descriptor that becomes readable when a packet waits; it stays ours."""

    @abstractmethod
    def receive(self) -> list[QueuedPacket]:
        """What waits, at most BURST packets, for each number in order of arrival; never blocks. Raises LabError."""

    @abstractmethod
    def settle(
        self,
        packet: QueuedPacket,
        verdict: Verdict = Verdict.ACCEPT,
        payload: Octets | None = None,
        mark: int | None = None,
    ) -> None:
        """Decide on a packet, at any time and in any order.

        It takes effect by the next `flush` at the latest, for each number in the order of settling.

        `payload` replaces the packet from its IP header on, and may be longer or shorter; it must not be
        changed before the flush. Its checksums are the caller's.
        Raises AlreadySettled, NotRewritable (nothing was decided), Closed.
        """

    @abstractmethod
    def flush(self) -> None:
        """Give the kernel all verdicts decided since. Raises LabError; then they stay decided, flush again."""

    @abstractmethod
    def counts(self) -> QueueCounts:
        """The books as they stand; reads a kernel table, so not for every packet. Raises LabError."""

    @abstractmethod
    def close(self) -> None:
        """Flush, take the last counts, and unbind; closing twice is allowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {','.join(map(str, self.numbers))}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)


def open_queue(
    numbers: Sequence[int],
    limits: QueueLimits | None = None,
    backend: QueueBackend = QueueBackend.NETLINK,
) -> PacketQueue:
    """Bind `numbers` in the calling thread's namespace; the caller closes what is returned.

    Raises ValueError (numbers), NotPermitted, KernelRefused (EBUSY: a number is taken), MissingFeature (a flag
    the backend cannot set, or no NetfilterQueue package).
    """
    if backend is QueueBackend.NETFILTERQUEUE:
        from emulator.paths.netfilter_queue import NetfilterQueueQueue

        return NetfilterQueueQueue(numbers, limits or QueueLimits())
    from emulator.paths.netlink_queue import NetlinkQueue

    return NetlinkQueue(numbers, limits or QueueLimits())


def checked_numbers(numbers: Sequence[int]) -> tuple[int, ...]:
    """`numbers` as a tuple, or ValueError: they are distinct, at least one, within 0 to 65535."""
    found = tuple(numbers)
    if not found or len(set(found)) != len(found) or not all(0 <= number <= QUEUE_LAST for number in found):
        raise ValueError(f"queue numbers {found} are not distinct numbers within 0 to {QUEUE_LAST}")
    return found


def is_rewritable(packet: QueuedPacket, payload: Octets) -> bool:
    """Whether `payload` can replace the packet without anything being lost."""
    return not packet.original_octets and 1 <= len(payload) <= COPY_MOST_OCTETS


def not_rewritable(packet: QueuedPacket, payload: Octets) -> NotRewritable:
    """The refusal of a payload for which `is_rewritable` is false."""
    if packet.original_octets:
        why = f"it has {packet.original_octets} octets and only {len(packet.payload)} were shown"
    else:
        why = f"a payload of {len(payload)} octets is not within 1 to {COPY_MOST_OCTETS}"
    return NotRewritable(f"{packet!r} cannot be rewritten: {why}; accept or drop it")
