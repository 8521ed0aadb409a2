"""One packet from a queue while the emulator has it: what holds it, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from emulator import spans
from emulator.defaults import set_defaults
from emulator.flowtracking import WireKey, wire_key
from emulator.octets import IpView, view_of
from emulator.offload import finished
from emulator.origin import Origin

if TYPE_CHECKING:
    from emulator.flows import Flow
    from emulator.netbuffer import ChecksumInfo
    from emulator.paths.packets import PacketPath
    from emulator.paths.queued import QueuedPacket

HEADER_OCTETS: Final = 44
"""An IPv6 header and the ports behind it; an IPv4 header with ports is shorter."""
NOT_ASKED: Final[Any] = object()
"""The endpoint of a packet for which nobody wanted to know it yet."""


class Held(Origin):
    """A queued packet, as origin of the lists over its octets."""

    path: PacketPath
    packet: QueuedPacket
    version: int
    """4 or 6, as it came: its octets may be changed."""
    info: ChecksumInfo | None
    """What the network card is to finish, where that is played (GE-17)."""
    settled: bool
    """True once its verdict was given."""
    blocked: bool
    """True once it was blocked and waits for what becomes of its clones."""
    absorbed: bool
    flow: Flow | None
    endpoint: Any
    authorisation_due: bool
    """It is shown at INBOUND_TRANSPORT with ALE_CLASSIFY_REQUIRED, or was blocked there (TR-8)."""
    passes_through: bool
    """It came for an address of another interface, or left from one: weak-host traffic (FW-7)."""
    known_view: IpView | None
    known_header: bytes | None
    known_key: WireKey | None
    """Of that header."""

    def __init__(self, path: PacketPath, packet: QueuedPacket, version: int) -> None:
        self.path = path
        self.packet = packet
        self.version = version
        self.endpoint = NOT_ASKED

    def seen(self) -> IpView:
        """Its headers, parsed once somebody wants to know."""
        view = self.known_view
        if view is None:
            view = self.known_view = view_of(self.packet.payload)
        return view

    @property
    def view(self) -> IpView:
        """The same."""
        return self.seen()

    def keep_header(self) -> bytes:
        """Its first 44 octets as they arrived; called before anybody gets a list, who may change them."""
        header = self.known_header
        if header is None:
            header = self.known_header = spans.span(self.packet.payload, 0, HEADER_OCTETS)
        return header

    @property
    def header(self) -> bytes:
        """The same."""
        return self.keep_header()

    def changed_octets(self) -> bytes | bytearray | None:
        """Its octets as they leave, when they may differ from what the kernel has; else None."""
        if not self.edited:
            return None
        return self.packet.payload if self.info is None else finished(self.packet.payload)

    def first_octets(self) -> bytes:
        """The first 44 octets as they are now."""
        if self.edited and not spans.alike(self.packet.payload, 0, self.keep_header()):
            return spans.span(self.packet.payload, 0, HEADER_OCTETS)
        return self.keep_header()

    def key(self) -> WireKey:
        """What it has in common with the packets of its flow that go the same way."""
        header = self.first_octets()
        if header is not self.known_header:
            return wire_key(self.seen(), header)
        key = self.known_key
        if key is None:
            key = self.known_key = wire_key(self.seen(), header)
        return key

    def has_first_header(self) -> bool:
        """Whether its IP header is the one that it arrived with; False also where that is not known any more."""
        size = self.seen().header_size
        return size <= HEADER_OCTETS and spans.begins(self.packet.payload, self.keep_header(), size)

    def first_destination(self) -> bytes:
        """The destination address that it arrived with, network order."""
        header = self.keep_header()
        return header[16:20] if header[0] >> 4 == 4 else header[24:40]

    def release(self) -> None:
        """The last claim is gone: a blocked packet that nobody injected is dropped now."""
        if self.blocked and not self.settled:
            self.path.released(self)


def hold(path: PacketPath, packet: QueuedPacket, version: int) -> Held:
    """The same as calling the class."""
    held = Held.__new__(Held)
    held.path = path
    held.packet = packet
    held.version = version
    held.endpoint = NOT_ASKED
    return held


set_defaults(
    Held,
    info=None, settled=False, blocked=False, absorbed=False, flow=None, authorisation_due=False, passes_through=False,
    known_view=None, known_header=None, known_key=None,
)  # fmt: skip
