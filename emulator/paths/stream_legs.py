"""The sockets of a spliced connection: one end's leg, and a kernel pipe between two of them."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import Final

from emulator.paths.poller import READ, URGENT, WRITE, Callback, Poller
from emulator.splice import Side

SIOCATMARK: Final = 0x8905
F_SETPIPE_SZ: Final = 1031
PIPE_OCTETS: Final = 1 << 20
TCP_INFO_CLOSED: Final = 7
_AT_ONCE = struct.pack("ii", 1, 0)
_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class Leg:
    """One end of a spliced connection: its socket, and what is waited for on it.

    Owns the socket.  `wanted` is whether the relay wants to read, `stalled` whether a full pipe forbids it.
    """

    __slots__ = (
        "side", "sock", "fd", "wanted", "stalled", "waits", "urgent", "hung_up", "_poller", "_callback", "_events"
    )  # fmt: skip

    def __init__(self, side: Side, sock: socket.socket, poller: Poller) -> None:
        self.side = side
        self.sock = sock
        self.fd = sock.fileno()
        self.wanted = False
        self.stalled = False
        self.waits = False
        """For room to write."""
        self.urgent = False
        self.hung_up = False
        """Both ways are over; the kernel then says so at every look."""
        self._poller = poller
        self._callback: Callback | None = None
        self._events = -1

    def start(self, callback: Callback) -> None:
        """Begin to be told of what happens on the socket."""
        self._callback = callback
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.watch()

    def watch(self) -> None:
        """Watch for what is waited for now."""
        assert self._callback is not None
        events = READ | URGENT if self.wanted and not self.stalled else 0
        if self.waits:
            events |= WRITE
        if events == self._events:
            return
        if not events and self.hung_up:
            self._poller.remove(self.fd)
            self._events = -1
        elif self._events < 0:
            self._poller.add(self.fd, events, self._callback)
            self._events = events
        else:
            self._poller.change(self.fd, events)
            self._events = events

    @property
    def readable(self) -> bool:
        """True when octets may be taken from it now."""
        return self.wanted and not self.stalled

    def at_mark(self) -> bool:
        """True when the next octet is urgent data."""
        return bool(struct.unpack("i", fcntl.ioctl(self.fd, SIOCATMARK, bytes(4)))[0])

    def error(self) -> int:
        """The error that stands on the socket, as errno; it is then forgotten."""
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def forget(self) -> None:
        """Stop watching it."""
        self._poller.remove(self.fd)
        self._events = -1

    def reset(self) -> None:
        """Close it so that the peer sees a reset."""
        self.forget()
        reset_socket(self.sock)


class Pipe:
    """Octets between two sockets that never come to user space.  Owns two descriptors."""

    __slots__ = ("held", "_reader", "_writer")

    def __init__(self) -> None:
        """Raises OSError."""
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(self._writer, F_SETPIPE_SZ, PIPE_OCTETS)
        self.held = 0

    def fill(self, source: int) -> int:
        """Take what a socket has; 0 at its end.  Raises BlockingIOError, OSError."""
        taken = os.splice(source, self._writer, PIPE_OCTETS, flags=_FLAGS)
        self.held += taken
        return taken

    def drain(self, destination: int) -> bool:
        """Give to a socket what it takes; True when nothing is left.  Raises OSError."""
        while self.held:
            try:
                self.held -= os.splice(self._reader, destination, self.held, flags=_FLAGS)
            except BlockingIOError:
                return False
        return True

    def close(self) -> None:
        """What is left in it is lost; closing twice is allowed."""
        if self._reader >= 0:
            os.close(self._reader)
            os.close(self._writer)
            self._reader = self._writer = -1


def reset_socket(sock: socket.socket) -> None:
    """Close a socket so that its peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    sock.close()


def is_closed(sock: socket.socket) -> bool:
    """True when the kernel has nothing more to send or to wait for."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_INFO_CLOSED
