"""Packets from the queues of one host: shown to the engine by the course of their hook, settled by verdict.

Everything here runs on the host's I/O thread, but for `released`.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.ledger import ID_MASK, MAGIC, Record
from emulator.looping import LoopGuard
from emulator.ntstatus import NtStatus
from emulator.octets import IpView, Malformed
from emulator.offload import leave_to_card
from emulator.paths.books import Books
from emulator.paths.course import Course
from emulator.paths.groups import FragmentGroups
from emulator.paths.held import Held, hold
from emulator.paths.netlink_verdicts import settle
from emulator.paths.plans import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING, Plans
from emulator.paths.queue import PacketQueue, Verdict
from emulator.paths.queued import QueuedPacket
from emulator.wfptypes import ClassifyOutFlag, ConditionFlag

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.indication import Indication
    from emulator.injection import Injection
    from emulator.interfaces import InterfaceTable

LOOP_LIMIT = 32
"""Injections of one packet that count as a loop (GE-13)."""
_PLAIN_V4 = 0x45
"""The first octet of an IPv4 header without options."""
_ACCEPT, _DROP = int(Verdict.ACCEPT), int(Verdict.DROP)
_SUCCESS = NtStatus.SUCCESS
_ABSORB = int(ClassifyOutFlag.ABSORB)
_LOOPBACK = int(ConditionFlag.IS_LOOPBACK)
_MAGIC = MAGIC


class PacketPath:
    """The way of packets through one host: hooks, layers, verdicts.

    `completed` is called with an injection and a status when the last hook it meets has let it go, or one
    has stopped it.
    """

    def __init__(
        self, core: Core, books: Books, course: Course, completed: Callable[[Injection, NtStatus], None]
    ) -> None:
        self.core = core
        self.ledger = core.ledger
        self.books = books
        self.course = course
        self.completed = completed
        self.hooks: set[tuple[int, int]] = set()
        """(hook, IP version) pairs whose packets come here."""
        self.queue: PacketQueue | None = None
        self.held: dict[Held, None] = {}
        """Blocked packets that wait for what becomes of their clones."""
        self.groups: FragmentGroups | None = None
        """Collects forwarded fragments, when grouping is on (FW-6)."""
        self.after_packet: Callable[[], None] = lambda: None
        """Run after every packet: injections made while it was shown are performed there."""
        self.before_burst: Callable[[], None] = lambda: None
        """Run before each burst of packets."""
        self.offload = False
        """Whether drivers are shown outgoing packets whose checksums are left to the card (GE-17)."""
        self.guard = LoopGuard(LOOP_LIMIT)
        """Told of packets that one callout injected and another blocked: what loops are made of."""
        self.on_thread: Callable[[Callable[[], None]], None] = lambda work: work()
        """Run work on the I/O thread, from any thread."""
        self.thread_id = 0
        self.loopback_index = 1
        self.exact: dict[int, bytes] = {}
        """Octets that a packet with this mark's record must leave with, whatever the kernel made of them."""
        self.last_record = 0
        """Of the packet that was sent last by a socket."""
        self.unseen: set[int] = set()
        """Records of packets that no layer may see, although they pass the hooks (FW-3)."""

    @property
    def interfaces(self) -> InterfaceTable:
        """The host's interfaces."""
        return self.course.interfaces

    @property
    def plans(self) -> Plans:
        """The layers that have filters, by hook."""
        return self.course.plans

    # -- from the queue ---------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take what waits in the queue through the layers.

        The garbage collector rests meanwhile: a burst makes thousands of objects, frees them all, and would have
        it look for cycles in them again and again.  What it has to find, it finds after the burst.
        """
        assert self.queue is not None
        self.before_burst()
        packets = self.queue.receive()
        collects = gc.isenabled()
        if collects:
            gc.disable()
        try:
            self._show(packets)
        finally:
            if collects:
                gc.enable()

    def _show(self, packets: list[QueuedPacket]) -> None:
        hooks, after = self.books.hooks, self.after_packet
        for packet in packets:
            hook = packet.arrival.hook
            book = hooks[hook]
            book.offered += 1
            version = _version(packet.payload)
            if not version:  # no IP packet: not ours to judge
                self._pass(packet, hook)
                continue
            record = None
            mark = packet.mark
            if mark >> 24 == _MAGIC:
                record = self.ledger.record(mark)
                if record is not None and self.unseen and mark & ID_MASK in self.unseen:
                    self._pass_unseen(packet, hook)
                    continue
            self._meet(hook, hold(self, packet, version), record)
            after()

    def _meet(self, hook: int, held: Held, record: Record | None) -> None:
        if hook == FORWARD:
            self._forward(held, record)
        elif hook == OUTPUT:
            self._output(held, record)
        elif hook == INPUT:
            self._input(held, record)
        elif hook == PREROUTING:
            self._prerouting(held, record)
        else:
            self._postrouting(held, record)

    def _prerouting(self, held: Held, record: Record | None) -> None:
        interface = held.packet.arrival.in_device
        history = record.history if record is not None else ()
        flags = _LOOPBACK if interface == self.loopback_index else 0
        seen = self.course.prerouting(held, history, interface, flags)
        if seen is not None:
            self._stopped(held, seen, record)
        elif held.seen().is_fragment:
            # The mark tells the next hook that what it sees was put together from fragments (LA-20).
            self._passed(held, PREROUTING, record, None, self.ledger.mark(history, None, True), True)
        else:
            self._passed(held, PREROUTING, record)

    def _input(self, held: Held, record: Record | None) -> None:
        interface = held.packet.arrival.in_device
        history = record.history if record is not None else ()
        flags = _LOOPBACK if interface == self.loopback_index else 0
        seen = None
        if record is not None and record.fragment:
            seen = self.course.reassembled(held, history, interface, flags)
        if seen is None:
            seen = self.course.input(held, history, interface, flags)
        if seen is not None:
            self._stopped(held, seen, record)
        else:
            self._passed(held, INPUT, record)

    def _forward(self, held: Held, record: Record | None) -> None:
        history = record.history if record is not None else ()
        seen = self.course.forward(held, history, held.packet.arrival.in_device, 0)
        if seen is not None:
            self._stopped(held, seen, record)
        elif self.groups is not None and held.seen().is_fragment:
            self.groups.add(held, record)
        else:
            self._passed(held, FORWARD, record)

    def _output(self, held: Held, record: Record | None) -> None:
        if self.offload:
            held.info = leave_to_card(held.packet.payload, held.seen())
        interface = held.packet.arrival.out_device
        history = record.history if record is not None else ()
        flags = _LOOPBACK if interface == self.loopback_index else 0
        seen = self.course.output(held, history, interface, flags)
        if seen is not None:
            self._stopped(held, seen, record)
        else:
            self._passed(held, OUTPUT, record)

    def _postrouting(self, held: Held, record: Record | None) -> None:
        packet = held.packet
        if packet.arrival.in_device and not self._is_own(held):  # on its way through: not sent by this host
            self._pass(packet, POSTROUTING)
            return
        if self.offload:
            held.info = leave_to_card(packet.payload, held.seen())
        interface = packet.arrival.out_device
        history = record.history if record is not None else ()
        flags = _LOOPBACK if interface == self.loopback_index else 0
        seen = self.course.postrouting(held, history, interface, flags)
        if seen is not None:
            self._stopped(held, seen, record)
        else:
            exact = self.exact.pop(packet.mark & ID_MASK, None) if self.exact else None
            self._passed(held, POSTROUTING, record, exact)

    def _is_own(self, held: Held) -> bool:
        """Whether the host sent a packet that has an arrival device: IPv6's own messages have the one they leave by."""
        arrival, source = held.packet.arrival, held.view.source
        if arrival.in_device != arrival.out_device:
            return False
        return not any(source) or self.interfaces.is_local(source)

    # -- verdicts ---------------------------------------------------------------------------------------

    def _pass(self, packet: QueuedPacket, hook: int) -> None:
        assert self.queue is not None
        settle(self.queue, packet, _ACCEPT, None, False, 0)
        self.books.hooks[hook].passed += 1

    def _pass_unseen(self, packet: QueuedPacket, hook: int) -> None:
        """Let a forward-injected packet by; at the last hook with the octets it was given (FW-3, FW-13)."""
        assert self.queue is not None
        number = packet.mark & ID_MASK
        octets = None
        if hook == POSTROUTING:
            octets = self.exact.pop(number, None)
            self.unseen.discard(number)
        settle(self.queue, packet, _ACCEPT, octets, False, 0)
        self.books.hooks[hook].passed += 1

    def _passed(
        self,
        held: Held,
        hook: int,
        record: Record | None,
        payload: bytes | None = None,
        mark: int | None = None,
        final: bool = False,
    ) -> None:
        """A packet may go on; its injection is complete when no further hook sees it."""
        assert self.queue is not None
        held.settled = True
        octets = payload or (held.changed_octets() if held.edited else None)
        settle(self.queue, held.packet, _ACCEPT, octets, mark is not None, mark or 0)
        book = self.books.hooks[hook]
        book.passed += 1
        if record is not None and record.injection is not None and (final or self.is_last(hook, held)):
            if self.leaves(hook, held):
                self.ledger.forget(held.packet.mark)
            else:
                self.ledger.settle(held.packet.mark)
            self.completed(record.injection, _SUCCESS)

    def leaves(self, hook: int, held: Held) -> bool:
        """True when a packet that passes `hook`, its last one, is then gone: to a socket, or out of a device.

        What leaves by the loopback device comes in again, its mark with it; what passes PREROUTING may be routed.
        """
        return hook == INPUT or (hook >= OUTPUT and held.packet.arrival.out_device != self.loopback_index)

    def is_last(self, hook: int, held: Held) -> bool:
        """True when a packet that passes `hook` meets no other hook of ours on this host's own way."""
        if hook == OUTPUT:
            return (POSTROUTING, held.version) not in self.hooks
        if hook == PREROUTING and self.interfaces.is_local(held.seen().destination):
            return (INPUT, held.version) not in self.hooks
        return True

    def _stopped(self, held: Held, seen: Indication, record: Record | None) -> None:
        """A packet was blocked: dropped now, or kept while a clone of it lives."""
        absorbed = bool(seen.out_flags & _ABSORB)
        if record is None or not record.history:
            if not self.guard.idle:
                self.guard.blocked_first(held.seen())
        else:
            self.guard.blocked(held.seen(), record.history, held.packet.mark & ID_MASK)
            if record.injection is not None:
                self.ledger.settle(held.packet.mark)
                self.completed(record.injection, _SUCCESS if absorbed else NtStatus.DATA_NOT_ACCEPTED)
        if not absorbed:
            self.course.discarded(held, seen)
        held.absorbed = absorbed
        held.blocked = True
        if held.claims:
            self.held[held] = None
        else:
            self._drop(held)

    def keep_or_drop(self, held: Held, *, absorbed: bool) -> None:
        """Hold a blocked packet while clones of it live; drop one that has none."""
        held.absorbed = absorbed
        held.blocked = True
        if held.claims:
            self.held[held] = None
        else:
            self._drop(held)

    def _drop(self, held: Held) -> None:
        assert self.queue is not None
        held.settled = True
        self.held.pop(held, None)
        settle(self.queue, held.packet, _DROP, None, False, 0)
        book = self.books.hooks[held.packet.arrival.hook]
        if held.absorbed:
            book.absorbed += 1
        else:
            book.blocked += 1

    def let_go(self, held: Held, record: Record | None) -> None:
        """Let a packet of a fragment group go on."""
        self._passed(held, held.packet.arrival.hook, record)

    def released(self, held: Held) -> None:
        """The last clone of a blocked packet was freed without being injected: the packet is dropped."""
        if threading.get_ident() == self.thread_id:
            self._release(held)
        else:
            self.on_thread(lambda: self._release(held))

    def _release(self, held: Held) -> None:
        if not held.settled and not held.claims:
            self._drop(held)

    def reinjected(self, held: Held, payload: bytes | bytearray | None, mark: int) -> None:
        """Let a held packet go on as what was injected."""
        assert self.queue is not None
        held.settled = True
        self.held.pop(held, None)
        settle(self.queue, held.packet, _ACCEPT, payload, True, mark)
        book = self.books.hooks[held.packet.arrival.hook]
        book.reinjected += 1

    def abandon(self) -> None:
        """Drop what is still held: the host is being closed."""
        assert self.queue is not None
        if self.groups is not None:
            self.groups.give_up()
        for held in list(self.held):
            held.settled = True
            settle(self.queue, held.packet, _DROP, None, False, 0)
            self.books.hooks[held.packet.arrival.hook].abandoned += 1
        self.held.clear()


def _version(octets: bytearray) -> int:
    """4 or 6; 0 for octets that hold no IP packet."""
    size = len(octets)
    first = octets[0] if size else 0
    if size >= 20 and first == _PLAIN_V4:
        return 4
    if size >= 40 and first >> 4 == 6:
        return 6
    try:
        return IpView(octets).version
    except Malformed:
        return 0
