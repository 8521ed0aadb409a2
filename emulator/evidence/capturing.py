"""Recording a bed: every frame on every interface of its namespaces, and what its emulated hosts tell.

A thread of its own empties packet sockets and the tracer's tuples into a file, so neither fills memory.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, Self

from emulator.evidence.recordfile import RecordFile
from emulator.evidence.trace import LOSS, WIRE, Record, Tracer
from emulator.evidence.traceevents import Place
from netns.capture import SO_TIMESTAMPNS, Capture, Direction, Frame
from netns.errors import LabError

if TYPE_CHECKING:
    from emulator.topology import Bed, Host
    from netns.namespace import Namespace

BUFFER_OCTETS: Final = 32 << 20
"""Of each namespace's packet socket: some twenty thousand frames may wait."""
ROUND_SECONDS: Final = 0.05
SNAP_OCTETS: Final = 2048
"""Kept of each frame: more than an ordinary one has; those of bulk transfers have up to 64 KiB."""


def keep_stamping() -> socket.socket:
    """A socket that makes the kernel note the time of every packet; the caller closes it.

    The kernel begins to do so a little after it was asked to, and frames seen before that bear the time at which
    they were read: out of order.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return made


class Recorder:
    """Records one bed from its making on, until `stop`; whoever makes it closes it.

    One packet socket per namespace sees all its devices, those that come later too.  On loopback a frame is
    taken once, as it comes in.
    """

    def __init__(self, bed: Bed, *, frames: bool = True, file: RecordFile | None = None) -> None:
        """Attach to every host there is, and to those that are added; raises LabError (the packet socket)."""
        self.file = file if file is not None else RecordFile()
        self.tracer = Tracer(time.time_ns)
        self.lost: Counter[str] = Counter()
        """Frames that no socket had room for, by host."""
        self._bed = bed
        self._frames = frames
        self._captures: dict[int, tuple[int, str, Capture]] = {}
        self._poll = select.epoll()
        self._owned = ExitStack()
        self._owned.callback(self.file.close)
        self._places: list[Namespace] = []
        """Of the tracer's hosts, in their order."""
        self._owned.callback(self._poll.close)
        self._ending = threading.Event()
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="wfplab-recorder", daemon=True)
        self._failure: BaseException | None = None
        self._until = 1 << 62
        try:
            for host in bed:
                self.add(host)
            self._follow()
            bed.on_host = self.add
            self._owned.callback(setattr, bed, "on_host", None)
        except BaseException:
            self._owned.close()
            raise
        self.began = time.time_ns()
        """Frames that were seen before all of them could be are left out."""
        self._thread.start()

    def add(self, host: Host) -> None:
        """Record one more host; one that is recorded already is passed over.  Raises LabError."""
        if host.namespace in self._places:
            return
        place = Place(name=host.name, emulated=host.emulated is not None)
        describe(place, host.namespace)
        self._places.append(host.namespace)
        if host.emulated is not None:
            number = self.tracer.attach(place, host.emulated).number
        else:
            number = self.tracer.add_host(place)
        self._watch(number, host.name, host.namespace)

    def _follow(self) -> None:
        """Watch the namespaces of the lab that are no hosts too, such as a switch."""
        hosts = [host.namespace for host in self._bed]
        for name, namespace in self._bed.lab.namespaces.items():
            if namespace not in self._places and namespace not in hosts:
                place = Place(name=name)
                describe(place, namespace)
                self._places.append(namespace)
                self._watch(self.tracer.add_host(place), name, namespace)

    def _watch(self, number: int, name: str, namespace: Namespace) -> None:
        if not self._frames:
            return
        capture = self._owned.enter_context(Capture(namespace, buffer_octets=BUFFER_OCTETS))
        with self._guard:
            self._captures[capture.fileno()] = (number, name, capture)
            self._poll.register(capture.fileno(), select.EPOLLIN)

    # -- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                self._empty([descriptor for descriptor, _ in self._poll.poll(ROUND_SECONDS)])
        except BaseException as error:  # kept for `stop`: a full disk must not end the run itself
            self._failure = error

    def _empty(self, descriptors: list[int]) -> None:
        keep = self.file.append
        for record in self.tracer.take():
            keep(record)
        for descriptor in descriptors:
            with self._guard:
                number, _, capture = self._captures[descriptor]
            for frame in capture.drain(lossy=True):
                seen = _record(number, frame)
                if seen is not None and self.began <= seen[1] <= self._until:
                    keep(seen)

    def stop(self) -> None:
        """Take what waits, then see nothing more; raises what went wrong meanwhile (OSError: the disk is full)."""
        if self._ending.is_set():
            return
        self._until = time.time_ns()
        self._ending.set()
        self._thread.join()
        if self._failure is None:
            with suppress(LabError, OSError, ValueError):  # its namespace may be gone already
                self._empty(list(self._captures))
        for place, namespace in zip(self.tracer.hosts, self._places, strict=True):
            with suppress(LabError):
                describe(place, namespace)
        now = time.time_ns()
        for number, name, capture in self._captures.values():
            with suppress(OSError, ValueError):
                self.lost[name] += capture.statistics()[1]
            if self.lost[name]:
                self.file.append((LOSS, now, number, "frames not captured: no room", self.lost[name]))
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop, and forget everything; closing twice is allowed."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _record(number: int, frame: Frame) -> Record | None:
    if frame.interface == "lo" and frame.direction is Direction.OUTGOING:
        return None  # it comes in at once, and is taken then
    octets = frame.octets
    if frame.vlan is not None:  # put back what the kernel had taken off
        octets = octets[:12] + b"\x81\x00" + frame.vlan.to_bytes(2, "big") + octets[12:]
    when = round(frame.time * 1e9)
    interface = frame.interface or "(gone)"
    shown = octets[:SNAP_OCTETS]
    return (WIRE, when, number, interface, int(frame.direction), len(octets), frame.checksum_ready, shown)


def describe(place: Place, namespace: Namespace) -> None:
    """Fill in which interfaces and addresses a host has now, beside those it had.  Raises LabError."""

    def dump(ipr: Any) -> tuple[list[Any], list[Any]]:
        return list(ipr.get_links()), list(ipr.get_addr())

    links, addresses = namespace.netlink(dump)
    for link in links:
        place.interfaces[str(link["index"])] = str(link.get("ifname"))
    for item in addresses:
        text = str(item.get("local") or item.get("address"))
        if text not in place.addresses:
            place.addresses.append(text)
