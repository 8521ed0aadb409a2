"""Typed values: their members, and the type of every field."""

from __future__ import annotations

import pytest

from emulator.edge import fwptypes
from emulator.edge.fwptypes import (
    FWP_BYTE_ARRAY16_TYPE,
    FWP_CONDITION_VALUE0,
    FWP_DATA_TYPE,
    FWP_EMPTY,
    FWP_RANGE0,
    FWP_RANGE_TYPE,
    FWP_UINT8,
    FWP_UINT16,
    FWP_UINT32,
    FWP_UINT64,
    FWP_V4_ADDR_AND_MASK,
    FWP_V4_ADDR_MASK,
    FWP_VALUE0,
    field_type,
)
from emulator.layers import Layer, layer_info

# Typed from fwptypes.h.
NUMBERS = """
FWP_EMPTY=0 FWP_UINT8=1 FWP_UINT16=2 FWP_UINT32=3 FWP_UINT64=4 FWP_BYTE_ARRAY16_TYPE=11 FWP_BYTE_BLOB_TYPE=12
FWP_BYTE_ARRAY6_TYPE=18 FWP_V4_ADDR_MASK=256 FWP_V6_ADDR_MASK=257 FWP_RANGE_TYPE=258
FWP_MATCH_EQUAL=0 FWP_MATCH_GREATER=1 FWP_MATCH_LESS=2 FWP_MATCH_GREATER_OR_EQUAL=3 FWP_MATCH_LESS_OR_EQUAL=4
FWP_MATCH_RANGE=5 FWP_MATCH_FLAGS_ALL_SET=6 FWP_MATCH_FLAGS_ANY_SET=7 FWP_MATCH_FLAGS_NONE_SET=8
FWP_MATCH_EQUAL_CASE_INSENSITIVE=9 FWP_MATCH_NOT_EQUAL=10 FWP_MATCH_PREFIX=11 FWP_MATCH_NOT_PREFIX=12
"""


def test_numbers_are_the_header_s() -> None:
    wanted = dict(pair.split("=") for pair in NUMBERS.split())
    assert {name: int(getattr(fwptypes, name)) for name in wanted} == {name: int(n) for name, n in wanted.items()}


@pytest.mark.parametrize(
    ("member", "kind"),
    [("uint8", FWP_UINT8), ("uint16", FWP_UINT16), ("uint32", FWP_UINT32), ("uint64", FWP_UINT64)],
)
def test_a_member_is_read_where_it_is_the_type(member: str, kind: FWP_DATA_TYPE) -> None:
    value = FWP_VALUE0(kind)
    setattr(value, member, 7)
    assert getattr(value, member) == 7
    for other in ("uint8", "uint16", "uint32", "uint64"):
        if other != member:
            with pytest.raises(AttributeError, match=kind.name):
                getattr(value, other)
    assert "7" in repr(value)


def test_a_condition_value_may_be_a_network_or_a_range() -> None:
    value = FWP_CONDITION_VALUE0()
    value.type = FWP_V4_ADDR_MASK
    value.v4AddrMask = FWP_V4_ADDR_AND_MASK(0x0A000000, 0xFF000000)
    assert value.v4AddrMask.mask == 0xFF000000
    value.type, value.rangeValue = FWP_RANGE_TYPE, FWP_RANGE0(FWP_VALUE0(FWP_UINT8, 1), FWP_VALUE0(FWP_UINT8, 2))
    assert value.rangeValue.valueHigh.uint8 == 2
    with pytest.raises(AttributeError):
        value.v4AddrMask  # noqa: B018


@pytest.mark.rule("LA-34")
@pytest.mark.parametrize("layer", Layer)
def test_addresses_are_numbers_for_ipv4_and_octets_for_ipv6(layer: Layer) -> None:
    info = layer_info(layer)
    wanted = {4: FWP_UINT32, 6: FWP_BYTE_ARRAY16_TYPE}
    for name in info.fields:
        if name in ("IP_LOCAL_ADDRESS", "IP_REMOTE_ADDRESS", "IP_SOURCE_ADDRESS", "IP_DESTINATION_ADDRESS"):
            assert field_type(layer, name) == wanted[info.version or 0]
        if name.endswith("_PORT") and name.startswith("IP_") and info.group.endswith("TRANSPORT") and layer < 70:
            assert field_type(layer, name) == FWP_UINT16
        if name in ("ALE_APP_ID", "ALE_USER_ID"):
            assert field_type(layer, name) == FWP_EMPTY
