"""Many filters, and many flows, against one: what a packet costs must not grow with what it has nothing to do with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from emulator.bench.clock import Spent
from emulator.bench.drivers import PermitAll
from emulator.bench.place import PORT, PORTS, TARGET, Place
from emulator.bench.queued import LENGTH, TRANSPORT, Worker, await_offered
from emulator.bench.row import Reading, Row, Skipped
from emulator.filters import Condition, MatchType
from emulator.layerids import Layer
from emulator.paths.queue import QueueLimits
from emulator.stack import QUEUE_NUMBER, Stack

FILTERS: Final = 10_000
FLOWS: Final = 100_000
TIMES: Final = 3
"""How often packets are sent through what was made ready once."""
_AT_ONCE: Final = 20_000
"""Datagrams that wait in the queue, at most, while flows begin."""


def conditions(number: int) -> Iterator[tuple[Condition, ...]]:
    """Of so many filters: the last wants the load, the others a port, an address or a network of somebody else."""
    for other in range(number - 1):
        match other % 4:
            case 0 | 1:
                yield (Condition("IP_REMOTE_PORT", MatchType.EQUAL, PORTS + other % 15_000),)
            case 2:
                yield (Condition("IP_REMOTE_ADDRESS", MatchType.EQUAL, f"10.20.{other >> 8 & 255}.{other & 255}"),)
            case _:
                yield (
                    Condition("IP_REMOTE_ADDRESS", MatchType.EQUAL, f"10.{30 + (other >> 12)}.{other >> 4 & 255}.0/24"),
                    Condition("IP_REMOTE_PORT", MatchType.EQUAL, 80),
                )
    yield (
        Condition("IP_REMOTE_ADDRESS", MatchType.EQUAL, TARGET),
        Condition("IP_REMOTE_PORT", MatchType.EQUAL, PORT),
    )


def filtered(place: Place, packets: int, filters: int) -> Reading:
    """Packets that the last of so many filters wants; its callout permits."""
    place.forget()
    with Stack(place.sender, limits=QueueLimits(length=LENGTH)) as stack:
        callout = stack.register(PermitAll())
        with stack.core.engine.together():
            for wanted in conditions(filters):
                stack.add_filter(TRANSPORT.layer, callout, conditions=wanted)
        return _handled(place, stack, packets, flows=1)


def flowing(place: Place, packets: int, flows: int) -> Reading:
    """Packets of so many flows, which had begun before."""
    with Stack(place.sender, limits=QueueLimits(length=LENGTH)) as stack:
        stack.add_filter(Layer.DATAGRAM_DATA_V4, stack.register(PermitAll()))
        for first in range(0, flows, _AT_ONCE):
            count = min(_AT_ONCE, flows - first)
            place.send(count, flows=flows, first=first)
            await_offered(stack, TRANSPORT.hook_number, first + count)
        place.forget()
        return _handled(place, stack, packets, flows=flows)


def _handled(place: Place, stack: Stack, packets: int, *, flows: int) -> Reading:
    """The median of some times: what goes before them takes longer than they do."""
    spent = sorted((_once(place, stack, packets, flows) for _ in range(TIMES)), key=lambda cpu: cpu.all)
    stack.settle()
    stack.close()
    cpu = spent[TIMES // 2]
    return Reading(
        packets / cpu.all,
        loss=1 - place.arrived() / (TIMES * packets),
        cpu=cpu.all / packets * 1e6,
        kernel=cpu.kernel / packets * 1e6,
        closed=stack.books.closed,
    )


def _once(place: Place, stack: Stack, packets: int, flows: int) -> Spent:
    before = stack.books.hooks[TRANSPORT.hook_number].offered
    worker = Worker(stack, place.work_here)
    with worker.held_up():
        place.send(packets, flows=flows)
        place.await_backlog(place.sender, QUEUE_NUMBER, packets)
    return worker.spent(before + packets, TRANSPORT.hook_number)[1]


def rows(place: Place, *, quick: bool) -> list[Row | Skipped]:
    """The rows of many filters and many flows."""
    packets, rounds = (5000, 5) if quick else (15000, 9)
    unit = "packets/s of processor"
    return [
        Row(
            "filters-10000", "the same with one filter", unit, 0.8,
            lambda: filtered(place, packets, FILTERS), lambda: filtered(place, packets, 1), rounds=rounds,
        ),
        Row(
            "flows-100000", "the same with one flow", unit, 0.8,
            lambda: flowing(place, packets, FLOWS), lambda: flowing(place, packets, 1), rounds=3 if quick else 5,
        ),
    ]  # fmt: skip
