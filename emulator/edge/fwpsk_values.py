# ruff: noqa: N801  the names are the header's
"""What a classifyFn is told, with the header's spelling: classifiable fields and metadata of one indication.

They are valid while classifyFn runs: what is read later is a violation (CO-12).  A member costs nothing
before it is read.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from emulator.edge.fwpsk_structs import FWPS_DISCARD_METADATA0, FWPS_INBOUND_FRAGMENT_METADATA0, SCOPE_ID
from emulator.edge.fwptypes import FWP_BYTE_ARRAY16, FWP_BYTE_ARRAY16_TYPE, FWP_VALUE0, field_type
from emulator.fields import READERS, Reader
from emulator.layers import layer_info
from emulator.metadata import POISON

if TYPE_CHECKING:
    from emulator.indication import Indication

_BYTE_ARRAY16 = int(FWP_BYTE_ARRAY16_TYPE)


class FWPS_INCOMING_VALUE0(FWP_VALUE0):
    """One classifiable field: `.value` is the typed value."""

    __slots__ = ()

    @property
    def value(self) -> FWP_VALUE0:
        """The typed value."""
        return self  # one object for both: made for every field that is read of every packet


class _IncomingValues:
    """The classifiable fields by their index."""

    __slots__ = ("_seen", "_columns")

    def __init__(self, seen: Indication) -> None:
        self._seen = seen
        self._columns = _columns(seen.layer)

    def __getitem__(self, index: int) -> FWPS_INCOMING_VALUE0:
        seen = self._seen
        if seen.ended:
            seen.core.violate("CO-12", "classifyFn", "a field was read after classifyFn had returned: copy it")
        kind, read = self._columns[index]
        content = read(seen) if read is not None else 0
        if kind == _BYTE_ARRAY16:
            content = FWP_BYTE_ARRAY16(content)
        return FWPS_INCOMING_VALUE0(kind, content)

    def __len__(self) -> int:
        return len(self._columns)


@cache
def _columns(layer: int) -> tuple[tuple[int, Reader | None], ...]:
    return tuple((field_type(layer, name), READERS.get(name)) for name in layer_info(layer).fields)


class FWPS_INCOMING_VALUES0:
    """The classifiable fields of one indication.  Source: LA-30..LA-36."""

    __slots__ = ("_seen", "_incoming")

    def __init__(self, seen: Indication) -> None:
        self._seen = seen
        self._incoming: _IncomingValues | None = None

    @property
    def layerId(self) -> int:
        """Run-time id of the layer."""
        return self._seen.layer

    @property
    def valueCount(self) -> int:
        """How many fields the layer has."""
        return len(_columns(self._seen.layer))

    @property
    def incomingValue(self) -> _IncomingValues:
        """The fields by their FWPS_FIELD_… index; each has `.value`."""
        if self._incoming is None:
            self._incoming = _IncomingValues(self._seen)
        return self._incoming


_NEVER_HERE = frozenset({
    "processPath", "token", "processId", "sourceInterfaceIndex", "destinationInterfaceIndex", "completionHandle",
    "destinationPrefix", "frameLength", "parentEndpointHandle", "localRedirectTargetPID", "originalDestination",
    "redirectRecords", "l2Flags", "ethernetMacHeaderSize", "wiFiOperationMode", "vSwitchSourcePortId",
    "vSwitchSourceNicIndex", "vSwitchDestinationPortId", "vSwitchPacketContext", "l2ConnectionProfileIndex",
    "subProcessTag",
})  # fmt: skip
"""Members of the structure whose bit is never set here: they read as poison (MD-1)."""


class FWPS_INCOMING_METADATA_VALUES0:
    """What is known of the packet beside its fields; a member whose bit is not set reads as poison.

    Source: MD-1..MD-13.
    """

    __slots__ = ("_seen",)

    def __init__(self, seen: Indication) -> None:
        self._seen = seen

    @property
    def currentMetadataValues(self) -> int:
        """Which members are valid: FWPS_METADATA_FIELD_… bits."""
        return self._seen.metadata.current_metadata_values

    @property
    def currentL2MetadataValues(self) -> int:
        """Which members of frames are valid: none."""
        return 0

    @property
    def flowHandle(self) -> int:
        """Number of the packet's flow (FL-8)."""
        return self._seen.metadata.flow_handle

    @property
    def ipHeaderSize(self) -> int:
        """Octets of the IP header (MD-4)."""
        return self._seen.metadata.ip_header_size

    @property
    def transportHeaderSize(self) -> int:
        """Octets of the transport header (MD-5)."""
        return self._seen.metadata.transport_header_size

    @property
    def compartmentId(self) -> int:
        """Compartment to inject back into (MD-6)."""
        return self._seen.metadata.compartment_id

    @property
    def transportEndpointHandle(self) -> Any:
        """The stack's endpoint, for transport sends (MD-7)."""
        return self._seen.metadata.transport_endpoint_handle

    @property
    def pathMtu(self) -> int:
        """Largest packet that leaves unfragmented, octets (MD-12)."""
        return self._seen.metadata.path_mtu

    @property
    def remoteScopeId(self) -> SCOPE_ID:
        """Scope of the remote address (TS-9)."""
        return SCOPE_ID(self._seen.metadata.remote_scope_id)

    @property
    def controlData(self) -> Any:
        """Socket control data of the send; copy it during classify (MD-10)."""
        return self._seen.metadata.control_data

    @property
    def controlDataLength(self) -> int:
        """Octets of `controlData`."""
        data = self._seen.metadata.control_data
        return POISON if data == POISON else len(data or b"")

    @property
    def headerIncludeHeader(self) -> Any:
        """The sender's own IP header of a raw send (MD-9)."""
        return self._seen.metadata.header_include_header

    @property
    def headerIncludeHeaderLength(self) -> int:
        """Octets of `headerIncludeHeader`; 0 when the stack built the header."""
        return self._seen.metadata.header_include_header_length

    @property
    def icmpIdAndSequence(self) -> int:
        """Identifier and sequence of an ICMP echo."""
        return self._seen.metadata.icmp_id_and_sequence

    @property
    def fragmentMetadata(self) -> FWPS_INBOUND_FRAGMENT_METADATA0:
        """Which fragment this is (LA-22)."""
        data = self._seen.metadata.fragment_data
        if data == POISON:
            return FWPS_INBOUND_FRAGMENT_METADATA0(POISON, POISON, POISON)
        view = self._seen.view
        return FWPS_INBOUND_FRAGMENT_METADATA0(data[0], data[1], view.end - view.transport_offset)

    @property
    def packetDirection(self) -> int:
        """Direction of a packet that asks again for its flow: FWP_DIRECTION_… (MD-8)."""
        return self._seen.metadata.packet_direction

    @property
    def discardMetadata(self) -> FWPS_DISCARD_METADATA0:
        """Why the packet was discarded (MD-13)."""
        data = self._seen.metadata.discard_metadata
        return FWPS_DISCARD_METADATA0(*((POISON,) * 3 if data == POISON else data))

    @property
    def flags(self) -> int:
        """FWPS_INCOMING_FLAG_… bits (ST-42)."""
        stream = self._seen.stream
        return 0 if stream is None else int(stream.incoming_flags)

    reserved = 0

    def __getattr__(self, name: str) -> int:
        if name in _NEVER_HERE:
            return POISON
        raise AttributeError(f"FWPS_INCOMING_METADATA_VALUES0 has no member {name}")


def FWPS_IS_METADATA_FIELD_PRESENT(metadataValues: FWPS_INCOMING_METADATA_VALUES0, metadataField: int) -> bool:
    """Whether all bits of `metadataField` are set (MD-1)."""
    return metadataValues.currentMetadataValues & metadataField == metadataField


def FWPS_IS_L2_METADATA_FIELD_PRESENT(metadataValues: FWPS_INCOMING_METADATA_VALUES0, l2MetadataField: int) -> bool:
    """Whether all bits of `l2MetadataField` are set (MD-1)."""
    return metadataValues.currentL2MetadataValues & l2MetadataField == l2MetadataField
