"""Packets that a host intercepts: permitted, or blocked and injected again with a change.

All packets of a run wait in the queue before the handler begins: so nothing but the handler is measured, with
the kernel's work on its behalf, and nothing can be lost for want of speed.  A handler that never waits handles as
many packets in a second as in a second of its processor's time, so that is what is counted: it does not depend on
who else wants the processor.  Only pydivert cannot keep that many packets; against it both handle what a flood
brings, by the clock.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from emulator.bench.clock import Spent, thread_spent
from emulator.bench.drivers import PermitAll, ReinjectForwarded, ReinjectOutbound
from emulator.bench.place import PORT, Place
from emulator.bench.row import Reading, Row, Skipped
from emulator.callout import Callout
from emulator.layerids import Layer
from emulator.paths.queue import QueueLimits
from emulator.stack import QUEUE_NUMBER, Stack
from netns.namespace import Namespace
from netns.rules import Hook, InstalledRules, QueueRule

LENGTH: Final = 65536
DONE_SECONDS: Final = 30.0
_TREE: Final = str(Path(__file__).parents[2])

Task = Literal["permit", "reinject"]


@dataclass(frozen=True, slots=True)
class Where:
    """A layer, and the hook at which a peer does the same."""

    name: str
    layer: Layer
    hook: Hook
    reinjecting: type[ReinjectForwarded] | type[ReinjectOutbound]

    @property
    def hook_number(self) -> int:
        """Of the book that its packets are in."""
        return {Hook.FORWARD: 2, Hook.OUTPUT: 3}[self.hook]

    def host(self, place: Place) -> Namespace:
        """Where that is done."""
        return place.router if self.hook is Hook.FORWARD else place.sender


FORWARD: Final = Where("forward", Layer.IPFORWARD_V4, Hook.FORWARD, ReinjectForwarded)
TRANSPORT: Final = Where("transport", Layer.OUTBOUND_TRANSPORT_V4, Hook.OUTPUT, ReinjectOutbound)


class Worker:
    """The I/O thread of a stack while it is measured: held up until the packets are there."""

    def __init__(self, stack: Stack, begin: Callable[[], None]) -> None:
        """`begin` is run on its thread first."""
        self.stack = stack
        self._begin = begin
        self._gate = threading.Event()
        self._before = (0.0, Spent(0.0, 0.0))

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Keep the thread from working, up to the end; then it works, and the time counts."""
        self.stack.loop.post(self._stand)
        try:
            yield
        finally:
            self._gate.set()

    def _stand(self) -> None:
        self._begin()
        self._gate.wait()
        self._before = time.perf_counter(), thread_spent()

    def spent(self, count: int, hook: int, *, kept: int = 0) -> tuple[float, Spent]:
        """Wall seconds and processor time until `count` packets of a hook were taken and all but `kept` settled.

        Raises TimeoutError.
        """
        await_offered(self.stack, hook, count, kept=kept)
        after = time.perf_counter()
        usage: list[Spent] = []
        self.stack.loop.call(lambda: usage.append(thread_spent()))
        return after - self._before[0], usage[0].since(self._before[1])


def await_offered(stack: Stack, hook: int, count: int, *, kept: int = 0) -> None:
    """Return when so many packets of a hook were taken and all but `kept` settled; raises TimeoutError."""
    book = stack.books.hooks[hook]
    until = time.monotonic() + DONE_SECONDS
    while book.offered < count or book.held > kept:
        if time.monotonic() > until:
            raise TimeoutError(f"{book.offered} of {count} packets were handled")
        time.sleep(0.002)


def prepared(stack: Stack, where: Where, task: Task, owned: ExitStack) -> None:
    """Register the callout of a task and put its filter in force."""
    callout: Callout = PermitAll()
    if task == "reinject":
        handle = owned.enter_context(stack.create_handle(2))
        callout = where.reinjecting(handle, stack.core.ownership)
    stack.add_filter(where.layer, stack.register(callout))


def ours(place: Place, where: Where, task: Task, packets: int, *, flood: bool = False) -> Reading:
    """One run of ours."""
    place.forget()
    with Stack(where.host(place), limits=QueueLimits(length=LENGTH)) as stack, ExitStack() as owned:
        prepared(stack, where, task, owned)
        worker = Worker(stack, place.work_here)
        with worker.held_up():
            if not flood:
                place.send(packets)
                place.await_backlog(where.host(place), QUEUE_NUMBER, packets)
        if flood:
            place.send(packets)
        wall, cpu = worker.spent(packets, where.hook_number)
        stack.settle()
    arrived = place.arrived()
    return Reading(
        packets / (wall if flood else cpu.all),
        loss=1 - arrived / packets,
        cpu=cpu.all / packets * 1e6,
        kernel=cpu.kernel / packets * 1e6,
        closed=stack.books.closed,
    )


def theirs(place: Place, where: Where, argv: list[str], packets: int, *, flood: bool = False) -> Reading:
    """One run of a peer, which is a program."""
    place.forget()
    host = where.host(place)
    rule = QueueRule(family=4, hook=where.hook, queue=QUEUE_NUMBER, protocol="udp", destination_ports=(PORT, PORT))
    with ExitStack() as owned:
        if argv[-2] != _NO_QUEUE:
            owned.enter_context(InstalledRules(host, [rule]))
        process = place.start(host, argv)
        owned.callback(process.stop)
        assert process.stdout is not None
        assert process.stdin is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{' '.join(argv)} did not start")
        if not flood:
            place.send(packets)
            place.await_backlog(host, QUEUE_NUMBER, packets)
        process.stdin.write(b"\n")
        process.stdin.flush()
        if flood:
            place.send(packets)
        handled, wall, user, system = map(float, process.stdout.readline().split())
    cpu = user + system
    spent = wall if flood else cpu
    return Reading(
        handled / spent if spent else 0.0,
        loss=1 - handled / packets,
        cpu=cpu / handled * 1e6 if handled else None,
        kernel=system / handled * 1e6 if handled else None,
    )


_NO_QUEUE: Final = "-1"


def python_peer(name: str, packets: int, queue: str = str(QUEUE_NUMBER)) -> list[str]:
    """The command of a peer of `peers`."""
    return ["env", f"PYTHONPATH={_TREE}", sys.executable, "-m", "emulator.bench.peers", name, queue, str(packets)]


def rows(place: Place, *, quick: bool) -> list[Row | Skipped]:
    """The rows of intercepted packets."""
    made: list[Row | Skipped] = []
    packets = 6000 if quick else 20000
    for where in (FORWARD, TRANSPORT):
        made += _of_layer(place, where, packets, rounds=5 if quick else 15)
    made += _beside_python(place, packets, quick=quick)
    return made


def _of_layer(place: Place, where: Where, packets: int, rounds: int) -> list[Row | Skipped]:
    def c(task: str) -> Callable[[], Reading]:
        program = [place.programs.path("nfq_verdict"), str(QUEUE_NUMBER), task, str(packets)]
        return lambda: theirs(place, where, program, packets)

    return [
        Row(
            f"{where.name}-permit", "C libnetfilter_queue, one verdict each", "packets/s of processor", 1.0,
            lambda: ours(place, where, "permit", packets), c("accept"), rounds=rounds,
        ),
        Row(
            f"{where.name}-reinject", "C libnetfilter_queue, copied back", "packets/s of processor", 0.6,
            lambda: ours(place, where, "reinject", packets), c("copy-back"), rounds=rounds,
        ),
    ]  # fmt: skip


def _beside_python(place: Place, packets: int, *, quick: bool) -> list[Row | Skipped]:
    slow = 300 if quick else 1000
    made: list[Row | Skipped] = [
        Row(
            "forward-reinject-scapy", "NetfilterQueue, rebuilt by scapy", "packets/s of processor", 40,
            lambda: ours(place, FORWARD, "reinject", packets),
            lambda: theirs(place, FORWARD, python_peer("scapy", slow), slow), rounds=5,
        ),
        Row(
            "forward-reinject-cpu", "NetfilterQueue, accepted unseen", "µs of processor/packet", 2,
            lambda: ours(place, FORWARD, "reinject", packets),
            lambda: theirs(place, FORWARD, python_peer("accept", packets), packets),
            at_most=True, rounds=5 if quick else 9, value="cpu",
        ),
    ]  # fmt: skip
    name, peer = "forward-reinject-pydivert", "pydivert 4, received and sent"
    if importlib.util.find_spec("pydivert") is None:
        return [*made, Skipped(name, peer, "pydivert is not installed: pip install 'wfplab[bench]'")]
    flood = packets * 2
    made.append(
        Row(
            name, peer, "packets/s", 2,
            lambda: ours(place, FORWARD, "reinject", flood, flood=True),
            lambda: theirs(place, FORWARD, python_peer("pydivert", flood, _NO_QUEUE), flood, flood=True),
            rounds=5 if quick else 9,
        )
    )  # fmt: skip
    return made


__all__ = ["FORWARD", "TRANSPORT", "Where", "await_offered", "ours", "rows", "theirs"]
