# ruff: noqa: N801, N802, N815  the names are the header's
"""Typed values as fwptypes.h spells them, and which type each classifiable field has.

A value is read by the member of its type: another member would be other memory on Windows, and raises here.
Source: fwptypes.h; the pages of FWP_VALUE0, FWP_CONDITION_VALUE0, FWP_MATCH_TYPE.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from emulator.fields import READERS
from emulator.filters import MatchType
from emulator.layers import layer_info


class FWP_DATA_TYPE(IntEnum):
    """What the union of a value holds."""

    FWP_EMPTY = 0
    FWP_UINT8 = 1
    FWP_UINT16 = 2
    FWP_UINT32 = 3
    FWP_UINT64 = 4
    FWP_INT8 = 5
    FWP_INT16 = 6
    FWP_INT32 = 7
    FWP_INT64 = 8
    FWP_FLOAT = 9
    FWP_DOUBLE = 10
    FWP_BYTE_ARRAY16_TYPE = 11
    FWP_BYTE_BLOB_TYPE = 12
    FWP_SID = 13
    FWP_SECURITY_DESCRIPTOR_TYPE = 14
    FWP_TOKEN_INFORMATION_TYPE = 15
    FWP_TOKEN_ACCESS_INFORMATION_TYPE = 16
    FWP_UNICODE_STRING_TYPE = 17
    FWP_BYTE_ARRAY6_TYPE = 18
    FWP_SINGLE_DATA_TYPE_MAX = 0xFF
    FWP_V4_ADDR_MASK = 0x100
    FWP_V6_ADDR_MASK = 0x101
    FWP_RANGE_TYPE = 0x102


FWP_EMPTY = FWP_DATA_TYPE.FWP_EMPTY
FWP_UINT8 = FWP_DATA_TYPE.FWP_UINT8
FWP_UINT16 = FWP_DATA_TYPE.FWP_UINT16
FWP_UINT32 = FWP_DATA_TYPE.FWP_UINT32
FWP_UINT64 = FWP_DATA_TYPE.FWP_UINT64
FWP_BYTE_ARRAY16_TYPE = FWP_DATA_TYPE.FWP_BYTE_ARRAY16_TYPE
FWP_BYTE_ARRAY6_TYPE = FWP_DATA_TYPE.FWP_BYTE_ARRAY6_TYPE
FWP_BYTE_BLOB_TYPE = FWP_DATA_TYPE.FWP_BYTE_BLOB_TYPE
FWP_V4_ADDR_MASK = FWP_DATA_TYPE.FWP_V4_ADDR_MASK
FWP_V6_ADDR_MASK = FWP_DATA_TYPE.FWP_V6_ADDR_MASK
FWP_RANGE_TYPE = FWP_DATA_TYPE.FWP_RANGE_TYPE

FWP_MATCH_EQUAL = MatchType.EQUAL
FWP_MATCH_GREATER = MatchType.GREATER
FWP_MATCH_LESS = MatchType.LESS
FWP_MATCH_GREATER_OR_EQUAL = MatchType.GREATER_OR_EQUAL
FWP_MATCH_LESS_OR_EQUAL = MatchType.LESS_OR_EQUAL
FWP_MATCH_RANGE = MatchType.RANGE
FWP_MATCH_FLAGS_ALL_SET = MatchType.FLAGS_ALL_SET
FWP_MATCH_FLAGS_ANY_SET = MatchType.FLAGS_ANY_SET
FWP_MATCH_FLAGS_NONE_SET = MatchType.FLAGS_NONE_SET
FWP_MATCH_EQUAL_CASE_INSENSITIVE = MatchType.EQUAL_CASE_INSENSITIVE
FWP_MATCH_NOT_EQUAL = MatchType.NOT_EQUAL
FWP_MATCH_PREFIX = MatchType.PREFIX
FWP_MATCH_NOT_PREFIX = MatchType.NOT_PREFIX


class FWP_BYTE_ARRAY16(bytes):
    """Sixteen octets in network order; the member of the C structure is the value itself."""

    __slots__ = ()

    @property
    def byteArray16(self) -> bytes:
        """The octets."""
        return self


def _member(name: str, kind: FWP_DATA_TYPE) -> Any:
    """A member of the union: read only where `type` is its type; writing does not look at `type`."""
    number = int(kind)

    def read(value: FWP_VALUE0) -> Any:
        if value.type != number:
            raise AttributeError(f"{name} was read of a value of type {FWP_DATA_TYPE(value.type).name}")
        return value.content

    def write(value: FWP_VALUE0, content: Any) -> None:
        value.content = content

    return property(read, write, doc=f"The value, where `type` is {kind.name}.")


class FWP_VALUE0:
    """A typed value.  Numbers that C reaches by a pointer (uint64, arrays) are the member itself."""

    __slots__ = ("type", "content")

    def __init__(self, type: int = FWP_EMPTY, content: Any = None) -> None:
        self.type = type
        self.content = content

    uint8 = _member("uint8", FWP_UINT8)
    uint16 = _member("uint16", FWP_UINT16)
    uint32 = _member("uint32", FWP_UINT32)
    uint64 = _member("uint64", FWP_UINT64)
    byteArray16 = _member("byteArray16", FWP_BYTE_ARRAY16_TYPE)
    byteArray6 = _member("byteArray6", FWP_BYTE_ARRAY6_TYPE)
    byteBlob = _member("byteBlob", FWP_BYTE_BLOB_TYPE)

    def __repr__(self) -> str:
        return f"<{FWP_DATA_TYPE(self.type).name} {self.content!r}>"


class FWP_CONDITION_VALUE0(FWP_VALUE0):
    """A typed value of a condition: a value, a network or a range."""

    __slots__ = ()

    v4AddrMask = _member("v4AddrMask", FWP_V4_ADDR_MASK)
    v6AddrMask = _member("v6AddrMask", FWP_V6_ADDR_MASK)
    rangeValue = _member("rangeValue", FWP_RANGE_TYPE)


@dataclass
class FWP_V4_ADDR_AND_MASK:
    """An IPv4 network: address and mask as host-order numbers."""

    addr: int = 0
    mask: int = 0


@dataclass
class FWP_V6_ADDR_AND_MASK:
    """An IPv6 network: sixteen octets and how many leading bits count."""

    addr: bytes = bytes(16)
    prefixLength: int = 0


@dataclass
class FWP_RANGE0:
    """All values from one to another, both included."""

    valueLow: FWP_VALUE0 = field(default_factory=FWP_VALUE0)
    valueHigh: FWP_VALUE0 = field(default_factory=FWP_VALUE0)


_UINT8_FIELDS = frozenset(
    {
        "IP_PROTOCOL",
        "IP_LOCAL_ADDRESS_TYPE",
        "IP_DESTINATION_ADDRESS_TYPE",
        "DESTINATION_ADDRESS_TYPE",
        "EMBEDDED_PROTOCOL",
        "EMBEDDED_LOCAL_ADDRESS_TYPE",
    }
)
_UINT16_FIELDS = frozenset(
    {
        "IP_LOCAL_PORT",
        "IP_REMOTE_PORT",
        "ICMP_TYPE",
        "ICMP_CODE",
        "EMBEDDED_LOCAL_PORT",
        "EMBEDDED_REMOTE_PORT",
    }
)


_NUMBERS_OF_WINDOWS = ("TUNNEL_TYPE", "PROFILE_ID", "REAUTHORIZE_REASON", "L2_FLAGS", "NDIS_PORT")


def field_type(layer: int, name: str) -> FWP_DATA_TYPE:
    """The type of a classifiable field at a layer.

    Fields that nothing on Linux corresponds to are FWP_EMPTY, but for some numbers, which are there and 0.
    Source: LA-30..LA-36.
    """
    if name.endswith(_NUMBERS_OF_WINDOWS):
        return FWP_UINT32
    if name not in READERS:
        return FWP_EMPTY
    if name in _UINT8_FIELDS:
        return FWP_UINT8
    if name in _UINT16_FIELDS:
        return FWP_UINT16
    if name.endswith("_ADDRESS"):
        return FWP_BYTE_ARRAY16_TYPE if layer_info(layer).version == 6 else FWP_UINT32
    if name.endswith("_INTERFACE"):
        return FWP_UINT64
    return FWP_UINT32
