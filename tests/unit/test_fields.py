"""Classifiable fields: their values, seen from the host, and what garbage reads as."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.fields import address_value, reader
from emulator.filters import Condition, MatchType
from emulator.indication import Indication
from emulator.layers import Layer, layer_info
from emulator.wfptypes import AddressFamily, ConditionFlag
from tests.unit.fakehost import (
    INTERFACES,
    LOCAL,
    LOCAL_PORT,
    REMOTE,
    REMOTE_PORT,
    FakeHost,
    icmp,
    ip,
    layer,
    of_family,
    tcp,
    udp,
)

LUID = 6 << 48 | 2 << 24


def shown(where: Layer, packet: bytes, *, inbound: bool, **options: Any) -> Indication:
    return FakeHost().indication(where, packet, inbound=inbound, **options)


def address(version: int, octets: bytes) -> int | bytes:
    return int.from_bytes(octets, "big") if version == 4 else octets


@pytest.mark.rule("LA-34")
def test_addresses_are_numbers_or_octets() -> None:
    assert address_value(bytes([10, 0, 0, 1])) == 0x0A000001
    assert address_value(REMOTE[6]) == REMOTE[6]


@pytest.mark.rule("LA-30", "LA-32", "LA-33", "LA-34")
@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_local_and_remote_are_seen_from_the_host(family: AddressFamily, inbound: bool, protocol: str) -> None:
    version = of_family(family)
    packet = (udp if protocol == "udp" else tcp)(version, inbound=inbound)
    group = "DATAGRAM_DATA" if protocol == "udp" else "STREAM_PACKET"
    seen = shown(layer(group, version), packet, inbound=inbound)
    assert seen.value("IP_LOCAL_ADDRESS") == address(version, LOCAL[version])
    assert seen.value("IP_REMOTE_ADDRESS") == address(version, REMOTE[version])
    assert (seen.value("IP_LOCAL_PORT"), seen.value("IP_REMOTE_PORT")) == (LOCAL_PORT, REMOTE_PORT)
    assert seen.value("DIRECTION") == int(inbound)
    assert seen.value("INTERFACE_INDEX") == 2
    assert seen.value("IP_LOCAL_INTERFACE") == LUID
    assert seen.value("INTERFACE_TYPE") == 6
    assert seen.value("SUB_INTERFACE_INDEX") == 1
    assert seen.value("COMPARTMENT_ID") == 1
    assert seen.value("TUNNEL_TYPE") == 0
    if protocol == "udp":
        assert seen.value("IP_PROTOCOL") == 17


@pytest.mark.rule("LA-30")
def test_all_values_stand_in_the_order_of_the_header(family: AddressFamily) -> None:
    version = of_family(family)
    local, remote = (address(version, ends[version]) for ends in (LOCAL, REMOTE))
    seen = shown(layer("INBOUND_IPPACKET", version), udp(version), inbound=True)
    seen.condition_flags = int(ConditionFlag.IS_LOOPBACK)
    assert seen.values == (local, remote, 1, LUID, 2, 1, 1, 6, 0, 1)
    out = shown(layer("OUTBOUND_IPPACKET", version), udp(version, inbound=False), inbound=False)
    assert out.values == (local, 1, remote, LUID, 2, 1, 0, 6, 0, 1)
    assert out.values is out.values


@pytest.mark.rule("LA-31")
def test_forwarding_knows_sources_and_destinations(family: AddressFamily) -> None:
    version = of_family(family)
    other = REMOTE[version][:-1] + b"\x63"
    seen = shown(layer("IPFORWARD", version), udp(version, to=other), inbound=True, interface=3)
    seen.source_interface, seen.destination_interface = 3, 2
    wanted = {
        "IP_SOURCE_ADDRESS": address(version, REMOTE[version]),
        "IP_DESTINATION_ADDRESS": address(version, other),
        "IP_DESTINATION_ADDRESS_TYPE": 1,
        "IP_FORWARD_INTERFACE": LUID,
        "SOURCE_INTERFACE_INDEX": 3,
        "DESTINATION_INTERFACE_INDEX": 2,
        "SOURCE_SUB_INTERFACE_INDEX": 1,
        "DESTINATION_SUB_INTERFACE_INDEX": 1,
    }
    assert {name: seen.value(name) for name in wanted} == wanted
    with pytest.raises(KeyError):
        seen.value("IP_LOCAL_ADDRESS")
    with pytest.raises(KeyError):
        seen.value("IP_REMOTE_ADDRESS")


@pytest.mark.rule("LA-34")
@pytest.mark.parametrize("inbound", [True, False])
def test_icmp_has_its_type_and_code_where_others_have_ports(family: AddressFamily, inbound: bool) -> None:
    version = of_family(family)
    group = "INBOUND_TRANSPORT" if inbound else "OUTBOUND_TRANSPORT"
    seen = shown(layer(group, version), icmp(version, 128, 5, bytes(4), inbound=inbound), inbound=inbound)
    assert (seen.value("IP_LOCAL_PORT"), seen.value("IP_REMOTE_PORT")) == (128, 5)
    assert (seen.value("ICMP_TYPE"), seen.value("ICMP_CODE")) == (128, 5)
    foreign = shown(layer(group, version), ip(version, 58 if version == 4 else 1, bytes(8)), inbound=inbound)
    assert foreign.value("IP_LOCAL_PORT") == 0


@pytest.mark.rule("LA-36")
@pytest.mark.parametrize("inner", ["udp", "icmp"])
def test_an_icmp_error_tells_of_the_packet_inside(family: AddressFamily, inner: str) -> None:
    version = of_family(family)
    router = REMOTE[version][:-1] + b"\x63"
    echo = 8 if version == 4 else 128
    sent = udp(version, inbound=False) if inner == "udp" else icmp(version, echo, 0, bytes(4), inbound=False)
    error = ip(version, 1 if version == 4 else 58, pack("!BBHI", 3, 1, 0, 0) + sent, source=router)
    seen = shown(layer("INBOUND_ICMP_ERROR", version), error, inbound=True)
    assert seen.value("EMBEDDED_PROTOCOL") == (17 if inner == "udp" else 1 if version == 4 else 58)
    assert seen.value("EMBEDDED_REMOTE_ADDRESS") == address(version, REMOTE[version])
    assert seen.value("EMBEDDED_LOCAL_ADDRESS_TYPE") == 1
    ports = (LOCAL_PORT, REMOTE_PORT) if inner == "udp" else (echo, 0)
    assert (seen.value("EMBEDDED_LOCAL_PORT"), seen.value("EMBEDDED_REMOTE_PORT")) == ports
    assert (seen.value("ICMP_TYPE"), seen.value("ICMP_CODE")) == (3, 1)
    assert seen.value("IP_REMOTE_ADDRESS") == address(version, router)
    assert seen.value("IP_LOCAL_ADDRESS") == address(version, LOCAL[version])


def test_an_error_about_a_packet_of_the_other_version_tells_nothing_of_it(family: AddressFamily) -> None:
    version = of_family(family)
    error = icmp(version, 3, 1, bytes(4) + udp(10 - version, bytes(40), inbound=False))
    seen = shown(layer("INBOUND_ICMP_ERROR", version), error, inbound=True)
    assert seen.value("EMBEDDED_PROTOCOL") == seen.value("EMBEDDED_LOCAL_PORT") == 0
    assert seen.value("EMBEDDED_REMOTE_ADDRESS") == address(version, bytes(len(LOCAL[version])))
    condition = Condition("EMBEDDED_REMOTE_ADDRESS", MatchType.PREFIX, "0.0.0.0/8" if version == 4 else "::/8")
    assert condition.predicate(seen.layer)(seen)


@given(st.binary(max_size=60), st.sampled_from([4, 6]))
def test_garbage_inside_of_an_icmp_error_reads_as_nothing(octets: bytes, version: int) -> None:
    error = icmp(version, 3, 1, bytes(4) + octets)
    seen = shown(layer("INBOUND_ICMP_ERROR", version), error, inbound=True)
    values = dict(zip(layer_info(seen.layer).fields, seen.values, strict=True))
    if not octets or octets[0] >> 4 != version:
        assert values["EMBEDDED_PROTOCOL"] == values["EMBEDDED_LOCAL_PORT"] == values["EMBEDDED_REMOTE_PORT"] == 0
        assert values["EMBEDDED_LOCAL_ADDRESS_TYPE"] == 0
        assert values["EMBEDDED_REMOTE_ADDRESS"] == address(version, bytes(len(LOCAL[version])))


@given(st.binary(max_size=80), st.sampled_from([4, 6]), st.integers(0, 255))
def test_every_field_of_every_packet_layer_can_be_read(octets: bytes, version: int, protocol: int) -> None:
    for group in ("INBOUND_TRANSPORT", "DATAGRAM_DATA", "INBOUND_IPPACKET", "IPFORWARD", "STREAM_PACKET"):
        seen = shown(layer(group, version), ip(version, protocol, octets), inbound=True)
        assert len(seen.values) == len(layer_info(seen.layer).fields)
        for name in ("IP_LOCAL_ADDRESS", "IP_REMOTE_ADDRESS", "IP_SOURCE_ADDRESS", "IP_DESTINATION_ADDRESS"):
            if name in layer_info(seen.layer).field_indexes:
                assert isinstance(seen.value(name), int if version == 4 else bytes)


@pytest.mark.parametrize(
    ("last", "kind"), [([10, 0, 0, 2], 1), ([10, 0, 0, 255], 4), ([255] * 4, 4), ([224, 0, 0, 1], 3), ([0] * 4, 0)]
)
def test_kinds_of_ipv4_addresses(last: list[int], kind: int) -> None:
    seen = shown(Layer.OUTBOUND_TRANSPORT_V4, udp(4, inbound=False, to=bytes(last)), inbound=False)
    assert seen.value("IP_DESTINATION_ADDRESS_TYPE") == kind


@pytest.mark.parametrize(("first", "kind"), [(0x20, 1), (0xFF, 3), (0xFE, 1)])
def test_kinds_of_ipv6_addresses(first: int, kind: int) -> None:
    to = bytes([first, *bytes(14), 1])
    seen = shown(Layer.OUTBOUND_TRANSPORT_V6, udp(6, inbound=False, to=to), inbound=False)
    assert seen.value("IP_DESTINATION_ADDRESS_TYPE") == kind


def test_an_interface_that_is_not_known_has_no_luid() -> None:
    seen = shown(Layer.INBOUND_TRANSPORT_V4, udp(4), inbound=True, interface=77)
    assert (seen.value("IP_LOCAL_INTERFACE"), seen.value("INTERFACE_TYPE"), seen.value("INTERFACE_INDEX")) == (0, 0, 77)


def test_a_field_that_the_layer_lacks_has_no_reader() -> None:
    with pytest.raises(KeyError):
        reader(Layer.STREAM_V4, "INTERFACE_INDEX")


@pytest.mark.rule("LA-33")
def test_streams_know_no_interface() -> None:
    assert not {name for name in layer_info(Layer.STREAM_V4).fields if "INTERFACE" in name}


# -- the table of interfaces ----------------------------------------------------------------------------------


def test_a_host_knows_its_own_addresses() -> None:
    assert all(INTERFACES.is_local(octets) for octets in LOCAL.values())
    assert INTERFACES.is_local(bytes([127, 9, 9, 9]))
    assert INTERFACES.is_local(bytes(15) + b"\x01")
    assert not any(INTERFACES.is_local(octets) for octets in (*REMOTE.values(), bytes(16), bytes(4)))
    owner = INTERFACES.owner(LOCAL[6])
    assert owner is not None
    assert (owner.index, owner.type, owner.luid) == (2, 6, LUID)
    assert INTERFACES.owner(REMOTE[4]) is None
    loopback = INTERFACES.get(1)
    assert loopback is not None
    assert (loopback.type, loopback.luid) == (24, 24 << 48 | 1 << 24)
    assert [item.name for item in INTERFACES] == ["lo", "eth0", "eth1"]
