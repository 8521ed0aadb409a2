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

from emulator.bench.programs import Programs
from emulator.paths.queue_counters import QueueTable
from netns.lab import Lab
from netns.namespace import Namespace
from netns.process import Process

PORT: Final = 9
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
        "load": os.getloadavg()[0],
    }


class Place:
    """The three hosts; `with Place() as place:` leaves nothing behind."""

    def __init__(self, programs: Programs) -> None:
        """Raises LabError."""
        self.programs = programs
        self.load_cpu, self.work_cpu = processors()
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
            for host, address in ((self.receiver, TARGET), (self.router, GATEWAY)):
                host.run(["iptables", "-t", "raw", "-A", "PREROUTING", "-d", address, "-p", "udp", "--dport", str(PORT),
                          "-j", "DROP"])  # fmt: skip
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

    def send(self, packets: int, octets: int = 64, *, rate: int = 0) -> float:
        """The load: equal UDP datagrams from sender to receiver, to their end; the seconds that took."""
        argv = [self.programs.path("udpblast"), TARGET, str(PORT), str(packets), str(octets)]
        argv += [str(rate)] if rate else []
        done = self.sender.run(["taskset", "-c", str(self.load_cpu), *argv])
        return float(done.stdout.split()[1])

    def await_backlog(self, host: Namespace, queue: int, packets: int) -> None:
        """Return when so many packets wait in a queue of `host`; raises TimeoutError."""
        until = time.monotonic() + READY_SECONDS
        table = self._tables[host.name].table
        while (line := table.read().get(queue)) is None or line.waiting < packets:
            if time.monotonic() > until:
                raise TimeoutError(f"only {line.waiting if line else 0} of {packets} packets reached the queue")
            time.sleep(0.002)

    def start(self, host: Namespace, argv: Sequence[str], *, processor: int | None = None) -> Process:
        """A program on a processor, by default that of what is measured; spoken to by pipes."""
        pipe = subprocess.PIPE
        chosen = self.work_cpu if processor is None else processor
        return host.start(["taskset", "-c", str(chosen), *argv], stdin=pipe, stdout=pipe)

    def work_here(self) -> None:
        """Have the calling thread run on the processor of what is measured."""
        os.sched_setaffinity(0, {self.work_cpu})

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
