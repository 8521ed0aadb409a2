"""Packets from the queues of one host: shown to the engine layer by layer, then settled by verdict.

Everything here runs on the host's I/O thread, but for `released`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.indication import Indication
from emulator.interfaces import InterfaceTable
from emulator.layers import discard_layer
from emulator.ledger import ID_MASK, MAGIC, Record
from emulator.netbuffer import INDICATED, RETIRED, STACK, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.octets import IpView, Malformed
from emulator.paths.books import Books
from emulator.paths.held import Held
from emulator.paths.plans import (
    FORWARD,
    INPUT,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    Plans,
    Step,
    kind_of,
    make_plans,
)
from emulator.paths.queue import PacketQueue, QueuedPacket, Verdict
from emulator.wfptypes import ConditionFlag, DiscardModule

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.injection import Injection
    from emulator.ledger import History

_ACCEPT, _DROP = Verdict.ACCEPT, Verdict.DROP
_LOOPBACK = int(ConditionFlag.IS_LOOPBACK)
_FRAGMENT = int(ConditionFlag.IS_FRAGMENT)
_REASSEMBLED = int(ConditionFlag.IS_REASSEMBLED)


class PacketPath:
    """The way of packets through one host: hooks, layers, verdicts.

    `completed` is called with an injection and a status when the last hook it meets has let it go, or one
    has stopped it.
    """

    def __init__(self, core: Core, books: Books, completed: Callable[[Injection, NtStatus], None]) -> None:
        self.core = core
        self.engine = core.engine
        self.ledger = core.ledger
        self.books = books
        self.completed = completed
        self.interfaces = InterfaceTable()
        self.plans: Plans = make_plans(set())
        self.hooks: set[tuple[int, int]] = set()
        """(hook, IP version) pairs whose packets come here."""
        self.queue: PacketQueue | None = None
        self.held: dict[Held, None] = {}
        """Blocked packets that wait for what becomes of their clones."""
        self.after_packet: Callable[[], None] = lambda: None
        """Run after every packet: injections made while it was shown are performed there."""
        self.on_thread: Callable[[Callable[[], None]], None] = lambda work: work()
        """Run work on the I/O thread, from any thread."""
        self.thread_id = 0
        self.loopback_index = 1
        self.exact: dict[int, bytes] = {}
        """Octets that a packet with this mark's record must leave with, whatever the kernel made of them."""
        self._handlers = {
            PREROUTING: self._prerouting,
            INPUT: self._input,
            FORWARD: self._forward,
            OUTPUT: self._output,
            POSTROUTING: self._postrouting,
        }

    def replan(self) -> None:
        """Take over which layers have filters now."""
        self.plans = make_plans(self.engine.layers())

    # -- from the queue ---------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take what waits in the queue through the layers."""
        assert self.queue is not None
        handlers, after = self._handlers, self.after_packet
        for packet in self.queue.receive():
            hook = packet.arrival.hook
            self.books.hooks[hook].offered += 1
            try:
                view = IpView(packet.payload)
            except Malformed:  # no IP packet: not ours to judge
                self._pass(packet, hook)
                continue
            mark = packet.mark
            record = self.ledger.record(mark) if mark >> 24 == MAGIC else None
            handlers[hook](packet, view, record)
            after()

    def _prerouting(self, packet: QueuedPacket, view: IpView, record: Record | None) -> None:
        steps = self.plans[PREROUTING, view.version, 0]
        held = Held(self, packet, view)
        history = record.history if record is not None else ()
        interface = packet.arrival.in_device
        flags = _LOOPBACK if interface == self.loopback_index else 0
        if not view.is_fragment:
            if self._walk(steps, held, view, history, interface, flags, record):
                self._passed(held, PREROUTING, record)
            return
        for extra in (0, _FRAGMENT):
            if not self._walk(steps, held, view, history, interface, flags | extra, record):
                return
        # The mark tells the next hook that what it sees was put together from fragments (LA-20).
        self._passed(held, PREROUTING, record, mark=self.ledger.mark(history, fragment=True), final=True)

    def _input(self, packet: QueuedPacket, view: IpView, record: Record | None) -> None:
        held = Held(self, packet, view)
        history = record.history if record is not None else ()
        interface = packet.arrival.in_device
        flags = _LOOPBACK if interface == self.loopback_index else 0
        if record is not None and record.fragment:
            whole = self.plans[PREROUTING, view.version, 0]
            if not self._walk(whole, held, view, history, interface, flags | _REASSEMBLED, record):
                return
        steps = self.plans[INPUT, view.version, kind_of(view)]
        if self._walk(steps, held, view, history, interface, flags, record):
            self._passed(held, INPUT, record)

    def _forward(self, packet: QueuedPacket, view: IpView, record: Record | None) -> None:
        held = Held(self, packet, view)
        history = record.history if record is not None else ()
        steps = self.plans[FORWARD, view.version, 0]
        if self._walk(steps, held, view, history, packet.arrival.in_device, 0, record):
            self._passed(held, FORWARD, record)

    def _output(self, packet: QueuedPacket, view: IpView, record: Record | None) -> None:
        held = Held(self, packet, view)
        history = record.history if record is not None else ()
        interface = packet.arrival.out_device
        flags = _LOOPBACK if interface == self.loopback_index else 0
        steps = self.plans[OUTPUT, view.version, kind_of(view)]
        if self._walk(steps, held, view, history, interface, flags, record):
            self._passed(held, OUTPUT, record)

    def _postrouting(self, packet: QueuedPacket, view: IpView, record: Record | None) -> None:
        if packet.arrival.in_device:  # on its way through this router: not sent by this host
            self._pass(packet, POSTROUTING)
            return
        held = Held(self, packet, view)
        history = record.history if record is not None else ()
        interface = packet.arrival.out_device
        flags = _LOOPBACK if interface == self.loopback_index else 0
        steps = self.plans[POSTROUTING, view.version, 0]
        if self._walk(steps, held, view, history, interface, flags, record):
            exact = self.exact.pop(packet.mark & ID_MASK, None) if self.exact else None
            self._passed(held, POSTROUTING, record, payload=exact)

    # -- through the layers -----------------------------------------------------------------------------

    def _walk(
        self,
        steps: tuple[Step, ...],
        held: Held,
        view: IpView,
        history: History,
        interface: int,
        flags: int,
        record: Record | None,
    ) -> bool:
        """Show a packet at each step; False, and what follows from it, once it was blocked."""
        for step in steps:
            seen = self.indicate(step, held, view, history, interface, flags)
            if seen is not None:
                self._stopped(held, seen, record)
                return False
        return True

    def indicate(
        self, step: Step, held: Held, view: IpView, history: History, interface: int, flags: int
    ) -> Indication | None:
        """Show a packet at one layer; the indication when it was blocked there, None when it may go on."""
        base, start = step.offsets(view)
        memory = held.packet.payload
        item = NetBufferList(memory, start, view.end, STACK, history, held)
        item.base = base
        item.state = INDICATED
        item.protocol = view.protocol
        seen = Indication(
            self.core, step.layer, step.inbound, item, memory, view.start, view.end, interface, self.interfaces
        )
        seen.known_view = view
        seen.condition_flags = flags
        arrival = held.packet.arrival
        if arrival.in_device and arrival.out_device:
            seen.source_interface, seen.destination_interface = arrival.in_device, arrival.out_device
        passed = self.engine.classify(seen)
        if item.start != start or item.flat is False:
            self._check_offset(item, seen, start - base)
        if held.claims:
            self.core.ownership.retire(item)
        else:
            item.state = RETIRED
        return None if passed else seen

    def _check_offset(self, item: NetBufferList, seen: Indication, offset: int) -> None:
        if item.data_offset != offset:
            delta = item.data_offset - offset
            self.core.violate(
                "NB-13",
                "classifyFn",
                f"the data start of {item!r} was left {abs(delta)} octets too {'far on' if delta > 0 else 'far back'}: "
                "every retreat of an original is undone before classify returns",
            )

    # -- verdicts ---------------------------------------------------------------------------------------

    def _pass(self, packet: QueuedPacket, hook: int) -> None:
        assert self.queue is not None
        self.queue.settle(packet, _ACCEPT)
        self.books.hooks[hook].passed += 1

    def _passed(
        self,
        held: Held,
        hook: int,
        record: Record | None,
        *,
        mark: int | None = None,
        payload: bytes | None = None,
        final: bool = False,
    ) -> None:
        """A packet may go on; its injection is complete when no further hook sees it."""
        assert self.queue is not None
        held.settled = True
        octets = payload or (held.packet.payload if held.edited else None)
        self.queue.settle(held.packet, _ACCEPT, octets, mark)
        self.books.hooks[hook].passed += 1
        if record is not None and record.injection is not None and (final or self.is_last(hook, held.view)):
            self.ledger.settle(held.packet.mark)
            self.completed(record.injection, NtStatus.SUCCESS)

    def is_last(self, hook: int, view: IpView) -> bool:
        """True when a packet that passes `hook` meets no other hook of ours on this host's own way."""
        version = view.version
        if hook == OUTPUT:
            return (POSTROUTING, version) not in self.hooks
        if hook == PREROUTING:
            if self.interfaces.is_local(view.destination):
                return (INPUT, version) not in self.hooks
            return True
        return True

    def _stopped(self, held: Held, seen: Indication, record: Record | None) -> None:
        """A packet was blocked: dropped now, or kept while a clone of it lives."""
        hook = held.packet.arrival.hook
        absorbed = seen.absorbed
        if record is not None and record.injection is not None:
            self.ledger.settle(held.packet.mark)
            self.completed(record.injection, NtStatus.SUCCESS if absorbed else NtStatus.DATA_NOT_ACCEPTED)
        if not absorbed:
            self._discarded(held, seen)
        held.absorbed = absorbed
        held.blocked = True
        if held.claims:
            self.held[held] = None
        else:
            self._drop(held, hook)

    def _drop(self, held: Held, hook: int) -> None:
        assert self.queue is not None
        held.settled = True
        self.held.pop(held, None)
        self.queue.settle(held.packet, _DROP)
        book = self.books.hooks[hook]
        if held.absorbed:
            book.absorbed += 1
        else:
            book.blocked += 1

    def _discarded(self, held: Held, seen: Indication) -> None:
        """Show a packet that was not blocked silently at the discard layer, which only looks (CO-17, MD-13)."""
        layer = discard_layer(seen.layer)
        if layer is None or int(layer) not in self.engine.at_layer:
            return
        item = seen.net_buffer_list
        assert item is not None
        again = NetBufferList(held.packet.payload, item.start, seen.ip_end, STACK, item.history, held)
        again.state = INDICATED
        shown = Indication(
            self.core, int(layer), seen.inbound, again, seen.memory, seen.ip_start, seen.ip_end, seen.interface,
            self.interfaces,
        )  # fmt: skip
        shown.condition_flags = seen.condition_flags
        shown.discard = (int(DiscardModule.GENERAL), 0, seen.blocked_by)
        self.engine.classify(shown)
        self.core.ownership.retire(again)

    def released(self, held: Held) -> None:
        """The last clone of a blocked packet was freed without being injected: the packet is dropped."""
        if threading.get_ident() == self.thread_id:
            self._release(held)
        else:
            self.on_thread(lambda: self._release(held))

    def _release(self, held: Held) -> None:
        if not held.settled and not held.claims:
            self._drop(held, held.packet.arrival.hook)

    def reinjected(self, held: Held, payload: bytes | bytearray | None, mark: int) -> None:
        """Let a held packet go on as what was injected."""
        assert self.queue is not None
        held.settled = True
        self.held.pop(held, None)
        self.queue.settle(held.packet, _ACCEPT, payload, mark)
        self.books.hooks[held.packet.arrival.hook].reinjected += 1

    def abandon(self) -> None:
        """Drop what is still held: the host is being closed."""
        assert self.queue is not None
        for held in list(self.held):
            held.settled = True
            self.queue.settle(held.packet, _DROP)
            self.books.hooks[held.packet.arrival.hook].abandoned += 1
        self.held.clear()

