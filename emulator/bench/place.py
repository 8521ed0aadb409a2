"""Where packets are measured: sender, router and receiver, a load, and counts of what arrived.

sender 10.9.1.2 ---- 10.9.1.1 router 10.9.2.1 ---- 10.9.2.2 receiver
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, Self

from emulator.bench.clock import Profiled, Spent, limit
from emulator.bench.programs import Programs
from emulator.bench.row import Result
from emulator.paths.queue_counters import QueueTable
from emulator.violations import Level
from netns.lab import Lab
from netns.namespace import Namespace
from netns.process import Process

PORT: Final = 9
PORTS: Final = 50000
"""To so many ports from PORT on the load goes where there are many flows, then to the next address."""
READY_SECONDS: Final = 20.0
TARGET: Final = "10.9.2.2"
SOURCE: Final = "10.9.1.2"
GATEWAY: Final = "10.9.1.1"
"""The router, as the sender knows it."""
_COUNTED: Final = re.compile(r"^\s*(\d+)\s", re.MULTILINE)


def processors() -> tuple[int, int]:
    """One for the load and one for what is measured; the same when there is but one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def machine() -> dict[str, object]:
    """What ratios may depend on."""
    import platform

    from emulator import flight

    model = "unknown"
    try:
        with open("/proc/cpuinfo") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return {
        "processors": len(os.sched_getaffinity(0)),
        "processor": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": "pure Python" if flight.__file__.endswith(".py") else "compiled",
        "verifier": Level.NORMAL.name.lower(),
        "load": os.getloadavg()[0],
    }


class Place:
    """The three hosts; `with Place() as place:` leaves nothing behind."""

    def __init__(self, programs: Programs) -> None:
        """Raises LabError."""
        self.programs = programs
        self.load_cpu, self.work_cpu = processors()
        self._profiled: Profiled | None = None
        self._lasting: Process | None = None
        with ExitStack() as undo:
            lab = undo.enter_context(Lab(label="bench"))
            self.lab = lab
            self.sender, self.receiver = lab.namespace("sender"), lab.namespace("receiver")
            self.router = lab.namespace("router", forwarding=True)
            near = ([f"{SOURCE}/24", "fd09:1::2/64"], [f"{GATEWAY}/24", "fd09:1::1/64"])
            far = ([f"{TARGET}/24", "fd09:2::2/64"], ["10.9.2.1/24", "fd09:2::1/64"])
            lab.link(self.sender, self.router, addresses=near)
            lab.link(self.receiver, self.router, addresses=far)
            for host, side in ((self.sender, 1), (self.receiver, 2)):
                host.add_route("0.0.0.0/0", via=f"10.9.{side}.1")
                host.add_route("::/0", via=f"fd09:{side}::1")
            # Nobody listens there, and it is neither to answer so nor to lose what comes too fast.
            ports = f"{PORT}:{PORT + PORTS - 1}"
            for host, addresses in ((self.receiver, f"{TARGET}/30"), (self.router, GATEWAY)):
                host.run(["iptables", "-t", "raw", "-A", "PREROUTING", "-d", addresses, "-p", "udp", "--dport", ports,
                          "-j", "DROP"])  # fmt: skip
            lab.links[1].a.add_addresses("10.9.2.3/24")
            self._tables = {host.name: undo.enter_context(_Table(host)) for host in (self.sender, self.router)}
            self._undo = undo.pop_all()

    def arrived(self, host: Namespace | None = None) -> int:
        """Packets that reached the receiver, or the router itself, since the last call of `forget`."""
        listed = (host or self.receiver).run(["iptables", "-t", "raw", "-vnxL", "PREROUTING", "1"]).stdout
        found = _COUNTED.search(listed)
        return int(found[1]) if found else 0

    def forget(self) -> None:
        """Count what arrives from 0 again."""
        for host in (self.receiver, self.router):
            host.run(["iptables", "-t", "raw", "-Z"])

    def send(self, packets: int, octets: int = 64, *, flows: int = 1, first: int = 0) -> Spent:
        """The load: equal UDP datagrams from sender to receiver, to their end; the processor's time that took.

        What the kernel does on their way at once, up to a queue or the receiver, is in it.  With several `flows`
        they take turns, from flow `first` on.
        """
        argv = [self.programs.path("udpblast"), TARGET]
        argv += map(str, (PORT, packets, octets, 0, flows, first))
        done = self.sender.run(["taskset", "-c", str(self.load_cpu), *argv])
        return Spent(*map(float, done.stdout.split()[2:]))

    def send_on(self, packets: int) -> Spent:
        """The same load by one process that waits between the calls, for turns that are short."""
        if self._lasting is None:
            argv = [self.programs.path("udpblast"), TARGET, str(PORT), "0", "64"]
            self._lasting = self.start(self.sender, argv, processor=self.load_cpu)
            self._undo.callback(self._lasting.stop)
            self._answer(self._lasting)
        assert self._lasting.stdin is not None
        self._lasting.stdin.write(b"%d\n" % packets)
        self._lasting.stdin.flush()
        return Spent(*map(float, self._answer(self._lasting).split()[2:]))

    @staticmethod
    def _answer(process: Process) -> bytes:
        assert process.stdout is not None
        if not (line := process.stdout.readline()):
            raise RuntimeError("udpblast has ended")
        return line

    def await_backlog(self, host: Namespace, queue: int, packets: int) -> None:
        """Return when so many packets wait in a queue of `host`; raises TimeoutError."""
        until = time.monotonic() + READY_SECONDS
        table = self._tables[host.name].table
        while (line := table.read().get(queue)) is None or line.waiting < packets:
            if time.monotonic() > until:
                raise TimeoutError(f"only {line.waiting if line else 0} of {packets} packets reached the queue")
            time.sleep(0.002)

    def await_empty(self, host: Namespace, queue: int) -> None:
        """Return when nothing waits in a queue of `host` any more; raises TimeoutError."""
        until = time.monotonic() + READY_SECONDS
        table = self._tables[host.name].table
        while (line := table.read().get(queue)) is not None and line.waiting:
            if time.monotonic() > until:
                raise TimeoutError(f"{line.waiting} packets still wait in the queue")
            time.sleep(0.002)

    def start(self, host: Namespace, argv: Sequence[str], *, processor: int | None = None) -> Process:
        """A program on a processor, by default that of what is measured; spoken to by pipes."""
        pipe = subprocess.PIPE
        chosen = self.work_cpu if processor is None else processor
        return host.start(["taskset", "-c", str(chosen), *argv], stdin=pipe, stdout=pipe)

    def work_here(self) -> None:
        """Have the calling thread run on the processor of what is measured."""
        os.sched_setaffinity(0, {self.work_cpu})
        if self._profiled is not None:
            self._profiled.begin()

    def limit(self, result: Result) -> str:
        """What keeps a row from its goal, by processor time; ours runs once more for it, under a profiler."""

        def profiled() -> str:
            self._profiled = Profiled()
            try:
                result.row.ours()
                return self._profiled.told()
            finally:
                self._profiled = None

        theirs = result.cpu()[1] or 0.0
        row = result.row
        return limit(result.cpu(), result.kernel(), theirs * row.goal if row.at_most else theirs / row.goal, profiled)

    def close(self) -> None:
        """Remove everything."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Table:
    def __init__(self, host: Namespace) -> None:
        self.table = host.open_in(QueueTable)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.table.close()
