"""What a classifyFn is told: typed fields in the header's order, metadata with poison where nothing is."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest

from emulator.core import Core
from emulator.edge.fwptypes import FWP_BYTE_ARRAY16_TYPE, FWP_EMPTY, FWP_UINT8, FWP_UINT16, FWP_UINT32, FWP_UINT64
from emulator.flows import FlowKey
from emulator.fwpsk import (
    FWPS_INCOMING_METADATA_VALUES0,
    FWPS_INCOMING_VALUES0,
    FWPS_IS_L2_METADATA_FIELD_PRESENT,
    FWPS_IS_METADATA_FIELD_PRESENT,
)
from emulator.headers import build_ip_header
from emulator.indication import Indication, OwnIndication
from emulator.interfaces import Interface, InterfaceTable
from emulator.layerids import Layer
from emulator.layers import field_index, layer_info, layer_of
from emulator.metadata import POISON
from emulator.netbuffer import STACK, NetBufferList
from emulator.wdk import (
    FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE,
    FWPS_METADATA_FIELD_COMPARTMENT_ID,
    FWPS_METADATA_FIELD_FLOW_HANDLE,
    FWPS_METADATA_FIELD_IP_HEADER_SIZE,
    FWPS_METADATA_FIELD_PATH_MTU,
    FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE,
)
from emulator.wfptypes import AddressFamily, MetadataField

LOCAL = {4: bytes([10, 0, 0, 1]), 6: bytes([0xFD, *bytes(14), 1])}
REMOTE = {4: bytes([10, 0, 0, 2]), 6: bytes([0xFD, *bytes(14), 2])}
TABLE = InterfaceTable((Interface(2, "eth0", addresses=frozenset(LOCAL.values())),))


def shown(group: str, version: int, *, inbound: bool, payload: bytes | None = None, protocol: int = 17) -> Indication:
    """A datagram at a layer, on interface 2."""
    ends = (REMOTE[version], LOCAL[version]) if inbound else (LOCAL[version], REMOTE[version])
    ports = (53, 1000) if inbound else (1000, 53)
    data = payload or pack("!HHHH", *ports, 13, 0) + b"hello"
    memory = bytearray(build_ip_header(version, *ends, protocol, data))
    core = Core(lambda injection: None)
    item = NetBufferList(memory, 0, len(memory), STACK)
    return OwnIndication(core, layer_of(group, version), inbound, item, memory, 0, len(memory), 2, TABLE)


def value(seen: Indication, name: str) -> Any:
    return FWPS_INCOMING_VALUES0(seen).incomingValue[field_index(seen.layer, name)].value


@pytest.mark.rule("LA-32", "LA-34")
@pytest.mark.parametrize("inbound", [True, False], ids=["inbound", "outbound"])
def test_fields_have_the_header_s_types(family: AddressFamily, inbound: bool) -> None:
    version = family.version or 0
    seen = shown("INBOUND_TRANSPORT" if inbound else "OUTBOUND_TRANSPORT", version, inbound=inbound)
    local, remote = value(seen, "IP_LOCAL_ADDRESS"), value(seen, "IP_REMOTE_ADDRESS")
    if version == 4:
        assert (local.type, local.uint32, remote.uint32) == (FWP_UINT32, 0x0A000001, 0x0A000002)
    else:
        assert (local.type, local.byteArray16.byteArray16) == (FWP_BYTE_ARRAY16_TYPE, LOCAL[6])
        assert remote.byteArray16 == REMOTE[6]
    assert (value(seen, "IP_PROTOCOL").type, value(seen, "IP_PROTOCOL").uint8) == (FWP_UINT8, 17)
    assert (value(seen, "IP_LOCAL_PORT").type, value(seen, "IP_LOCAL_PORT").uint16) == (FWP_UINT16, 1000)
    assert value(seen, "IP_REMOTE_PORT").uint16 == 53
    assert (value(seen, "INTERFACE_INDEX").type, value(seen, "INTERFACE_INDEX").uint32) == (FWP_UINT32, 2)
    luid = value(seen, "IP_LOCAL_INTERFACE")
    assert (luid.type, luid.uint64) == (FWP_UINT64, TABLE.get(2).luid)  # type: ignore[union-attr]
    assert value(seen, "IP_LOCAL_ADDRESS_TYPE").uint8 == 1


def test_a_field_that_linux_does_not_have_is_a_zero_or_empty() -> None:
    seen = shown("OUTBOUND_TRANSPORT", 4, inbound=False)
    assert value(seen, "TUNNEL_TYPE").uint32 == value(seen, "PROFILE_ID").uint32 == 0
    assert value(seen, "IPSEC_SECURITY_REALM_ID").type == FWP_EMPTY


@pytest.mark.parametrize("layer", [layer for layer in Layer if layer_info(layer).version == 4 and layer < 12])
def test_all_fields_of_a_layer_are_there_and_equal_the_engine_s(layer: Layer) -> None:
    info = layer_info(layer)
    seen = shown(info.group, 4, inbound=True)
    fixed = FWPS_INCOMING_VALUES0(seen)
    values = fixed.incomingValue
    assert (fixed.layerId, fixed.valueCount, len(values)) == (seen.layer, len(info.fields), len(info.fields))
    assert tuple(values[index].value.content for index in range(len(values))) == seen.values
    with pytest.raises(IndexError):
        values[len(values)]


def test_a_value_is_not_read_as_another_type() -> None:
    port = value(shown("OUTBOUND_TRANSPORT", 4, inbound=False), "IP_REMOTE_PORT")
    with pytest.raises(AttributeError, match="uint32 was read of a value of type FWP_UINT16"):
        port.uint32  # noqa: B018


# -- metadata -------------------------------------------------------------------------------------------------

MEMBERS = {
    "flowHandle": MetadataField.FLOW_HANDLE,
    "ipHeaderSize": MetadataField.IP_HEADER_SIZE,
    "transportHeaderSize": MetadataField.TRANSPORT_HEADER_SIZE,
    "compartmentId": MetadataField.COMPARTMENT_ID,
    "transportEndpointHandle": MetadataField.TRANSPORT_ENDPOINT_HANDLE,
    "pathMtu": MetadataField.PATH_MTU,
    "remoteScopeId": MetadataField.REMOTE_SCOPE_ID,
    "controlData": MetadataField.TRANSPORT_CONTROL_DATA,
    "controlDataLength": MetadataField.TRANSPORT_CONTROL_DATA,
    "icmpIdAndSequence": MetadataField.ICMP_ID_AND_SEQUENCE,
    "processId": MetadataField.PROCESS_ID,
    "completionHandle": MetadataField.COMPLETION_HANDLE,
    "packetDirection": MetadataField.PACKET_DIRECTION,
    "parentEndpointHandle": MetadataField.PARENT_ENDPOINT_HANDLE,
    "sourceInterfaceIndex": MetadataField.SOURCE_INTERFACE_INDEX,
    "destinationInterfaceIndex": MetadataField.DESTINATION_INTERFACE_INDEX,
}


@pytest.mark.rule("MD-1", "MD-3")
@pytest.mark.parametrize("group", ["INBOUND_IPPACKET", "OUTBOUND_IPPACKET", "IPFORWARD", "INBOUND_TRANSPORT"])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_without_its_bit_reads_as_poison(group: str, name: str) -> None:
    meta = FWPS_INCOMING_METADATA_VALUES0(shown(group, 4, inbound=group.startswith("IN")))
    present = FWPS_IS_METADATA_FIELD_PRESENT(meta, MEMBERS[name])
    assert present is ((meta.currentMetadataValues & MEMBERS[name]) == MEMBERS[name])
    assert (getattr(meta, name) == POISON) is not present


@pytest.mark.rule("MD-1", "MD-6", "MD-12", "FL-8")
def test_members_with_their_bit_have_their_value() -> None:
    seen = shown("OUTBOUND_IPPACKET", 4, inbound=False)
    seen.path_mtu = 1400
    meta = FWPS_INCOMING_METADATA_VALUES0(seen)
    bits = FWPS_METADATA_FIELD_PATH_MTU | FWPS_METADATA_FIELD_COMPARTMENT_ID | FWPS_METADATA_FIELD_IP_HEADER_SIZE
    assert FWPS_IS_METADATA_FIELD_PRESENT(meta, bits | FWPS_METADATA_FIELD_TRANSPORT_HEADER_SIZE)
    assert not FWPS_IS_METADATA_FIELD_PRESENT(meta, bits | FWPS_METADATA_FIELD_FLOW_HANDLE)
    assert (meta.pathMtu, meta.compartmentId, meta.ipHeaderSize, meta.transportHeaderSize) == (1400, 1, 20, 8)

    transport = shown("OUTBOUND_TRANSPORT", 4, inbound=False)
    key = FlowKey(17, LOCAL[4], 1000, REMOTE[4], 53)
    transport.flow = transport.core.engine.flows.table.begin(key, outbound=True, now=0.0)
    transport.endpoint = 77
    meta = FWPS_INCOMING_METADATA_VALUES0(transport)
    assert (meta.flowHandle, meta.transportEndpointHandle) == (transport.flow.number, 77)


@pytest.mark.rule("MD-4", "MD-5")
def test_inbound_sizes_lead_back_to_the_ip_header(family: AddressFamily) -> None:
    seen = shown("INBOUND_TRANSPORT", family.version or 0, inbound=True)
    meta = FWPS_INCOMING_METADATA_VALUES0(seen)
    payload = seen.memory.index(b"hello")
    back = meta.ipHeaderSize + meta.transportHeaderSize
    assert seen.memory[payload - back] >> 4 == family.version


def test_there_is_no_frame_metadata() -> None:
    meta = FWPS_INCOMING_METADATA_VALUES0(shown("INBOUND_TRANSPORT", 4, inbound=True))
    assert not FWPS_IS_L2_METADATA_FIELD_PRESENT(meta, FWPS_L2_METADATA_FIELD_ETHERNET_MAC_HEADER_SIZE)
    assert (meta.ethernetMacHeaderSize, meta.flags, meta.reserved) == (POISON, 0, 0)
    with pytest.raises(AttributeError, match="no member ipHeadersize"):
        meta.ipHeadersize  # noqa: B018


@pytest.mark.rule("TS-9", "MD-10")
def test_a_link_local_destination_has_a_scope() -> None:
    link_local = bytes([0xFE, 0x80, *bytes(13), 2])
    memory = bytearray(build_ip_header(6, LOCAL[6], link_local, 17, pack("!HHHH", 1000, 53, 8, 0)))
    item = NetBufferList(memory, 40, len(memory), STACK)
    layer = Layer.OUTBOUND_TRANSPORT_V6
    seen = OwnIndication(Core(lambda injection: None), layer, False, item, memory, 0, len(memory), 2, TABLE)
    scope = FWPS_INCOMING_METADATA_VALUES0(seen).remoteScopeId
    assert (scope, scope.Value, scope.Zone, scope.Level) == (2, 2, 2, 0)


@pytest.mark.rule("MD-9", "TS-14")
def test_a_raw_send_shows_its_own_header() -> None:
    seen = shown("OUTBOUND_TRANSPORT", 4, inbound=False)
    meta = FWPS_INCOMING_METADATA_VALUES0(seen)
    assert (meta.headerIncludeHeader, meta.headerIncludeHeaderLength) == (None, 0)
    seen = shown("OUTBOUND_TRANSPORT", 4, inbound=False)
    seen.metadata_bits = MetadataField.TRANSPORT_HEADER_INCLUDE_HEADER
    meta = FWPS_INCOMING_METADATA_VALUES0(seen)
    assert (meta.headerIncludeHeader, meta.headerIncludeHeaderLength) == (bytes(seen.memory[:20]), 20)


@pytest.mark.rule("LA-22")
def test_a_fragment_is_described() -> None:
    seen = shown("INBOUND_IPPACKET", 4, inbound=True)
    meta = FWPS_INCOMING_METADATA_VALUES0(seen)
    assert meta.fragmentMetadata.fragmentOffset == POISON
    seen = shown("INBOUND_IPPACKET", 4, inbound=True)
    seen.fragment = (0x1234, 16, 1)
    told = FWPS_INCOMING_METADATA_VALUES0(seen).fragmentMetadata
    assert (told.fragmentIdentification, told.fragmentOffset, told.fragmentLength) == (0x1234, 16, 13)


@pytest.mark.rule("MD-13")
def test_a_discard_is_described() -> None:
    seen = shown("INBOUND_TRANSPORT", 4, inbound=True)
    assert FWPS_INCOMING_METADATA_VALUES0(seen).discardMetadata.discardReason == POISON
    memory = seen.memory
    layer = Layer.INBOUND_TRANSPORT_V4_DISCARD
    seen = OwnIndication(seen.core, layer, True, seen.net_buffer_list, memory, 0, len(memory), 2, TABLE)
    seen.discard = (1, 2, 3)
    told = FWPS_INCOMING_METADATA_VALUES0(seen).discardMetadata
    assert (told.discardModule, told.discardReason, told.filterId) == (1, 2, 3)


@pytest.mark.rule("CO-12", "MD-10")
def test_what_is_read_after_classify_is_a_violation() -> None:
    seen = shown("OUTBOUND_TRANSPORT", 4, inbound=False)
    fixed, meta = FWPS_INCOMING_VALUES0(seen), FWPS_INCOMING_METADATA_VALUES0(seen)
    values = fixed.incomingValue
    assert (values[0].value.uint8, meta.compartmentId) == (17, 1)
    seen.core.engine.classify(seen)
    assert list(seen.core.violations) == []
    values[0]
    assert seen.core.violations.rules() == ["CO-12"]
    assert meta.ipHeaderSize == POISON
    assert set(seen.core.violations.rules()[1:]) == {"CO-12"}
