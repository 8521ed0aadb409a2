"""Traffic that no filter wants: what the emulator costs those who have nothing to do with it.

The processor's time of sender, router and receiver is in it, as far as the kernel does their work at once, and that
of the emulated host's I/O thread.  What is to be seen is less than what a machine's other work does to a long run: so
turns are short and many, all by one sender, and the host is made and removed between them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from itertools import islice
from typing import Final

from emulator.bench.clock import Spent, thread_spent
from emulator.bench.drivers import PermitAll
from emulator.bench.many import conditions
from emulator.bench.place import Place
from emulator.bench.queued import FORWARD, LENGTH, TRANSPORT, Where
from emulator.bench.row import Reading, Row, Skipped
from emulator.filters import Condition, MatchType
from emulator.paths.queue import QueueLimits
from emulator.stack import QUEUE_NUMBER, Stack

FILTERS: Final = 100
PACKETS: Final = 5000
"""Of one turn, which takes some 20 ms."""
_WARMING: Final = 1000
"""Packets before each turn: what has just changed is met for the first time."""
_LOOKS: Final = 20
"""At what has arrived, at most: the kernel may have put the last packets off a little."""
_LIMIT_ROUNDS: Final = 9
_EMPTY: Final = "wfplab-empty"


def unwanted(where: Where) -> Iterator[tuple[Condition, ...]]:
    """Conditions that the load does not meet."""
    if where is TRANSPORT:
        yield from islice(conditions(FILTERS + 1), FILTERS)
        return
    for number in range(FILTERS):
        field = "IP_SOURCE_ADDRESS" if number % 2 else "IP_DESTINATION_ADDRESS"
        yield (Condition(field, MatchType.EQUAL, f"10.20.{number}.0/24" if number % 4 > 1 else f"10.30.0.{number}"),)


def ours(place: Place, where: Where) -> Reading:
    """One turn through a host with filters."""
    place.forget()
    with Stack(where.host(place), limits=QueueLimits(length=LENGTH)) as stack:
        callout = stack.register(PermitAll())
        with stack.core.engine.together():
            for wanted in unwanted(where):
                stack.add_filter(where.layer, callout, conditions=wanted)
        stack.loop.call(place.work_here)
        place.send_on(_WARMING)
        usage: list[Spent] = []
        stack.loop.call(lambda: usage.append(thread_spent()))
        sent = place.send_on(PACKETS)
        place.await_empty(where.host(place), QUEUE_NUMBER)
        stack.settle()
        stack.loop.call(lambda: usage.append(thread_spent()))
    return _read(place, sent.with_(usage[1].since(usage[0])), closed=stack.books.closed)


def theirs(place: Place) -> Reading:
    """One turn through the same hosts without the emulator."""
    place.forget()
    place.send_on(_WARMING)
    return _read(place, place.send_on(PACKETS), closed=True)


def _read(place: Place, spent: Spent, *, closed: bool) -> Reading:
    every = _WARMING + PACKETS
    for _ in range(_LOOKS):
        if (arrived := place.arrived()) >= every:
            break
    return Reading(
        PACKETS / spent.all,
        loss=1 - arrived / every,
        cpu=spent.all / PACKETS * 1e6,
        kernel=spent.kernel / PACKETS * 1e6,
        closed=closed,
    )


def limit(place: Place, where: Where) -> str:
    """What a packet costs without the emulator, with a chain at the hook that holds nothing, and with the rules."""
    chain = f"type filter hook {where.hook.lower()} priority -150; policy accept;"
    host, ways = where.host(place), ("without", "with an empty chain at the hook", "with the rules")
    costs: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(_LIMIT_ROUNDS):
        costs[ways[0]].append(theirs(place).cpu or 0.0)
        host.run(["nft", "-f", "-"], input=f"table ip {_EMPTY} {{ chain c {{\n{chain}\n}}\n}}\n")
        try:
            costs[ways[1]].append(theirs(place).cpu or 0.0)
        finally:
            host.run(["nft", "delete", "table", "ip", _EMPTY])
        costs[ways[2]].append(ours(place, where).cpu or 0.0)
    told = ", ".join(f"{statistics.median(found):.2f} µs {way}" for way, found in costs.items())
    return f"a packet's whole way costs {told}"


def rows(place: Place, *, quick: bool) -> list[Row | Skipped]:
    """The rows of traffic that no filter wants."""

    def row(where: Where) -> Row:
        return Row(
            f"unmatched-{where.name}", "the same host without the emulator", "packets/s of processor", 0.95,
            lambda: ours(place, where), lambda: theirs(place), rounds=15 if quick else 100,
            limit=lambda result: limit(place, where),
        )  # fmt: skip

    return [row(FORWARD), row(TRANSPORT)]
