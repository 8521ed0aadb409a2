"""The table: one row per layer group, for both IP versions and their discard variants.

Read it through `emulator.layers`, which spreads the rows over the layers.
Source: contract part 20.1, MD-2, CO-17, LA-37, part 26.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emulator.layerids import DataStart, InjectFunction
from emulator.metadatabits import L2MetadataField
from emulator.metadatabits import MetadataField as M
from emulator.wfptypes import ConditionFlag as C
from emulator.wfptypes import Direction, WindowsVersion

_NO_BITS = M(0)
_NO_L2_BITS = L2MetadataField(0)
_NO_FLAGS = C(0)
_IN = Direction.INBOUND
_OUT = Direction.OUTBOUND


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer group; what differs by direction is a pair (inbound, outbound) where the group has both."""

    direction: Direction | None = None
    metadata: M = _NO_BITS
    l2_metadata: L2MetadataField = _NO_L2_BITS
    starts: tuple[DataStart, DataStart] = (DataStart.NOTHING, DataStart.NOTHING)
    inject: tuple[InjectFunction | None, InjectFunction | None] = (None, None)
    retreat: M = _NO_BITS
    l2_retreat: L2MetadataField = _NO_L2_BITS
    flags: C = _NO_FLAGS
    absorb: bool = False
    tcp_out_of_band: bool = False
    since: WindowsVersion = WindowsVersion.VISTA


_ENDPOINT = M.COMPARTMENT_ID | M.TRANSPORT_ENDPOINT_HANDLE
_HEADERS = M.IP_HEADER_SIZE | M.TRANSPORT_HEADER_SIZE
_SENDER = M.TRANSPORT_CONTROL_DATA | M.REMOTE_SCOPE_ID
_PROCESS = M.TOKEN | M.PROCESS_ID | M.SUB_PROCESS_TAG
_BIND = _PROCESS | M.PROCESS_PATH | M.COMPLETION_HANDLE | M.TRANSPORT_ENDPOINT_HANDLE
_AUTHORISE = (
    _BIND
    | M.FLOW_HANDLE
    | M.TRANSPORT_HEADER_SIZE
    | M.COMPARTMENT_ID
    | M.PACKET_DIRECTION
    | M.PARENT_ENDPOINT_HANDLE
    | M.ICMP_ID_AND_SEQUENCE
)
_REDIRECT = _PROCESS | M.TRANSPORT_ENDPOINT_HANDLE | M.LOCAL_REDIRECT_TARGET_PID
_VSWITCH = (
    L2MetadataField.WIFI_OPERATION_MODE
    | L2MetadataField.VSWITCH_SOURCE_PORT_ID
    | L2MetadataField.VSWITCH_SOURCE_NIC_INDEX
    | L2MetadataField.VSWITCH_PACKET_CONTEXT
    | L2MetadataField.VSWITCH_DESTINATION_PORT_ID
)
_ENDPOINT_FLAGS = C.IS_LOOPBACK | C.IS_RAW_ENDPOINT
_AUTH_FLAGS = _ENDPOINT_FLAGS | C.IS_REAUTHORIZE
_AT_IP = (DataStart.IP_HEADER, DataStart.IP_HEADER)
_AT_TRANSPORT = (DataStart.TRANSPORT_HEADER, DataStart.TRANSPORT_HEADER)
_BY_DIRECTION = (DataStart.PAYLOAD, DataStart.TRANSPORT_HEADER)
_AT_MAC = (DataStart.MAC_HEADER, DataStart.MAC_HEADER)
_TRANSPORT = (InjectFunction.TRANSPORT_RECEIVE, InjectFunction.TRANSPORT_SEND)
_WIN7 = WindowsVersion.WINDOWS_7
_WIN8 = WindowsVersion.WINDOWS_8

ROWS: Mapping[str, LayerRow] = {
    "INBOUND_IPPACKET": LayerRow(
        direction=_IN,
        metadata=M.IP_HEADER_SIZE | M.COMPARTMENT_ID | M.FRAGMENT_DATA,
        starts=_AT_TRANSPORT,
        inject=(InjectFunction.NETWORK_RECEIVE, None),
        retreat=M.IP_HEADER_SIZE,
        flags=C.IS_LOOPBACK | C.IS_FRAGMENT | C.IS_REASSEMBLED,
        absorb=True,
    ),
    "OUTBOUND_IPPACKET": LayerRow(
        direction=_OUT,
        metadata=_HEADERS | M.COMPARTMENT_ID | M.FRAGMENT_DATA | M.PATH_MTU,
        starts=_AT_IP,
        inject=(None, InjectFunction.NETWORK_SEND),
        flags=C.IS_LOOPBACK,
        absorb=True,
    ),
    # ABSORB: not on the page's list, but the samples use it and DC-14 accepts it.
    # IS_FRAGMENT_GROUP: the page lists it for INBOUND_IPPACKET; DC-12 puts it here.
    "IPFORWARD": LayerRow(
        metadata=M.COMPARTMENT_ID,
        starts=_AT_IP,
        inject=(InjectFunction.FORWARD, InjectFunction.FORWARD),
        flags=C.IS_LOOPBACK | C.IS_FRAGMENT_GROUP | C.IS_INBOUND_PASS_THRU | C.IS_OUTBOUND_PASS_THRU,
        absorb=True,
    ),
    "INBOUND_TRANSPORT": LayerRow(
        direction=_IN,
        metadata=_ENDPOINT
        | _HEADERS
        | M.FLOW_HANDLE
        | M.SYSTEM_FLAGS
        | M.ALE_CLASSIFY_REQUIRED
        | M.ICMP_ID_AND_SEQUENCE,
        starts=_BY_DIRECTION,
        inject=(InjectFunction.TRANSPORT_RECEIVE, None),
        retreat=_HEADERS,
        flags=_ENDPOINT_FLAGS,
        absorb=True,
        tcp_out_of_band=True,
    ),
    "OUTBOUND_TRANSPORT": LayerRow(
        direction=_OUT,
        metadata=_ENDPOINT
        | _SENDER
        | M.FLOW_HANDLE
        | M.SYSTEM_FLAGS
        | M.TRANSPORT_HEADER_SIZE
        | M.ICMP_ID_AND_SEQUENCE,
        starts=_AT_TRANSPORT,
        inject=(None, InjectFunction.TRANSPORT_SEND),
        flags=_ENDPOINT_FLAGS,
        absorb=True,
        tcp_out_of_band=True,
    ),
    "STREAM": LayerRow(
        metadata=M.FLOW_HANDLE | M.SYSTEM_FLAGS,
        starts=(DataStart.STREAM_DATA, DataStart.STREAM_DATA),
        inject=(InjectFunction.STREAM, InjectFunction.STREAM),
        flags=C.IS_LOOPBACK,
    ),
    "DATAGRAM_DATA": LayerRow(
        metadata=_ENDPOINT | _HEADERS | _SENDER | M.FLOW_HANDLE | M.SYSTEM_FLAGS | M.ICMP_ID_AND_SEQUENCE,
        starts=_BY_DIRECTION,
        inject=_TRANSPORT,
        retreat=_HEADERS,
        flags=_ENDPOINT_FLAGS,
        absorb=True,
    ),
    "INBOUND_ICMP_ERROR": LayerRow(
        direction=_IN,
        metadata=_ENDPOINT | _HEADERS,
        starts=(DataStart.INNER_IP_HEADER, DataStart.INNER_IP_HEADER),
        inject=(InjectFunction.TRANSPORT_RECEIVE, None),
        retreat=M.IP_HEADER_SIZE,
        flags=_ENDPOINT_FLAGS,
        absorb=True,
    ),
    "OUTBOUND_ICMP_ERROR": LayerRow(
        direction=_OUT,
        metadata=_ENDPOINT | _SENDER | M.SYSTEM_FLAGS | M.TRANSPORT_HEADER_SIZE,
        starts=_AT_TRANSPORT,
        inject=(None, InjectFunction.TRANSPORT_SEND),
        flags=_ENDPOINT_FLAGS,
        absorb=True,
    ),
    "ALE_RESOURCE_ASSIGNMENT": LayerRow(metadata=_BIND, flags=_ENDPOINT_FLAGS | C.IS_WILDCARD_BIND),
    "ALE_AUTH_LISTEN": LayerRow(metadata=_BIND, flags=_AUTH_FLAGS),
    "ALE_AUTH_RECV_ACCEPT": LayerRow(
        metadata=_AUTHORISE | M.IP_HEADER_SIZE,
        starts=_BY_DIRECTION,
        inject=_TRANSPORT,
        retreat=_HEADERS,
        flags=_AUTH_FLAGS,
        absorb=True,
    ),
    "ALE_AUTH_CONNECT": LayerRow(
        metadata=_AUTHORISE | M.REMOTE_SCOPE_ID,
        starts=_BY_DIRECTION,
        inject=(None, InjectFunction.TRANSPORT_SEND),
        flags=_AUTH_FLAGS,
        absorb=True,
    ),
    "ALE_FLOW_ESTABLISHED": LayerRow(
        metadata=_PROCESS
        | M.PROCESS_PATH
        | M.FLOW_HANDLE
        | M.TRANSPORT_ENDPOINT_HANDLE
        | M.PARENT_ENDPOINT_HANDLE
        | M.ICMP_ID_AND_SEQUENCE,
        starts=_BY_DIRECTION,
        flags=_ENDPOINT_FLAGS,
        absorb=True,
    ),
    "ALE_RESOURCE_RELEASE": LayerRow(metadata=_PROCESS | _ENDPOINT, flags=_ENDPOINT_FLAGS, since=_WIN7),
    "ALE_ENDPOINT_CLOSURE": LayerRow(
        metadata=_PROCESS | _ENDPOINT | M.PARENT_ENDPOINT_HANDLE, flags=_ENDPOINT_FLAGS, since=_WIN7
    ),
    "ALE_CONNECT_REDIRECT": LayerRow(
        metadata=_REDIRECT | M.PARENT_ENDPOINT_HANDLE | M.ICMP_ID_AND_SEQUENCE | M.REDIRECT_RECORD_HANDLE,
        flags=_ENDPOINT_FLAGS,
        since=_WIN7,
    ),
    "ALE_BIND_REDIRECT": LayerRow(metadata=_REDIRECT, flags=_ENDPOINT_FLAGS, since=_WIN7),
    "NAME_RESOLUTION_CACHE": LayerRow(since=_WIN7),
    "STREAM_PACKET": LayerRow(
        metadata=_ENDPOINT | _HEADERS | _SENDER | M.FLOW_HANDLE | M.SYSTEM_FLAGS,
        starts=_BY_DIRECTION,
        inject=_TRANSPORT,
        retreat=_HEADERS,
        flags=_ENDPOINT_FLAGS,
        absorb=True,
        tcp_out_of_band=True,
        since=_WIN7,
    ),
    "INBOUND_MAC_FRAME_ETHERNET": LayerRow(
        direction=_IN,
        metadata=M.ETHER_FRAME_LENGTH,
        l2_metadata=L2MetadataField.ETHERNET_MAC_HEADER_SIZE,
        starts=(DataStart.AFTER_MAC_HEADER, DataStart.AFTER_MAC_HEADER),
        inject=(InjectFunction.MAC_RECEIVE, None),
        l2_retreat=L2MetadataField.ETHERNET_MAC_HEADER_SIZE,
        absorb=True,
        since=_WIN8,
    ),
    "OUTBOUND_MAC_FRAME_ETHERNET": LayerRow(
        direction=_OUT, starts=_AT_MAC, inject=(None, InjectFunction.MAC_SEND), absorb=True, since=_WIN8
    ),
    "INBOUND_MAC_FRAME_NATIVE": LayerRow(
        direction=_IN, starts=_AT_MAC, inject=(InjectFunction.MAC_RECEIVE, None), absorb=True, since=_WIN8
    ),
    "OUTBOUND_MAC_FRAME_NATIVE": LayerRow(
        direction=_OUT, starts=_AT_MAC, inject=(None, InjectFunction.MAC_SEND), absorb=True, since=_WIN8
    ),
    "INGRESS_VSWITCH_ETHERNET": LayerRow(
        direction=_IN,
        l2_metadata=L2MetadataField.ETHERNET_MAC_HEADER_SIZE | _VSWITCH,
        starts=_AT_MAC,
        inject=(InjectFunction.VSWITCH_INGRESS, None),
        absorb=True,
        since=_WIN8,
    ),
    "EGRESS_VSWITCH_ETHERNET": LayerRow(
        direction=_OUT,
        l2_metadata=L2MetadataField.ETHERNET_MAC_HEADER_SIZE | _VSWITCH,
        starts=_AT_MAC,
        inject=(None, InjectFunction.VSWITCH_INGRESS),
        absorb=True,
        since=_WIN8,
    ),
    "INGRESS_VSWITCH_TRANSPORT": LayerRow(direction=_IN, l2_metadata=_VSWITCH, starts=_AT_IP, since=_WIN8),
    "EGRESS_VSWITCH_TRANSPORT": LayerRow(direction=_OUT, l2_metadata=_VSWITCH, starts=_AT_IP, since=_WIN8),
}
"""Layer group to its row."""
