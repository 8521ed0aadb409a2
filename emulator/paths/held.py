"""One packet from a queue while the emulator has it: what holds it, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from emulator.octets import IpView
from emulator.offload import finished

if TYPE_CHECKING:
    from emulator.flows import Flow
    from emulator.netbuffer import ChecksumInfo
    from emulator.paths.packets import PacketPath
    from emulator.paths.queue import QueuedPacket

HEADER_OCTETS: Final = 44
"""An IPv6 header and the ports behind it; an IPv4 header with ports is shorter."""
NOT_ASKED: Final[Any] = object()
"""The endpoint of a packet for which nobody wanted to know it yet."""


class Held:
    """A queued packet, as origin of the lists over its octets.

    The defaults are those of nearly every packet, kept on the class so that making one is cheap.
    """

    claims = 0
    """Clones and references that keep the packet from being dropped."""
    info: ChecksumInfo | None = None
    """What the network card is to finish, where that is played (GE-17)."""
    edited = False
    """True once its octets may differ from what the kernel has."""
    settled = False
    """True once its verdict was given."""
    blocked = False
    """True once it was blocked and waits for what becomes of its clones."""
    absorbed = False
    modified_later = False
    """A callout referenced it to modify it later (NB-11)."""
    flow: Flow | None = None
    endpoint: Any = NOT_ASKED
    authorisation_due = False
    """It is shown at INBOUND_TRANSPORT with ALE_CLASSIFY_REQUIRED, or was blocked there (TR-8)."""
    passes_through = False
    """It came for an address of another interface, or left from one: weak-host traffic (FW-7)."""

    known_view: IpView | None = None
    known_header: bytes | None = None

    def __init__(self, path: PacketPath, packet: QueuedPacket, version: int) -> None:
        """`version` is the packet's when it came: its octets may be changed."""
        self.path = path
        self.packet = packet
        self.version = version

    @property
    def view(self) -> IpView:
        """Its headers, parsed once somebody wants to know."""
        view = self.known_view
        if view is None:
            view = self.known_view = IpView(self.packet.payload)
        return view

    @property
    def header(self) -> bytes:
        """Its first 44 octets as they arrived; asked for before anybody gets a list, who may change them."""
        header = self.known_header
        if header is None:
            header = self.known_header = bytes(self.packet.payload[:HEADER_OCTETS])
        return header

    def changed_octets(self) -> bytes | bytearray | None:
        """Its octets as they leave, when they may differ from what the kernel has; else None."""
        if not self.edited:
            return None
        return self.packet.payload if self.info is None else finished(self.packet.payload)

    def first_octets(self) -> bytes:
        """The first 44 octets as they are now."""
        return bytes(self.packet.payload[:HEADER_OCTETS]) if self.edited else self.header

    def has_first_header(self) -> bool:
        """Whether its IP header is the one that it arrived with; False also where that is not known any more."""
        size = self.view.header_size
        return size <= HEADER_OCTETS and self.packet.payload.startswith(self.header[:size])

    def first_destination(self) -> bytes:
        """The destination address that it arrived with, network order."""
        header = self.header
        return header[16:20] if header[0] >> 4 == 4 else header[24:40]

    def release(self) -> None:
        """The last claim is gone: a blocked packet that nobody injected is dropped now."""
        if self.blocked and not self.settled:
            self.path.released(self)
