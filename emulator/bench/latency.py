"""What the way through a router's handler adds to a round trip: one reinjection out, one back.

One datagram is under way at a time, so what is measured is how soon a handler wakes up and is done, not how much it
gets through.  A run measures the same round trip without a handler first, and subtracts the median of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from emulator.bench.place import TARGET, Place
from emulator.bench.queued import FORWARD, prepared
from emulator.bench.row import Reading, Row, Skipped
from emulator.stack import QUEUE_NUMBER, Stack
from netns.rules import InstalledRules, QueueRule

PORT: Final = 7
_WARMING: Final = 10
"""One of so many more round trips than are counted goes before them."""


@dataclass(frozen=True, slots=True)
class Trips:
    """Round trips, in microseconds."""

    count: int
    median: float
    late: float
    """That only one in a hundred exceeds."""
    lost: int


def asked(place: Place, trips: int) -> Trips:
    """Round trips from the sender to the receiver, which has to echo."""
    argv = [place.programs.path("udprtt"), "ask", TARGET, str(PORT), str(trips)]
    count, median, late, lost = place.sender.run(["taskset", "-c", str(place.load_cpu), *argv]).stdout.split()
    return Trips(int(count), float(median), float(late), int(lost))


@contextmanager
def echoing(place: Place) -> Iterator[None]:
    """The receiver sends back what comes."""
    program = place.programs.path("udprtt")
    process = place.start(place.receiver, [program, "echo", TARGET, str(PORT)], processor=place.load_cpu)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the echo did not start")
        yield
    finally:
        process.stop()


Way = Callable[[Trips], float]


def median(trips: Trips) -> float:
    """The median."""
    return trips.median


def late(trips: Trips) -> float:
    """The 99th percentile."""
    return trips.late


def ours(place: Place, trips: int, way: Way) -> Reading:
    """One run of ours."""
    with echoing(place):
        direct = asked(place, trips)
        with Stack(place.router) as stack, ExitStack() as owned:
            prepared(stack, FORWARD, "reinject", owned)
            stack.loop.call(place.work_here)
            through = asked(place, trips)
            stack.settle()
    expected = 2 * (trips + trips // _WARMING)
    closed = stack.books.closed and stack.books.hooks[FORWARD.hook_number].reinjected >= expected - 2 * through.lost
    return Reading(way(through) - direct.median, loss=through.lost / trips, closed=closed)


def theirs(place: Place, trips: int, way: Way) -> Reading:
    """One run of the C program."""
    rule = QueueRule(family=4, hook=FORWARD.hook, queue=QUEUE_NUMBER, protocol="udp")
    most = 2 * (trips + trips // _WARMING)
    with echoing(place), ExitStack() as owned:
        direct = asked(place, trips)
        owned.enter_context(InstalledRules(place.router, [rule]))
        argv = [place.programs.path("nfq_verdict"), str(QUEUE_NUMBER), "copy-back", str(most)]
        process = place.start(place.router, argv)
        owned.callback(process.stop)
        assert process.stdout is not None
        assert process.stdin is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("nfq_verdict did not start")
        process.stdin.write(b"\n")
        process.stdin.flush()
        through = asked(place, trips)
    return Reading(way(through) - direct.median, loss=through.lost / trips)


def rows(place: Place, *, quick: bool) -> list[Row | Skipped]:
    """The rows of round trips."""
    trips, rounds = (800, 5) if quick else (3000, 11)
    peer, unit = "C libnetfilter_queue, copied back", "µs added to a round trip"

    def row(name: str, goal: float, way: Way) -> Row:
        return Row(
            name, peer, unit, goal, lambda: ours(place, trips, way), lambda: theirs(place, trips, way),
            at_most=True, rounds=rounds,
        )  # fmt: skip

    return [row("latency-median", 2, median), row("latency-late", 3, late)]
