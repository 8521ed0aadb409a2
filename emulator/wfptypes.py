"""The choices and flag words of the API with their Windows numbers, under Python names.

Member names are the header's without the common prefix; `emulator.wdk` has the full spelling.
Source: contract 1.1 to 1.8 (fwpsk.h, fwpstypes.h, fwptypes.h, winsock2.h).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from emulator.metadatabits import L2MetadataField, MetadataField

__all__ = [
    "DEFAULT_COMPARTMENT_ID",
    "DEFAULT_INJECTION_TYPES",
    "LAYER_NON_WFP",
    "RIGHT_ACTION_WRITE",
    "UNSPECIFIED_COMPARTMENT_ID",
    "Action",
    "AddressFamily",
    "CalloutFlag",
    "ClassifyFlag",
    "ClassifyOutFlag",
    "ConditionFlag",
    "ConstructIpHeaderFlag",
    "Direction",
    "DiscardModule",
    "FilterFlag",
    "IncomingFlag",
    "InjectionState",
    "InjectionType",
    "L2ConditionFlag",
    "L2IncomingFlag",
    "L2MetadataField",
    "MetadataField",
    "NotifyType",
    "SendInjectFlag",
    "StreamAction",
    "StreamFlag",
    "TagEvent",
    "WindowsVersion",
]


class InjectionType(IntFlag):
    """What a handle may inject (FWPS_INJECTION_TYPE_*); zero at creation means DEFAULT_INJECTION_TYPES."""

    STREAM = 0x01
    TRANSPORT = 0x02
    NETWORK = 0x04
    FORWARD = 0x08
    L2 = 0x10
    """MAC and vSwitch frames; from Windows 8."""
    VSWITCH_TRANSPORT = 0x20
    """In the header only: no documented function takes it."""


DEFAULT_INJECTION_TYPES = InjectionType.TRANSPORT | InjectionType.STREAM | InjectionType.FORWARD
"""What flags 0 stands for at handle creation: 0x0B (HC-9)."""


class InjectionState(IntEnum):
    """Who injected a packet, as one handle sees it (FWPS_PACKET_INJECTION_STATE)."""

    NOT_INJECTED = 0
    INJECTED_BY_SELF = 1
    INJECTED_BY_OTHER = 2
    PREVIOUSLY_INJECTED_BY_SELF = 3
    MAX = 4
    """Bound of the enumeration; never returned."""


class SendInjectFlag(IntFlag):
    """FWPS_SEND_INJECT_*: in the header from Windows 8, on no page (NS-4)."""

    PRESERVE_IPID = 0x1


class ConstructIpHeaderFlag(IntFlag):
    """FWPS_CONSTRUCT_IPHEADER_*: from Server 2022 23H2 (NB-23).

    Unspecified: the page names the two flags without their numbers; these are ours.
    """

    FOR_SEND = 0x1
    FOR_RECEIVE = 0x2


class ClassifyFlag(IntFlag):
    """FWPS_CLASSIFY_FLAG_*."""

    REAUTHORIZE_IF_MODIFIED_BY_OTHERS = 0x1


class StreamFlag(IntFlag):
    """FWPS_STREAM_FLAG_*: low half inbound, high half outbound."""

    RECEIVE = 0x00000001
    RECEIVE_EXPEDITED = 0x00000002
    """Urgent data."""
    RECEIVE_DISCONNECT = 0x00000004
    """The peer's FIN."""
    RECEIVE_ABORT = 0x00000008
    """The peer's RST; not in Vista."""
    RECEIVE_PUSH = 0x00000010
    """From Vista SP1."""
    SEND = 0x00010000
    SEND_EXPEDITED = 0x00020000
    SEND_NODELAY = 0x00040000
    SEND_DISCONNECT = 0x00080000
    SEND_ABORT = 0x00100000
    """Not in Vista."""


class StreamAction(IntEnum):
    """What a callout asks of the stream engine (FWPS_STREAM_ACTION_*)."""

    NONE = 0
    NEED_MORE_DATA = 1
    DROP_CONNECTION = 2
    DEFER = 3
    ALLOW_CONNECTION = 4
    """From Windows 7."""
    MAX = 5
    """Bound of the enumeration."""


class Action(IntEnum):
    """A decision, or the kind of callout a filter calls (FWP_ACTION_*)."""

    BLOCK = 0x1001
    PERMIT = 0x1002
    CONTINUE = 0x2006
    NONE = 0x0007
    NONE_NO_MATCH = 0x0008
    CALLOUT_TERMINATING = 0x5003
    CALLOUT_INSPECTION = 0x6004
    CALLOUT_UNKNOWN = 0x4005


RIGHT_ACTION_WRITE = 0x1
"""Bit of classifyOut.rights: set while the action may still be changed (CO-14)."""


class ClassifyOutFlag(IntFlag):
    """FWPS_CLASSIFY_OUT_FLAG_*."""

    ABSORB = 0x1
    BUFFER_LIMIT_REACHED = 0x2
    NO_MORE_DATA = 0x4


class FilterFlag(IntFlag):
    """FWPS_FILTER_FLAG_*."""

    CLEAR_ACTION_RIGHT = 0x1
    PERMIT_IF_CALLOUT_UNREGISTERED = 0x2
    OR_CONDITIONS = 0x4


class NotifyType(IntEnum):
    """Why a callout's notify function is called (FWPS_CALLOUT_NOTIFY_*)."""

    ADD_FILTER = 0
    DELETE_FILTER = 1
    ADD_FILTER_POST_COMMIT = 2


class IncomingFlag(IntFlag):
    """FWPS_INCOMING_FLAG_*."""

    MID_STREAM_INSPECTION = 0x10
    RECLASSIFY = 0x20


class L2IncomingFlag(IntFlag):
    """FWPS_L2_INCOMING_FLAG_*."""

    IS_RAW_IPV4_FRAMING = 0x1
    IS_RAW_IPV6_FRAMING = 0x2
    RECLASSIFY_MULTI_DESTINATION = 0x8


class DiscardModule(IntEnum):
    """Which part of the stack threw a packet away (FWPS_DISCARD_MODULE0)."""

    NETWORK = 0
    TRANSPORT = 1
    GENERAL = 2


class Direction(IntEnum):
    """FWP_DIRECTION: note that outbound is zero."""

    OUTBOUND = 0
    INBOUND = 1


class CalloutFlag(IntFlag):
    """FWP_CALLOUT_FLAG_*."""

    CONDITIONAL_ON_FLOW = 0x001
    ALLOW_OFFLOAD = 0x002
    ENABLE_COMMIT_ADD_NOTIFY = 0x004
    ALLOW_MID_STREAM_INSPECTION = 0x008
    ALLOW_RECLASSIFY = 0x010
    ALLOW_RSC = 0x040
    ALLOW_L2_BATCH_CLASSIFY = 0x080
    ALLOW_USO = 0x100
    ALLOW_URO = 0x200


class ConditionFlag(IntFlag):
    """Bits of a layer's FLAGS field (FWP_CONDITION_FLAG_*); another word than the metadata bits."""

    IS_LOOPBACK = 0x00000001
    IS_IPSEC_SECURED = 0x00000002
    IS_REAUTHORIZE = 0x00000004
    IS_WILDCARD_BIND = 0x00000008
    IS_RAW_ENDPOINT = 0x00000010
    IS_FRAGMENT = 0x00000020
    IS_FRAGMENT_GROUP = 0x00000040
    IS_IPSEC_NATT_RECLASSIFY = 0x00000080
    REQUIRES_ALE_CLASSIFY = 0x00000100
    """Vista without service pack only; later a metadata bit."""
    IS_IMPLICIT_BIND = 0x00000200
    IS_REASSEMBLED = 0x00000400
    """From Vista SP1."""
    IS_RECLASSIFY = 0x00020000
    IS_OUTBOUND_PASS_THRU = 0x00040000
    """From Windows 7."""
    IS_INBOUND_PASS_THRU = 0x00080000
    """From Windows 7."""
    IS_CONNECTION_REDIRECTED = 0x00100000
    IS_PROXY_CONNECTION = 0x00200000
    """From Windows 8."""


class L2ConditionFlag(IntFlag):
    """Bits of a MAC or vSwitch layer's L2_FLAGS field (FWP_CONDITION_L2_*)."""

    IS_NATIVE_ETHERNET = 0x01
    IS_WIFI = 0x02
    IS_MOBILE_BROADBAND = 0x04
    IS_WIFI_DIRECT_DATA = 0x08
    IS_VM2VM = 0x10
    IS_MALFORMED_PACKET = 0x20
    IS_IP_FRAGMENT_GROUP = 0x40
    IF_CONNECTOR_PRESENT = 0x80


class AddressFamily(IntEnum):
    """AF_*: the Windows numbers; INET6 is 23 here and 10 on Linux, so never pass one side's to the other."""

    UNSPEC = 0
    INET = 2
    INET6 = 23

    @property
    def version(self) -> int | None:
        """The IP version, 4 or 6; None when the family is not specified."""
        return _VERSION_OF_FAMILY[self]

    @classmethod
    def of_version(cls, version: int) -> AddressFamily:
        """The family of IP version 4 or 6.

        Raises KeyError for another number.
        """
        return _FAMILY_OF_VERSION[version]


_VERSION_OF_FAMILY = {AddressFamily.UNSPEC: None, AddressFamily.INET: 4, AddressFamily.INET6: 6}
_FAMILY_OF_VERSION = {4: AddressFamily.INET, 6: AddressFamily.INET6}

UNSPECIFIED_COMPARTMENT_ID = 0
DEFAULT_COMPARTMENT_ID = 1
LAYER_NON_WFP = 0xFFFF
"""Where a completion reports a layer id and there is none."""


class TagEvent(IntEnum):
    """What happened to a tagged list (FWPS_NET_BUFFER_LIST_EVENT_TYPE0)."""

    ENTERED_NETIO = 0
    CLONED_BY_NETIO = 1
    CLONED_VIA_WFP_API = 2
    DUPLICATED_BY_NETIO = 3
    EXIT_NETIO = 4
    CONTEXT_REMOVED = 5
    NDIS_SEND_COMPLETE = 6
    NDIS_ETHERNET_SEND_COMPLETE = 6
    NDIS_RECV_COMPLETE = 7
    NDIS_ETHERNET_RECV_COMPLETE = 7
    NDIS_NATIVE_SEND_COMPLETE = 8
    NDIS_NATIVE_RECV_COMPLETE = 9
    NDIS_VSWITCH_INGRESS_COMPLETE = 10
    NDIS_VSWITCH_EGRESS_COMPLETE = 11
    CLONED_BY_NDIS = 12
    REASSEMBLED_FRAGMENT = 13
    REASSEMBLY_COMPLETE = 14


class WindowsVersion(IntEnum):
    """The Windows release a profile imitates; later compares greater (VE-1). Own numbers, not NTDDI's."""

    VISTA = 0
    VISTA_SP1 = 1
    """Also Server 2008."""
    WINDOWS_7 = 2
    """Also Server 2008 R2."""
    WINDOWS_8 = 3
    """Also Server 2012; the default profile."""
    SERVER_2022_23H2 = 4
