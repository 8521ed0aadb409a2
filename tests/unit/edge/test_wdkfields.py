"""Field indexes under their header names."""

from __future__ import annotations

import pytest

from emulator.edge import wdkfields
from emulator.edge.wdkfields import (
    FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_LOCAL_PORT,
    FWPS_FIELD_OUTBOUND_TRANSPORT_V6_ICMP_CODE,
)
from emulator.layers import Layer, layer_info


def test_a_name_is_its_index_and_may_be_imported() -> None:
    assert FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_LOCAL_PORT == 4
    assert FWPS_FIELD_OUTBOUND_TRANSPORT_V6_ICMP_CODE == 5
    assert wdkfields.FWPS_FIELD_STREAM_V4_MAX == 8
    assert wdkfields.FWPS_FIELD_INBOUND_MAC_FRAME_ETHERNET_VLAN_ID == 6


def test_every_field_of_every_layer_is_found_under_its_listed_name() -> None:
    found = {name: getattr(wdkfields, name) for name in dir(wdkfields)}
    shown = [layer for layer in Layer if not layer_info(layer).discard]
    assert len(found) == sum(len(layer_info(layer).fields) + 1 for layer in shown)
    for layer in shown:
        fields = layer_info(layer).fields
        assert [found[f"FWPS_FIELD_{layer.name}_{field}"] for field in fields] == list(range(len(fields)))


@pytest.mark.parametrize(
    "name",
    [
        "FWPS_FIELD_STREAM_V4_INTERFACE_INDEX",
        "FWPS_FIELD_INBOUND_IPPACKET_V4_DISCARD_FLAGS",
        "FWPS_FIELD_NOWHERE_V4_FLAGS",
        "FWPS_LAYER_STREAM_V4",
        "missing",
    ],
)
def test_a_name_the_header_lacks_is_an_error(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(wdkfields, name)
