"""Indications of packets from the queue: what costs a look-up is looked up when a callout asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.indication import Indication
from emulator.layerids import Layer
from emulator.metadatabits import MetadataField
from emulator.octets import IpView, Malformed
from emulator.paths.held import NOT_ASKED
from emulator.paths.sighted import Sighted
from emulator.wfptypes import ConditionFlag

if TYPE_CHECKING:
    from emulator.interfaces import InterfaceTable
    from emulator.paths.endpoints import Endpoint

_RAW_ENDPOINT = int(ConditionFlag.IS_RAW_ENDPOINT)
_RAW_HEADER = int(MetadataField.IP_HEADER_SIZE | MetadataField.TRANSPORT_HEADER_INCLUDE_HEADER)
_ALE_REQUIRED = int(MetadataField.ALE_CLASSIFY_REQUIRED)
_ICMP_HEADER_SIZE = 8
_ABOUT_ERRORS = frozenset(int(layer) for layer in Layer if "ICMP_ERROR" in layer.name)


class PathIndication(Sighted, Indication):  # type: ignore[override]
    """A packet of the queue, at any layer."""

    __slots__ = ()

    @property
    def interfaces(self) -> InterfaceTable:  # type: ignore[override]
        """The host's interfaces."""
        return self.held.path.course.interfaces

    @property
    def source_interface(self) -> int:  # type: ignore[override]
        """Where a forwarded packet came in; 0 for any other."""
        if self.devices is not None:
            return self.devices[0]
        arrival = self.held.packet.arrival
        return arrival.in_device if arrival.out_device else 0

    @property
    def destination_interface(self) -> int:  # type: ignore[override]
        """Where a forwarded packet is to leave; 0 for any other."""
        return leaves_by(self)


class IpIndication(PathIndication):
    """A packet at an IP-packet layer."""

    __slots__ = ()

    @property
    def fragment(self) -> tuple[int, int, int] | None:  # type: ignore[override]
        """(identification, offset in octets, 1 when more follow); None for a whole packet.  Source: LA-22."""
        view = self.view
        if not view.is_fragment:
            return None
        return view.identification, view.fragment_offset, int(view.more_fragments)

    @property
    def path_mtu(self) -> int:  # type: ignore[override]
        """The largest packet that leaves whole for this destination, octets; 0 for an incoming one.

        Source: MD-12.
        """
        if self.inbound:
            return 0
        return self.held.path.course.path_mtu(self.view.destination, self.interface)


class EndpointIndication(PathIndication):
    """A packet at a layer where its socket counts."""

    __slots__ = ()

    @property
    def endpoint(self) -> Endpoint | None:
        """The socket it belongs to: the endpoint handle itself.  None for one that the stack made (TS-4, MD-7)."""
        return endpoint_of(self)

    @property
    def raw_sender(self) -> bool:
        """The packet was sent with an IP header of the sender's: by a raw socket, or by an injection (NS-10)."""
        if self.inbound:
            return False
        found = self.endpoint
        if found is not None:
            return found.header_included
        item = self.net_buffer_list
        return item is not None and bool(item.history)

    @property
    def condition_flags(self) -> int:  # type: ignore[override]
        """The layer's FLAGS field, as a number.  Source: LA-37."""
        found = self.endpoint
        return self.layer_flags | _RAW_ENDPOINT if found is not None and found.is_raw else self.layer_flags

    @property
    def metadata_bits(self) -> int:  # type: ignore[override]
        """Metadata members that only this kind of packet has.  Source: MD-2, MD-9, TR-8."""
        if self.inbound:
            return _ALE_REQUIRED if self.held.authorisation_due else 0
        return _RAW_HEADER if self.raw_sender else 0


def leaves_by(seen: PathIndication) -> int:
    """The device by which a forwarded packet is to leave; 0 for any other."""
    if seen.devices is not None:
        return seen.devices[1]
    arrival = seen.held.packet.arrival
    return arrival.out_device if arrival.in_device else 0


def endpoint_of(seen: PathIndication) -> Endpoint | None:
    """The socket that the packet of an indication belongs to, looked for once; it learns what header it sends."""
    held = seen.held
    found: Endpoint | None = held.endpoint
    if found is NOT_ASKED:
        found = held.endpoint = find_endpoint(seen)
    if found is not None and not seen.inbound and not held.edited:
        found.header = held.keep_header()
    return found


def find_endpoint(seen: PathIndication) -> Endpoint | None:
    """The socket that the packet of an indication belongs to."""
    held = seen.held
    view, endpoints = held.seen(), held.path.course.endpoints
    if seen.layer in _ABOUT_ERRORS:
        try:
            error = IpView(view.buffer, view.transport_offset + _ICMP_HEADER_SIZE, view.end)
        except Malformed:
            pass
        else:  # it belongs to the sender of the packet it is about
            octets = bytes(error.buffer[error.start : error.start + 44])
            return endpoints.of_packet(error, octets, not seen.inbound, 0)
    return endpoints.find(held.key(), view, seen.inbound, seen.interface)
