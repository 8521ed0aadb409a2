"""Layer ids, and the words that describe what a layer shows.

Source: contract 1.6, LA-1, fwpsk.h.
"""

from __future__ import annotations

from enum import Enum, IntEnum

from emulator.wfptypes import InjectionType


class Layer(IntEnum):
    """A run-time filtering layer (FWPS_LAYER_*).

    Compare members: the numbers are not promised across Windows versions.
    """

    INBOUND_IPPACKET_V4 = 0
    INBOUND_IPPACKET_V4_DISCARD = 1
    INBOUND_IPPACKET_V6 = 2
    INBOUND_IPPACKET_V6_DISCARD = 3
    OUTBOUND_IPPACKET_V4 = 4
    OUTBOUND_IPPACKET_V4_DISCARD = 5
    OUTBOUND_IPPACKET_V6 = 6
    OUTBOUND_IPPACKET_V6_DISCARD = 7
    IPFORWARD_V4 = 8
    IPFORWARD_V4_DISCARD = 9
    IPFORWARD_V6 = 10
    IPFORWARD_V6_DISCARD = 11
    INBOUND_TRANSPORT_V4 = 12
    INBOUND_TRANSPORT_V4_DISCARD = 13
    INBOUND_TRANSPORT_V6 = 14
    INBOUND_TRANSPORT_V6_DISCARD = 15
    OUTBOUND_TRANSPORT_V4 = 16
    OUTBOUND_TRANSPORT_V4_DISCARD = 17
    OUTBOUND_TRANSPORT_V6 = 18
    OUTBOUND_TRANSPORT_V6_DISCARD = 19
    STREAM_V4 = 20
    STREAM_V4_DISCARD = 21
    STREAM_V6 = 22
    STREAM_V6_DISCARD = 23
    DATAGRAM_DATA_V4 = 24
    DATAGRAM_DATA_V4_DISCARD = 25
    DATAGRAM_DATA_V6 = 26
    DATAGRAM_DATA_V6_DISCARD = 27
    INBOUND_ICMP_ERROR_V4 = 28
    INBOUND_ICMP_ERROR_V4_DISCARD = 29
    INBOUND_ICMP_ERROR_V6 = 30
    INBOUND_ICMP_ERROR_V6_DISCARD = 31
    OUTBOUND_ICMP_ERROR_V4 = 32
    OUTBOUND_ICMP_ERROR_V4_DISCARD = 33
    OUTBOUND_ICMP_ERROR_V6 = 34
    OUTBOUND_ICMP_ERROR_V6_DISCARD = 35
    ALE_RESOURCE_ASSIGNMENT_V4 = 36
    ALE_RESOURCE_ASSIGNMENT_V4_DISCARD = 37
    ALE_RESOURCE_ASSIGNMENT_V6 = 38
    ALE_RESOURCE_ASSIGNMENT_V6_DISCARD = 39
    ALE_AUTH_LISTEN_V4 = 40
    ALE_AUTH_LISTEN_V4_DISCARD = 41
    ALE_AUTH_LISTEN_V6 = 42
    ALE_AUTH_LISTEN_V6_DISCARD = 43
    ALE_AUTH_RECV_ACCEPT_V4 = 44
    ALE_AUTH_RECV_ACCEPT_V4_DISCARD = 45
    ALE_AUTH_RECV_ACCEPT_V6 = 46
    ALE_AUTH_RECV_ACCEPT_V6_DISCARD = 47
    ALE_AUTH_CONNECT_V4 = 48
    ALE_AUTH_CONNECT_V4_DISCARD = 49
    ALE_AUTH_CONNECT_V6 = 50
    ALE_AUTH_CONNECT_V6_DISCARD = 51
    ALE_FLOW_ESTABLISHED_V4 = 52
    ALE_FLOW_ESTABLISHED_V4_DISCARD = 53
    ALE_FLOW_ESTABLISHED_V6 = 54
    ALE_FLOW_ESTABLISHED_V6_DISCARD = 55
    INBOUND_MAC_FRAME_ETHERNET = 56
    OUTBOUND_MAC_FRAME_ETHERNET = 57
    INBOUND_MAC_FRAME_NATIVE = 58
    OUTBOUND_MAC_FRAME_NATIVE = 59
    NAME_RESOLUTION_CACHE_V4 = 60
    NAME_RESOLUTION_CACHE_V6 = 61
    ALE_RESOURCE_RELEASE_V4 = 62
    ALE_RESOURCE_RELEASE_V6 = 63
    ALE_ENDPOINT_CLOSURE_V4 = 64
    ALE_ENDPOINT_CLOSURE_V6 = 65
    ALE_CONNECT_REDIRECT_V4 = 66
    ALE_CONNECT_REDIRECT_V6 = 67
    ALE_BIND_REDIRECT_V4 = 68
    ALE_BIND_REDIRECT_V6 = 69
    STREAM_PACKET_V4 = 70
    STREAM_PACKET_V6 = 71
    INGRESS_VSWITCH_ETHERNET = 72
    EGRESS_VSWITCH_ETHERNET = 73
    INGRESS_VSWITCH_TRANSPORT_V4 = 74
    INGRESS_VSWITCH_TRANSPORT_V6 = 75
    EGRESS_VSWITCH_TRANSPORT_V4 = 76
    EGRESS_VSWITCH_TRANSPORT_V6 = 77


class DataStart(Enum):
    """Where the data start of an indication stands (LA-1)."""

    NOTHING = "no layer data"
    MAC_HEADER = "MAC header"
    AFTER_MAC_HEADER = "network header, the Ethernet header in front of it"
    IP_HEADER = "IP header"
    TRANSPORT_HEADER = "transport header"
    PAYLOAD = "payload; the ICMP header for ICMP"
    INNER_IP_HEADER = "IP header of the packet inside the ICMP error"
    STREAM_DATA = "stream data, no header anywhere"


class InjectFunction(Enum):
    """The function that re-injects what was captured at a layer, and the handle type it takes."""

    NETWORK_SEND = ("FwpsInjectNetworkSendAsync0", InjectionType.NETWORK)
    NETWORK_RECEIVE = ("FwpsInjectNetworkReceiveAsync0", InjectionType.NETWORK)
    TRANSPORT_SEND = ("FwpsInjectTransportSendAsync0", InjectionType.TRANSPORT)
    TRANSPORT_RECEIVE = ("FwpsInjectTransportReceiveAsync0", InjectionType.TRANSPORT)
    FORWARD = ("FwpsInjectForwardAsync0", InjectionType.FORWARD)
    STREAM = ("FwpsStreamInjectAsync0", InjectionType.STREAM)
    MAC_SEND = ("FwpsInjectMacSendAsync0", InjectionType.L2)
    MAC_RECEIVE = ("FwpsInjectMacReceiveAsync0", InjectionType.L2)
    VSWITCH_INGRESS = ("FwpsInjectvSwitchEthernetIngressAsync0", InjectionType.L2)

    @property
    def windows_name(self) -> str:
        """The documented function."""
        return self.value[0]

    @property
    def injection_type(self) -> InjectionType:
        """The type a handle must have been created with."""
        return self.value[1]
