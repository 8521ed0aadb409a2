"""What the kernel itself counts of the netfilter queues of one namespace."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from emulator.paths.queue import QueueCounts
from netns.errors import MissingFeature, refused

TABLE = "/proc/thread-self/net/netfilter/nfnetlink_queue"
FIELDS = 9
READ_OCTETS = 1 << 16

NETLINK_NETFILTER = 12
WAKING = struct.pack("=IHHIIBBH", 20, 0x0302, 0x0005, 0, 0, 0, 0, 0)
"""An empty configuration message with an answer asked for. Source: linux/netfilter/nfnetlink_queue.h."""


class KernelQueue(NamedTuple):
    """One line of the kernel's table. Source: seq_show in the kernel's nfnetlink_queue.c."""

    number: int
    port: int
    """The netlink port of whoever bound it."""
    waiting: int
    """Packets enqueued and without a verdict, received or not."""
    copy_mode: int
    copy_octets: int
    queue_dropped: int
    """Packets dropped because the queue was full."""
    socket_dropped: int
    """Packets dropped because the receive buffer was full."""
    last_id: int


def parsed(text: bytes) -> dict[int, KernelQueue]:
    """The table by queue number. Raises ValueError for a line of another shape."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) != FIELDS:
            raise ValueError(f"{line!r} is no line of the kernel's queue table")
        queue = KernelQueue(*map(int, fields[:-1]))
        found[queue.number] = queue
    return found


class QueueTable:
    """The table of the namespace in which this was made; readable from any thread."""

    def __init__(self) -> None:
        """Open it, on a thread inside the namespace. Raises MissingFeature, NotPermitted, KernelRefused."""
        try:
            if not os.path.exists(TABLE):
                _wake()
            self._fd = os.open(TABLE, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise MissingFeature("nfnetlink_queue", needed_by=("transport", "forward"), detail=TABLE) from error
        except OSError as error:
            raise refused(f"opening {TABLE}", error) from error

    def read(self) -> dict[int, KernelQueue]:
        """The queues as they stand, by number. Raises KernelRefused."""
        text = b""
        try:
            while piece := os.pread(self._fd, READ_OCTETS, len(text)):
                text += piece
        except OSError as error:
            raise refused(f"reading {TABLE}", error) from error
        return parsed(text)

    def close(self) -> None:
        """Close it, once."""
        os.close(self._fd)


def _wake() -> None:
    """Have the kernel load the module, if it is one: it does so for the first message to it."""
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as asking:
        asking.send(WAKING)
        asking.recv(READ_OCTETS)  # an error, by which time the module is there


def books(
    lines: Sequence[KernelQueue], *, received: int, settled: int, sent: int, tally: Mapping[str, int]
) -> QueueCounts:
    """The books of a queue object: the kernel's `lines` of it, and what it counted itself.

    `sent` are the verdicts the kernel has been given; `tally` has the other fields of QueueCounts by name.
    """
    return QueueCounts(
        received=received,
        settled=settled,
        queue_overflowed=sum(line.queue_dropped for line in lines),
        socket_overflowed=sum(line.socket_dropped for line in lines),
        # When a device goes away, the kernel drops what waits for it: then there are fewer than we hold.
        unread=max(sum(line.waiting for line in lines) - (received - sent), 0),
        **tally,
    )
