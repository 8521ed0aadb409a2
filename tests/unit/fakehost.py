"""What tests of the core share: a host without I/O, packets as octets, and indications of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from struct import pack
from typing import Any

from emulator.callout import RegisteredCallout
from emulator.core import Core
from emulator.filters import Filter
from emulator.handle import InjectionHandle
from emulator.indication import Indication, OwnIndication
from emulator.injection import Injection
from emulator.interfaces import Interface, InterfaceTable
from emulator.layers import DataStart, Layer, layer_info, layer_of
from emulator.ledger import Entry
from emulator.netbuffer import INDICATED, STACK, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.octets import IpView
from emulator.origin import Origin as CoreOrigin
from emulator.wfptypes import Action, AddressFamily, Direction, InjectionType

PATIENCE = 10.0
"""Seconds after which a thread of a test counts as hung."""
LOCAL = {4: bytes([10, 0, 0, 1]), 6: bytes([0x20, 1, 0xD, 0xB8, *bytes(11), 1])}
REMOTE = {4: bytes([10, 0, 0, 2]), 6: bytes([0x20, 1, 0xD, 0xB8, *bytes(11), 2])}
LOCAL_PORT, REMOTE_PORT = 5000, 53
INTERFACES = InterfaceTable(
    (
        Interface(1, "lo", loopback=True, addresses=frozenset({bytes([127, 0, 0, 1])})),
        Interface(2, "eth0", addresses=frozenset(LOCAL.values()), broadcasts=frozenset({bytes([10, 0, 0, 255])})),
        Interface(3, "eth1"),
    )
)
TERMINATING, INSPECTION, UNKNOWN = Action.CALLOUT_TERMINATING, Action.CALLOUT_INSPECTION, Action.CALLOUT_UNKNOWN


class Origin(CoreOrigin):
    """A held packet: counts who keeps it and notes its release."""

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


class FakeHost:
    """A core whose accepted injections wait in `submitted` until a test completes them by hand."""

    def __init__(self, **options: Any) -> None:
        self.submitted: list[Injection] = []
        self.completed: list[tuple[Any, NetBufferList, bool]] = []
        self.core = Core(self.submitted.append, **options)
        self.core.readiness = lambda: None
        self.core.ready()
        self.ownership = self.core.ownership
        self.engine = self.core.engine

    def done(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        """A completion function that notes its arguments and frees the list."""
        self.completed.append((context, item, dispatch_level))
        self.free(item)

    def free(self, item: NetBufferList) -> None:
        """Free a list with the function it asks for."""
        (self.ownership.free_list if item.kind == 3 else self.ownership.free_clone)(item)

    def complete(self, status: NtStatus = NtStatus.SUCCESS) -> None:
        """Complete all that was submitted, oldest first."""
        while self.submitted:
            injection = self.submitted.pop(0)
            injection.handle.complete(injection, status)

    def handle(self, family: int = AddressFamily.INET, types: int = 0x0F) -> InjectionHandle:
        return self.core.create_handle(family, types)

    def created(self, octets: bytes = b"", backfill: int = 0) -> NetBufferList:
        """A list of the driver's own over a packet."""
        return self.ownership.create_from(octets or udp(4), backfill=backfill)

    @property
    def rules(self) -> list[str]:
        """The rules of all violations so far."""
        return self.core.violations.rules()

    # -- indications ------------------------------------------------------------------------------------

    def callout(self, classify: Callable[[Indication], None], **options: Any) -> RegisteredCallout:
        return self.engine.callouts.register(classify, **options)

    def filter(
        self,
        layer: int,
        classify: Callable[[Indication], None] | RegisteredCallout | None = None,
        action: Action = UNKNOWN,
        **options: Any,
    ) -> Filter:
        """A filter at a layer, with a callout made of a function when one is given."""
        if classify is not None:
            callout = classify if isinstance(classify, RegisteredCallout) else self.callout(classify)
            options["callout_key"] = callout.key
        return self.engine.add_filter(Filter(layer, action, **options))

    def indication(
        self,
        layer: int,
        packet: bytes | bytearray | None = None,
        *,
        inbound: bool | None = None,
        history: tuple[Entry, ...] = (),
        interface: int = 2,
        origin: Any = None,
    ) -> Indication:
        """A packet as a layer shows it: data start of the layer's row, headers in front of it when incoming."""
        info = layer_info(layer)
        if inbound is None:
            inbound = info.direction is not Direction.OUTBOUND
        memory = bytearray(packet if packet is not None else udp(info.version or 4, inbound=inbound))
        view = IpView(memory)
        start = _start(info.data_start(Direction(inbound)), view)
        item = NetBufferList(memory, start, len(memory), STACK, history, origin)
        item.base = 0 if inbound else start
        item.state = INDICATED
        item.protocol = view.protocol
        return OwnIndication(self.core, layer, inbound, item, memory, 0, len(memory), interface, INTERFACES)

    def show(self, seen: Indication) -> bool:
        """Classify an indication, then end the validity of its list; True when it may pass."""
        passed = self.engine.classify(seen)
        assert seen.net_buffer_list is not None
        if seen.net_buffer_list.state == INDICATED:
            self.ownership.retire(seen.net_buffer_list)
        return passed


def _start(where: DataStart, view: IpView) -> int:
    return {
        DataStart.IP_HEADER: view.start,
        DataStart.TRANSPORT_HEADER: view.transport_offset,
        DataStart.PAYLOAD: view.indicated_offset,
        DataStart.INNER_IP_HEADER: view.transport_offset + 8,
    }[where]


def ip(
    version: int, protocol: int, payload: bytes, *, inbound: bool = True, source: bytes = b"", to: bytes = b""
) -> bytes:
    """An IP packet from the remote end to this host, or the other way; checksum 0."""
    ends = (REMOTE[version], LOCAL[version]) if inbound else (LOCAL[version], REMOTE[version])
    source, to = source or ends[0], to or ends[1]
    if version == 4:
        return pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol, 0, source, to) + payload
    return pack("!IHBB16s16s", 6 << 28, len(payload), protocol, 64, source, to) + payload


def udp(
    version: int,
    payload: bytes = b"payload",
    *,
    inbound: bool = True,
    local: int = LOCAL_PORT,
    remote: int = REMOTE_PORT,
    source: bytes = b"",
    to: bytes = b"",
) -> bytes:
    """A UDP datagram in an IP packet; ports as this host sees them."""
    ports = (remote, local) if inbound else (local, remote)
    return ip(version, 17, pack("!HHHH", *ports, 8 + len(payload), 0) + payload, inbound=inbound, source=source, to=to)


def tcp(version: int, payload: bytes = b"payload", *, inbound: bool = True, options: bytes = b"") -> bytes:
    """A TCP segment in an IP packet; options a multiple of 4 octets."""
    ports = (REMOTE_PORT, LOCAL_PORT) if inbound else (LOCAL_PORT, REMOTE_PORT)
    offset = (20 + len(options)) // 4 << 4
    segment = pack("!HHIIBBHHH", *ports, 1, 2, offset, 0x18, 512, 0, 0) + options + payload
    return ip(version, 6, segment, inbound=inbound)


def icmp(version: int, kind: int, code: int, rest: bytes, *, inbound: bool = True) -> bytes:
    """An ICMP message in an IP packet; `rest` begins behind its checksum."""
    return ip(version, 1 if version == 4 else 58, pack("!BBH", kind, code, 0) + rest, inbound=inbound)


def layer(group: str, version: int, *, discard: bool = False) -> Layer:
    return layer_of(group, version, discard=discard)


def of_family(family: AddressFamily) -> int:
    """The IP version of a family."""
    assert family.version is not None
    return family.version


def on_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """A started thread and where its result or exception will be."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def join(thread: threading.Thread) -> None:
    """Wait for a thread to end; a hung one fails the test."""
    thread.join(PATIENCE)
    assert not thread.is_alive()


ALL_TYPES = InjectionType.NETWORK | InjectionType.TRANSPORT | InjectionType.FORWARD | InjectionType.STREAM
