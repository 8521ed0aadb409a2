"""Faults at every place: a run without one counts the places, then each is made to fail in a run of its own (H11)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from emulator.faults import CAN_BE_LATE, Fault, FaultKind
from emulator.topology import Bed, Host, HostOptions, Pair, Routed
from emulator.torture.drivers import WAYS, PutBack, Way
from emulator.torture.figures import Figures
from emulator.traffic import Datagrams
from emulator.verifier import detached
from emulator.wfptypes import AddressFamily

QUICK_PACKETS = 2
PACKETS = 6
_FAMILIES = (AddressFamily.INET, AddressFamily.INET6)


def run(*, quick: bool = False, families: Sequence[AddressFamily] = _FAMILIES) -> Figures:
    """Make every allocation, clone, injection, receive and verdict of every way of injecting fail once.

    Raises LabError when Linux refuses a bed.
    """
    told = Figures("faults")
    began = time.monotonic()
    for way in (WAYS[0], WAYS[-1]) if quick else WAYS:
        for family in families[:1] if quick else families:
            _one_way(way, family, QUICK_PACKETS if quick else PACKETS, told)
    told.seconds = time.monotonic() - began
    return told


def _one_way(way: Way, family: AddressFamily, packets: int, told: Figures) -> None:
    counted = _played(way, family, packets, None, told)
    for fault in _every(counted):
        _played(way, family, packets, fault, told)


def _every(counted: Counter[FaultKind]) -> Iterable[Fault]:
    for kind, most in counted.items():
        for number in range(1, most + 1):
            yield Fault(kind, number)
            if kind in CAN_BE_LATE:
                yield Fault(kind, number, late=True)


def _played(
    way: Way, family: AddressFamily, packets: int, fault: Fault | None, told: Figures
) -> Counter[FaultKind]:
    """One run with one fault; what must hold all the same is complained of when it does not."""
    label = f"{way.name}, {family.name}, {fault or 'no fault'}"
    sent = [b"datagram %d" % number for number in range(packets)]
    with (Routed if way.routed else Pair)(HostOptions(faults=True, fault=fault)) as bed:
        (faults,) = bed.faults
        host, *ends = _places(bed, way)
        try:
            arrived = _exchange(host, way, family, (ends[0], ends[1]), sent)
        except Exception as error:
            told.complain(f"{label}: {type(error).__name__}: {error}")
            return faults.counted
        core = host.stack.core
        complaints = [str(violation) for violation in (*core.violations, *detached(core))]
        bed.close_stacks()
        complaints += _wrong(sent, arrived, faults.struck, host)
        told.add("runs")
        told.add("packets sent", len(sent))
        told.add("packets arrived", len(arrived))
        told.add("faults made", faults.struck)
        for complaint in complaints:
            told.complain(f"{label}: {complaint}")
        return faults.counted


def _places(bed: Bed, way: Way) -> tuple[Host, Host, Host]:
    """The emulated host, who sends past its driver, and who receives."""
    if isinstance(bed, Routed):
        return bed.mid, bed.left, bed.right
    assert isinstance(bed, Pair)
    return (bed.host, bed.peer, bed.host) if way.inbound else (bed.host, bed.host, bed.peer)


def _exchange(host: Host, way: Way, family: AddressFamily, ends: tuple[Host, Host], sent: list[bytes]) -> list[bytes]:
    """Send datagrams past the driver, one after the other; those that arrived."""
    traffic = Datagrams(*ends, family, port=5000)
    with host.driver() as driver:
        try:
            callout = PutBack(driver, family, way)
        except Exception:  # the handle could not be made: then there is no driver
            return traffic.exchange(sent)
        driver.add(callout, way.layer, family)
        for payload in sent:
            traffic.send(payload)
        host.stack.settle()
    return traffic.arrived()


def _wrong(sent: list[bytes], arrived: list[bytes], struck: int, host: Host) -> Iterable[str]:
    """Each packet arrives once or is dropped; no more are missing than there were faults; every loss is named."""
    often = Counter(arrived)
    yield from (f"{payload!r} arrived {count} times" for payload, count in often.items() if count > 1)
    yield from (f"{payload!r} was never sent" for payload in often if payload not in sent)
    missing = len(sent) - len(often)
    if missing > struck:
        yield f"{missing} packets are missing after {struck} faults"
    books = host.stack.books
    lost = sum(books.lost.values())
    if lost > struck:
        yield f"{lost} losses are in the books after {struck} faults: {books.lost}"
    held = sum(book.held for book in books.hooks.values())
    pending = books.injections.accepted - books.injections.completed
    if held or pending:
        yield f"{held} packets are still held, {pending} injections were never completed"
