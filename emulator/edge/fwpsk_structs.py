# ruff: noqa: N801, N815  the names are the header's
"""The structures a driver hands to the functions of fwpsk.h, or gets from them.

Pointers are objects, buffers are octets, GUIDs are `uuid.UUID`.  Source: the pages of the structures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

Buffer: TypeAlias = bytes | bytearray | memoryview

FWPS_PACKET_LIST_INFORMATION_QUERY_INBOUND = 0x1
FWPS_PACKET_LIST_INFORMATION_QUERY_OUTBOUND = 0x2
FWPS_PACKET_LIST_INFORMATION_QUERY_IPSEC = 0x4
FWPS_PACKET_LIST_INFORMATION_QUERY_FWP = 0x8
FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_INBOUND = 0xD
FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_OUTBOUND = 0xE


@dataclass
class FWPS_CALLOUT0:
    """A callout to register: its key, flags and functions.

    classifyFn(inFixedValues, inMetaValues, layerData, filter, flowContext, classifyOut),
    notifyFn(notifyType, filterKey, filter) -> NTSTATUS,
    flowDeleteFn(layerId, calloutId, flowContext), None for a callout without flow contexts.
    Source: CO-1, CO-10, CO-30, CO-31.
    """

    calloutKey: UUID
    flags: int = 0
    classifyFn: Callable[..., None] | None = None
    notifyFn: Callable[..., int] | None = None
    flowDeleteFn: Callable[[int, int, Any], None] | None = None


@dataclass
class FWPS_CALLOUT1(FWPS_CALLOUT0):
    """As FWPS_CALLOUT0; classifyFn takes classifyContext behind layerData.  From Windows 7."""


@dataclass
class FWPS_CALLOUT2(FWPS_CALLOUT0):
    """As FWPS_CALLOUT1.  From Windows 8."""


class SCOPE_ID(int):
    """A scope: zone in the low 28 bits, level in the 4 above."""

    @property
    def Value(self) -> int:
        """The whole number."""
        return int(self)

    @property
    def Zone(self) -> int:
        """Number of the interface or site."""
        return self & 0x0FFFFFFF

    @property
    def Level(self) -> int:
        """Kind of the scope."""
        return self >> 28 & 0xF


@dataclass
class FWPS_TRANSPORT_SEND_PARAMS0:
    """Where a transport send goes.  Lengths are octets; a length of None is the whole buffer.

    remoteAddress holds 4 or 16 octets in network order; it and controlData must stay as they are until
    completion, this object need not.  Source: TS-7..TS-11.
    """

    remoteAddress: Buffer | None = None
    remoteScopeId: int = 0
    controlData: Buffer | None = None
    controlDataLength: int | None = None


@dataclass
class FWPS_TRANSPORT_SEND_PARAMS1(FWPS_TRANSPORT_SEND_PARAMS0):
    """As version 0, with the caller's own IP header for a raw send.  Source: TS-12, DC-20."""

    headerIncludeHeader: Buffer | None = None
    headerIncludeHeaderLength: int | None = None


@dataclass
class FWPS_DISCARD_METADATA0:
    """Why data was discarded.  Source: MD-13."""

    discardModule: int
    discardReason: int
    filterId: int


@dataclass
class FWPS_INBOUND_FRAGMENT_METADATA0:
    """Which part of which datagram a fragment is; offset and length in octets.  Source: LA-22."""

    fragmentIdentification: int
    fragmentOffset: int
    fragmentLength: int


@dataclass
class FWPS_ACTION0:
    """What a filter does, and by which callout."""

    type: int
    calloutId: int


@dataclass
class FWPS_PACKET_LIST_INBOUND_IPSEC_INFORMATION0:
    """What IPsec did to an inbound list: nothing, here."""

    isSecure: bool = False
    isTransportMode: bool = False
    isTunnelMode: bool = False
    isTransportModeVerified: bool = False
    isTunnelModeVerified: bool = False
    isDeTunneled: bool = False


@dataclass
class FWPS_PACKET_LIST_OUTBOUND_IPSEC_INFORMATION0:
    """What IPsec will do to an outbound list: nothing, here."""

    isTransportMode: bool = False
    isTunnelMode: bool = False
    isTransportModePolicyMatched: bool = False
    isTunnelModePolicyMatched: bool = False


@dataclass
class FWPS_PACKET_LIST_IPSEC_INFORMATION0:
    """Both directions' IPsec information."""

    inbound: FWPS_PACKET_LIST_INBOUND_IPSEC_INFORMATION0 = field(
        default_factory=FWPS_PACKET_LIST_INBOUND_IPSEC_INFORMATION0
    )
    outbound: FWPS_PACKET_LIST_OUTBOUND_IPSEC_INFORMATION0 = field(
        default_factory=FWPS_PACKET_LIST_OUTBOUND_IPSEC_INFORMATION0
    )


@dataclass
class FWPS_PACKET_LIST_FWP_INFORMATION0:
    """What the filtering platform knows of a list.  Source: QS-15."""

    isReinjected: bool = False


@dataclass
class FWPS_PACKET_LIST_INFORMATION0:
    """What FwpsGetPacketListSecurityInformation0 tells."""

    ipsecInformation: FWPS_PACKET_LIST_IPSEC_INFORMATION0 = field(
        default_factory=FWPS_PACKET_LIST_IPSEC_INFORMATION0
    )
    fwpInformation: FWPS_PACKET_LIST_FWP_INFORMATION0 = field(
        default_factory=FWPS_PACKET_LIST_FWP_INFORMATION0
    )
