"""Performing accepted injections: by the verdict of the packet that is held, or by a socket of ours.

The choice is not observable but in speed: on both ways the same layers see the packet again, and the list is
completed with the same status.  Everything here runs on the host's I/O thread.
Source: GE-10..GE-12, NS, NR, CF-9, OR-7; docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.checksums import ipv4_header_checksum_ok
from emulator.fragments import fragment
from emulator.injection import FORWARD, NETWORK_RECEIVE, NETWORK_SEND, TRANSPORT_RECEIVE, TRANSPORT_SEND, Injection
from emulator.interfaces import SUB_INTERFACE, AddressType
from emulator.ledger import EXEMPT_MAGIC, ID_MASK
from emulator.netbuffer import STACK
from emulator.ntstatus import NtStatus
from emulator.octets import IpView, flaw
from emulator.paths.held import Held
from emulator.paths.network import NetworkInjector
from emulator.paths.plans import INPUT, OUTPUT, POSTROUTING, PREROUTING, REENTRY, VERDICT_HOOK, kind_of
from emulator.paths.statuses import status_of
from netns.errors import LabError

if TYPE_CHECKING:
    from emulator.paths.packets import PacketPath

_VERSION = {2: 4, 23: 6}
_SUCCESS = NtStatus.SUCCESS
_LOOPBACK_FLAG = 1


class Injector:
    """Performs the injections of one host and tells `completed` what became of every packet of them."""

    def __init__(
        self, packets: PacketPath, sockets: NetworkInjector, completed: Callable[[Injection, NtStatus], None]
    ) -> None:
        self.packets = packets
        self.core = packets.core
        self.ledger = packets.ledger
        self.sockets = sockets
        self.completed = completed
        self.waiting: Callable[[Injection], None] = lambda injection: None
        """Told of an injection that was sent and is complete only when a hook has seen it."""
        self.need_exact: Callable[[int], None] = lambda version: None
        """Asked to watch the last hook of a version for packets that must leave octet for octet."""

    def perform(self, injection: Injection) -> None:
        """Bring an accepted injection on its way."""
        held = injection.net_buffer_list.origin
        if held is not None and held.blocked and not held.settled and self._by_verdict(injection, held):
            return
        injection.packets_left = 0
        packets = injection.net_buffer_list.packets()
        injection.packets_left = len(packets)
        self.packets.books.injections.by_injector += 1
        for octets in packets:
            status = self._send_one(injection, octets)
            if status is not None:
                self.completed(injection, status)

    # -- by the verdict of a held packet ----------------------------------------------------------------

    def _by_verdict(self, injection: Injection, held: Held) -> bool:
        """Let the held packet go on as the injected one; False when that would not be the same."""
        function = injection.function
        item = injection.net_buffer_list
        packet = held.packet
        if packet.arrival.hook != VERDICT_HOOK[function] or not item.flat or item.memory is not packet.payload:
            return False
        view = held.view
        if item.end != view.end or not self._same_way(injection, held):
            return False
        if held.edited:
            if flaw(packet.payload, _VERSION[injection.family]) is not None:
                return False
            view = IpView(packet.payload)
        injection.packets_left = 1
        books = self.packets.books.injections
        books.by_verdict += 1
        if function == FORWARD:
            self.packets.reinjected(held, packet.payload if held.edited else None, EXEMPT_MAGIC << 24)
            self.completed(injection, _SUCCESS)
            return True
        self._reenter(injection, held, view)
        return True

    def _same_way(self, injection: Injection, held: Held) -> bool:
        """True when the kernel would treat the held packet as what is injected: same start, same route."""
        function = injection.function
        item = injection.net_buffer_list
        arrival = held.packet.arrival
        payload, header = held.packet.payload, held.header
        start = held.view.transport_offset if injection.send_params is not None else 0
        if item.start != start or arrival.gso:
            return False
        if function == TRANSPORT_SEND:
            params = injection.send_params
            return params is None or params.remote_address == held.view.destination
        if function in (NETWORK_RECEIVE, TRANSPORT_RECEIVE):
            if injection.interface != arrival.in_device or injection.sub_interface != SUB_INTERFACE:
                return False
            if injection.interface == self.packets.loopback_index:
                return False  # NR-9: what came by loopback is not received again
            if held.edited and not self._arrives_well(payload):
                return False
            return function == NETWORK_RECEIVE or not held.edited or _destination(payload) == _destination(header)
        if function == FORWARD and injection.interface != arrival.out_device:
            return False
        return not held.edited or _destination(payload) == _destination(header)

    def _arrives_well(self, payload: bytearray) -> bool:
        return payload[0] >> 4 != 4 or ipv4_header_checksum_ok(IpView(payload))

    def _reenter(self, injection: Injection, held: Held, view: IpView) -> None:
        """Show the injected packet at the layers it passes again, up to the hook it is held at (GE-10)."""
        packets = self.packets
        here = held.packet.arrival.hook
        arrival = held.packet.arrival
        interface = arrival.in_device or arrival.out_device
        flags = _LOOPBACK_FLAG if interface == packets.loopback_index else 0
        history = injection.history
        for hook in REENTRY[injection.function]:
            kind = 0 if hook in (PREROUTING, POSTROUTING) else kind_of(view)
            for step in packets.plans[hook, view.version, kind]:
                seen = packets.indicate(step, held, view, history, interface, flags)
                if seen is not None:
                    self._stopped_again(injection, held, seen.absorbed)
                    return
            if hook == here:
                break
        final = packets.is_last(here, view)
        mark = self.ledger.mark(history, None if final else injection)
        packets.reinjected(held, held.packet.payload if held.edited else None, mark)
        if final:
            self.completed(injection, _SUCCESS)
        else:
            self.waiting(injection)

    def _stopped_again(self, injection: Injection, held: Held, absorbed: bool) -> None:
        """A callout blocked the re-indication: its own clone may still go on with the held packet (CF-9)."""
        held.absorbed = absorbed
        self.completed(injection, _SUCCESS if absorbed else NtStatus.DATA_NOT_ACCEPTED)
        if not held.claims:
            held.release()

    # -- by a socket of ours ----------------------------------------------------------------------------

    def _send_one(self, injection: Injection, octets: bytes) -> NtStatus | None:
        """Send one packet; its status when that is known at once, None when a hook will tell."""
        function = injection.function
        try:
            if function == NETWORK_SEND:
                return self._network_send(injection, octets)
            if function == NETWORK_RECEIVE:
                return self._receive(injection, octets)
            if function == TRANSPORT_RECEIVE:
                return self._receive(injection, octets)
            return NtStatus.NOT_SUPPORTED
        except OSError as error:
            return status_of(error)
        except LabError as error:
            self.core.lab_failed(f"{injection!r}", error)
            return NtStatus.UNSUCCESSFUL

    def _network_send(self, injection: Injection, octets: bytes) -> NtStatus | None:
        version = _VERSION[injection.family]
        if flaw(octets, version) is not None:
            return NtStatus.INVALID_PARAMETER
        view = IpView(octets)
        octets = octets[: view.total_length]
        status = self._source_refused(view)
        if status is not None:
            return status
        exact = version == 4 and (
            not ipv4_header_checksum_ok(view) or (injection.preserve_id and view.identification == 0)
        )
        if exact:
            self.need_exact(version)
        met = [hook for hook in (OUTPUT, POSTROUTING) if (hook, version) in self.packets.hooks]
        mark = self.ledger.mark(injection.history, injection if met else None)
        if exact:
            self.packets.exact[mark & ID_MASK] = octets
        scope = self._scope(injection, view.destination)
        try:
            self.sockets.send(octets, mark, interface=scope)
        except OSError as error:
            if status_of(error) != NtStatus.INVALID_BUFFER_SIZE or not self._from_stack(injection):
                self.packets.exact.pop(mark & ID_MASK, None)
                self.ledger.settle(mark)
                return status_of(error)
            return self._send_fragments(octets, mark)
        if met:
            self.waiting(injection)
            return None
        return _SUCCESS

    def _source_refused(self, view: IpView) -> NtStatus | None:
        source, destination = view.source, view.destination
        kind = self.packets.interfaces.address_type(source)
        if kind in (AddressType.MULTICAST, AddressType.BROADCAST):
            return NtStatus.DATA_NOT_ACCEPTED
        if view.version == 4 and destination[0] == 127 and source[0] != 127:
            return NtStatus.BAD_NETWORK_NAME
        return None

    def _scope(self, injection: Injection, destination: bytes) -> int:
        """The interface of a link-local IPv6 destination: there is only what the held packet tells."""
        if len(destination) == 16 and (destination[0] == 0xFF or destination[:2] == b"\xfe\x80"):
            held = injection.net_buffer_list.origin
            if held is not None:
                return int(held.packet.arrival.out_device)
            uplink = next((item for item in self.packets.interfaces if not item.loopback), None)
            return uplink.index if uplink is not None else 0
        return 0

    def _from_stack(self, injection: Injection) -> bool:
        parent = injection.net_buffer_list.parent
        return parent is not None and parent.kind == STACK

    def _send_fragments(self, octets: bytes, mark: int) -> NtStatus | None:
        """A packet the stack itself had made larger than the path takes is cut for it (NS-13)."""
        mtu = min((item.mtu for item in self.packets.interfaces if not item.loopback), default=1500)
        for piece in fragment(octets, mtu):
            self.sockets.send(piece, mark)
        record = self.ledger.record(mark)
        return None if record is not None and record.injection is not None else _SUCCESS

    def _receive(self, injection: Injection, octets: bytes) -> NtStatus | None:
        version = _VERSION[injection.family]
        interface = self.packets.interfaces.get(injection.interface)
        if interface is None or injection.sub_interface != SUB_INTERFACE:
            return NtStatus.INVALID_PARAMETER
        if flaw(octets, version) is not None:
            return NtStatus.INVALID_PARAMETER
        view = IpView(octets)
        octets = octets[: view.total_length]
        if interface.loopback or self.packets.interfaces.is_local(view.source) or self._zone_crossing(view):
            return NtStatus.DATA_NOT_ACCEPTED
        if version == 4 and not ipv4_header_checksum_ok(view):
            return NtStatus.DATA_NOT_ACCEPTED
        hooks = self.packets.hooks
        met = (PREROUTING, version) in hooks
        if not met and not view.is_fragment and self.packets.interfaces.is_local(view.destination):
            met = (INPUT, version) in hooks
        mark = self.ledger.mark(injection.history, injection if met else None)
        self.sockets.arrive(octets, mark, interface)
        if met:
            self.waiting(injection)
            return None
        return _SUCCESS

    def _zone_crossing(self, view: IpView) -> bool:
        """Loopback addresses may not come in by another interface (NR-9)."""
        if view.version == 4:
            return view.destination[0] == 127 or view.source[0] == 127
        return view.destination == _LOOPBACK6 or view.source == _LOOPBACK6


_LOOPBACK6 = b"\0" * 15 + b"\1"


def _destination(header: bytes | bytearray) -> bytes:
    """The destination address of a packet's octets, network order."""
    return bytes(header[16:20] if header[0] >> 4 == 4 else header[24:40])
