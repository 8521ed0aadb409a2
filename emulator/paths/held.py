"""One packet from a queue while the emulator has it: what holds it, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.octets import IpView

if TYPE_CHECKING:
    from emulator.paths.packets import PacketPath
    from emulator.paths.queue import QueuedPacket


class Held:
    """A queued packet, as origin of the lists over its octets.

    The defaults are those of nearly every packet, kept on the class so that making one is cheap.
    """

    claims = 0
    """Clones and references that keep the packet from being dropped."""
    edited = False
    """True once its octets may differ from what the kernel has."""
    settled = False
    """True once its verdict was given."""
    blocked = False
    """True once it was blocked and waits for what becomes of its clones."""
    absorbed = False
    modified_later = False
    """A callout referenced it to modify it later (NB-11)."""

    def __init__(self, path: PacketPath, packet: QueuedPacket, view: IpView) -> None:
        self.path = path
        self.packet = packet
        self.view = view
        self.header = bytes(packet.payload[:40])
        """The IP header, or its first 40 octets, as it arrived: clones share and may change the octets."""

    def release(self) -> None:
        """The last claim is gone: a blocked packet that nobody injected is dropped now."""
        if self.blocked and not self.settled:
            self.path.released(self)
