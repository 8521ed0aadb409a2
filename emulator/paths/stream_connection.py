"""One spliced connection: two sockets, and between them the relay, or a kernel pipe while nobody looks."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from emulator.paths.poller import ENDED, FAILED, READ, URGENT, WRITE, Poller
from emulator.paths.stream_legs import Leg, Pipe
from emulator.paths.stream_memory import LEAD, ReadMemory
from emulator.splice import Close, Command, Flush, Read, Reset, Side, Splice
from emulator.stream import DISCONNECT
from emulator.wfptypes import StreamFlag

ROUNDS: Final = 4
"""Most times one side is read before the others have their turn."""
SMALL_OCTETS: Final = 16 << 10
"""Up to so many get memory of their own size: a driver may keep clones of them for long."""
_EXPEDITED = {Side.HOST: int(StreamFlag.SEND_EXPEDITED), Side.REMOTE: int(StreamFlag.RECEIVE_EXPEDITED)}
_PUSHED = {Side.HOST: 0, Side.REMOTE: int(StreamFlag.RECEIVE_PUSH)}


class Connection:
    """Carries what the relay commands to two sockets, and what happens on them to the relay.

    Owns the sockets until it is over; then `over` is called with the sockets that still have something to
    send (none after a reset).  All calls come from the I/O thread, but for `wake`.
    """

    def __init__(
        self,
        splice: Splice,
        socks: dict[Side, socket.socket],
        poller: Poller,
        memory: ReadMemory,
        *,
        post: Callable[[Callable[[], None]], None],
        over: Callable[[Connection, list[socket.socket]], None],
    ) -> None:
        self.splice = splice
        self.flow = splice.flow
        self._legs = {side: Leg(side, socks[side], poller) for side in Side}
        self._pipes: dict[Side, Pipe] = {}
        self._memory = memory
        self._post = post
        self._over = over
        self._woken = False
        self.copied = 0
        """Octets that went through user space."""
        self.passed = 0
        """Octets that did not."""

    def start(self) -> None:
        """Begin to relay."""
        self.flow.on_wake = self.flow.on_drop = self.wake
        for leg in self._legs.values():
            leg.start(lambda events, leg=leg: self._happened(leg, events))  # type: ignore[misc]
        self._do(self.splice.turn())

    def wake(self) -> None:
        """Look again soon; from any thread."""
        if not self._woken:
            self._woken = True
            self._post(self._awake)

    def _awake(self) -> None:
        self._woken = False
        if not self.splice.over:
            self.flow.run(self.flow.pump)
            self._do(self.splice.turn())

    # -- what happens -----------------------------------------------------------------------------------

    def _happened(self, leg: Leg, events: int) -> None:
        if events & FAILED and leg.error():
            self._do(self.splice.failed(leg.side))
            return
        if events & URGENT:
            leg.urgent = True
        if events & ENDED:
            leg.hung_up = True
        if events & (READ | URGENT | ENDED) and leg.readable:
            self._read(leg)
        if events & WRITE and not self.splice.over:
            self._room(leg)
        if leg.hung_up and not self.splice.over:
            leg.watch()

    def _read(self, leg: Leg) -> None:
        for _ in range(ROUNDS):
            if not leg.readable or self.splice.over:
                return
            try:
                more = self._pass(leg) if self._direct(leg) else self._copy(leg)
            except BlockingIOError:
                return
            except OSError:
                self._do(self.splice.failed(leg.side))
                return
            if not more:
                return

    def _direct(self, leg: Leg) -> bool:
        """True when nobody would look at the octets, and none that somebody looked at are still on their way."""
        return not leg.urgent and not self.flow.inspected and self.splice.idle(leg.side.other)

    def _copy(self, leg: Leg) -> bool:
        """Read once, through the callouts; False when the socket had no more."""
        flags = _PUSHED[leg.side]
        most = self.splice.room(leg.side)
        if leg.urgent and leg.at_mark():
            most = 1
            flags |= _EXPEDITED[leg.side]
            leg.urgent = False
        memory = self._memory.take()
        with memoryview(memory) as view:
            size = leg.sock.recv_into(view[len(LEAD) :], most)
        if not size:
            self._do(self.splice.finished(leg.side))
            return False
        end = len(LEAD) + size
        if size <= SMALL_OCTETS:
            memory = memory[:end]
        self.copied += size
        self._do(self.splice.received(leg.side, memory, len(LEAD), end, flags))
        return size == most

    def _pass(self, leg: Leg) -> bool:
        """Move octets in the kernel; False when the other side takes no more now."""
        pipe = self._pipes.get(leg.side)
        if pipe is None:
            pipe = self._pipes[leg.side] = Pipe()
        size = pipe.fill(leg.fd)
        if not size:
            self._do(self.splice.finished(leg.side))
            return False
        self.passed += size
        return self._drain(leg.side)

    def _drain(self, source: Side) -> bool:
        leg, other = self._legs[source], self._legs[source.other]
        pipe = self._pipes.get(source)
        try:
            empty = pipe is None or pipe.drain(other.fd)
        except OSError:
            self._do(self.splice.failed(other.side))
            return False
        if leg.stalled == empty:
            leg.stalled = other.waits = not empty
            other.watch()
            leg.watch()
        return empty

    def _room(self, leg: Leg) -> None:
        """A side takes octets again: first those in the pipe, then the relay's."""
        if self._drain(leg.side.other) and not self.splice.over:
            leg.waits = False
            self._flush(leg.side)
            if not self.splice.over:
                leg.watch()

    # -- what is to be done -----------------------------------------------------------------------------

    def _do(self, commands: list[Command]) -> None:
        waiting = deque(commands)
        while waiting:
            match waiting.popleft():
                case Read(side):
                    # A command done before this one may have brought a newer one.
                    self._legs[side].wanted = self.splice.reading(side)
                    self._legs[side].watch()
                case Flush(side):
                    self._flush(side)
                case Reset():
                    self._end(reset=True)
                case Close():
                    self._end(reset=False)
            if self.splice.over and not waiting:
                return

    def _flush(self, side: Side) -> None:
        leg = self._legs[side]
        if leg.waits or self.splice.over:
            return
        while pieces := self.splice.output(side):
            try:
                if pieces[0].flags & DISCONNECT:
                    leg.sock.shutdown(socket.SHUT_WR)
                    self._do(self.splice.wrote_fin(side))
                    if self.splice.over:
                        return
                    continue
                views = [piece.view() for piece in pieces]
                sent = leg.sock.sendmsg(views, (), socket.MSG_OOB if pieces[0].urgent else 0)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._do(self.splice.failed(side))
                return
            if sent:
                self._do([c for c in self.splice.wrote(side, sent) if c != Flush(side)])
                if self.splice.over:
                    return
            if sent < sum(map(len, views)):
                leg.waits = True
                leg.watch()
                return

    def _end(self, *, reset: bool) -> None:
        for pipe in self._pipes.values():
            pipe.close()
        left: list[socket.socket] = []
        for leg in self._legs.values():
            if reset:
                leg.reset()
            else:
                leg.forget()
                left.append(leg.sock)
        self.flow.on_wake = self.flow.on_drop = None
        self._over(self, left)

    def abort(self) -> None:
        """Reset both ends: the path is going away."""
        if not self.splice.over:
            with suppress(OSError):
                self.flow.run(self.flow.drop)
                self._do(self.splice.turn())
