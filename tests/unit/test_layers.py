"""The table of layers against what the pages say, typed here once more in their words."""

from __future__ import annotations

import pytest

from emulator.layerids import InjectFunction
from emulator.layers import DataStart, Layer, discard_layer, field_index, layer_info, layer_of
from emulator.metadatabits import L2MetadataField, MetadataField
from emulator.octets import address_value
from emulator.wfptypes import ConditionFlag, Direction, InjectionType, WindowsVersion

IN, OUT = Direction.INBOUND, Direction.OUTBOUND

IP_TAIL = (
    "IP_LOCAL_INTERFACE INTERFACE_INDEX SUB_INTERFACE_INDEX FLAGS INTERFACE_TYPE TUNNEL_TYPE COMPARTMENT_ID"
)
MAC = (
    "INTERFACE_MAC_ADDRESS MAC_LOCAL_ADDRESS MAC_REMOTE_ADDRESS MAC_LOCAL_ADDRESS_TYPE"
    " MAC_REMOTE_ADDRESS_TYPE ETHER_TYPE VLAN_ID INTERFACE INTERFACE_INDEX NDIS_PORT L2_FLAGS COMPARTMENT_ID"
)
# Complete orders.
FIELDS = {
    "INBOUND_IPPACKET": f"IP_LOCAL_ADDRESS IP_REMOTE_ADDRESS IP_LOCAL_ADDRESS_TYPE {IP_TAIL}",
    "OUTBOUND_IPPACKET": f"IP_LOCAL_ADDRESS IP_LOCAL_ADDRESS_TYPE IP_REMOTE_ADDRESS {IP_TAIL}",
    "IPFORWARD": "IP_SOURCE_ADDRESS IP_DESTINATION_ADDRESS IP_DESTINATION_ADDRESS_TYPE IP_LOCAL_INTERFACE"
    " IP_FORWARD_INTERFACE SOURCE_INTERFACE_INDEX SOURCE_SUB_INTERFACE_INDEX DESTINATION_INTERFACE_INDEX"
    " DESTINATION_SUB_INTERFACE_INDEX FLAGS IP_PHYSICAL_ARRIVAL_INTERFACE ARRIVAL_INTERFACE_PROFILE_ID"
    " IP_PHYSICAL_NEXTHOP_INTERFACE NEXTHOP_INTERFACE_PROFILE_ID COMPARTMENT_ID",
    "STREAM": "IP_LOCAL_ADDRESS IP_LOCAL_ADDRESS_TYPE IP_REMOTE_ADDRESS IP_LOCAL_PORT IP_REMOTE_PORT DIRECTION"
    " FLAGS COMPARTMENT_ID",
    "INBOUND_MAC_FRAME_ETHERNET": MAC,
    "OUTBOUND_MAC_FRAME_ETHERNET": MAC,
    "INGRESS_VSWITCH_ETHERNET": "MAC_SOURCE_ADDRESS MAC_SOURCE_ADDRESS_TYPE MAC_DESTINATION_ADDRESS"
    " MAC_DESTINATION_ADDRESS_TYPE ETHER_TYPE VLAN_ID VSWITCH_TENANT_NETWORK_ID VSWITCH_ID"
    " VSWITCH_NETWORK_TYPE VSWITCH_SOURCE_INTERFACE_ID VSWITCH_SOURCE_INTERFACE_TYPE VSWITCH_SOURCE_VM_ID"
    " L2_FLAGS COMPARTMENT_ID",
}
# Beginnings; the rule leaves the rest open.
FIRST_FIELDS = {
    "INBOUND_TRANSPORT": "IP_PROTOCOL IP_LOCAL_ADDRESS IP_REMOTE_ADDRESS IP_LOCAL_ADDRESS_TYPE IP_LOCAL_PORT"
    " IP_REMOTE_PORT IP_LOCAL_INTERFACE INTERFACE_INDEX SUB_INTERFACE_INDEX FLAGS",
    "OUTBOUND_TRANSPORT": "IP_PROTOCOL IP_LOCAL_ADDRESS IP_LOCAL_ADDRESS_TYPE IP_REMOTE_ADDRESS IP_LOCAL_PORT"
    " IP_REMOTE_PORT IP_LOCAL_INTERFACE INTERFACE_INDEX SUB_INTERFACE_INDEX IP_DESTINATION_ADDRESS_TYPE FLAGS",
    "DATAGRAM_DATA": "IP_PROTOCOL IP_LOCAL_ADDRESS IP_REMOTE_ADDRESS IP_LOCAL_ADDRESS_TYPE IP_LOCAL_PORT"
    " IP_REMOTE_PORT IP_LOCAL_INTERFACE INTERFACE_INDEX SUB_INTERFACE_INDEX DIRECTION FLAGS",
}
# How many there are in the header, *_MAX.
FIELD_COUNTS = {
    "INBOUND_TRANSPORT": 15,
    "OUTBOUND_TRANSPORT": 16,
    "DATAGRAM_DATA": 14,
    "STREAM_PACKET": 12,
    "INBOUND_ICMP_ERROR": 22,
    "OUTBOUND_ICMP_ERROR": 14,
    "ALE_RESOURCE_ASSIGNMENT": 18,
    "ALE_RESOURCE_RELEASE": 11,
    "ALE_ENDPOINT_CLOSURE": 13,
    "ALE_AUTH_LISTEN": 14,
    "ALE_AUTH_RECV_ACCEPT": 39,
    "ALE_AUTH_CONNECT": 41,
    "ALE_FLOW_ESTABLISHED": 24,
    "ALE_BIND_REDIRECT": 10,
    "ALE_CONNECT_REDIRECT": 14,
    "NAME_RESOLUTION_CACHE": 5,
    "INBOUND_MAC_FRAME_NATIVE": 8,
    "EGRESS_VSWITCH_ETHERNET": 17,
    "INGRESS_VSWITCH_TRANSPORT": 14,
    "EGRESS_VSWITCH_TRANSPORT": 17,
}

BIND = "PROCESS_PATH TOKEN PROCESS_ID COMPLETION_HANDLE TRANSPORT_ENDPOINT_HANDLE SUB_PROCESS_TAG"
RELEASE = "TOKEN PROCESS_ID COMPARTMENT_ID TRANSPORT_ENDPOINT_HANDLE SUB_PROCESS_TAG"
REDIRECT = "TOKEN PROCESS_ID TRANSPORT_ENDPOINT_HANDLE LOCAL_REDIRECT_TARGET_PID SUB_PROCESS_TAG"
AUTHORISE = (
    "FLOW_HANDLE PROCESS_PATH TOKEN PROCESS_ID TRANSPORT_HEADER_SIZE COMPARTMENT_ID COMPLETION_HANDLE"
    " TRANSPORT_ENDPOINT_HANDLE PACKET_DIRECTION PARENT_ENDPOINT_HANDLE ICMP_ID_AND_SEQUENCE SUB_PROCESS_TAG"
)
METADATA = {
    "INBOUND_IPPACKET": "IP_HEADER_SIZE COMPARTMENT_ID FRAGMENT_DATA",
    "OUTBOUND_IPPACKET": "IP_HEADER_SIZE TRANSPORT_HEADER_SIZE COMPARTMENT_ID FRAGMENT_DATA PATH_MTU",
    "IPFORWARD": "COMPARTMENT_ID",
    "INBOUND_TRANSPORT": "FLOW_HANDLE IP_HEADER_SIZE SYSTEM_FLAGS TRANSPORT_HEADER_SIZE COMPARTMENT_ID"
    " TRANSPORT_ENDPOINT_HANDLE ALE_CLASSIFY_REQUIRED ICMP_ID_AND_SEQUENCE",
    "OUTBOUND_TRANSPORT": "FLOW_HANDLE SYSTEM_FLAGS TRANSPORT_HEADER_SIZE COMPARTMENT_ID"
    " TRANSPORT_ENDPOINT_HANDLE TRANSPORT_CONTROL_DATA REMOTE_SCOPE_ID ICMP_ID_AND_SEQUENCE",
    "STREAM": "FLOW_HANDLE SYSTEM_FLAGS",
    "DATAGRAM_DATA": "FLOW_HANDLE IP_HEADER_SIZE SYSTEM_FLAGS TRANSPORT_HEADER_SIZE COMPARTMENT_ID"
    " TRANSPORT_ENDPOINT_HANDLE TRANSPORT_CONTROL_DATA REMOTE_SCOPE_ID ICMP_ID_AND_SEQUENCE",
    "INBOUND_ICMP_ERROR": "IP_HEADER_SIZE TRANSPORT_HEADER_SIZE COMPARTMENT_ID TRANSPORT_ENDPOINT_HANDLE",
    "OUTBOUND_ICMP_ERROR": "SYSTEM_FLAGS TRANSPORT_HEADER_SIZE COMPARTMENT_ID TRANSPORT_ENDPOINT_HANDLE"
    " TRANSPORT_CONTROL_DATA REMOTE_SCOPE_ID",
    "ALE_RESOURCE_ASSIGNMENT": BIND,
    "ALE_AUTH_LISTEN": BIND,
    "ALE_AUTH_RECV_ACCEPT": f"{AUTHORISE} IP_HEADER_SIZE",
    "ALE_AUTH_CONNECT": f"{AUTHORISE} REMOTE_SCOPE_ID",
    "ALE_FLOW_ESTABLISHED": "FLOW_HANDLE PROCESS_PATH TOKEN PROCESS_ID TRANSPORT_ENDPOINT_HANDLE"
    " PARENT_ENDPOINT_HANDLE ICMP_ID_AND_SEQUENCE SUB_PROCESS_TAG",
    "ALE_RESOURCE_RELEASE": RELEASE,
    "ALE_ENDPOINT_CLOSURE": f"{RELEASE} PARENT_ENDPOINT_HANDLE",
    "ALE_CONNECT_REDIRECT": f"{REDIRECT} PARENT_ENDPOINT_HANDLE ICMP_ID_AND_SEQUENCE REDIRECT_RECORD_HANDLE",
    "ALE_BIND_REDIRECT": REDIRECT,
    "STREAM_PACKET": "FLOW_HANDLE IP_HEADER_SIZE SYSTEM_FLAGS TRANSPORT_HEADER_SIZE COMPARTMENT_ID"
    " TRANSPORT_ENDPOINT_HANDLE TRANSPORT_CONTROL_DATA REMOTE_SCOPE_ID",
    "INBOUND_MAC_FRAME_ETHERNET": "ETHER_FRAME_LENGTH",
}
VSWITCH = (
    "WIFI_OPERATION_MODE VSWITCH_SOURCE_PORT_ID VSWITCH_SOURCE_NIC_INDEX VSWITCH_PACKET_CONTEXT"
    " VSWITCH_DESTINATION_PORT_ID"
)
L2_METADATA = {
    "INBOUND_MAC_FRAME_ETHERNET": "ETHERNET_MAC_HEADER_SIZE",
    "INGRESS_VSWITCH_ETHERNET": f"ETHERNET_MAC_HEADER_SIZE {VSWITCH}",
    "EGRESS_VSWITCH_ETHERNET": f"ETHERNET_MAC_HEADER_SIZE {VSWITCH}",
    "INGRESS_VSWITCH_TRANSPORT": VSWITCH,
    "EGRESS_VSWITCH_TRANSPORT": VSWITCH,
}

NO_ABSORB = {
    "STREAM",
    "ALE_RESOURCE_ASSIGNMENT",
    "ALE_AUTH_LISTEN",
    "ALE_RESOURCE_RELEASE",
    "ALE_ENDPOINT_CLOSURE",
    "ALE_CONNECT_REDIRECT",
    "ALE_BIND_REDIRECT",
    "NAME_RESOLUTION_CACHE",
    "INGRESS_VSWITCH_TRANSPORT",
    "EGRESS_VSWITCH_TRANSPORT",
}


def layers_of(group: str) -> list[Layer]:
    found = [layer for layer in Layer if layer_info(layer).group == group]
    assert found, group
    return found


def mask(kind: type[MetadataField] | type[L2MetadataField], names: str) -> int:
    return sum(kind[name] for name in names.split())


@pytest.mark.rule("LA-30", "LA-31", "LA-33", "LA-35")
@pytest.mark.parametrize("group", FIELDS)
def test_fields_and_their_order(group: str) -> None:
    for layer in layers_of(group):
        assert layer_info(layer).fields == tuple(FIELDS[group].split())


@pytest.mark.rule("LA-32", "LA-33")
@pytest.mark.parametrize("group", FIRST_FIELDS)
def test_the_first_fields_and_their_order(group: str) -> None:
    first = tuple(FIRST_FIELDS[group].split())
    for layer in layers_of(group):
        assert layer_info(layer).fields[: len(first)] == first


@pytest.mark.parametrize("group", FIELD_COUNTS)
def test_a_layer_has_as_many_fields_as_the_header(group: str) -> None:
    for layer in layers_of(group):
        assert len(layer_info(layer).fields) == FIELD_COUNTS[group]
        assert len(layer_info(layer).field_indexes) == FIELD_COUNTS[group]


@pytest.mark.rule("LA-34")
@pytest.mark.parametrize("group", ["INBOUND_TRANSPORT", "OUTBOUND_TRANSPORT", "DATAGRAM_DATA", "ALE_AUTH_CONNECT"])
def test_icmp_type_and_code_stand_where_the_ports_stand(group: str) -> None:
    for layer in layers_of(group):
        assert field_index(layer, "ICMP_TYPE") == field_index(layer, "IP_LOCAL_PORT")
        assert field_index(layer, "ICMP_CODE") == field_index(layer, "IP_REMOTE_PORT")


@pytest.mark.rule("LA-34")
def test_an_ipv4_address_is_a_number_and_an_ipv6_address_is_octets() -> None:
    assert address_value(bytes((10, 0, 0, 1))) == 0x0A000001
    assert address_value(bytes(range(16))) == bytes(range(16))


def test_a_field_the_layer_lacks_is_not_found() -> None:
    with pytest.raises(KeyError, match="STREAM_V4 has no field INTERFACE_INDEX"):
        field_index(Layer.STREAM_V4, "INTERFACE_INDEX")


@pytest.mark.rule("MD-2", "MD-3")
@pytest.mark.parametrize("layer", Layer)
def test_metadata_bits_that_may_be_set(layer: Layer) -> None:
    info = layer_info(layer)
    discard = "DISCARD_REASON" if layer.name.endswith("DISCARD") else ""
    assert info.metadata == mask(MetadataField, f"{METADATA.get(info.group, '')} {discard}")
    assert info.l2_metadata == mask(L2MetadataField, L2_METADATA.get(info.group, ""))
    assert not info.metadata & (
        MetadataField.SOURCE_INTERFACE_INDEX | MetadataField.DESTINATION_INTERFACE_INDEX
    )


@pytest.mark.parametrize("layer", Layer)
def test_every_layer_says_what_it_is(layer: Layer) -> None:
    info = layer_info(int(layer))
    assert info.layer is layer
    assert info.version == (4 if "_V4" in layer.name else 6 if "_V6" in layer.name else None)
    assert info.discard == layer.name.endswith("_DISCARD")
    assert layer_of(info.group, info.version, discard=info.discard) is layer


def test_a_discard_layer_stands_beside_its_layer() -> None:
    pairs = {(layer, discard_layer(layer)) for layer in Layer if discard_layer(layer) is not None}
    assert len(pairs) == 28
    for layer, discard in pairs:
        assert discard == layer + 1
        assert layer_info(layer + 1).base is layer
        assert discard_layer(layer + 1) is None
    assert discard_layer(Layer.STREAM_PACKET_V4) is None


@pytest.mark.parametrize("number", [-1, 78, 0xFFFF])
def test_a_number_that_is_no_layer_is_refused(number: int) -> None:
    with pytest.raises(IndexError):
        layer_info(number)


@pytest.mark.parametrize(
    ("group", "inbound", "outbound"),
    [
        ("INBOUND_IPPACKET", DataStart.TRANSPORT_HEADER, None),
        ("OUTBOUND_IPPACKET", None, DataStart.IP_HEADER),
        ("IPFORWARD", DataStart.IP_HEADER, DataStart.IP_HEADER),
        ("INBOUND_TRANSPORT", DataStart.PAYLOAD, None),
        ("OUTBOUND_TRANSPORT", None, DataStart.TRANSPORT_HEADER),
        ("DATAGRAM_DATA", DataStart.PAYLOAD, DataStart.TRANSPORT_HEADER),
        ("STREAM_PACKET", DataStart.PAYLOAD, DataStart.TRANSPORT_HEADER),
        ("INBOUND_ICMP_ERROR", DataStart.INNER_IP_HEADER, None),
        ("OUTBOUND_ICMP_ERROR", None, DataStart.TRANSPORT_HEADER),
        ("STREAM", DataStart.STREAM_DATA, DataStart.STREAM_DATA),
        ("ALE_AUTH_LISTEN", DataStart.NOTHING, DataStart.NOTHING),
        ("INBOUND_MAC_FRAME_ETHERNET", DataStart.AFTER_MAC_HEADER, None),
        ("OUTBOUND_MAC_FRAME_ETHERNET", None, DataStart.MAC_HEADER),
    ],
)
def test_where_the_data_starts(group: str, inbound: DataStart | None, outbound: DataStart | None) -> None:
    for layer in layers_of(group):
        info = layer_info(layer)
        assert inbound in (None, info.data_start(IN))
        assert outbound in (None, info.data_start(OUT))


@pytest.mark.parametrize(
    ("group", "direction", "function", "kind"),
    [
        ("INBOUND_IPPACKET", IN, "FwpsInjectNetworkReceiveAsync0", InjectionType.NETWORK),
        ("OUTBOUND_IPPACKET", OUT, "FwpsInjectNetworkSendAsync0", InjectionType.NETWORK),
        ("IPFORWARD", IN, "FwpsInjectForwardAsync0", InjectionType.FORWARD),
        ("INBOUND_TRANSPORT", IN, "FwpsInjectTransportReceiveAsync0", InjectionType.TRANSPORT),
        ("OUTBOUND_TRANSPORT", OUT, "FwpsInjectTransportSendAsync0", InjectionType.TRANSPORT),
        ("DATAGRAM_DATA", IN, "FwpsInjectTransportReceiveAsync0", InjectionType.TRANSPORT),
        ("DATAGRAM_DATA", OUT, "FwpsInjectTransportSendAsync0", InjectionType.TRANSPORT),
        ("STREAM", OUT, "FwpsStreamInjectAsync0", InjectionType.STREAM),
        ("INBOUND_MAC_FRAME_NATIVE", IN, "FwpsInjectMacReceiveAsync0", InjectionType.L2),
        ("EGRESS_VSWITCH_ETHERNET", OUT, "FwpsInjectvSwitchEthernetIngressAsync0", InjectionType.L2),
    ],
)
def test_what_reinjects_a_capture(group: str, direction: Direction, function: str, kind: InjectionType) -> None:
    for layer in layers_of(group):
        found = layer_info(layer).inject_function(direction)
        if layer_info(layer).discard:
            assert found is None
        else:
            assert isinstance(found, InjectFunction)
            assert (found.windows_name, found.injection_type) == (function, kind)


@pytest.mark.parametrize("layer", Layer)
def test_where_absorb_may_go_with_block(layer: Layer) -> None:
    info = layer_info(layer)
    assert info.absorb_allowed == (not info.discard and info.group not in NO_ABSORB)


def test_flags_that_belong_to_few_layers() -> None:
    where = {
        flag: {layer_info(layer).group for layer in Layer if layer_info(layer).condition_flags & flag}
        for flag in ConditionFlag
    }
    assert where[ConditionFlag.IS_FRAGMENT] == where[ConditionFlag.IS_REASSEMBLED] == {"INBOUND_IPPACKET"}
    assert where[ConditionFlag.IS_FRAGMENT_GROUP] == {"IPFORWARD"}
    assert where[ConditionFlag.IS_INBOUND_PASS_THRU] == {"IPFORWARD"}
    assert where[ConditionFlag.IS_WILDCARD_BIND] == {"ALE_RESOURCE_ASSIGNMENT"}
    assert {"STREAM", "IPFORWARD", "INBOUND_TRANSPORT"} < where[ConditionFlag.IS_LOOPBACK]
    assert "INBOUND_IPPACKET" not in where[ConditionFlag.IS_RAW_ENDPOINT]


@pytest.mark.parametrize(
    ("layer", "since"),
    [
        (Layer.INBOUND_TRANSPORT_V4, WindowsVersion.VISTA),
        (Layer.STREAM_PACKET_V6, WindowsVersion.WINDOWS_7),
        (Layer.ALE_CONNECT_REDIRECT_V4, WindowsVersion.WINDOWS_7),
        (Layer.INBOUND_MAC_FRAME_ETHERNET, WindowsVersion.WINDOWS_8),
        (Layer.INGRESS_VSWITCH_ETHERNET, WindowsVersion.WINDOWS_8),
    ],
)
def test_since_when_a_layer_exists(layer: Layer, since: WindowsVersion) -> None:
    assert layer_info(layer).since is since
