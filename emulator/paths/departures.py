"""Network sends that leave together: gathered while the outbox works through its queue, then sent and completed.

Whoever performs injections calls `leave` before it does anything that has to keep the order, and at the end.
Source: NS, CF-10, OR-1, OR-7; docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.injection import Injection
from emulator.netbuffer import NetBuffer
from emulator.ntstatus import NtStatus
from emulator.paths.batch import FULL, TAKEN, SendBatch
from emulator.paths.network import NetworkInjector
from emulator.paths.plans import OUTPUT, POSTROUTING
from emulator.paths.statuses import status_of_number
from emulator.wfptypes import AddressFamily
from netns.errors import LabError

if TYPE_CHECKING:
    from emulator.paths.packets import PacketPath

_SUCCESS = NtStatus.SUCCESS
_INET = AddressFamily.INET
_TAKEN, _FULL = TAKEN, FULL


class Departures:
    """The ordinary packets of network sends of one host, between being performed and having left."""

    def __init__(
        self,
        packets: PacketPath,
        sockets: NetworkInjector,
        completed: Callable[[Injection, NtStatus], None],
        alone: Callable[[Injection, bytes], bool],
        sent: Callable[[Injection], None],
    ) -> None:
        """`completed` is told of each packet's end.

        `alone` sends one packet by itself, and answers whether a hook will tell of it; `sent` is told of
        injections for which one will.
        """
        self.packets = packets
        self.ledger = packets.ledger
        self.sockets = sockets
        self.completed = completed
        self.alone = alone
        self.sent = sent
        self.batch = SendBatch()
        self.injections: list[Injection] = []
        """Those with packets in the batch, in order."""
        self._mark = 0

    def gather(self, injection: Injection) -> bool:
        """Take over the packets of a network send of a driver's own list; False when that is not for here."""
        item = injection.net_buffer_list
        packets = self.packets
        if (
            item.parent is not None
            or item.info is not None
            or len(injection.history) > 1
            or injection.preserve_id
            or not packets.guard.idle
            or self.sockets.on_send is not None
        ):
            return False
        version = 4 if injection.family is _INET else 6
        batch = self.batch
        if batch.interfaces is not packets.course.interfaces:
            batch.know(packets.course.interfaces)
        if (self.sockets.raw4 if version == 4 else self.sockets.raw6) is None and not self._opened(version):
            return False
        if item._first is not None:
            self._gather_all(injection, version)
            return True
        taken = batch.take(item.memory, item.start, item.end, version)
        if taken == _FULL:
            self.leave()
            return self.gather(injection)
        if taken != _TAKEN:
            return False
        packets.books.injections.by_injector += 1
        self._note(injection, version)
        if injection.met:
            self.sent(injection)
        return True

    def leave(self) -> None:
        """Send what was gathered, in order, and complete what no hook will see."""
        injections, self.injections = self.injections, []
        queue = self.packets.queue
        assert queue is not None
        queue.flush()  # what was decided before goes first (OR-1)
        refused = self.batch.send(self.sockets.raw4, self.sockets.raw6)
        at = next_refused = 0
        for injection in injections:
            count = injection.gathered
            injection.gathered = 0
            at += count
            while next_refused < len(refused) and refused[next_refused].place < at:
                _, error, mark = refused[next_refused]
                next_refused += 1
                count -= 1
                self.ledger.settle(mark)
                if injection.packets_left > 0:  # it may have been given back while others were completed
                    self.completed(injection, status_of_number(error))
            if count and not injection.met:
                injection.packets_left -= count - 1
                self.completed(injection, _SUCCESS)

    def _opened(self, version: int) -> bool:
        """Whether there is a socket now; the packet that goes alone will tell why not."""
        try:
            self.sockets.raw(version)
        except (OSError, LabError):
            return False
        return True

    def _gather_all(self, injection: Injection, version: int) -> None:
        """The same for a list that was taken apart; its packets that are not ordinary go alone, in their turn."""
        first: NetBuffer | None = injection.net_buffer_list._first
        count = 0
        buffer = first
        while buffer is not None:
            count += 1
            buffer = buffer.next
        injection.packets_left = count
        self.packets.books.injections.by_injector += 1
        waits = False
        buffer = first
        while buffer is not None:
            taken = self._take(buffer, version)
            if taken == _FULL:
                self.leave()
                taken = self._take(buffer, version)
            if taken == _TAKEN:
                self._note(injection, version)
                waits = waits or injection.met
            else:
                self.leave()
                waits = self.alone(injection, buffer.read(0, buffer.data_length)) or waits
            buffer = buffer.next
        if waits and injection.packets_left > 0:
            self.sent(injection)

    def _take(self, buffer: NetBuffer, version: int) -> int:
        mdl = buffer.first_mdl
        start, length = buffer.data_offset, buffer.data_length
        if mdl is None or start + length > mdl.length:
            return self.batch.take(buffer.read(0, length), 0, length, version)
        start += mdl.offset
        return self.batch.take(mdl.memory, start, start + length, version)

    def _note(self, injection: Injection, version: int) -> None:
        """Mark the packet that was taken, and note whose it is."""
        ledger = self.ledger
        if not injection.gathered:
            self.injections.append(injection)
            hooks = self.packets.hooks
            injection.met = bool(hooks) and ((OUTPUT, version) in hooks or (POSTROUTING, version) in hooks)
            if not hooks:
                self._mark = ledger.brief(injection.history)
            elif not injection.met:
                self._mark = ledger.mark(injection.history)
        if injection.met:  # each is told by its own
            self._mark = ledger.mark(injection.history, injection)
        self.batch.mark(self._mark)
        injection.gathered += 1
