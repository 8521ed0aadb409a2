"""Letting whole packets arrive on an interface of the host.

Source: NR-1..NR-16, TR-1..TR-14; docs/decisions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.checksums import ipv4_header_checksum_ok
from emulator.injection import Injection
from emulator.interfaces import SUB_INTERFACE
from emulator.ledger import ID_MASK
from emulator.ntstatus import NtStatus
from emulator.octets import IpView, flaw
from emulator.paths.network import NetworkInjector
from emulator.paths.plans import INPUT, PREROUTING
from emulator.paths.sending import VERSION_OF_FAMILY

if TYPE_CHECKING:
    from emulator.paths.packets import PacketPath

_LOOPBACK6 = b"\0" * 15 + b"\1"


class PacketReceiver:
    """Lets packets of receive injections arrive."""

    def __init__(self, packets: PacketPath, sockets: NetworkInjector) -> None:
        self.packets = packets
        self.ledger = packets.ledger
        self.sockets = sockets

    def receive(self, injection: Injection, octets: bytes) -> NtStatus | None:
        """Let one packet arrive; its status, or None when a hook will tell.  Raises OSError, LabError."""
        version = VERSION_OF_FAMILY[injection.family]
        interface = self.packets.interfaces.get(injection.interface)
        if interface is None or injection.sub_interface != SUB_INTERFACE or flaw(octets, version) is not None:
            return NtStatus.INVALID_PARAMETER
        view = IpView(octets)
        octets = octets[: view.total_length]
        refused = self.refused(view, interface.loopback)
        if refused is not None:
            return refused
        hooks = self.packets.hooks
        met = (PREROUTING, version) in hooks
        if not met and not view.is_fragment and self.packets.interfaces.is_local(view.destination):
            met = (INPUT, version) in hooks
        mark = self.ledger.mark(injection.history, injection if met else None)
        self.packets.last_record = mark & ID_MASK
        self.sockets.arrive(octets, mark, interface)
        return None if met else NtStatus.SUCCESS

    def refused(self, view: IpView, loopback: bool) -> NtStatus | None:
        """Why a packet cannot arrive on an interface that is, or is not, loopback; None when it can."""
        if loopback or self.packets.interfaces.is_local(view.source) or _zone_crossing(view):
            return NtStatus.DATA_NOT_ACCEPTED
        if view.version == 4 and not ipv4_header_checksum_ok(view):
            return NtStatus.DATA_NOT_ACCEPTED
        return None


def _zone_crossing(view: IpView) -> bool:
    """Loopback addresses may not come in by another interface (NR-9)."""
    if view.version == 4:
        return view.destination[0] == 127 or view.source[0] == 127
    return view.destination == _LOOPBACK6 or view.source == _LOOPBACK6
