"""Ready stream callouts: replace a pattern inline or out of band, and look on.

They keep the obligations of the contract and show how: nothing is lost, reordered or ended early.
Source: ST-16, ST-25..ST-40; the shape is that of a stream-edit driver.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Protocol

from emulator.callout import Callout
from emulator.errors import WfpError
from emulator.stream import DISCONNECT, IoPacket, StreamData, clone_stream_data, discard_cloned
from emulator.wfptypes import CalloutFlag, ClassifyOutFlag

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.handle import InjectionHandle
    from emulator.indication import Indication
    from emulator.netbuffer import NetBufferList

NO_MORE_DATA = int(ClassifyOutFlag.NO_MORE_DATA)


class Runner(Protocol):
    """Whatever runs work outside of classify, in the order it was given."""

    def post(self, work: Callable[[], object]) -> None:
        """Run `work` later."""
        ...


class Worker:
    """A thread that runs what callouts put off; whoever makes it closes it."""

    def __init__(self, name: str = "worker") -> None:
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=f"callout-{name}", daemon=True)
        self._thread.start()

    def post(self, work: Callable[[], object]) -> None:
        """Run `work` after what was given before."""
        self._jobs.put(work)

    def close(self) -> None:
        """Run what was given, then end."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Turns:
    """Work put off until somebody says so: for tests."""

    def __init__(self) -> None:
        self.jobs: deque[Callable[[], object]] = deque()

    def post(self, work: Callable[[], object]) -> None:
        """Keep `work` for `run`."""
        self.jobs.append(work)

    def run(self, most: int | None = None) -> int:
        """Run what was given, or the first `most` of it; how many that were."""
        done = 0
        while self.jobs and done != most:
            self.jobs.popleft()()
            done += 1
        return done


class Where:
    """Which direction of which connection a callout is to inject into."""

    __slots__ = ("flow_id", "callout_id", "layer", "flags")

    def __init__(self, seen: Indication) -> None:
        assert seen.filter is not None
        assert seen.filter.callout is not None
        data: StreamData = seen.stream.stream_data
        self.flow_id = seen.flow_handle
        self.callout_id = seen.filter.callout.callout_id
        self.layer = seen.layer
        self.flags = data.flags & ~DISCONNECT


class Injector:
    """Injects octets of one's own, and frees them when they are through.

    `completed` counts by status; `on_idle` is called when nothing is in flight any more.
    """

    def __init__(self, handle: InjectionHandle) -> None:
        self.handle = handle
        self.core: Core = handle.core
        self.completed: dict[int, int] = {}
        self._guard = Lock()

    def octets(self, where: Where, octets: bytes, *, flags: int = 0) -> None:
        """Inject a copy of `octets`.  Raises WfpError; then nothing is left."""
        made = self.core.ownership.create_from(octets)
        try:
            self.handle.stream_inject(
                made, self._free_list, flow_id=where.flow_id, callout_id=where.callout_id, layer=where.layer,
                stream_flags=where.flags | flags, data_length=len(octets),
            )  # fmt: skip
        except WfpError:
            self.core.ownership.free_list(made)
            raise

    def chain(self, where: Where, chain: NetBufferList, length: int, *, flags: int = 0) -> None:
        """Inject clones.  Raises WfpError; then they were discarded."""
        try:
            self.handle.stream_inject(
                chain, self._free_clone, flow_id=where.flow_id, callout_id=where.callout_id, layer=where.layer,
                stream_flags=where.flags | flags, data_length=length,
            )  # fmt: skip
        except WfpError:
            discard_cloned(self.core.ownership, chain)
            raise

    def _free_list(self, context: Any, done: NetBufferList, dispatch: bool) -> None:
        self._count(done)
        self.core.ownership.free_list(done)

    def _free_clone(self, context: Any, done: NetBufferList, dispatch: bool) -> None:
        self._count(done)
        done.next = None
        self.core.ownership.free_clone(done)

    def _count(self, done: NetBufferList) -> None:
        with self._guard:
            self.completed[done.status] = self.completed.get(done.status, 0) + 1


def overlap(octets: bytes, pattern: bytes) -> int:
    """How many octets at the end may be the beginning of the pattern."""
    for size in range(min(len(octets), len(pattern) - 1), 0, -1):
        if octets.endswith(pattern[:size]):
            return size
    return 0


class InlineEdit(Callout):
    """Replaces every occurrence of a pattern inside classify: permit n, inject, block p, permit m.

    Source: ST-16, ST-25, ST-26, ST-28.
    """

    def __init__(self, handle: InjectionHandle, pattern: bytes, replacement: bytes) -> None:
        self.pattern = pattern
        self.replacement = replacement
        self.injector = Injector(handle)
        self.replaced = 0

    def classify(self, seen: Indication) -> None:
        """Deal with what comes before the next occurrence, or with the occurrence."""
        packet: IoPacket = seen.stream
        data = packet.stream_data
        if not data.data_length:
            seen.permit()
            return
        at = data.find(self.pattern)
        if at > 0:
            seen.permit()
            packet.count_bytes_enforced = at
        elif at == 0:
            self._replace(seen, packet)
        else:
            self._keep_beginning(seen, packet)

    def _replace(self, seen: Indication, packet: IoPacket) -> None:
        try:
            if self.replacement:
                self.injector.octets(Where(seen), self.replacement)
        except WfpError:
            packet.drop_connection()
            return
        self.replaced += 1
        seen.block()
        packet.count_bytes_enforced = len(self.pattern)

    def _keep_beginning(self, seen: Indication, packet: IoPacket) -> None:
        data: StreamData = packet.stream_data
        keep = 0 if seen.out_flags & NO_MORE_DATA else overlap(data.last(len(self.pattern)), self.pattern)
        if keep == data.data_length:
            packet.need_more(len(self.pattern) - keep)
            return
        seen.permit()
        packet.count_bytes_enforced = data.data_length - keep


class _Pending:
    """What waits for the worker in one direction of one connection."""

    __slots__ = ("octets", "tail", "deferred_flags", "where", "failed")

    def __init__(self, where: Where) -> None:
        self.octets = 0
        self.tail = b""
        self.deferred_flags = 0
        self.where = where
        self.failed = False


class OutOfBandEdit(Callout):
    """Replaces every occurrence of a pattern on another thread: clone and block everything, inject later.

    An inbound stream is deferred while more than `limit` octets wait, and continued at a quarter of it.
    Source: ST-14, ST-32, ST-35, ST-38, ST-40, SD-2, SD-7.
    """

    flags = CalloutFlag(0)

    def __init__(
        self,
        handle: InjectionHandle,
        pattern: bytes,
        replacement: bytes,
        worker: Runner,
        *,
        limit: int = 16 << 10,
    ) -> None:
        self.pattern = pattern
        self.replacement = replacement
        self.worker = worker
        self.limit = limit
        self.injector = Injector(handle)
        self.core: Core = handle.core
        self.most_pending = 0
        self.deferrals = 0
        self._pending: dict[tuple[int, bool], _Pending] = {}
        self._guard = Lock()

    def classify(self, seen: Indication) -> None:
        """Clone and block; the worker does the rest."""
        packet: IoPacket = seen.stream
        data = packet.stream_data
        with self._guard:
            key = (seen.flow_handle, data.inbound)
            pending = self._pending.setdefault(key, _Pending(Where(seen)))
            if data.inbound and pending.octets and pending.octets + data.data_length > self.limit:
                pending.deferred_flags = data.flags
                self.deferrals += 1
                packet.defer()
                return
        try:
            chain = clone_stream_data(self.core.ownership, data)
        except WfpError:
            packet.drop_connection()
            return
        with self._guard:
            pending.octets += data.data_length
            self.most_pending = max(self.most_pending, pending.octets)
        seen.block()
        length, mark = data.data_length, data.flags & DISCONNECT
        self.worker.post(lambda: self._work(pending, chain, length, mark))

    def _work(self, pending: _Pending, chain: NetBufferList, length: int, mark: int) -> None:
        try:
            self._edit(pending, chain, length, mark)
        except WfpError:
            pending.failed = True
        with self._guard:
            pending.octets -= length
            flags = pending.deferred_flags
            if not flags or pending.octets > self.limit // 4:
                return
            pending.deferred_flags = 0
        where = pending.where
        try:
            self.core.streams.resume(where.flow_id, where.callout_id, where.layer, flags)
        except WfpError:  # the connection is gone
            pending.failed = True

    def _edit(self, pending: _Pending, chain: NetBufferList, length: int, mark: int) -> None:
        octets = pending.tail + b"".join(item.octets for item in chain.lists())
        keep = 0 if mark else overlap(octets, self.pattern)
        if self.pattern not in octets and not keep and not pending.tail:
            self.injector.chain(pending.where, chain, length, flags=mark)
            return
        pending.tail = octets[len(octets) - keep :]
        edited = octets[: len(octets) - keep].replace(self.pattern, self.replacement)
        if mark:
            pending.tail = b""
            if edited:
                self._inject_or_discard(pending.where, edited, chain)
            self.injector.chain(pending.where, chain, length, flags=mark)
            return
        discard_cloned(self.core.ownership, chain)
        if edited:
            self.injector.octets(pending.where, edited)

    def _inject_or_discard(self, where: Where, octets: bytes, chain: NetBufferList) -> None:
        try:
            self.injector.octets(where, octets)
        except WfpError:
            discard_cloned(self.core.ownership, chain)
            raise


class StreamMonitor(Callout):
    """Looks at everything and lets it go: keeps a copy of what each direction carried.

    For filters of type CALLOUT_INSPECTION.
    """

    def __init__(self, *, keep: int = 1 << 20) -> None:
        """`keep` is how many octets of each direction are kept."""
        self.keep = keep
        self.sent = bytearray()
        self.received = bytearray()
        self.ends: list[int] = []
        self.classifies = 0

    def classify(self, seen: Indication) -> None:
        """Copy, and leave the decision to others."""
        data: StreamData = seen.stream.stream_data
        self.classifies += 1
        kept = self.received if data.inbound else self.sent
        if len(kept) < self.keep:
            kept += data.octets[: self.keep - len(kept)]
        if data.disconnect:
            self.ends.append(data.flags)
        seen.continue_()
