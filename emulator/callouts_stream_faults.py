"""Faults for streams, as ready callouts: delay, rate limit, slice, truncate, corrupt, reset after so many octets.

Each works on the directions it is told to, and lets the others pass.  A stream fault cannot alter the
handshake, nor lose or reorder segments: for that there is the transport path.
Source: ST-25, ST-31, ST-32, ST-35, ST-40.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any

from emulator.callout import Callout
from emulator.callouts_stream import Injector, Where, Worker
from emulator.errors import WfpError
from emulator.stream import DISCONNECT, IoPacket, StreamData, clone_stream_data, discard_cloned
from emulator.wfptypes import StreamFlag

if TYPE_CHECKING:
    from emulator.handle import InjectionHandle
    from emulator.indication import Indication
    from emulator.netbuffer import NetBufferList

BOTH = int(StreamFlag.SEND | StreamFlag.RECEIVE)
SENT = int(StreamFlag.SEND)
RECEIVED = int(StreamFlag.RECEIVE)

After = Callable[[float, Callable[[], None]], Any]
"""Runs work so many seconds later, one piece of work at a time."""


class Later:
    """Runs work later, all of it on one thread; whoever makes it closes it."""

    def __init__(self) -> None:
        self._worker = Worker("later")

    def __call__(self, seconds: float, work: Callable[[], None]) -> None:
        """Run `work` so many seconds from now."""
        timer = Timer(seconds, self._worker.post, (work,))
        timer.daemon = True
        timer.start()

    def close(self) -> None:
        """Run what is due, then end; what is not due yet is never run."""
        self._worker.close()

    def __enter__(self) -> Later:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StreamFault(Callout):
    """A fault on some directions; derive, and write `disturb`."""

    def __init__(self, *, directions: int = BOTH) -> None:
        self.directions = directions
        """SENT, RECEIVED or BOTH."""

    def classify(self, seen: Indication) -> None:
        """Disturb what is to be disturbed, let the rest pass."""
        packet: IoPacket = seen.stream
        if packet.stream_data.flags & self.directions:
            self.disturb(seen, packet, packet.stream_data)
        else:
            seen.permit()

    def disturb(self, seen: Indication, packet: IoPacket, data: StreamData) -> None:
        """Decide about octets, or a FIN, of a disturbed direction."""
        raise NotImplementedError


class _Line:
    """What waits in one direction of one connection, in order: clones, or a FIN."""

    __slots__ = ("waiting", "running", "octets", "where", "deferred_flags")

    def __init__(self, where: Where) -> None:
        self.waiting: deque[tuple[NetBufferList, int, int]] = deque()
        self.running = False
        self.octets = 0
        self.where = where
        self.deferred_flags = 0


class Delay(StreamFault):
    """Every piece arrives `seconds` later; the order is kept.

    Out of band: everything is cloned and blocked, and injected when its time has come.  Above `limit` octets
    an inbound stream is deferred.
    """

    def __init__(
        self,
        handle: InjectionHandle,
        seconds: float,
        after: After,
        *,
        directions: int = BOTH,
        limit: int = 1 << 20,
    ) -> None:
        super().__init__(directions=directions)
        self.seconds = seconds
        self.limit = limit
        self.injector = Injector(handle)
        self.core = handle.core
        self._after = after
        self._lines: dict[tuple[int, bool], _Line] = {}
        self._guard = Lock()

    def pause(self, length: int) -> float:
        """Seconds between a piece of this length and the one before it has gone."""
        return self.seconds

    def disturb(self, seen: Indication, packet: IoPacket, data: StreamData) -> None:
        """Clone and block; it goes on later."""
        with self._guard:
            line = self._lines.setdefault((seen.flow_handle, data.inbound), _Line(Where(seen)))
            if data.inbound and line.octets and line.octets + data.data_length > self.limit:
                line.deferred_flags = data.flags
                packet.defer()
                return
        try:
            chain = clone_stream_data(self.core.ownership, data)
        except WfpError:
            packet.drop_connection()
            return
        seen.block()
        with self._guard:
            line.octets += data.data_length
            line.waiting.append((chain, data.data_length, data.flags & DISCONNECT))
            begins = not line.running
            line.running = True
        if begins or self._side_by_side:
            self._after(self.pause(data.data_length), lambda: self._next(line))

    _side_by_side = True
    """Whether every piece has a time of its own; else one waits for the one before it."""

    def _next(self, line: _Line) -> None:
        """The first piece's time has come."""
        with self._guard:
            if not line.waiting:
                return
            chain, length, mark = line.waiting.popleft()
        # Without the lock: lighter callouts classify before the injection returns.
        self._inject(line, chain, length, mark)
        with self._guard:
            line.octets -= length
            line.running = bool(line.waiting)
            following = line.waiting[0][1] if line.waiting else 0
            resume = line.deferred_flags if line.octets <= self.limit // 4 else 0
            if resume:
                line.deferred_flags = 0
        if resume:
            self._resume(line.where, resume)
        if line.running and not self._side_by_side:
            self._after(self.pause(following), lambda: self._next(line))

    def discard(self) -> None:
        """Give up what still waits: before the handle is destroyed, or when the connections are gone."""
        with self._guard:
            chains = [chain for line in self._lines.values() for chain, _, _ in line.waiting]
            for line in self._lines.values():
                line.waiting.clear()
        for chain in chains:
            discard_cloned(self.core.ownership, chain)

    def _inject(self, line: _Line, chain: NetBufferList, length: int, mark: int) -> None:
        try:
            self.injector.chain(line.where, chain, length, flags=mark)
        except WfpError:  # the connection is gone; the clones were discarded
            return

    def _resume(self, where: Where, flags: int) -> None:
        try:
            self.core.streams.resume(where.flow_id, where.callout_id, where.layer, flags)
        except WfpError:  # the connection is gone
            return


class RateLimit(Delay):
    """At most so many octets a second; what comes faster waits, and closes the sender's window when inbound."""

    _side_by_side = False

    def __init__(
        self,
        handle: InjectionHandle,
        octets_per_second: float,
        after: After,
        *,
        directions: int = BOTH,
        limit: int = 256 << 10,
    ) -> None:
        super().__init__(handle, 0.0, after, directions=directions, limit=limit)
        self.octets_per_second = octets_per_second

    def pause(self, length: int) -> float:
        """As long as the piece takes at this rate."""
        return length / self.octets_per_second

    def disturb(self, seen: Indication, packet: IoPacket, data: StreamData) -> None:
        """Take no more at once than a twentieth of a second carries."""
        most = max(1, int(self.octets_per_second / 20))
        if data.data_length > most:
            part = StreamData(data.flags, most, _first(data, most), data.on_clone)
            super().disturb(seen, packet, part)
            packet.count_bytes_enforced = 0 if packet.stream_action else most
            for item in part.lists():
                self.core.ownership.retire(item)
            return
        super().disturb(seen, packet, data)


class Slice(StreamFault):
    """Lets octets pass in slices of `size`, each a decision of its own: lighter callouts see them one by one."""

    def __init__(self, size: int, *, directions: int = BOTH) -> None:
        super().__init__(directions=directions)
        self.size = size

    def disturb(self, seen: Indication, packet: IoPacket, data: StreamData) -> None:
        """Permit the next slice."""
        seen.permit()
        packet.count_bytes_enforced = min(self.size, data.data_length)


class Counting(StreamFault):
    """Counts the octets of each direction of each connection."""

    def __init__(self, *, directions: int = BOTH) -> None:
        super().__init__(directions=directions)
        self._counted: dict[tuple[int, bool], int] = {}

    def counted(self, seen: Indication, data: StreamData) -> int:
        """How many came before."""
        return self._counted.get((seen.flow_handle, data.inbound), 0)

    def count(self, seen: Indication, data: StreamData, octets: int) -> None:
        """So many more have been dealt with."""
        key = seen.flow_handle, data.inbound
        self._counted[key] = self._counted.get(key, 0) + octets


class Truncate(Counting):
    """Lets the first `octets` pass and takes the rest out; the FIN comes in its place."""

    def __init__(self, octets: int, *, directions: int = BOTH) -> None:
        super().__init__(directions=directions)
        self.octets = octets

    def disturb(self, seen: Indication, packet: IoPacket, data: StreamData) -> None:
        """Permit up to the limit, block what is behind it."""
        left = self.octets - self.counted(seen, data)
        if not data.data_length:
            seen.permit()
        elif left > 0:
            size = min(left, data.data_length)
            self.count(seen, data, size)
            packet.count_bytes_enforced = size
            seen.permit()
        else:
            seen.block()


class Corrupt(Counting):
    """Turns all bits of every `every`-th octet, in place; lengths and order stay."""

    def __init__(self, every: int, *, directions: int = BOTH) -> None:
        super().__init__(directions=directions)
        self.every = every

    def disturb(self, seen: Indication, packet: IoPacket, data: StreamData) -> None:
        """Change the octets where they lie, then permit them."""
        before = self.counted(seen, data)
        at = (-before - 1) % self.every
        for view in data.views():
            for place in range(at, len(view), self.every):
                view[place] ^= 0xFF
            at = (at - len(view)) % self.every
        self.count(seen, data, data.data_length)
        seen.permit()


class ResetAfter(Counting):
    """Lets `octets` pass, then resets the connection."""

    def __init__(self, octets: int, *, directions: int = BOTH) -> None:
        super().__init__(directions=directions)
        self.octets = octets

    def disturb(self, seen: Indication, packet: IoPacket, data: StreamData) -> None:
        """Permit up to the limit; with the first octet behind it the connection goes."""
        left = self.octets - self.counted(seen, data)
        if not data.data_length:
            seen.permit()
        elif left > 0:
            size = min(left, data.data_length)
            self.count(seen, data, size)
            packet.count_bytes_enforced = size
            seen.permit()
        else:
            packet.drop_connection()


def _first(data: StreamData, size: int) -> list[tuple[bytearray, int, int, int]]:
    found = []
    for memory, base, start, end in data.spans():
        take = min(size, end - start)
        if take:
            found.append((memory, base, start, start + take))
            size -= take
    return found


__all__ = [
    "BOTH",
    "RECEIVED",
    "SENT",
    "Corrupt",
    "Delay",
    "Later",
    "RateLimit",
    "ResetAfter",
    "Slice",
    "StreamFault",
    "Truncate",
]
