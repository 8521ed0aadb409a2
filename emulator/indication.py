"""One indication: data shown at one layer, what is known about it, and the decision that grows on it.

The same object goes to every callout of the layer, one after the other; it is valid only while its classify
runs.  Whatever costs something (fields, metadata, the parsed packet) is worked out when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.deciding import NONE, Deciding
from emulator.fields import READERS, read_values, reader
from emulator.layerids import Layer
from emulator.layers import LayerInfo, field_index, layer_info
from emulator.metadata import Metadata
from emulator.netbuffer import NetBufferList
from emulator.octets import IpView
from emulator.wfptypes import ConditionFlag, Direction

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.handle import InjectionHandle
    from emulator.interfaces import InterfaceTable


class Indication(Deciding):
    """Data at a layer, as a callout's classify sees it, with the decision so far.

    `net_buffer_list` is the packet (None where the layer has none), at the data start of the layer.  It is
    valid until classify returns, unless it was referenced.  Source: CO-10..CO-14, LA, MD.
    """

    __slots__ = ()

    interfaces: InterfaceTable
    net_buffer_list: NetBufferList | None
    memory: bytearray
    ip_start: int
    ip_end: int

    # What most indications have, on the class: setting it on each would cost more than the rest.
    source_interface = 0
    destination_interface = 0
    condition_flags = 0
    endpoint: Any = None
    path_mtu = 0
    metadata_bits = 0
    discard: tuple[int, int, int] | None = None
    fragment: tuple[int, int, int] | None = None
    stream: Any = None
    known_view: IpView | None = None
    """The packet's headers when somebody has parsed them already."""
    _metadata: Metadata | None = None
    _values: tuple[Any, ...] | None = None

    # -- what is shown ----------------------------------------------------------------------------------

    @property
    def info(self) -> LayerInfo:
        """What is known about the layer."""
        return layer_info(self.layer)

    @property
    def view(self) -> IpView:
        """The packet's headers, parsed; the emulator's own view, also where the callout is shown no IP header."""
        view = self.known_view
        if view is None:
            view = self.known_view = IpView(self.memory, self.ip_start, self.ip_end)
        return view

    @property
    def direction(self) -> Direction:
        """INBOUND or OUTBOUND."""
        return Direction.INBOUND if self.inbound else Direction.OUTBOUND

    @property
    def flags(self) -> ConditionFlag:
        """The layer's FLAGS field."""
        return ConditionFlag(self.condition_flags)

    def value(self, name: str) -> Any:
        """One classifiable field by its name, for example "IP_REMOTE_PORT".

        IPv4 addresses are host-order numbers, IPv6 addresses 16 octets in network order, ports host-order
        numbers; for ICMP, ICMP_TYPE and ICMP_CODE are second names of the ports.  Raises KeyError for a field
        the layer does not have.  Source: LA-30..LA-36.
        """
        if self.ended:
            self._late("value")
        index = field_index(self.layer, name)
        if self._values is not None:
            return self._values[index]
        return reader(self.layer, layer_info(self.layer).fields[index])(self)

    @property
    def values(self) -> tuple[Any, ...]:
        """All classifiable fields in the order of their index in incomingValue.  Source: LA-30..LA-36."""
        if self.ended:
            self._late("values")
        if self._values is None:
            self._values = read_values(self)
        return self._values

    @property
    def metadata(self) -> Metadata:
        """What is known about the packet beside its fields; a member counts only when its bit is set (MD-1)."""
        if self.ended:
            self._late("metadata")
        if self._metadata is None:
            self._metadata = Metadata(self)
        return self._metadata

    @property
    def flow_handle(self) -> int:
        """The number of the packet's flow; 0 when it has none.  Source: FL-8."""
        return self.flow.number if self.flow is not None else 0

    # -- what a callout does with the packet ------------------------------------------------------------

    def clone(self, retreat: int = 0) -> NetBufferList:
        """A clone of the packet from `retreat` octets before its data start on; the original is put back.

        The caller owns the clone.  Raises as `Ownership.clone`.  Source: NB-1, NB-2, NR-2, TR-2.
        """
        original = self.net_buffer_list
        if original is None or not retreat:
            return self.core.ownership.clone(original)
        original.retreat(retreat)
        try:
            return self.core.ownership.clone(original)
        finally:
            original.advance(retreat)

    def copy(self, retreat: int = 0) -> bytes:
        """The first packet's octets, from `retreat` octets before its data start on; the original is put back.

        Empty where the layer shows no packet.  Source: CO-12, NB-2, NR-2.
        """
        if self.ended:
            self._late("the packet")
        original = self.net_buffer_list
        if original is None:
            return b""
        original.retreat(retreat)
        try:
            return original.octets
        finally:
            original.advance(retreat)

    @property
    def payload(self) -> bytes:
        """A copy of the octets behind the transport header, wherever the layer's data start is."""
        if self.ended:
            self._late("the packet")
        view = self.view
        return bytes(self.memory[view.payload_offset : view.end])

    def injected_by(self, handle: InjectionHandle) -> bool:
        """True when `handle` injected the packet, now or earlier: let such a packet pass.  Source: QS-10, GE-13."""
        item = self.net_buffer_list
        return item is not None and handle.is_mine(item)

    def __repr__(self) -> str:
        return f"<indication at {Layer(self.layer).name} {self.net_buffer_list!r}>"


class OwnIndication(Indication):
    """One of data that no path has, with all that is shown of it."""

    def __init__(
        self,
        core: Core,
        layer: int,
        inbound: bool,
        net_buffer_list: NetBufferList | None,
        memory: bytearray,
        ip_start: int,
        ip_end: int,
        interface: int,
        interfaces: InterfaceTable,
    ) -> None:
        self.core = core
        self.layer = layer
        self.inbound = inbound
        self.flow_context = 0
        self.action = NONE
        self.rights = 1
        self.net_buffer_list = net_buffer_list
        self.memory = memory
        self.ip_start = ip_start
        self.ip_end = ip_end
        self.interface = interface
        self.interfaces = interfaces


__all__ = ["READERS", "Indication", "OwnIndication"]
