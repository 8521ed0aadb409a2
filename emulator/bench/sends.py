"""Packets that a driver makes and injects into the network's send path, against raw sockets.

The load is the driver itself: a thread of its own injects as fast as it is let.  A sender never waits, so its rate
is counted by the second of its processor's time; the I/O thread's share and the kernel's, up to the router that
counts what arrives, is in it.  Every packet has its history: who injected it, as `is_mine` would tell.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from struct import pack
from typing import Any, Final

from emulator.bench.clock import Spent, thread_spent
from emulator.bench.place import GATEWAY, PORT, SOURCE, Place
from emulator.bench.queued import python_peer
from emulator.bench.row import Reading, Row, Skipped
from emulator.checksums import fix_checksums
from emulator.handle import InjectionHandle
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.octets import IpView
from emulator.stack import Stack
from emulator.wfptypes import InjectionType

OCTETS: Final = 64
LIST: Final = 64
"""Packets of one list, and of one system call of the peer's."""
POOL: Final = 32
"""Lists that a driver keeps, and injects again when it has them back."""
DONE_SECONDS: Final = 30.0
_FAMILY: Final = 2
_SIDE_OF_QUEUE: Final = "-1"


def datagram() -> bytes:
    """A UDP datagram from the sender to the router, headers included."""
    size = 28 + OCTETS
    source, target = (bytes(map(int, text.split("."))) for text in (SOURCE, GATEWAY))
    header = pack(">BBHHHBBH4s4s", 0x45, 0, size, 1, 0, 64, 17, 0, source, target)
    packet = bytearray(header + pack(">HHHH", 4000, PORT, 8 + OCTETS, 0) + b"w" * OCTETS)
    fix_checksums(packet, 0, size)
    assert IpView(packet).total_length == size
    return bytes(packet)


class Driver:
    """What injects: each packet a list of its own, or lists of many that are used again."""

    def __init__(self, stack: Stack, handle: InjectionHandle, begin: Callable[[], None]) -> None:
        """`begin` is run on its thread before it is measured."""
        self.stack = stack
        self._handle = handle
        self._begin = begin
        self._back = threading.Semaphore(POOL)
        self._free: list[NetBufferList] = []
        self.completed = 0
        self.failed = 0
        self.spent = Spent(0.0, 0.0)
        """By its own thread."""

    def run(self, work: Callable[[int], None], packets: int) -> None:
        """Do `work` on a thread of its own, to the end; raises TimeoutError when completions are missing."""

        def body() -> None:
            self._begin()
            before = thread_spent()
            work(packets)
            self.spent = thread_spent().since(before)

        thread = threading.Thread(target=body, name="bench-driver")
        thread.start()
        thread.join()
        until = time.monotonic() + DONE_SECONDS
        while self.completed < packets:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.completed} of {packets} packets were completed")
            time.sleep(0.002)

    def one_by_one(self, packets: int) -> None:
        """A list made, injected and freed for each packet."""
        octets, send, done = datagram(), self._handle.network_send, self._freed
        make = self.stack.core.ownership.create_from
        for _ in range(packets):
            send(make(octets), done)

    def _freed(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        self.failed += item.status is not NtStatus.SUCCESS
        self.stack.core.ownership.free_list(item)
        self.completed += 1

    def in_lists(self, packets: int) -> None:
        """Some lists of many packets, injected again and again as they come back."""
        self._free = [self._list() for _ in range(POOL)]
        send, done, back, free = self._handle.network_send, self._returned, self._back, self._free
        for _ in range(packets // LIST):
            back.acquire()
            send(free.pop(), done)

    def _returned(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        self.failed += item.status is not NtStatus.SUCCESS
        self._free.append(item)
        self.completed += LIST
        self._back.release()

    def _list(self) -> NetBufferList:
        octets = datagram()
        buffers = [NetBuffer(Mdl(bytearray(octets)), 0, len(octets)) for _ in range(LIST)]
        for before, after in zip(buffers, buffers[1:], strict=False):
            before.next = after
        item = self.stack.core.ownership.create(Mdl(bytearray(16)), 0, 16)
        item.first_net_buffer = buffers[0]
        return item

    def give_back(self) -> None:
        """Free the lists that were kept."""
        for item in self._free:
            self.stack.core.ownership.free_list(item)
        self._free.clear()


def ours(place: Place, packets: int, *, listed: bool) -> Reading:
    """One run of ours."""
    place.forget()
    with Stack(place.sender) as stack, stack.create_handle(_FAMILY, InjectionType.NETWORK) as handle:
        driver = Driver(stack, handle, place.work_here)
        usage: list[Spent] = []
        stack.loop.call(place.work_here)
        stack.loop.call(lambda: usage.append(thread_spent()))
        driver.run(driver.in_lists if listed else driver.one_by_one, packets)
        stack.loop.call(lambda: usage.append(thread_spent()))
        stack.settle()
        driver.give_back()
        leaks = stack.core.ownership.leaks()
    cpu = usage[1].since(usage[0]).with_(driver.spent)
    arrived = place.arrived(place.router)
    closed = stack.books.closed and not driver.failed and not leaks
    return Reading(
        packets / cpu.all,
        loss=1 - arrived / packets,
        cpu=cpu.all / packets * 1e6,
        kernel=cpu.kernel / packets * 1e6,
        closed=closed,
    )


def by_c(place: Place, packets: int) -> Reading:
    """One run of sendmmsg."""
    place.forget()
    argv = [place.programs.path("rawblast"), SOURCE, GATEWAY, str(PORT), str(packets), str(OCTETS)]
    done = place.sender.run(["taskset", "-c", str(place.work_cpu), *argv])
    sent, _, user, system = map(float, done.stdout.split())
    return _read(place, packets, sent, Spent(user, system))


def by_scapy(place: Place, packets: int) -> Reading:
    """One run of scapy's socket, kept open."""
    process = place.start(place.sender, python_peer("scapy-send", packets, _SIDE_OF_QUEUE))
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("scapy did not start")
        place.forget()
        process.stdin.write(b"\n")
        process.stdin.flush()
        sent, _, user, system = map(float, process.stdout.readline().split())
    finally:
        process.stop()
    return _read(place, packets, sent, Spent(user, system))


def _read(place: Place, packets: int, sent: float, spent: Spent) -> Reading:
    arrived = place.arrived(place.router)
    each = 1e6 / sent
    return Reading(sent / spent.all, loss=1 - arrived / packets, cpu=spent.all * each, kernel=spent.kernel * each)


def rows(place: Place, *, quick: bool) -> list[Row | Skipped]:
    """The rows of packets that are sent."""
    packets, rounds = (12800, 3) if quick else (64000, 9)
    slow = 300 if quick else 1500
    unit = "packets/s of processor"
    return [
        Row(
            "send-single", "C sendmmsg on a raw socket", unit, 0.4,
            lambda: ours(place, packets, listed=False), lambda: by_c(place, packets), rounds=rounds,
        ),
        Row(
            "send-lists", "C sendmmsg on a raw socket", unit, 0.8,
            lambda: ours(place, packets, listed=True), lambda: by_c(place, packets), rounds=rounds,
        ),
        Row(
            "send-single-scapy", "scapy, L3 socket kept open", unit, 60,
            lambda: ours(place, packets, listed=False), lambda: by_scapy(place, slow), rounds=3,
        ),
    ]  # fmt: skip
