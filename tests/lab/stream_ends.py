"""The two ends of a TCP connection in lab tests, in either role."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.topology import LINUX_FAMILY, Host, Pair
from emulator.wfptypes import AddressFamily, CalloutFlag, InjectionType
from netns.patience import patient

PORT = 8888
DEADLINE = patient(10.0)
STREAM = InjectionType.STREAM
ROLES = pytest.mark.parametrize("outbound", [True, False], ids=["host connects", "peer connects"])


class Ends:
    """One connection between the emulated host and its peer; `host` and `peer` are the sockets of the two."""

    def __init__(self, host: socket.socket, peer: socket.socket) -> None:
        self.host = host
        self.peer = peer

    def close(self) -> None:
        self.host.close()
        self.peer.close()


def listen(server: Host, family: AddressFamily, port: int = PORT) -> socket.socket:
    """A listener with a deadline; the caller closes it."""

    def open_listener() -> socket.socket:
        made = socket.socket(LINUX_FAMILY[family])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((server.address(family), port))
        made.listen(512)
        return made

    listener = server.namespace.open_in(open_listener)
    listener.settimeout(DEADLINE)
    return listener


def dial(
    client: Host, server: Host, family: AddressFamily, port: int = PORT, timeout: float = DEADLINE
) -> socket.socket:
    """A connection from one host to another; the caller closes it."""
    made = client.namespace.open_in(lambda: socket.socket(LINUX_FAMILY[family]))
    made.settimeout(timeout)
    try:
        made.connect((server.address(family), port))
    except BaseException:
        made.close()
        raise
    return made


@contextmanager
def connected(
    pair: Pair, family: AddressFamily, *, outbound: bool = True, port: int = PORT, receive_octets: int = 0
) -> Iterator[Ends]:
    """A connection that the host opened (`outbound`) or that was opened to it."""
    client, server = (pair.host, pair.peer) if outbound else (pair.peer, pair.host)
    with listen(server, family, port) as listener:
        if receive_octets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
        dialled = dial(client, server, family, port)
        accepted, _ = listener.accept()
    accepted.settimeout(DEADLINE)
    ends = Ends(dialled, accepted) if outbound else Ends(accepted, dialled)
    try:
        yield ends
    finally:
        ends.close()


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    pieces = []
    while piece := sock.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """So many octets; fewer only when the stream ends."""
    octets = bytearray()
    while len(octets) < size and (piece := sock.recv(size - len(octets))):
        octets += piece
    return bytes(octets)


def reset(sock: socket.socket) -> None:
    """Close a socket so that its peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Sender:
    """Sends on a thread of its own, and tells how far it came."""

    def __init__(self, sock: socket.socket, octets: bytes, *, shut: bool = True) -> None:
        self.sent = 0
        self.error: BaseException | None = None
        self._sock, self._octets, self._shut = sock, octets, shut
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        view = memoryview(self._octets)
        try:
            self._sock.settimeout(patient(60))
            while self.sent < len(view):
                self.sent += self._sock.send(view[self.sent : self.sent + (1 << 16)])
            if self._shut:
                self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(patient(60))
        assert not self._thread.is_alive()

    def stalled(self) -> int:
        """Wait until no more goes out; how much did."""
        while True:
            before = self.sent
            self._thread.join(patient(0.5))
            if self.sent == before:
                return before


def wait_for(what: Callable[[], Any], timeout: float = DEADLINE) -> Any:
    """Poll until `what` is true; what it returned."""
    deadline = time.monotonic() + timeout
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true in {timeout} s")
        time.sleep(0.005)
    return found


def handle(driver: Driver) -> Any:
    """A stream handle of a driver."""
    return driver.create_handle(AddressFamily.UNSPEC, STREAM)


class Deciding(Callout):
    """A callout of one function, with a flow-delete function."""

    def __init__(self, decide: Callable[[Indication], None], *, flags: CalloutFlag = CalloutFlag(0)) -> None:  # noqa: B008
        self.decide = decide
        self.flags = flags
        self.deleted: list[Any] = []
        self.flow_delete = lambda layer, callout_id, context: self.deleted.append(context)

    def classify(self, seen: Indication) -> None:
        self.decide(seen)


def exchange(ends: Ends, request: bytes, answer: bytes) -> tuple[bytes, bytes]:
    """A request from the host and an answer from the peer, each up to its end; as they were read."""
    ends.host.sendall(request)
    ends.host.shutdown(socket.SHUT_WR)
    got_request = read_all(ends.peer)
    ends.peer.sendall(answer)
    ends.peer.shutdown(socket.SHUT_WR)
    return got_request, read_all(ends.host)
