"""Transport sends: the data begins at the transport header, the stack builds the IP header.

The header is made here and the packet sent whole, but one that is larger than its path takes, or has to be
taken apart by the kernel, which then builds the header itself.
Source: TS-1..TS-23; docs/decisions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emulator.checksums import fix_checksums
from emulator.construct import SocketOptions, socket_options
from emulator.errors import InvalidParameter
from emulator.headers import ip_header
from emulator.injection import Injection
from emulator.ntstatus import NtStatus
from emulator.octets import UDP, IpView
from emulator.offload import finished
from emulator.paths.endpoints import Endpoint, Endpoints
from emulator.paths.plans import OUTPUT, POSTROUTING
from emulator.paths.routing import Routing
from emulator.paths.sending import VERSION_OF_FAMILY, PacketSender, needs_scope

if TYPE_CHECKING:
    from emulator.paths.held import Held
    from emulator.paths.packets import PacketPath

DEFAULT_HOP_LIMIT: Final = 64
"""Differs from Windows: 128 there; this is what Linux puts into packets of its own (TS-5)."""
MULTICAST_HOP_LIMIT: Final = 1
_ZONE: Final = 0x0FFFFFFF
"""The part of a SCOPE_ID that is the interface; the four bits above are the level (TS-9)."""


class TransportSender:
    """Sends packets of transport sends; each method returns a status, or None when a hook will tell."""

    def __init__(self, packets: PacketPath, sender: PacketSender, endpoints: Endpoints, routing: Routing) -> None:
        self.packets = packets
        self.core = packets.core
        self.sender = sender
        self.endpoints = endpoints
        self.routing = routing

    def refused(self, injection: Injection) -> NtStatus | None:
        """Why no packet of a transport send can go, or None: asked once, before any goes.

        Source: TS-4, TS-7, TS-10.
        """
        params = injection.send_params
        if params is None:
            return None
        if params.died_early() is not None:
            return NtStatus.INVALID_PARAMETER  # the completion records it
        endpoint = injection.endpoint
        if not endpoint:
            return None
        known = isinstance(endpoint, Endpoint) and self.endpoints.alive(endpoint)
        return None if known else NtStatus.INVALID_PARAMETER

    def send(self, injection: Injection, data: bytes) -> NtStatus | None:
        """Send one packet.  Raises OSError, LabError."""
        params = injection.send_params
        if params is None:
            return self.sender.network(injection, data)
        own = params.header_include_header
        if own:
            return self.sender.network(injection, own + data)
        version = VERSION_OF_FAMILY[injection.family]
        remote = params.remote_address
        endpoint = injection.endpoint if isinstance(injection.endpoint, Endpoint) else None
        protocol = injection.net_buffer_list.protocol or (endpoint.protocol if endpoint is not None else 0)
        interface = self._interface(remote, params.remote_scope_id, endpoint)
        if not protocol or interface is None:
            return NtStatus.INVALID_PARAMETER
        source = self._source(injection, endpoint, remote, interface)
        if source is None:
            return NtStatus.NETWORK_UNREACHABLE
        try:
            options = socket_options(None, params.control_data)
            packet = self._packet(injection, version, source, remote, protocol, data, options)
        except InvalidParameter:
            return NtStatus.INVALID_PARAMETER
        if injection.net_buffer_list.info is not None:
            packet = bytearray(finished(packet))
        view = IpView(packet)
        if protocol == UDP and has_no_checksum(view) and not _meant(injection):
            fix_checksums(packet)
        return self.sender.send(injection, bytes(packet), view, interface=interface, may_cut=True)

    def _interface(self, remote: bytes, scope: int, endpoint: Endpoint | None) -> int | None:
        """The interface a packet has to leave by, 0 for any; None when a link-local address has no scope."""
        bound = endpoint.interface if endpoint is not None else 0
        if needs_scope(remote):
            return (scope & _ZONE) or bound or (None if remote[0] == 0xFE else 0)
        return bound

    def _source(
        self, injection: Injection, endpoint: Endpoint | None, remote: bytes, interface: int
    ) -> bytes | None:
        """Where the packet comes from: what the endpoint is bound to, else the route's choice (TS-5, TS-7)."""
        if endpoint is not None and len(endpoint.local) == len(remote):
            return endpoint.local
        held = captured_outbound(injection)
        if held is not None and held.view.destination == remote and not self.forgets(injection, held):
            return held.view.source
        return self.routing.source(remote, interface)

    def _packet(
        self,
        injection: Injection,
        version: int,
        source: bytes,
        remote: bytes,
        protocol: int,
        data: bytes,
        options: SocketOptions,
    ) -> bytearray:
        """The packet, with the header the stack had given the captured one where there is one."""
        hop_limit, traffic_class = options
        held = captured_outbound(injection)
        template = b""
        if held is not None and held.view.version == version and not self.forgets(injection, held):
            template = held.header
        elif isinstance(injection.endpoint, Endpoint):
            template = injection.endpoint.header
        shown = Endpoint(None, protocol)
        shown.header = template
        if hop_limit is None:
            multicast = remote[0] == 0xFF if version == 6 else 224 <= remote[0] < 240
            hop_limit = shown.hop_limit or (MULTICAST_HOP_LIMIT if multicast else DEFAULT_HOP_LIMIT)
        if traffic_class is None:
            traffic_class = shown.traffic_class or 0
        header = ip_header(
            version, source, remote, protocol, len(data), hop_limit=hop_limit, traffic_class=traffic_class,
            flow_label=int.from_bytes(template[1:4], "big") & 0xFFFFF if version == 6 else 0,
            dont_fragment=(not template or bool(template[6] & 0x40)) and len(data) + 20 <= self._mtu(remote),
        )  # fmt: skip
        return bytearray(header) + data

    def forgets(self, injection: Injection, held: Held) -> bool:
        """Whether the captured packet was sent by a socket whose handle the driver did not pass on.

        What that socket asked for is then lost: the packet gets the stack's defaults.  What the stack itself
        had sent has no handle to pass on, and keeps its header.  Source: TS-4, TS-5.
        """
        if injection.endpoint:
            return False
        header = held.keep_header()
        view = held.seen()
        hop_limit = header[8] if header[0] >> 4 == 4 else header[7]
        plain = hop_limit == DEFAULT_HOP_LIMIT and (header[0] >> 4 != 4 or not header[1])
        if plain and view.source == self.routing.source(view.destination):
            return False  # nothing could be lost
        return self.endpoints.of_packet(view, held.header, False, held.packet.arrival.out_device) is not None

    def _mtu(self, remote: bytes) -> int:
        route = self.routing.find(remote)
        interface = self.packets.interfaces.get(route.interface) if route is not None else None
        return self.routing.mtu(remote, interface)


def captured_outbound(injection: Injection) -> Held | None:
    """The packet that the injected list is a clone of, when that was on its way out of this host."""
    held: Held | None = injection.net_buffer_list.origin
    if held is None or held.packet.arrival.hook not in (OUTPUT, POSTROUTING):
        return None
    return held


def has_no_checksum(view: IpView) -> bool:
    """Whether the checksum field of a UDP packet is zero."""
    at = view.transport_offset + 6
    return view.end - view.transport_offset >= 8 and not view.buffer[at] and not view.buffer[at + 1]


def _meant(injection: Injection) -> bool:
    """Whether the captured packet had no checksum already: its sender does without, and nobody zeroed it."""
    held = captured_outbound(injection)
    return held is not None and not held.edited
