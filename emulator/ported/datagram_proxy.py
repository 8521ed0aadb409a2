"""A port of the datagram proxy sample: what is asked of one server is answered by another, and seems its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from emulator.callout import Callout
from emulator.construct import construct_ip_header
from emulator.driver import Driver
from emulator.filters import Filter
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_of
from emulator.netbuffer import NetBufferList
from emulator.wfptypes import AddressFamily, CalloutFlag, Direction, InjectionType, MetadataField

UDP = 17


@dataclass(frozen=True)
class Server:
    """Where datagrams are sent to: an address in network order, 4 or 16 octets, and as text; and a port."""

    octets: bytes
    address: str
    port: int


@dataclass
class Waiting:
    """One datagram that was taken and not yet injected; the list is referenced."""

    item: NetBufferList
    flow: int
    inbound: bool
    header_sizes: tuple[int, int]
    """Of the IP and the transport header."""
    local: bytes
    interface: int
    endpoint: Any


class DatagramProxy(Callout):
    """Rewrites at DATAGRAM_DATA the datagrams of flows that carry its context.

    What it takes waits until `work` is called, which injects it; what belongs to a flow that ended meanwhile is
    dropped.  `load` registers it, adds its filters and attaches its contexts; `unload` takes them back.
    Source: TS-7, TS-18, TS-20, TR-4, FL-3, FL-9.
    """

    flags = CalloutFlag.CONDITIONAL_ON_FLOW

    def __init__(self, driver: Driver, family: AddressFamily, original: Server, other: Server) -> None:
        self.driver = driver
        self.family = family
        self.original = original
        self.other = other
        self.handle = driver.create_handle(AddressFamily.UNSPEC, InjectionType.TRANSPORT)
        self.inline = True
        """Whether it works at once; else somebody has to call `work`."""
        self.attached: list[int] = []
        self.deleted: list[int] = []
        """The flows whose context was given back, in that order."""
        self.seen: list[str] = []
        """The directions of what it was shown and did not know to be its own."""
        self.dropped = 0
        self._waiting: deque[Waiting] = deque()
        self._attaching: list[Filter] = []
        self._layer = int(layer_of("DATAGRAM_DATA", family.version))
        self._callout_id = 0

    def load(self) -> None:
        """Come into force."""
        self._callout_id = self.driver.registered(self).callout_id
        attach = self._attach
        for server, direction in ((self.original, Direction.OUTBOUND), (self.other, Direction.INBOUND)):
            where = {"IP_REMOTE_ADDRESS": server.address, "IP_REMOTE_PORT": server.port}
            self._attaching += self.driver.add(attach, "ALE_FLOW_ESTABLISHED", self.family, where=where)
            self.driver.add(self, "DATAGRAM_DATA", self.family, where=where | {"DIRECTION": direction})

    def unload(self) -> None:
        """Work off what waits, and take the contexts back; the driver can unload then."""
        self.driver.remove(*self._attaching)
        self._attaching.clear()
        self.work()
        flows = self.driver.core.engine.flows
        for flow in set(self.attached) - set(self.deleted):
            flows.remove(flow, self._layer, self._callout_id)

    def _attach(self, seen: Indication) -> None:
        flow = seen.flow_handle
        self.driver.core.engine.flows.associate(flow, self._layer, self._callout_id, flow)
        self.attached.append(flow)
        seen.permit()

    def flow_delete(self, layer: int, callout_id: int, context: Any) -> None:
        self.deleted.append(context)

    def classify(self, seen: Indication) -> None:
        item = seen.net_buffer_list
        if item is None or not seen.may_decide or self.handle.is_mine(item):
            return seen.permit()
        self.seen.append(seen.direction.name)
        metadata, view = seen.metadata, seen.view
        sizes = (metadata.ip_header_size, metadata.transport_header_size) if seen.inbound else (0, 0)
        known = not seen.inbound and metadata.has(MetadataField.TRANSPORT_ENDPOINT_HANDLE)
        endpoint = metadata.transport_endpoint_handle if known else 0  # none where another driver sent it
        self.driver.core.ownership.reference(item, intend_to_modify=True)
        taken = Waiting(
            item, seen.flow_context, seen.inbound, sizes, bytes(view.destination), seen.interface, endpoint
        )
        self._waiting.append(taken)
        seen.block(absorb=True)
        if self.inline:
            self.work()
        return None

    def work(self) -> None:
        """Inject what waits, in order."""
        while self._waiting:
            taken = self._waiting.popleft()
            try:
                if taken.flow in self.deleted:
                    self.dropped += 1
                elif taken.inbound:
                    self._answer(taken)
                else:
                    self.send_question(taken.item, taken.endpoint)
            finally:
                self.driver.core.ownership.dereference(taken.item)

    def send_question(self, item: NetBufferList, endpoint: Any) -> None:
        """Send a clone of a list of datagrams, which begin at the UDP header, to the other server."""
        clone = self.driver.core.ownership.clone(item)
        for buffer in clone.net_buffers():
            buffer.write(2, self.other.port.to_bytes(2, "big"))
            buffer.write(6, b"\0\0")  # the checksum: the stack's to fill in
        params = SendParams(self.other.octets)
        self.handle.transport_send(clone, self.driver.done, family=self.family, send_params=params, endpoint=endpoint)

    def _answer(self, taken: Waiting) -> None:
        ip_size, transport_size = taken.header_sizes
        retreat = ip_size + transport_size
        taken.item.retreat(retreat)
        clone = self.driver.core.ownership.clone(taken.item)
        taken.item.advance(retreat)
        clone.write(ip_size, self.original.port.to_bytes(2, "big"))
        construct_ip_header(
            self.driver.core, clone, ip_size, self.family, self.original.octets, taken.local, UDP
        )
        self.handle.transport_receive(
            clone, self.driver.done, family=self.family, interface=taken.interface, sub_interface=SUB_INTERFACE
        )
