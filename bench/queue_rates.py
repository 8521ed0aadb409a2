"""Rates of both queue backends beside C programs that do the same, in turns, as medians with their spread.

    python -m bench.queue_rates [--rounds 7] [--packets 20000] [--octets 64] [--family 4] [--flood]

A router between two hosts queues every packet it forwards. By default the packets wait in the queue before
the handler starts, so that nothing but the handler is measured, with the rest of the packets' way. With
`--flood` they are sent while it runs. Ratios travel between machines, absolute figures do not.
"""

from __future__ import annotations

import argparse
import random
import resource
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

from emulator.paths.queue import PacketQueue, QueueBackend, QueuedPacket, QueueLimits, Verdict, open_queue
from emulator.paths.queue_counters import QueueTable
from netns.lab import Lab
from netns.namespace import Namespace
from netns.process import Process
from netns.rules import Hook, InstalledRules, QueueRule

HERE = Path(__file__).parent
NUMBER = 7
LENGTH = 65536
IDLE_SECONDS = 0.5
READY_SECONDS = 10.0
PORT = "9"  # discard
ADDRESSES = {4: ("10.9.1.2", "10.9.2.2"), 6: ("fd09:1::2", "fd09:2::2")}
TASKS = ("accept", "copy-back")
C = "C"
MARK = 0x8100_0001


class Run(NamedTuple):
    """What a handler did."""

    packets: int
    wall_seconds: float
    user_seconds: float
    system_seconds: float

    def wall(self) -> float:
        """Microseconds for each packet."""
        return self.wall_seconds / self.packets * 1e6

    def cpu(self) -> float:
        """Microseconds of processor time for each packet, the kernel's on the handler's behalf included."""
        return (self.user_seconds + self.system_seconds) / self.packets * 1e6


def handle(backend: str, task: str, count: int) -> None:
    """The Python handler, in a process of its own; speaks like `nfq_verdict.c`."""
    with open_queue([NUMBER], QueueLimits(length=LENGTH), QueueBackend(backend)) as queue:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        select.select([queue], [], [], READY_SECONDS)
        run = drain(queue, accept if task == "accept" else copy_back, count)
        sys.stdout.write(" ".join(map(str, run)) + "\n")


def drain(queue: PacketQueue, settle: Callable[[PacketQueue, list[QueuedPacket]], None], count: int) -> Run:
    """Handle packets until `count` came or none for a while."""
    before = after = resource.getrusage(resource.RUSAGE_SELF)
    start = end = time.perf_counter()
    handled = 0
    while handled < count:
        packets = queue.receive()
        if packets:
            settle(queue, packets)
            queue.flush()
            handled += len(packets)
            continue
        after, end = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        if not select.select([queue], [], [], IDLE_SECONDS)[0]:
            break
    else:
        after, end = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    return Run(handled, end - start, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)


def accept(queue: PacketQueue, packets: list[QueuedPacket]) -> None:
    """Let all pass."""
    settle = queue.settle
    for packet in packets:
        settle(packet)


def copy_back(queue: PacketQueue, packets: list[QueuedPacket]) -> None:
    """Change the last octet, hand back the whole, and mark it."""
    settle, verdict = queue.settle, Verdict.ACCEPT
    for packet in packets:
        payload = packet.payload
        payload[-1] ^= 1
        settle(packet, verdict, payload, MARK)


class Bench:
    """sender -- router -- receiver, and the programs."""

    def __init__(self, arguments: argparse.Namespace, undo: ExitStack) -> None:
        self.asked = arguments
        self.family: Literal[4, 6] = arguments.family
        self.programs = undo.enter_context(tempfile.TemporaryDirectory(prefix="wfplab-bench-"))
        for name, libraries in (("udpblast", []), ("nfq_verdict", ["-lnetfilter_queue"])):
            source, program = HERE / f"{name}.c", f"{self.programs}/{name}"
            subprocess.run(["gcc", "-O2", "-o", program, str(source), *libraries], check=True)
        lab = undo.enter_context(Lab())
        self.sender, self.receiver = lab.namespace("sender"), lab.namespace("receiver")
        self.router = lab.namespace("router", forwarding=True)
        lab.link(self.sender, self.router, addresses=(["10.9.1.2/24", "fd09:1::2/64"], ["10.9.1.1/24", "fd09:1::1/64"]))
        far = (["10.9.2.2/24", "fd09:2::2/64"], ["10.9.2.1/24", "fd09:2::1/64"])
        lab.link(self.receiver, self.router, addresses=far)
        for host, side in ((self.sender, 1), (self.receiver, 2)):
            host.add_route("0.0.0.0/0", via=f"10.9.{side}.1")
            host.add_route("::/0", via=f"fd09:{side}::1")
        rule = QueueRule(family=self.family, hook=Hook.FORWARD, queue=NUMBER, protocol="udp")
        undo.enter_context(InstalledRules(self.router, [rule]))
        # Nobody listens at the far end, and it is not to answer so.
        self.receiver.run(["iptables" if self.family == 4 else "ip6tables", "-A", "INPUT", "-p", "udp", "-j", "DROP"])
        self.table = self.router.open_in(QueueTable)
        undo.callback(self.table.close)

    def run(self, who: str, task: str) -> Run:
        """One handler over one load."""
        count = str(self.asked.packets)
        if who == C:
            argv = [f"{self.programs}/nfq_verdict", str(NUMBER), task, count]
        else:
            argv = [sys.executable, "-m", "bench.queue_rates", "--handler", who, task, count]
        handler = started(self.router, argv, cpu=1)
        try:
            assert handler.stdout is not None
            assert handler.stdin is not None
            assert handler.stdout.readline() == b"ready\n", f"{argv} did not start"
            if self.asked.flood:
                handler.stdin.write(b"\n")
                handler.stdin.flush()
            self.send()
            if not self.asked.flood:
                self.await_backlog()
                handler.stdin.write(b"\n")
                handler.stdin.flush()
            packets, *seconds = handler.stdout.readline().split()
            return Run(int(packets), *map(float, seconds))
        finally:
            handler.stop()

    def send(self) -> None:
        """The load, to its end."""
        target = ADDRESSES[self.family][1]
        argv = [f"{self.programs}/udpblast", target, PORT, str(self.asked.packets), str(self.asked.octets)]
        self.sender.run(["taskset", "-c", "0", *argv])

    def await_backlog(self) -> None:
        """Until all that was sent waits in the queue."""
        until = time.monotonic() + READY_SECONDS
        while (waiting := self.table.read()[NUMBER].waiting) < self.asked.packets:
            if time.monotonic() > until:
                raise SystemExit(f"only {waiting} of {self.asked.packets} packets reached the queue")
            time.sleep(0.005)


def started(namespace: Namespace, argv: list[str], cpu: int) -> Process:
    """A program inside, on one processor, spoken to by pipes."""
    return namespace.start(
        ["taskset", "-c", str(cpu), *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=str(HERE.parent)
    )


def report(runs: dict[tuple[str, str], list[Run]]) -> Iterable[str]:
    """The table, line by line."""
    titles = f"{'wall us/packet':>24} {'CPU us/packet':>24} {'rate to C':>12} {'CPU of C to own':>17}"
    yield f"{'handler':15} {'task':10} {titles}"
    for (who, task), done in runs.items():
        wall, cpu = ([measure(run) for run in done] for measure in (Run.wall, Run.cpu))
        base = runs[C, task]
        rate = statistics.median(run.wall() for run in base) / statistics.median(wall)
        load = statistics.median(run.cpu() for run in base) / statistics.median(cpu)
        yield (
            f"{who:15} {task:10} {spread(wall):>24} {spread(cpu):>24} {rate:12.2f} {load:17.2f}"
            + ("" if all(run.packets == done[0].packets for run in done) else "  (not all were handled)")
        )


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--packets", type=int, default=20000)
    parser.add_argument("--octets", type=int, default=64, help="of UDP data in each packet")
    parser.add_argument("--family", type=int, choices=(4, 6), default=4)
    parser.add_argument("--flood", action="store_true", help="send while the handler runs")
    parser.add_argument("--handler", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.handler:
        handle(asked.handler[0], asked.handler[1], int(asked.handler[2]))
        return
    kinds = [(who, task) for task in TASKS for who in (C, *QueueBackend)]
    runs: dict[tuple[str, str], list[Run]] = {kind: [] for kind in kinds}
    with ExitStack() as undo:
        bench = Bench(asked, undo)
        for _ in range(asked.rounds):
            for who, task in random.sample(kinds, len(kinds)):  # in turns, so that other load meets all alike
                runs[who, task].append(bench.run(who, task))
    sys.stdout.write("\n".join(report(runs)) + "\n")


if __name__ == "__main__":
    main()
