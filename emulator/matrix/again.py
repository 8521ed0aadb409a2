"""The callout of S4 to S7: blocks what it is shown, and injects a clone, a new list or an edited packet by a trigger.

What is at which place at which layer, and which call takes it back, is that of the sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.interfaces import SUB_INTERFACE
from emulator.matrix.rows import EDITED, NEW
from emulator.matrix.triggers import Trigger
from emulator.netbuffer import NetBufferList
from emulator.octets import TCP, IpView
from emulator.rewrite import with_ends, with_payload
from emulator.wfptypes import AddressFamily, InjectionType
from emulator.wfptypes import MetadataField as M

ALL_TYPES = InjectionType.NETWORK | InjectionType.TRANSPORT | InjectionType.FORWARD
EXTRA = b"+extra octets+"
"""What S5 puts behind the payload of a datagram; a TCP segment stays as long as it is."""
_SMALLEST = {4: 20 + 8, 6: 40 + 8}
"""Sizes of the headers where the layer does not tell them, as the sample assumes them."""

Call = Callable[[], None]


@dataclass(frozen=True)
class Edit:
    """What S6 changes; None leaves it as it is."""

    source: str | None = None
    destination: str | None = None
    source_port: int | None = None
    destination_port: int | None = None

    def of(self, packet: bytes) -> bytes:
        """A changed copy of a whole packet; ICMP has no ports."""
        if IpView(packet).is_icmp:
            return with_ends(packet, source=self.source, destination=self.destination)
        return with_ends(
            packet,
            source=self.source,
            destination=self.destination,
            source_port=self.source_port,
            destination_port=self.destination_port,
        )


class Again(Callout):
    """Takes the packets that `wanted` chooses, and injects each once; everything else may pass."""

    def __init__(
        self,
        driver: Driver,
        family: AddressFamily,
        trigger: Trigger,
        source: str,
        *,
        wanted: Callable[[IpView], bool],
        edit: Edit,
    ) -> None:
        self.driver = driver
        self.family = family
        self.trigger = trigger
        self.source = source
        self.wanted = wanted
        self.edit = edit
        self.handle = driver.create_handle(family, ALL_TYPES)
        self.withhold = False
        """Block and inject nothing: shows that it is the injected packet that arrives."""
        self.taken = {True: 0, False: 0}
        """Packets that were blocked, by whether they were incoming."""
        self.again = 0
        """Injected packets that were shown again, and known by their state."""
        self.injected = 0

    def classify(self, seen: Indication) -> None:
        item = seen.net_buffer_list
        if item is None or not seen.may_decide or not self.wanted(seen.view):
            return seen.permit()
        if self.handle.is_mine(item):
            self.again += 1
            return seen.permit()
        if seen.metadata.has(M.ALE_CLASSIFY_REQUIRED):
            return seen.permit()
        self.taken[seen.inbound] += 1
        if not self.withhold:
            self.trigger(self._counted(self._call(seen)))
        return seen.block(absorb=True)

    def _counted(self, call: Call) -> Call:
        def counted() -> None:
            call()
            self.injected += 1

        return counted

    def _call(self, seen: Indication) -> Call:
        """What injects this packet, by the function of the layer it was taken at."""
        group, handle, done = seen.info.group, self.handle, self.driver.done
        if group == "OUTBOUND_IPPACKET":
            made = self._list(seen, 0)
            return lambda: handle.network_send(made, done)
        if group == "IPFORWARD":
            made, out_of = self._list(seen, 0), seen.value("DESTINATION_INTERFACE_INDEX")
            return lambda: handle.forward(made, done, family=self.family, interface=out_of)
        if not seen.inbound:
            return self._transport_send(seen)
        made, interface = self._list(seen, self._retreat(seen)), seen.interface
        if group == "INBOUND_IPPACKET":
            return lambda: handle.network_receive(made, done, interface=interface, sub_interface=SUB_INTERFACE)
        return lambda: handle.transport_receive(
            made, done, family=self.family, interface=interface, sub_interface=SUB_INTERFACE
        )

    def _retreat(self, seen: Indication) -> int:
        """How far the IP header lies in front of the data."""
        metadata = seen.metadata
        if not metadata.has(M.IP_HEADER_SIZE):
            return _SMALLEST[seen.view.version]
        transport = metadata.transport_header_size if metadata.has(M.TRANSPORT_HEADER_SIZE) else 0
        return int(metadata.ip_header_size) + (0 if seen.info.group == "INBOUND_IPPACKET" else int(transport))

    def _list(self, seen: Indication, retreat: int) -> NetBufferList:
        """The clone, the new list or the edited packet, from the IP header on."""
        if self.source in (NEW, EDITED):
            return self.driver.create(self._changed(seen.copy(retreat)))
        return seen.clone(retreat)

    def _changed(self, packet: bytes) -> bytes:
        if self.source == EDITED:
            return self.edit.of(packet)
        view = IpView(packet)
        payload = packet[view.payload_offset : view.end]
        return with_payload(packet, payload if view.protocol == TCP else payload + EXTRA)

    def _transport_send(self, seen: Indication) -> Call:
        """The data begins with the transport header; the new address goes into the send parameters.

        The stack's own packets have no endpoint, and a new list has no protocol: those bring their IP header (TS-3).
        """
        metadata, view = seen.metadata, seen.view
        endpoint: Any = metadata.transport_endpoint_handle if metadata.has(M.TRANSPORT_ENDPOINT_HANDLE) else 0
        params: SendParams | None = SendParams(view.destination)
        if self.source in (NEW, EDITED):
            packet = build_ip_header(view.version, view.source, view.destination, view.protocol, seen.copy())
            changed = self._changed(packet)
            header = IpView(changed).transport_offset if endpoint else 0
            made = self.driver.create(changed[header:])
            params = SendParams(IpView(changed).destination) if endpoint else None
        else:
            made = seen.clone()
        if params is not None and metadata.has(M.REMOTE_SCOPE_ID):
            params.remote_scope_id = metadata.remote_scope_id
        return lambda: self.handle.transport_send(
            made, self.driver.done, family=self.family, send_params=params, endpoint=endpoint
        )
