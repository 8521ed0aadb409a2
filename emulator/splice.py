"""A two-sided TCP relay as a state machine: events in, commands out, no sockets.

Whoever owns the two sockets tells what happened on them and does what comes back.  Octets go through the
connection's stream flow, so that callouts see them; a FIN is carried over in its place, a reset is never
mistaken for one, and a side is read only as fast as the other takes.
Source: ST-10, ST-19, ST-31..ST-36, ST-45.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from emulator.ntstatus import NtStatus
from emulator.stream import DISCONNECT, EXPEDITED
from emulator.stream_stage import Chunk

if TYPE_CHECKING:
    from emulator.stream_flow import StreamDirection, StreamFlow

HIGH_WATER: Final = 256 << 10
"""Octets waiting to be written to a side before the other is no longer read."""
MOST_WAITING: Final = 2 * HIGH_WATER
"""Octets that may wait at most."""


class Side(IntEnum):
    """An end of the connection: this host's application, or the other host."""

    HOST = 0
    REMOTE = 1

    @property
    def other(self) -> Side:
        """The opposite end."""
        return _OTHER[self]


_OTHER = {Side.HOST: Side.REMOTE, Side.REMOTE: Side.HOST}
_HOST, _REMOTE = Side.HOST, Side.REMOTE


@dataclass(frozen=True, slots=True)
class Read:
    """Begin, or stop, to read from a side; while stopped its TCP window closes."""

    side: Side
    on: bool


@dataclass(frozen=True, slots=True)
class Flush:
    """There is output for a side: write `Splice.output(side)` and tell `wrote`."""

    side: Side


@dataclass(frozen=True, slots=True)
class Reset:
    """Close both sockets so that their peers see a reset; the connection is over."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close both sockets in the ordinary way; the connection is over."""


Command = Read | Flush | Reset | Close
_FLUSH = {side: Flush(side) for side in Side}


class Splice:
    """One connection between a host's application and the other host.

    Events are given by one thread, the connection's owner; each returns the commands to do now, in order.
    After `flow.on_wake` was called the owner calls `turn`.
    """

    __slots__ = ("flow", "_reading", "_eof", "_fin_written", "_over")

    def __init__(self, flow: StreamFlow) -> None:
        self.flow = flow
        self._reading = [False, False]
        self._eof = [False, False]
        self._fin_written = [False, False]
        self._over = False

    # -- events -----------------------------------------------------------------------------------------

    def received(self, side: Side, memory: bytearray, start: int, end: int, flags: int = 0) -> list[Command]:
        """A side sent `memory[start:end]`, which is the flow's from now on."""
        self.flow.indicate(side is Side.REMOTE, memory, start, end, flags)
        return self.turn()

    def finished(self, side: Side) -> list[Command]:
        """A side sent its FIN: what it reads is not affected."""
        if not self._eof[side]:
            self._eof[side] = True
            self.flow.finish(side is Side.REMOTE)
        return self.turn()

    def failed(self, side: Side) -> list[Command]:
        """A side reset the connection, or went away: the other is told by a reset."""
        if self._over:
            return []
        self.flow.abort(side is Side.REMOTE)
        self.flow.run(self.flow.end)
        self.flow.abandon(NtStatus.CONNECTION_RESET)
        self._over = True
        return [Reset()]

    def wrote(self, side: Side, octets: int) -> list[Command]:
        """A side's socket took so many octets of the output."""
        direction = self._toward(side)
        direction.written += octets
        out = direction.out
        while octets:
            head = out[0]
            have = head.end - head.start
            if have > octets:
                self.flow.settle(head.head(octets))
                break
            out.popleft()
            if head.ticket is not None:
                self.flow.settle(head)
            octets -= have
        self.flow.complete_due()
        return self.turn()

    def wrote_fin(self, side: Side) -> list[Command]:
        """The FIN in front of a side's output was sent: its socket was shut down for writing."""
        self._fin_written[side] = True
        self.flow.settle(self._toward(side).out.popleft())
        self.flow.complete_due()
        return self.turn()

    def turn(self) -> list[Command]:
        """What is to be done as things are now: after an event, and after a wake."""
        if self._over:
            return []
        flow = self.flow
        if flow.ended:
            self._over = True
            flow.abandon()
            return [Reset()]
        if False not in self._fin_written and False not in self._eof:
            self._over = True
            flow.run(flow.end)
            return [Close()]
        commands: list[Command] = []
        busy = flow.busy
        for side, source, direction in ((_HOST, _REMOTE, flow.receive), (_REMOTE, _HOST, flow.send)):
            if direction.out:
                commands.append(_FLUSH[side])
            wanted = not (busy or self._eof[source] or direction.waiting >= HIGH_WATER or direction.deferred)
            if wanted != self._reading[source]:
                self._reading[source] = wanted
                commands.append(Read(source, wanted))
        return commands

    # -- what there is ----------------------------------------------------------------------------------

    def output(self, side: Side, most: int = 32) -> list[Chunk]:
        """What to write to a side next: either one FIN, or up to `most` pieces of octets of one urgency."""
        found: list[Chunk] = []
        out = self._toward(side).out
        if not out:
            return found
        # By number: other threads may append meanwhile.
        for place in range(min(len(out), most)):
            chunk = out[place]
            if chunk.flags & (DISCONNECT | EXPEDITED):
                return found or [chunk]
            found.append(chunk)
        return found

    def reading(self, side: Side) -> bool:
        """Whether a side is to be read: what the last `Read` for it said, also when others are done first."""
        return self._reading[side]

    def room(self, side: Side) -> int:
        """How many octets may be read from a side at once; never none, since others may inject at any moment."""
        return max(MOST_WAITING - self._toward(side.other).waiting, 1)

    def idle(self, side: Side) -> bool:
        """True when nothing waits on its way to a side."""
        return self._toward(side).empty and not self.flow.busy

    @property
    def over(self) -> bool:
        """True after Reset or Close was commanded."""
        return self._over

    def ended(self, side: Side) -> bool:
        """True after a side's FIN."""
        return self._eof[side]

    def _toward(self, side: Side) -> StreamDirection:
        return self.flow.receive if side is _HOST else self.flow.send
