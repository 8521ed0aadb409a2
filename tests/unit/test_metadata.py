"""Metadata: which members count at a layer, what they hold, and poison for the rest."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.flows import FlowKey
from emulator.indication import Indication
from emulator.layers import Layer, layer_info
from emulator.metadata import POISON
from emulator.wfptypes import AddressFamily, MetadataField
from tests.unit.fakehost import FakeHost, icmp, ip, layer, of_family, tcp, udp

M = MetadataField
MEMBERS = {
    "ip_header_size": M.IP_HEADER_SIZE,
    "transport_header_size": M.TRANSPORT_HEADER_SIZE,
    "compartment_id": M.COMPARTMENT_ID,
    "flow_handle": M.FLOW_HANDLE,
    "transport_endpoint_handle": M.TRANSPORT_ENDPOINT_HANDLE,
    "path_mtu": M.PATH_MTU,
    "remote_scope_id": M.REMOTE_SCOPE_ID,
    "control_data": M.TRANSPORT_CONTROL_DATA,
    "fragment_data": M.FRAGMENT_DATA,
    "discard_metadata": M.DISCARD_REASON,
    "icmp_id_and_sequence": M.ICMP_ID_AND_SEQUENCE,
}
LINK_LOCAL = bytes([0xFE, 0x80, *bytes(13), 9])
PACKET_LAYERS = [
    item
    for item in Layer
    if layer_info(item).version
    and layer_info(item).group.startswith(("INBOUND_", "OUTBOUND_", "IPFORWARD", "DATAGRAM", "ALE_AUTH_", "STREAM_P"))
    and layer_info(item).group != "ALE_AUTH_LISTEN"
]


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def rich(host: FakeHost, where: Layer, packet: bytes, **options: Any) -> Indication:
    """An indication about which everything is known."""
    seen = host.indication(where, packet, **options)
    seen.flow = host.engine.flows.table.begin(FlowKey(17, b"", where, b"", 0), outbound=True, now=0)
    seen.endpoint = 0x77
    seen.path_mtu = 1400
    seen.fragment = (7, 8, 1)
    seen.discard = (2, 0, 5)
    seen.metadata_bits = 0xFFFFFFFF
    return seen


@pytest.mark.rule("MD-1", "MD-2", "MD-3", "LA-22")
@pytest.mark.parametrize("where", PACKET_LAYERS)
def test_no_layer_sets_bits_outside_of_its_row_and_poisons_the_members_without(host: FakeHost, where: Layer) -> None:
    info = layer_info(where)
    for inbound in (True, False) if info.direction is None else (bool(info.direction),):
        packet = icmp(info.version or 4, 8, 0, b"\0\1\0\2", inbound=inbound)
        for seen in (rich(host, where, packet, inbound=inbound), host.indication(where, packet, inbound=inbound)):
            metadata = seen.metadata
            values = metadata.current_metadata_values
            assert values & ~info.metadata == 0
            assert not values & (M.SOURCE_INTERFACE_INDEX | M.DESTINATION_INTERFACE_INDEX)
            for name, bit in MEMBERS.items():
                assert metadata.has(bit) is bool(values & bit)
                assert (getattr(metadata, name) == POISON) is not metadata.has(bit), name
    assert rich(host, where, packet, inbound=inbound).metadata.current_metadata_values == info.metadata
    assert host.rules == []


@pytest.mark.rule("MD-1")
def test_a_set_of_bits_is_there_when_each_is(host: FakeHost) -> None:
    metadata = host.indication(Layer.INBOUND_IPPACKET_V4).metadata
    assert metadata.has(M.IP_HEADER_SIZE)
    assert metadata.has(M.IP_HEADER_SIZE | M.COMPARTMENT_ID)
    assert not metadata.has(M.IP_HEADER_SIZE | M.FRAGMENT_DATA)


@pytest.mark.rule("MD-2", "FW-10")
def test_what_an_ordinary_packet_has(family: AddressFamily, host: FakeHost) -> None:
    version = of_family(family)

    def bits(group: str, *, inbound: bool) -> set[str]:
        seen = host.indication(layer(group, version), udp(version, inbound=inbound), inbound=inbound)
        return {bit.name for bit in M if bit in seen.metadata.current_metadata_values and bit.name}

    assert bits("INBOUND_IPPACKET", inbound=True) == {"IP_HEADER_SIZE", "COMPARTMENT_ID"}
    assert bits("OUTBOUND_IPPACKET", inbound=False) == {"IP_HEADER_SIZE", "TRANSPORT_HEADER_SIZE", "COMPARTMENT_ID"}
    assert bits("IPFORWARD", inbound=True) == {"COMPARTMENT_ID"}
    assert bits("INBOUND_TRANSPORT", inbound=True) == {"IP_HEADER_SIZE", "TRANSPORT_HEADER_SIZE", "COMPARTMENT_ID"}
    assert bits("OUTBOUND_TRANSPORT", inbound=False) == {"TRANSPORT_HEADER_SIZE", "COMPARTMENT_ID"}
    assert bits("DATAGRAM_DATA", inbound=True) == {"IP_HEADER_SIZE", "TRANSPORT_HEADER_SIZE", "COMPARTMENT_ID"}
    assert bits("DATAGRAM_DATA", inbound=False) == {"TRANSPORT_HEADER_SIZE", "COMPARTMENT_ID"}


@pytest.mark.rule("MD-4", "MD-5", "DC-13", "TR-2", "NR-2")
@pytest.mark.parametrize("kind", ["udp", "tcp", "tcp with options", "icmp", "unknown"])
def test_an_incoming_packet_is_retreated_to_its_ip_header_by_its_sizes(
    family: AddressFamily, host: FakeHost, kind: str
) -> None:
    version = of_family(family)
    packet = {
        "udp": udp(version),
        "tcp": tcp(version),
        "tcp with options": tcp(version, options=bytes([1] * 8)),
        "icmp": icmp(version, 8 if version == 4 else 128, 0, b"\0\1\0\2data"),
        "unknown": ip(version, 99, b"whatever"),
    }[kind]
    for group in ("INBOUND_IPPACKET", "INBOUND_TRANSPORT", "DATAGRAM_DATA"):
        seen = host.indication(layer(group, version), packet, inbound=True)
        item, metadata = seen.net_buffer_list, seen.metadata
        assert item is not None
        start = item.octets
        size = metadata.ip_header_size
        if group != "INBOUND_IPPACKET":
            size += metadata.transport_header_size
        item.retreat(size)
        assert item.octets[0] >> 4 == version
        assert item.octets == packet
        if group != "INBOUND_IPPACKET":
            item.advance(metadata.ip_header_size)
            assert item.octets == packet[len(packet) - item.data_length :]
            assert len(item.octets) - len(start) == metadata.transport_header_size
    sizes = {"udp": 8, "tcp": 20, "tcp with options": 28, "icmp": 0, "unknown": 0}
    assert metadata.transport_header_size == sizes[kind]


@pytest.mark.rule("MD-4", "MD-5")
def test_an_outgoing_packet_is_advanced_to_the_ends_of_its_headers(family: AddressFamily, host: FakeHost) -> None:
    version = of_family(family)
    packet = tcp(version, b"data", inbound=False, options=bytes([1] * 4))
    below = host.indication(layer("OUTBOUND_IPPACKET", version), packet, inbound=False).metadata
    assert below.ip_header_size == (20 if version == 4 else 40)
    above = host.indication(layer("OUTBOUND_TRANSPORT", version), packet, inbound=False)
    item = above.net_buffer_list
    assert item is not None
    item.advance(above.metadata.transport_header_size)
    assert item.octets == b"data"
    message = icmp(version, 8 if version == 4 else 128, 0, b"\0\1\0\2data", inbound=False)
    shown = host.indication(layer("OUTBOUND_TRANSPORT", version), message, inbound=False)
    assert shown.metadata.transport_header_size == 8


@pytest.mark.rule("MD-6", "FL-8", "LA-22")
def test_what_is_known_is_told(host: FakeHost) -> None:
    seen = rich(host, Layer.INBOUND_TRANSPORT_V4, udp(4))
    assert seen.flow is not None
    metadata = seen.metadata
    assert (metadata.compartment_id, metadata.transport_endpoint_handle) == (1, 0x77)
    assert metadata.flow_handle == seen.flow.number
    assert rich(host, Layer.OUTBOUND_IPPACKET_V4, udp(4)).metadata.path_mtu == 1400
    assert rich(host, Layer.INBOUND_IPPACKET_V4, udp(4)).metadata.fragment_data == (7, 8, 1)
    assert rich(host, Layer.INBOUND_IPPACKET_V4_DISCARD, udp(4)).metadata.discard_metadata == (2, 0, 5)
    whole = host.indication(Layer.INBOUND_IPPACKET_V4).metadata
    assert not whole.has(M.FRAGMENT_DATA)


@pytest.mark.rule("MD-2")
@pytest.mark.parametrize("inbound", [True, False])
def test_an_echo_has_an_identifier_and_a_sequence(family: AddressFamily, host: FakeHost, inbound: bool) -> None:
    version = of_family(family)
    where = layer("INBOUND_TRANSPORT" if inbound else "OUTBOUND_TRANSPORT", version)
    echo = 8 if version == 4 else 128
    found = host.indication(where, icmp(version, echo, 0, b"\x12\x34\x56\x78", inbound=inbound)).metadata
    assert found.icmp_id_and_sequence == 0x12345678
    other = host.indication(where, icmp(version, 3, 0, b"\x12\x34\x56\x78", inbound=inbound)).metadata
    assert not other.has(M.ICMP_ID_AND_SEQUENCE)


@pytest.mark.rule("MD-10")
def test_a_link_local_destination_has_the_scope_of_its_interface(host: FakeHost) -> None:
    where = Layer.OUTBOUND_TRANSPORT_V6
    seen = host.indication(where, udp(6, inbound=False, to=LINK_LOCAL), interface=3)
    assert seen.metadata.remote_scope_id == 3
    assert not host.indication(where).metadata.has(M.REMOTE_SCOPE_ID)
    assert not host.indication(Layer.INBOUND_TRANSPORT_V6, udp(6, to=LINK_LOCAL)).metadata.has(M.REMOTE_SCOPE_ID)


@pytest.mark.rule("MD-9")
def test_a_raw_send_tells_its_ip_header(family: AddressFamily, host: FakeHost) -> None:
    version = of_family(family)
    packet = udp(version, inbound=False)
    seen = host.indication(layer("DATAGRAM_DATA", version), packet, inbound=False)
    assert (seen.metadata.header_include_header, seen.metadata.header_include_header_length) == (None, 0)
    assert not seen.metadata.has(M.IP_HEADER_SIZE)
    raw = host.indication(layer("DATAGRAM_DATA", version), packet, inbound=False)
    raw.metadata_bits = int(M.TRANSPORT_HEADER_INCLUDE_HEADER | M.IP_HEADER_SIZE)
    size = 20 if version == 4 else 40
    assert raw.metadata.header_include_header == packet[:size]
    assert raw.metadata.header_include_header_length == size
    assert raw.metadata.ip_header_size == size


@pytest.mark.rule("CO-12", "MD-10")
@pytest.mark.parametrize("name", [*MEMBERS, "header_include_header", "header_include_header_length"])
def test_metadata_kept_beyond_classify_is_poison_and_told(host: FakeHost, name: str) -> None:
    where = Layer.INBOUND_TRANSPORT_V4_DISCARD
    seen = rich(host, where, icmp(4, 8, 0, b"\0\1\0\2"))
    metadata = seen.metadata
    getattr(metadata, name)
    assert host.rules == []
    host.show(seen)
    assert getattr(metadata, name) == POISON
    assert host.rules == ["CO-12"]
