"""One emulated host: its namespace, its I/O thread, its queue, its hooks, its injectors.

A `Stack` performs what its `Core` accepts.  It knows Linux through `netns` and sockets, and WFP through the
core; the paths between are in `emulator.paths`.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from uuid import UUID

from emulator.callout import Callout, RegisteredCallout
from emulator.core import Core
from emulator.filters import UNIVERSAL, Condition, Filter, WeightRange
from emulator.handle import InjectionHandle
from emulator.injection import Injection
from emulator.interfaces import InterfaceTable
from emulator.loop import IoLoop
from emulator.ntstatus import NtStatus
from emulator.paths.books import Books
from emulator.paths.course import Course
from emulator.paths.endpoints import Endpoints
from emulator.paths.groups import FragmentGroups
from emulator.paths.hooks import Hooks
from emulator.paths.injector import Injector
from emulator.paths.linkwatch import LinkWatch
from emulator.paths.network import NetworkInjector
from emulator.paths.outbox import Outbox
from emulator.paths.overdue import Overdue
from emulator.paths.packets import LOOP_LIMIT, PacketPath
from emulator.paths.plans import REENTRY
from emulator.paths.queue import QueueBackend, QueueLimits, open_queue
from emulator.paths.rawsockets import RawSockets
from emulator.paths.resets import Resets
from emulator.paths.routing import Routing, interfaces_of
from emulator.paths.stream import StreamPath
from emulator.violations import Level, Reaction
from emulator.wfptypes import Action, FilterFlag, WindowsVersion
from netns.errors import Closed
from netns.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emulator.evidence.trace import HostTrace
    from emulator.flows import Flow
    from emulator.timing import Timing
    from netns.namespace import Namespace

QUEUE_NUMBER = 1
"""The netfilter queue of a host: numbers are per namespace, so one is enough."""
ROTATE_SECONDS = 5.0
HOLD_SECONDS = 60
"""After how long a clone or a reference that a driver keeps is told of (NB-10)."""
WIND_UP_SECONDS = 5.0
"""How long closing waits for the I/O thread to settle what it holds; a classify may keep it."""


class Stack:
    """The emulated Windows stack of one namespace.

    Make it, `start` it, register callouts, add filters, create handles; `close` it.  The namespace stays its
    owner's.  Source: ER-1, GE-10..GE-13.
    """

    def __init__(
        self,
        namespace: Namespace,
        *,
        profile: WindowsVersion = WindowsVersion.WINDOWS_8,
        header_flags: bool = False,
        level: Level = Level.NORMAL,
        reaction: Reaction = Reaction.FAIL,
        backend: QueueBackend = QueueBackend.NETLINK,
        limits: QueueLimits | None = None,
        verdict_reinjection: bool = True,
        loop_limit: int = LOOP_LIMIT,
        group_forward_fragments: bool = False,
    ) -> None:
        """Nothing is done to the namespace before `start`; `level` and `reaction` are the core's.

        Without `verdict_reinjection` every injection is performed by a socket, also where the verdict of the
        held packet would do.  `loop_limit` injections of one packet count as a loop (GE-13).
        `group_forward_fragments` shows forwarded fragments as groups too (FW-6).
        """
        self.namespace = namespace
        self.books = Books()
        self.outbox = Outbox(self.books.injections)
        self.core = Core(self.outbox.submit, profile=profile, header_flags=header_flags, level=level, reaction=reaction)
        self.core.readiness = self._not_ready_because
        self.core.engine.on_change = self._filters_changed
        self.endpoints = Endpoints(namespace, self.core.lab_failed)
        self.routing = Routing(namespace, self.core.lab_failed)
        self.course = Course(self.core, self.endpoints, self.routing)
        self.packets = PacketPath(self.core, self.books, self.course, self.outbox.done)
        self.packets.guard.limit = loop_limit
        if group_forward_fragments:
            self.packets.groups = FragmentGroups(self.packets)
        self.hooks = Hooks(namespace, self.packets, QUEUE_NUMBER)
        self.sockets = NetworkInjector(namespace)
        self.raw = RawSockets(namespace)
        self.injector = Injector(self.packets, self.sockets, self.raw, self.outbox.done)
        self.injector.verdicts = verdict_reinjection
        self.resets = Resets(self.endpoints, self.sockets)
        self.loop = IoLoop(namespace.name, after=self._after_round)
        self._join()
        self.stream = StreamPath(self.core, namespace, self.loop)
        self._backend = backend
        self._limits = limits
        self._overdue = Overdue()
        self._idle: list[threading.Event] = []
        self._started = False
        self._closed = False
        self._owned = ExitStack()
        self.timing: Timing | None = None
        """What plays a schedule here; it hangs itself on."""
        self.trace: HostTrace | None = None
        """What is told of everything that happens here; it hangs itself on."""

    def _join(self) -> None:
        """Have the parts call each other."""
        self.packets.after_packet = self.outbox.perform
        self.packets.before_burst = self._burst_begins
        self.packets.on_thread = self.loop.post
        self.injector.waiting = self.outbox.wait_for
        self.outbox.injector = self.injector
        self.outbox.wake = self.loop.wake
        self.injector.sender.need_exact = self.hooks.need_exact
        self.hooks.shows_all = lambda: self.trace is not None or self.timing is not None
        self.course.reset = self.resets.of_packet
        self.core.engine.flows.on_abort = self._abort
        self.endpoints.own_inodes = lambda: {*self.sockets.inodes(), *self.raw.inodes()}

    # -- life -------------------------------------------------------------------------------------------

    def start(self) -> Stack:
        """Open the queue and begin to serve; raises LabError when Linux refuses.  Returns the stack."""
        if self._closed:
            raise Closed(f"the stack of {self.namespace.name}")
        if self._started:
            return self
        self.packets.queue = self.namespace.open_in(lambda: open_queue((QUEUE_NUMBER,), self._limits, self._backend))
        self.course.checks_all = self._backend is QueueBackend.NETFILTERQUEUE
        self._watch_interfaces()
        self._read_interfaces()
        self.loop.add(self.packets.queue.fileno(), self.packets.drain)
        self.loop.every(ROTATE_SECONDS, self.core.ledger.rotate)
        self.loop.every(1.0, self._every_second)
        self.loop.start()
        self.packets.thread_id = self.outbox.thread_id = self.loop.thread_id
        self.core.dispatch_threads.add(self.loop.thread_id)
        self._started = True
        self._filters_changed()
        return self

    def close(self) -> None:
        """Stop serving: rules first, then what is held, then queue and sockets.  Closing twice is allowed.

        Accepted injections are completed; packets still held are dropped and counted.  Raises what had
        stopped the I/O thread early.
        """
        if self._closed:
            return
        self._closed = True
        with ExitStack() as last_first:
            for item in (self.sockets, self.raw, self.endpoints, self.routing):
                last_first.callback(item.close)
            last_first.callback(self._owned.close)
            if self._started:
                last_first.callback(self._close_queue)
                last_first.callback(self.loop.close)
                last_first.callback(self._wind_up)
                last_first.callback(self.hooks.close)
                last_first.callback(self.stream.close)

    def _wind_up(self) -> None:
        self.loop.call(self._finish_all, timeout=WIND_UP_SECONDS)

    def _finish_all(self) -> None:
        queue = self.packets.queue
        assert queue is not None
        while True:
            before = self.books.hooks[0].offered, sum(book.offered for book in self.books.hooks.values())
            self.packets.drain()
            if before[1] == sum(book.offered for book in self.books.hooks.values()):
                break
        self.outbox.perform()
        if self.timing is not None:
            self.timing.flush()
        for injection in list(self.outbox.waiting):
            self._vanished(injection)
        if self.trace is not None:
            self.trace.abandoning = True
        self.packets.abandon()
        queue.flush()

    def _close_queue(self) -> None:
        queue = self.packets.queue
        assert queue is not None
        queue.close()
        self.books.note_losses(queue.counts())

    def __enter__(self) -> Stack:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the driver's side ------------------------------------------------------------------------------

    def create_handle(self, family: int, flags: int = 0) -> InjectionHandle:
        """A new injection handle; see `emulator.handle.create_handle`."""
        return self.core.create_handle(family, flags)

    def register(self, callout: Callout, *, key: UUID | None = None) -> RegisteredCallout:
        """Register a callout; raises as `CalloutRegistry.register`."""
        return self.core.engine.callouts.register_object(callout, key=key)

    def unregister(self, callout: RegisteredCallout) -> None:
        """Unregister a callout; raises as `CalloutRegistry.unregister`."""
        self.core.engine.callouts.unregister(callout.callout_id)

    def add_filter(
        self,
        layer: int,
        callout: RegisteredCallout | None = None,
        *,
        action: Action = Action.CALLOUT_TERMINATING,
        conditions: Iterable[Condition] = (),
        sublayer: UUID = UNIVERSAL.key,
        weight: int | WeightRange | None = None,
        flags: FilterFlag = FilterFlag(0),  # noqa: B008  an immutable value
        context: Any = 0,
        name: str = "",
    ) -> Filter:
        """Add a filter at a layer; on return the layer is shown.  Raises as `FilterEngine.add_filter`, LabError."""
        return self.core.engine.add_filter(
            Filter(
                layer, action, tuple(conditions), callout.key if callout is not None else None, sublayer,
                weight, flags, context, name=name,
            )
        )  # fmt: skip

    def delete_filter(self, item: Filter) -> None:
        """Delete a filter; raises as `FilterEngine.delete_filter`, LabError."""
        self.core.engine.delete_filter(item.filter_id)

    # -- readiness and interfaces -----------------------------------------------------------------------

    def _not_ready_because(self) -> str | None:
        if not self._started:
            return f"the stack of {self.namespace.name} was not started: no hooks"
        links = [link for link in self.namespace.links() if link.name != "lo"]
        if links and not any(link.up for link in links):
            return f"every link of {self.namespace.name} is down"
        return None

    def _watch_interfaces(self) -> None:
        watcher = self._owned.enter_context(LinkWatch(self.namespace))

        def changed() -> None:
            watcher.drain()
            self._read_interfaces()

        self.loop.add(watcher.fileno(), changed)

    def _read_interfaces(self) -> None:
        self.course.interfaces = self.core.streams.interfaces = interfaces_of(self.namespace)
        self.stream.devices_changed()
        self.routing.forget()
        self.hooks.refresh()

    @property
    def interfaces(self) -> InterfaceTable:
        """The host's interfaces as they were last read."""
        return self.course.interfaces

    # -- hooks ------------------------------------------------------------------------------------------

    def _filters_changed(self) -> None:
        """Watch the hooks that the layers with filters need, no others."""
        if self._closed:
            return
        if not self._started:
            self.course.replan(set())
            return
        if self.hooks.follow():
            self.loop.call(self._complete_unseen)
        self.stream.update()

    def _complete_unseen(self) -> None:
        """Complete the sent injections that no hook will see any more: theirs were taken away meanwhile."""
        self.packets.drain()
        for injection in list(self.outbox.waiting):
            version = injection.family.version
            if not any((hook, version) in self.packets.hooks for hook in REENTRY[injection.function]):
                injection.packets_left = 1
                self.outbox.done(injection, NtStatus.SUCCESS)

    # -- injections -------------------------------------------------------------------------------------

    def _after_round(self) -> None:
        self.outbox.perform()
        queue = self.packets.queue
        assert queue is not None
        queue.flush()
        busy = self.outbox.waiting or self.packets.held or (self.timing is not None and self.timing.busy)
        if self._idle and not busy:
            for waiter in self._idle:
                waiter.set()
            self._idle.clear()

    def _abort(self, flow: Flow) -> None:
        if flow.kept:
            self.core.streams.abort(flow)
            return
        self.loop.call(lambda: self.resets.of_flow(flow))

    def _burst_begins(self) -> None:
        self.endpoints.next_round()
        self.course.tracker.now = time.monotonic()

    def _every_second(self) -> None:
        self._find_vanished()
        self.routing.forget()
        self.core.ownership.grow_older(HOLD_SECONDS)
        self.course.tracker.now = now = time.monotonic()
        self.course.tracker.expire()
        self.resets.end_gone(self.course.tracker)
        if self.packets.groups is not None:
            self.packets.groups.now = now
            self.packets.groups.expire()

    def _find_vanished(self) -> None:
        for injection in self._overdue.vanished(self.outbox.waiting, time.monotonic(), self.packets.queue):
            self._vanished(injection)

    def _vanished(self, injection: Injection) -> None:
        """A sent packet did not come by where it had to: the kernel dropped it on the way."""
        if injection not in self.outbox.waiting:
            return
        self.books.injections.vanished += 1
        injection.packets_left = 1
        self.outbox.done(injection, NtStatus.DATA_NOT_ACCEPTED)

    # -- what to say at the end -------------------------------------------------------------------------

    def settle(self, *, timeout: float = 10.0) -> None:
        """Wait until the queue was shown, all injections are completed and nothing is held; raises TimeoutError."""
        quiet = threading.Event()

        def ask() -> None:
            self.packets.drain()
            self._idle.append(quiet)

        self.loop.post(ask)
        if not quiet.wait(patient(timeout)):
            raise TimeoutError(f"{self.namespace.name}: injections or held packets are still pending")
