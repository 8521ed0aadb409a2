"""Sending whole packets, IP header included, on the send path of the host.

Source: NS-1..NS-21; docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from emulator.checksums import ipv4_header_checksum_ok, transport_checksum_ok
from emulator.injection import Injection
from emulator.interfaces import AddressType
from emulator.ledger import ID_MASK
from emulator.netbuffer import STACK
from emulator.ntstatus import NtStatus
from emulator.octets import ICMPV6, IpView, flaw
from emulator.paths.network import NetworkInjector
from emulator.paths.plans import OUTPUT, POSTROUTING
from emulator.paths.rawsockets import RawSockets
from emulator.paths.statuses import status_of

if TYPE_CHECKING:
    from emulator.paths.packets import PacketPath

VERSION_OF_FAMILY: Final = {2: 4, 23: 6}
"""IP version by the address family's Windows number."""


class PacketSender:
    """Sends whole packets of injections; each method returns a status, or None when a hook will tell."""

    def __init__(self, packets: PacketPath, sockets: NetworkInjector, raw: RawSockets) -> None:
        self.packets = packets
        self.ledger = packets.ledger
        self.sockets = sockets
        self.raw = raw
        self.need_exact: Callable[[int], None] = lambda version: None
        """Asked to watch the last hook of a version for packets that must leave octet for octet."""

    def network(self, injection: Injection, octets: bytes) -> NtStatus | None:
        """Send one packet of a network send.  Raises OSError, LabError."""
        version = VERSION_OF_FAMILY[injection.family]
        if flaw(octets, version) is not None:
            return NtStatus.INVALID_PARAMETER
        view = IpView(octets)
        octets = octets[: view.total_length]
        scope = self._scope(injection, view.destination)
        return self.send(injection, octets, view, interface=scope, may_cut=self._from_stack(injection))

    def send(
        self, injection: Injection, octets: bytes, view: IpView, *, interface: int = 0, may_cut: bool = False
    ) -> NtStatus | None:
        """Send one whole packet by its destination, or out of `interface` when that is not 0.

        With `may_cut`, one that is larger than its path takes is cut by the kernel, after all layers.
        Raises OSError, LabError.
        """
        version = view.version
        refused = self.source_refused(view)
        if refused is not None:
            return refused
        exact = version == 4 and (
            not ipv4_header_checksum_ok(view)
            or (view.identification == 0 and (injection.preserve_id or view.is_fragment))
        )
        if exact:
            self.need_exact(version)
        mark, met = self.mark(injection, version)
        if exact:
            self.packets.exact[mark & ID_MASK] = octets
        try:
            self._put(octets, view, mark, interface, may_cut)
        except OSError as error:
            self.packets.exact.pop(mark & ID_MASK, None)
            self.ledger.settle(mark)
            return status_of(error)
        return None if met else NtStatus.SUCCESS

    def _put(self, octets: bytes, view: IpView, mark: int, interface: int, may_cut: bool) -> None:
        try:
            self.sockets.send(octets, mark, interface=interface)
        except OSError as error:
            too_big = status_of(error) == NtStatus.INVALID_BUFFER_SIZE
            if not too_big or not may_cut or not self._as_the_kernel_would(view):
                raise
            self.raw.send_headerless(view, mark, interface=interface)

    def _as_the_kernel_would(self, view: IpView) -> bool:
        """Whether the kernel, building the header itself, would send these octets: it has to, to cut them."""
        if view.version == 4:
            return view.header_size == 20 and not view.dont_fragment
        # The kernel always computes the checksum of ICMPv6 (TS-20).
        return view.header_size == 40 and (view.protocol != ICMPV6 or transport_checksum_ok(view) is True)

    def mark(self, injection: Injection, version: int) -> tuple[int, bool]:
        """A mark for a packet of an injection, and whether a hook will see the packet and complete it."""
        hooks = self.packets.hooks
        met = (OUTPUT, version) in hooks or (POSTROUTING, version) in hooks
        mark = self.ledger.mark(injection.history, injection if met else None)
        self.packets.last_record = mark & ID_MASK
        return mark, met

    def source_refused(self, view: IpView) -> NtStatus | None:
        source, destination = view.source, view.destination
        kind = self.packets.interfaces.address_type(source)
        if kind in (AddressType.MULTICAST, AddressType.BROADCAST):
            return NtStatus.DATA_NOT_ACCEPTED
        if view.version == 4 and destination[0] == 127 and source[0] != 127:
            return NtStatus.BAD_NETWORK_NAME
        return None

    def _scope(self, injection: Injection, destination: bytes) -> int:
        """The interface of a link-local IPv6 destination: there is only what the held packet tells."""
        if not needs_scope(destination):
            return 0
        held = injection.net_buffer_list.origin
        if held is not None and held.packet.arrival.out_device:
            return int(held.packet.arrival.out_device)
        uplink = next((item for item in self.packets.interfaces if not item.loopback), None)
        return uplink.index if uplink is not None else 0

    def _from_stack(self, injection: Injection) -> bool:
        """Whether the stack itself had made the packet as large as it is (NS-13)."""
        parent = injection.net_buffer_list.parent
        return parent is not None and parent.kind == STACK


def needs_scope(address: bytes) -> bool:
    """Whether an address means nothing without an interface: IPv6 link-local, or multicast."""
    return len(address) == 16 and (address[0] == 0xFF or (address[0] == 0xFE and address[1] & 0xC0 == 0x80))
