"""How speed and memory go with the number of filters, flows, held packets, hosts and parallel labs.

    python -m emulator.bench.scale SERIES NUMBER PACKETS

Each point is measured by processes of its own, so that its memory is its own; each prints one JSON object.  The points
of a series take turns, there and back, and each counts by its medians.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from emulator import compiled
from emulator.bench.drivers import HoldSome, PermitAll
from emulator.bench.many import conditions
from emulator.bench.place import PORTS, Place
from emulator.bench.programs import Programs
from emulator.bench.queued import TRANSPORT, Worker, await_offered
from emulator.layerids import Layer
from emulator.paths.queue import QueueLimits
from emulator.stack import QUEUE_NUMBER, Stack
from netns.errors import LabError
from netns.lab import Lab

POINT_SECONDS: Final = 240.0
TURNS: Final = 3
"""Processes that measure each point, one in every turn."""
TIMES: Final = 3
"""How often each of them measures the rate of packets, once everything is there."""
_LENGTH: Final = 1 << 16
"""The most that a queue of newer kernels keeps."""
_AT_ONCE: Final = 20_000


@dataclass(frozen=True, slots=True)
class Series:
    """Points over the number of something."""

    name: str
    counted: str
    """What the numbers are of."""
    unit: str
    numbers: tuple[int, ...]
    short: tuple[int, ...]
    """Those of the quick version."""


SERIES: Final = (
    Series("filters", "filters at one layer", "packets/s of processor", (1, 10, 100, 1000, 10000), (1, 100, 10000)),
    Series("flows", "flows", "packets/s of processor", (1, 10, 100, 1000, 10000, 100000), (1, 1000, 100000)),
    Series("held", "packets held by a callout", "packets/s of processor", (1, 100, 1000, 10000, 40000), (1, 10000)),
    Series("hosts", "emulated hosts in a lab", "hosts up and down/s", (2, 10, 50, 100, 200), (2, 50)),
    Series("labs", "labs in parallel", "labs up and down/s", (1, 2, 4, 8, 16), (1, 8)),
)


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured at one number."""

    number: int
    rate: float
    memory: float
    """MiB that the process took more than before it began."""


def all_series(say: Callable[[str], None], *, quick: bool) -> dict[str, list[Point]]:
    """Measure every series, in turns over its points, each time in a process of its own.  Raises LabError."""
    found: dict[str, list[Point]] = {}
    for series in SERIES:
        numbers = series.short if quick else series.numbers
        taken: dict[int, list[Point]] = {number: [] for number in numbers}
        for turn in range(TURNS):
            for number in reversed(numbers) if turn % 2 else numbers:
                say(f"scale: {number} {series.counted}, {turn + 1}/{TURNS}")
                taken[number].append(_point(series.name, number, 8000 if quick else 20000))
        found[series.name] = [middle(points) for points in taken.values()]
    return found


def middle(points: Sequence[Point]) -> Point:
    """The medians of what was measured at one number."""
    rate, memory = (statistics.median(getattr(point, name) for point in points) for name in ("rate", "memory"))
    return Point(points[0].number, rate, memory)


def _point(name: str, number: int, packets: int) -> Point:
    argv = [sys.executable, "-P", "-m", "emulator.bench.scale", name, str(number), str(packets)]
    tree = str(Path(__file__).parents[2])
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=POINT_SECONDS, env={"PYTHONPATH": tree, **_path()}
    )
    if done.returncode:
        raise LabError(f"measuring {number} {name}: {done.stderr.strip().splitlines()[-1:]}")
    return Point(**json.loads(done.stdout))


def _path() -> dict[str, str]:
    names = ("PATH", "WFPLAB_TIME_FACTOR", "TMPDIR", compiled.PURE)
    return {name: os.environ[name] for name in names if name in os.environ}


# -- what a point measures ------------------------------------------------------------------------------


def filters(place: Place, stack: Stack, number: int) -> int:
    """So many filters at the layer of the load."""
    callout = stack.register(PermitAll())
    with stack.core.engine.together():
        for wanted in conditions(number):
            stack.add_filter(TRANSPORT.layer, callout, conditions=wanted)
    return 1


def flows(place: Place, stack: Stack, number: int) -> int:
    """So many flows of the load, all begun."""
    stack.add_filter(Layer.DATAGRAM_DATA_V4, stack.register(PermitAll()))
    for first in range(0, number, _AT_ONCE):
        count = min(_AT_ONCE, number - first)
        place.send(count, flows=number, first=first)
        await_offered(stack, TRANSPORT.hook_number, first + count)
    return number


def held(place: Place, stack: Stack, number: int) -> int:
    """So many packets of the load held, by a clone each."""
    stack.add_filter(TRANSPORT.layer, stack.register(HoldSome(stack.core.ownership, number)))
    for first in range(0, number, _AT_ONCE):
        count = min(_AT_ONCE, number - first)
        place.send(count)
        await_offered(stack, TRANSPORT.hook_number, first + count, kept=number)
    return 1


def packets_of(place: Place, prepare: Callable[[Place, Stack, int], int], number: int, packets: int) -> Point:
    """The rate of packets once that many of something are there, the median of some, and the memory they take."""
    with ExitStack() as owned:
        stack = owned.enter_context(Stack(place.sender, limits=QueueLimits(length=_LENGTH)))
        before = resident()
        of_load = prepare(place, stack, number)
        memory = resident() - before
        rates = [_rate(place, stack, min(of_load, 2 * PORTS), packets) for _ in range(TIMES)]
    return Point(number, statistics.median(rates), memory)


def _rate(place: Place, stack: Stack, flows: int, packets: int) -> float:
    book = stack.books.hooks[TRANSPORT.hook_number]
    kept, seen = book.held, book.offered
    worker = Worker(stack, place.work_here)
    with worker.held_up():
        place.send(packets, flows=flows)
        place.await_backlog(place.sender, QUEUE_NUMBER, packets + kept)
    _, spent = worker.spent(seen + packets, TRANSPORT.hook_number, kept=kept)
    return packets / spent.all


def hosts(number: int) -> Point:
    """A lab of so many emulated hosts on one switch, up and down."""
    with Lab(label="bench") as lab, Stack(lab.namespace("first")):  # what is imported for the first counts for none
        pass
    before, start = resident(), time.perf_counter()
    with Lab(label="bench") as lab, ExitStack() as owned:
        names = [f"h{index}" for index in range(number)]
        made = [lab.namespace(name) for name in names]
        lab.bridge("switch", made)
        for namespace in made:
            owned.enter_context(Stack(namespace))
        memory = resident() - before
    return Point(number, number / (time.perf_counter() - start), memory)


def labs(number: int, times: int = 5) -> Point:
    """So many processes that each make and remove labs of two hosts, at the same time."""
    script = f"from emulator.bench.labs import up_and_down; up_and_down({times})"
    start = time.perf_counter()
    running = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(number)]
    for process in running:
        if process.wait(POINT_SECONDS):
            raise LabError(f"one of {number} labs failed")
    spent = time.perf_counter() - start
    each = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return Point(number, number * times / spent, number * each)


def resident() -> float:
    """MiB of this process's memory that are in use now."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def main() -> None:
    """Measure one point and print it."""
    name, number, packets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if name in ("hosts", "labs"):
        point = hosts(number) if name == "hosts" else labs(number)
    else:
        with Programs() as programs, Place(programs) as place:
            prepare = {"filters": filters, "flows": flows, "held": held}[name]
            point = packets_of(place, prepare, number, packets)
    values = {"number": point.number, "rate": point.rate, "memory": point.memory}
    sys.stdout.write(json.dumps(values))


if __name__ == "__main__":
    main()
