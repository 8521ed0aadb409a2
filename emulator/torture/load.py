"""Load: a soak at the highest rate with all paths at once, and an overload of ten times what can be handled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from emulator.callout import Callout
from emulator.callouts_stream import InlineEdit
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.paths.queue import QueueLimits
from emulator.topology import Host, HostOptions, Pair, Routed
from emulator.torture import source
from emulator.torture.drivers import PORT, WAYS, PutBack, Way
from emulator.torture.figures import Figures
from emulator.verifier import Level, detached
from emulator.wfptypes import AddressFamily, InjectionType
from netns.patience import patient
from netns.process import Process

V4, V6 = AddressFamily.INET, AddressFamily.INET6
SOAK_SECONDS, QUICK_SOAK_SECONDS = 600.0, 4.0
OVERLOAD_SECONDS, QUICK_OVERLOAD_SECONDS = 20.0, 1.5
OVERLOAD = 10
RECOVERED_WITHIN_SECONDS = 1.0
GROWTH_ALLOWED_OCTETS = 8 << 20
SLOW_SECONDS = 0.0005
"""What the slow driver spends on each packet."""
QUEUE_LENGTH = 128
"""Packets that may wait for the slow driver: as many as it handles in a fraction of a second."""
_PORTS = {"outbound": PORT, "inbound": PORT + 1, "forward": PORT + 2, "stream": PORT + 3}


# -- programs in hosts --------------------------------------------------------------------------------------


def _start(host: Host, *arguments: object) -> Process:
    """A traffic program, an ordinary user's: it gets its text with it, for the tree may be closed to that user."""
    text = Path(source.__file__).read_text(encoding="utf-8")
    python = os.path.realpath(sys.executable)
    return host.start(
        python, "-I", "-c", text, *map(str, arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )


@contextmanager
def _server(host: Host, what: str, address: str, port: int) -> Iterator[None]:
    """A program that answers, until the block ends."""
    process = _start(host, what, address, port)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10, check=False)


def _result(process: Process, seconds: float) -> dict[str, float]:
    assert process.stdout is not None
    line = process.stdout.readline()
    process.wait(seconds, check=False)
    if not line:
        raise RuntimeError(f"a traffic program ended without a word: {process!r}")
    figures: dict[str, float] = json.loads(line)
    return figures


# -- the soak -----------------------------------------------------------------------------------------------


class ForwardBack(Callout):
    """Takes forwarded datagrams of one port out and forwards clones of them."""

    def __init__(self, driver: Driver, family: AddressFamily) -> None:
        self.driver = driver
        self.family = family
        self.handle = driver.create_handle(family, InjectionType.FORWARD)

    def classify(self, seen: Indication) -> None:
        if _PORTS["forward"] not in (seen.view.destination_port, seen.view.source_port):
            return seen.permit()
        self.handle.forward(
            seen.clone(), self.driver.done, family=self.family, interface=seen.value("DESTINATION_INTERFACE_INDEX")
        )
        return seen.block(absorb=True)


class OnPort(Callout):
    """Asks another callout about the datagrams of one port only."""

    def __init__(self, inner: PutBack, port: int) -> None:
        self.inner = inner
        self.port = port

    def classify(self, seen: Indication) -> None:
        if self.port not in (seen.view.destination_port, seen.view.source_port):
            return seen.permit()
        if seen.injected_by(self.inner.handle):
            return seen.permit()
        item = self.inner.way.take(self.inner, seen)
        self.inner.way.inject(self.inner, seen, item)
        return seen.block(absorb=True)


def soak(*, quick: bool = False, seconds: float | None = None) -> Figures:
    """All paths at once for so long, in both families; memory and descriptors stay flat, and the books close.

    Raises LabError when Linux refuses a bed.
    """
    told = Figures("soak")
    length = seconds if seconds is not None else QUICK_SOAK_SECONDS if quick else SOAK_SECONDS
    began = time.monotonic()
    with Routed(HostOptions(level=Level.NORMAL)) as bed:
        drivers = [_load(bed, family) for family in (V4, V6)]
        with _servers(bed):
            sources = list(_sources(bed, length))
            samples = _sample(length)
            results = [(name, _result(process, 60)) for name, process in sources]
        _count(results, told)
        for driver in drivers:
            driver.unload()
        _close(bed.mid, told)
        bed.close_stacks()
        books = bed.mid.stack.books
        told.figures["packets through the queues"] = sum(book.offered for book in books.hooks.values())
        told.figures["injections"] = books.injections.accepted
        if not books.closed:
            told.complain(f"the books do not close: {books.as_dict()}")
    _flat(samples, told)
    told.seconds = time.monotonic() - began
    return told


def _load(bed: Routed, family: AddressFamily) -> Driver:
    """One driver of a family, on all paths: its ports tell them apart."""
    driver = bed.mid.driver(f"soak {family.name}")
    by_name = {way.name: way for way in WAYS}
    for name, port in (("clone, network send", "outbound"), ("clone, network receive", "inbound"),
                       ("copy, network send", "outbound"), ("clone, transport send", "outbound")):  # fmt: skip
        way: Way = by_name[name]
        driver.add(OnPort(PutBack(driver, family, way), _PORTS[port]), way.layer, family)
    driver.add(ForwardBack(driver, family), "IPFORWARD", family)
    edit = InlineEdit(driver.create_handle(family, InjectionType.STREAM), b"0123456789", b"0123456789")
    driver.add(edit, "STREAM", family, where={"IP_REMOTE_PORT": _PORTS["stream"]})
    return driver


@contextmanager
def _servers(bed: Routed) -> Iterator[None]:
    from contextlib import ExitStack

    with ExitStack() as owned:
        for family in (V4, V6):
            right, mid = bed.right.address(family), bed.mid.address(family)
            owned.enter_context(_server(bed.right, "echo", right, _PORTS["outbound"]))
            owned.enter_context(_server(bed.right, "echo", right, _PORTS["forward"]))
            owned.enter_context(_server(bed.mid, "echo", mid, _PORTS["inbound"]))
            owned.enter_context(_server(bed.right, "serve", right, _PORTS["stream"]))
        yield


def _sources(bed: Routed, seconds: float) -> Iterator[tuple[str, Process]]:
    for family in (V4, V6):
        right, mid = bed.right.address(family), bed.mid.address(family)
        yield "window", _start(bed.mid, "window", right, _PORTS["outbound"], seconds)
        yield "window", _start(bed.right, "window", mid, _PORTS["inbound"], seconds)
        yield "window", _start(bed.left, "window", right, _PORTS["forward"], seconds)
        yield "stream", _start(bed.mid, "stream", right, _PORTS["stream"], seconds)


def _count(results: list[tuple[str, dict[str, float]]], told: Figures) -> None:
    for name, figures in results:
        if name == "window":
            told.add("datagrams sent", int(figures["sent"]))
            told.add("datagrams echoed", int(figures["echoed"]))
            told.add("datagrams lost", int(figures["lost"]))
            told.add("datagrams twice", int(figures["twice or late"]))
        else:
            told.add("stream octets", int(figures["octets"]))
            told.add("stream connections", int(figures["connections"]))
            told.add("stream answers wrong", int(figures["wrong"]))
    for name in ("datagrams lost", "datagrams twice", "stream answers wrong"):
        if told.figures.get(name):
            told.complain(f"{told.figures[name]} {name}")


def _close(host: Host, told: Figures) -> None:
    host.stack.settle()
    core = host.stack.core
    for line in (*core.violations, *detached(core), *(error for _, error in core.lab_errors)):
        told.complain(str(line))


def _sample(seconds: float) -> list[tuple[int, int]]:
    """(octets of memory, open descriptors) about every half second."""
    found = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found.append((_memory(), len(os.listdir("/proc/self/fd"))))
        threading.Event().wait(min(0.5, seconds / 12))
    return found


def _memory() -> int:
    """Resident octets of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _flat(samples: list[tuple[int, int]], told: Figures) -> None:
    """The last third is not larger than the middle one, but for what a pool may take."""
    third = len(samples) // 3
    memory = [item[0] for item in samples]
    descriptors = [item[1] for item in samples]
    before, after = median(memory[third : 2 * third]), median(memory[2 * third :])
    told.figures["memory, middle third (MiB)"] = before / (1 << 20)
    told.figures["memory, last third (MiB)"] = after / (1 << 20)
    told.figures["descriptors, most"] = max(descriptors)
    if after - before > GROWTH_ALLOWED_OCTETS:
        told.complain(f"memory grew by {(after - before) / (1 << 20):.1f} MiB between the thirds")
    # A connection that is being spliced has four.
    if median(descriptors[2 * third :]) - median(descriptors[third : 2 * third]) > 8:
        told.complain(f"descriptors grew: {descriptors}")


# -- the overload -------------------------------------------------------------------------------------------


class Slow(PutBack):
    """Spends a fixed time on every packet, so that ten times as much as it can handle is not much."""

    def classify(self, seen: Indication) -> None:
        until = time.perf_counter() + SLOW_SECONDS
        while time.perf_counter() < until:
            pass
        super().classify(seen)


def overload(*, quick: bool = False, seconds: float | None = None) -> Figures:
    """Ten times what a driver can handle: every loss is counted, and a second later all is as before.

    Raises LabError when Linux refuses a bed.
    """
    told = Figures("overload")
    length = seconds if seconds is not None else QUICK_OVERLOAD_SECONDS if quick else OVERLOAD_SECONDS
    began = time.monotonic()
    for family in (V4,) if quick else (V4, V6):
        _overload(family, length, told)
    told.seconds = time.monotonic() - began
    return told


def _overload(family: AddressFamily, seconds: float, told: Figures) -> None:
    options = HostOptions(level=Level.NORMAL, limits=QueueLimits(length=QUEUE_LENGTH))
    with Pair(options) as pair:
        way = next(item for item in WAYS if item.name == "clone, network receive")
        address = pair.host.address(family)
        with pair.host.driver() as driver:
            driver.add(Slow(driver, family, way), way.layer, family)
            with _server(pair.host, "echo", address, PORT):
                alone = _result(_start(pair.peer, "window", address, PORT, min(2.0, seconds)), 30)
            rate = alone["echoed"] / alone["seconds"]
            before = _offered(pair, family)
            pair.host.socket(family, port=PORT)  # takes what comes, and is never read
            flood = _result(_start(pair.peer, "flood", address, PORT, seconds, OVERLOAD * rate), seconds + 30)
            waited, extra = _recovery(pair, family)
            taken = _offered(pair, family) - before - extra
        pair.close_stacks()
        _judge(pair, flood, taken, waited, rate, family, told)


def _offered(pair: Pair, family: AddressFamily) -> int:
    pair.host.stack.settle()
    return pair.host.stack.books.hooks[0].offered


def _recovery(pair: Pair, family: AddressFamily) -> tuple[float, int]:
    """Seconds until a datagram comes through again, sent every few milliseconds from now on; and how many were."""
    sent = 0
    began = time.monotonic()
    receiver = pair.host.socket(family, port=PORT + 9)
    receiver.settimeout(0.01)
    sender = pair.peer.socket(family)
    while time.monotonic() - began < 30:
        sender.sendto(b"again", (pair.host.address(family), PORT + 9))
        sent += 1
        try:
            receiver.recv(64)
        except TimeoutError:
            continue
        return time.monotonic() - began, sent
    return float("inf"), sent


def _judge(
    pair: Pair, flood: dict[str, float], taken: int, waited: float, rate: float, family: AddressFamily, told: Figures
) -> None:
    books = pair.host.stack.books
    lost = {cause: count for cause, count in books.lost.items() if count}
    name = family.name
    told.figures[f"{name}: handled per second, alone"] = rate
    told.figures[f"{name}: sent"] = int(flood["sent"])
    told.figures[f"{name}: sent per second"] = flood["sent"] / flood["seconds"]
    told.figures[f"{name}: taken"] = taken
    for cause, count in lost.items():
        told.figures[f"{name}: lost by {cause}"] = count
    told.figures[f"{name}: recovered after (s)"] = waited
    if flood["sent"] < OVERLOAD * 0.7 * rate * flood["seconds"]:
        told.complain(f"{name}: the flood was no overload: {flood['sent']} sent")
    if waited > patient(RECOVERED_WITHIN_SECONDS):
        told.complain(f"{name}: recovery took {waited:.2f} s")
    silent = int(flood["sent"]) - taken - sum(lost.values())
    told.figures[f"{name}: neither taken nor counted as lost"] = silent
    if silent > 0 or (family == V4 and silent):  # IPv6 neighbours and routers talk too, by IP
        told.complain(f"{name}: {silent} datagrams were neither taken nor counted as lost")
    core = pair.host.stack.core
    for line in (*core.violations, *detached(core)):
        told.complain(f"{name}: {line}")
    if any(book.held for book in books.hooks.values()):
        told.complain(f"{name}: packets are still held: {books.as_dict()}")
