"""Traffic between hosts of a bed: datagrams, with a canary that shows when nothing more will come; the wire."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from emulator.wfptypes import AddressFamily
from netns.capture import Capture
from netns.patience import patient

if TYPE_CHECKING:
    from emulator.topology import Host

CANARY_PORT = 40999
"""Canaries go to this port; a scenario's filters must not match it."""
DEADLINE = 10.0
"""Seconds after which something that should have arrived counts as missing."""
_GLANCE_SECONDS = 1.0
_IP = (0x0800, 0x86DD)


class CanaryLost(Exception):
    """Raised when a canary does not arrive: then nothing is known about what else did not."""


class Datagrams:
    """UDP from one host to a port of another: what was sent, and what arrived by the time a canary did.

    An absence is shown by a later canary arriving, never by waiting.  The bed closes the sockets, if `close` has not.
    """

    def __init__(self, source: Host, target: Host, family: AddressFamily, *, port: int = 5000) -> None:
        self.source = source
        self.target = target
        self.family = family
        self.port = port
        self.receiver = target.socket(family, port=port)
        self.sender = source.socket(family)
        self._canary_out = source.socket(family)
        if family not in target.inboxes:
            target.inboxes[family] = target.socket(family, port=CANARY_PORT)
        self._canary_in = target.inboxes[family]

    def close(self) -> None:
        """Close the sockets before the bed does; the one canaries arrive at is the target's and stays open."""
        for item in (self.receiver, self.sender, self._canary_out):
            item.close()

    def send(self, *payloads: bytes) -> None:
        """Send datagrams, in order."""
        where = (self.target.address(self.family), self.port)
        with on_one_processor():
            for payload in payloads:
                self.sender.sendto(payload, where)

    def canary(self) -> None:
        """Send a canary and wait until it has arrived.

        Raises CanaryLost when it does not, TimeoutError when a host still holds packets.
        """
        self._settle()
        self.source.canaries.sent += 1
        mark = b"canary %d" % self.source.canaries.sent  # the book is the bed's: no two are alike
        with on_one_processor():
            self._canary_out.sendto(mark, (self.target.address(self.family), CANARY_PORT))
        until = time.monotonic() + patient(DEADLINE)
        while not self._came(mark):
            raised = any(host.emulated and host.stack.core.callback_errors for host in (self.source, self.target))
            if raised or time.monotonic() > until:
                why = "a callout raised" if raised else "a filter that matches too much, or no way between them"
                raise CanaryLost(
                    f"a canary from {self.source.name} to {self.target.name} (UDP port {CANARY_PORT}) "
                    f"did not arrive: {why}"
                )
        self.source.canaries.arrived += 1
        # What was injected may meet one more hook than the canary did, which so came in ahead of it.
        self._settle()

    def _settle(self) -> None:
        for host in (self.source, self.target):
            if host.emulated is not None:
                host.stack.settle()

    def _came(self, mark: bytes) -> bool:
        """Whether a canary comes within a second; older ones are passed over."""
        self._canary_in.settimeout(_GLANCE_SECONDS)
        try:
            while self._canary_in.recv(64) != mark:
                pass
        except TimeoutError:
            return False
        return True

    def arrived(self) -> list[bytes]:
        """Everything that arrived until a canary sent now has arrived; raises as `canary`."""
        self.canary()
        return drain(self.receiver)

    def exchange(self, payloads: Iterable[bytes]) -> list[bytes]:
        """Send datagrams and tell which arrived; raises as `canary`."""
        self.send(*payloads)
        return self.arrived()


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Have this thread send from one processor, always the same.

    A veth pair leaves what it carries in a backlog of the sender's processor, so that packets of a thread that is
    moved to another one may overtake those it sent before.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def drain(receiver: socket.socket) -> list[bytes]:
    """All datagrams that wait in a socket, in order."""
    timeout = receiver.gettimeout()
    receiver.setblocking(False)
    found: list[bytes] = []
    try:
        while True:
            found.append(receiver.recv(65536))
    except BlockingIOError:
        return found
    finally:
        receiver.settimeout(timeout)


class Responder:
    """A UDP server on a port of a host: answers each datagram by what `answer` makes of it, None by silence.

    The bed ends it.  What `answer` raises ends it too, and is kept in `failure`.
    """

    def __init__(
        self,
        host: Host,
        family: AddressFamily,
        port: int,
        answer: Callable[[bytes], bytes | None],
        *,
        address: str | None = None,
    ) -> None:
        """`address` is one of the host's own; by default its first."""
        self.failure: Exception | None = None
        self.asked: list[bytes] = []
        """The datagrams that have come."""
        self._answer = answer
        self._socket = host.socket(family, port=port, address=address)
        self._socket.setblocking(False)
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, name=f"responder-{port}", daemon=True)
        host.owned.callback(self.close)  # before the socket goes, which the host closes
        self._thread.start()

    def close(self) -> None:
        """End it when what has come is answered; closing twice is allowed."""
        if self._end >= 0:
            os.eventfd_write(self._end, 1)
            self._thread.join()
            os.close(self._end)
            self._end = -1

    def _serve(self) -> None:
        """Answer until the end is wanted and nothing waits any more."""
        poller = select.poll()
        for descriptor in (self._end, self._socket.fileno()):
            poller.register(descriptor, select.POLLIN)
        ready: list[int] = []
        while ready != [self._end]:
            ready = [descriptor for descriptor, _ in poller.poll()]
            if self._socket.fileno() in ready:
                with suppress(BlockingIOError):  # a datagram whose checksum was wrong is none
                    question, source = self._socket.recvfrom(65536)
                    self.asked.append(question)
                    try:
                        self._say(self._answer(question), source)
                    except Exception as error:
                        self.failure = error
                        return

    def _say(self, said: bytes | None, source: Any) -> None:
        if said is not None:
            self._socket.sendto(said, source)


class Wire(Capture):
    """A capture that tells of IP packets rather than frames."""

    def packets(self, *, port: int | None = None) -> list[bytes]:
        """The IP packets, without link headers, that passed since the last call; with `port`, those that name it.

        Canaries are left out.  Raises FramesLost.
        """
        from emulator.octets import IpView, Malformed

        found = []
        for frame in self.drain():
            try:
                view = IpView(frame.payload) if frame.protocol in _IP else None
            except Malformed:
                view = None
            ports = view.ports if view is not None else None
            if view is None or (ports is not None and CANARY_PORT in ports):
                continue
            if port is None or (ports is not None and port in ports):
                found.append(bytes(frame.payload[: view.end]))
        return found
