"""Forward injections: packets on their way through the host, out of a named interface, unseen by any layer.

Source: FW-1..FW-13; docs/decisions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

from emulator.checksums import fix_checksums, ipv4_header_checksum, ipv4_header_checksum_ok
from emulator.errors import InvalidParameter
from emulator.fragments import CannotFragment, fragment
from emulator.headers import build_ip_header
from emulator.injection import Injection
from emulator.interfaces import Interface
from emulator.ledger import EXEMPT_MAGIC, ID_MASK
from emulator.netbuffer import REASSEMBLED
from emulator.ntstatus import NtStatus
from emulator.octets import ICMP, ICMPV6, IpView, flaw
from emulator.paths.network import NetworkInjector
from emulator.paths.rawsockets import RawSockets
from emulator.paths.routing import Routing
from emulator.paths.sending import VERSION_OF_FAMILY, PacketSender

if TYPE_CHECKING:
    from emulator.paths.held import Held
    from emulator.paths.packets import PacketPath

EXEMPT_MARK: Final = EXEMPT_MAGIC << 24
_QUOTED_V4: Final = 548
"""Octets of a packet that an ICMP error may quote (RFC 1812): 576 less its own headers."""
_QUOTED_V6: Final = 1280 - 48
_HOP_LIMIT: Final = 64


class ForwardSender:
    """Sends packets of forward injections."""

    def __init__(
        self, packets: PacketPath, sender: PacketSender, sockets: NetworkInjector, raw: RawSockets, routing: Routing
    ) -> None:
        self.packets = packets
        self.sender = sender
        self.sockets = sockets
        self.raw = raw
        self.routing = routing

    def send(self, injection: Injection, octets: bytes) -> NtStatus:
        """Send one packet out of the injection's interface; its status.  Raises OSError, LabError."""
        version = VERSION_OF_FAMILY[injection.family]
        interface = self.packets.interfaces.get(injection.interface)
        if interface is None or interface.loopback or flaw(octets, version) is not None:
            return NtStatus.INVALID_PARAMETER
        held: Held | None = injection.net_buffer_list.origin
        view = IpView(octets)
        if (held is not None and held.passes_through) or self.packets.interfaces.is_local(view.destination):
            return NtStatus.INVALID_PARAMETER  # not a packet on its way through this host (FW-7)
        octets = octets[: view.total_length]
        mtu = self.routing.mtu(view.destination, interface)
        if len(octets) <= mtu:
            self._put(octets, view, interface)
            return NtStatus.SUCCESS
        return self._too_big(injection, octets, view, interface, mtu)

    def _put(self, octets: bytes, view: IpView, interface: Interface) -> None:
        mark = EXEMPT_MARK
        if view.version == 4 and (not ipv4_header_checksum_ok(view) or view.identification == 0):
            # A raw socket would repair the checksum, where the next router is to drop the packet (FW-13), and
            # give an identification to each fragment of a packet that has none.
            self.sender.need_exact(4)
            mark = self.packets.ledger.mark(())
            self.packets.exact[mark & ID_MASK] = octets
            self.packets.unseen.add(mark & ID_MASK)
        self.raw.send_by(octets, mark, interface.index)

    def _too_big(
        self, injection: Injection, octets: bytes, view: IpView, interface: Interface, mtu: int
    ) -> NtStatus:
        """Cut what may be cut, else tell the sender: as a router does (FW-12)."""
        again = injection.net_buffer_list.kind == REASSEMBLED  # it came in pieces and goes on in pieces (FW-4)
        if view.version == 4 or again:
            try:
                for piece in fragment(_identified(octets), mtu):
                    self.raw.send_by(piece, EXEMPT_MARK, interface.index)
            except CannotFragment:
                pass
            else:
                return NtStatus.SUCCESS
        self._tell(view, mtu)
        return NtStatus.INVALID_BUFFER_SIZE

    def _tell(self, view: IpView, mtu: int) -> None:
        """Send an ICMP error to the sender of a packet that does not fit."""
        packet = too_big(view, mtu, self.routing.source(view.source))
        if packet is not None:
            self.sockets.send(packet, 0)


def _identified(octets: bytes) -> bytes:
    """A packet that may be cut: IPv4 packets with identification 0 get one, as the kernel would give them."""
    if octets[0] >> 4 == 6 or octets[4:6] != b"\0\0":
        return octets
    packet = bytearray(octets)
    packet[4:6] = (crc32(octets) & 0xFFFF or 1).to_bytes(2, "big")
    packet[10:12] = ipv4_header_checksum(IpView(packet)).to_bytes(2, "big")
    return bytes(packet)


def too_big(view: IpView, mtu: int, own: bytes | None) -> bytes | None:
    """The ICMP error "fragmentation needed" or "packet too big" about a packet, from our address `own`.

    None where none may be sent: nobody to send it from or to, about an ICMP error, about a later fragment.
    """
    if own is None or view.fragment_offset or (view.is_icmp and (view.icmp_type or 0) not in (0, 8, 128, 129)):
        return None
    start = view.start
    if view.version == 4:
        kind, quoted, numbers = b"\x03\x04", _QUOTED_V4, b"\0\0" + min(mtu, 0xFFFF).to_bytes(2, "big")
    else:
        kind, quoted, numbers = b"\x02\x00", _QUOTED_V6, mtu.to_bytes(4, "big")
    message = kind + b"\0\0" + numbers + bytes(view.buffer[start : min(view.end, start + quoted)])
    try:
        packet = bytearray(
            build_ip_header(
                view.version, own, view.source, ICMP if view.version == 4 else ICMPV6, message, hop_limit=_HOP_LIMIT
            )
        )
    except InvalidParameter:
        return None
    fix_checksums(packet)
    return bytes(packet)
