"""Filters and their conditions: which indications a filter wants, and in which order filters are asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import IntEnum
from operator import index
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from emulator.errors import (
    ConditionNotFound,
    FwpInvalidActionType,
    FwpInvalidParameter,
    FwpNullPointer,
    FwpTypeMismatch,
    LayerNotFound,
)
from emulator.fields import address_value, reader
from emulator.filterparts import FilterParts, Predicate
from emulator.layers import Layer, field_index, layer_info
from emulator.wfptypes import Action, FilterFlag

if TYPE_CHECKING:
    from emulator.indication import Indication

UINT64_MAX = 2**64 - 1
EMPTY_WEIGHT_LIMIT = 2**60
"""Weights that the engine chooses for filters without one lie below this (FI-3)."""


class MatchType(IntEnum):
    """How a condition's value is compared (FWP_MATCH_*)."""

    EQUAL = 0
    GREATER = 1
    LESS = 2
    GREATER_OR_EQUAL = 3
    LESS_OR_EQUAL = 4
    RANGE = 5
    """Between both of a pair of values, inclusive."""
    FLAGS_ALL_SET = 6
    FLAGS_ANY_SET = 7
    FLAGS_NONE_SET = 8
    EQUAL_CASE_INSENSITIVE = 9
    NOT_EQUAL = 10
    PREFIX = 11
    """Inside a network."""
    NOT_PREFIX = 12


@dataclass(frozen=True)
class Condition:
    """One test of one field.  Addresses may be numbers, octets, `ipaddress` objects, networks or their text.

    Raises FwpInvalidParameter for a RANGE that is not a pair.  Source: FI-6.
    """

    field: str
    match: MatchType
    value: Any

    def __post_init__(self) -> None:
        if self.match == MatchType.RANGE and not (isinstance(self.value, tuple) and len(self.value) == 2):
            raise FwpInvalidParameter(f"condition on {self.field}: RANGE takes a pair of values", rule="FI-6")

    def name_at(self, layer: int) -> str:
        """The layer's own name of the field: a second name such as ICMP_TYPE stands for another's.

        Raises ConditionNotFound (no such field at the layer).
        """
        info = layer_info(layer)
        try:
            return info.fields[field_index(layer, self.field)]
        except KeyError:
            near = get_close_matches(self.field, info.fields, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            known = ", ".join(info.fields) or "none"
            raise ConditionNotFound(
                f"{info.layer.name} has no field {self.field}; {hint}it has {known}", rule="FI-6"
            ) from None

    def predicate(self, layer: int) -> Predicate:
        """A function that tells whether an indication at `layer` meets the condition.

        Raises ConditionNotFound (no such field at the layer), FwpTypeMismatch (value of another kind).
        """
        name = self.name_at(layer)
        read = reader(layer, name)
        if name in ADDRESS_FIELDS:
            return self._address_predicate(read, layer_info(layer).version)
        return self._number_predicate(read)

    def _number_predicate(self, read: Callable[[Indication], Any]) -> Predicate:
        if self.match == MatchType.RANGE:
            low, high = (_number(item, self.field) for item in self.value)
            return lambda seen: low <= read(seen) <= high
        return _COMPARE[self.match](read, _number(self.value, self.field))

    def _address_predicate(self, read: Callable[[Indication], Any], version: int | None) -> Predicate:
        value = self.value
        if self.match == MatchType.RANGE:
            low, high = (_address(item, version, self.field) for item in value)
            return lambda seen: low <= read(seen) <= high
        if self.match in _FLAG_MATCHES:
            raise FwpTypeMismatch(f"condition on {self.field}: an address has no {self.match.name}", rule="FI-6")
        network = _network(value, version)
        if network is None:
            return _COMPARE[self.match](read, _address(value, version, self.field))
        if self.match not in (MatchType.EQUAL, MatchType.PREFIX, MatchType.NOT_EQUAL, MatchType.NOT_PREFIX):
            raise FwpTypeMismatch(f"condition on {self.field}: a network cannot be {self.match.name}", rule="FI-6")
        base, mask = int(network.network_address), int(network.netmask)
        negate = self.match in (MatchType.NOT_EQUAL, MatchType.NOT_PREFIX)
        if version == 6:
            return lambda seen: (int.from_bytes(read(seen), "big") & mask == base) != negate
        return lambda seen: (read(seen) & mask == base) != negate


_COMPARE: dict[MatchType, Callable[[Callable[[Any], Any], Any], Predicate]] = {
    MatchType.EQUAL: lambda read, value: lambda seen: read(seen) == value,
    MatchType.EQUAL_CASE_INSENSITIVE: lambda read, value: lambda seen: read(seen) == value,
    MatchType.NOT_EQUAL: lambda read, value: lambda seen: read(seen) != value,
    MatchType.GREATER: lambda read, value: lambda seen: read(seen) > value,
    MatchType.LESS: lambda read, value: lambda seen: read(seen) < value,
    MatchType.GREATER_OR_EQUAL: lambda read, value: lambda seen: read(seen) >= value,
    MatchType.LESS_OR_EQUAL: lambda read, value: lambda seen: read(seen) <= value,
    MatchType.FLAGS_ALL_SET: lambda read, value: lambda seen: read(seen) & value == value,
    MatchType.FLAGS_ANY_SET: lambda read, value: lambda seen: bool(read(seen) & value),
    MatchType.FLAGS_NONE_SET: lambda read, value: lambda seen: not read(seen) & value,
    MatchType.PREFIX: lambda read, value: lambda seen: read(seen) == value,
    MatchType.NOT_PREFIX: lambda read, value: lambda seen: read(seen) != value,
}


ADDRESS_FIELDS = frozenset(
    {
        "IP_LOCAL_ADDRESS",
        "IP_REMOTE_ADDRESS",
        "IP_SOURCE_ADDRESS",
        "IP_DESTINATION_ADDRESS",
        "EMBEDDED_REMOTE_ADDRESS",
    }
)
"""Fields that hold an IP address: IPv4 a number, IPv6 16 octets (LA-34)."""
_FLAG_MATCHES = (MatchType.FLAGS_ALL_SET, MatchType.FLAGS_ANY_SET, MatchType.FLAGS_NONE_SET)


def _number(value: Any, name: str) -> int:
    try:
        return int(value, 0) if isinstance(value, str) else index(value)
    except (TypeError, ValueError) as error:
        raise FwpTypeMismatch(f"condition on {name}: {value!r} is not a number", rule="FI-6") from error


def _network(value: Any, version: int | None) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if isinstance(value, str) and "/" in value:
        try:
            value = ipaddress.ip_network(value, strict=False)
        except ValueError as error:
            raise FwpTypeMismatch(f"{value!r} is not a network", rule="FI-6") from error
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        if value.version != version:
            raise FwpTypeMismatch(f"{value} at a layer of IP version {version}", rule="FI-6")
        return value
    return None


def _address(value: Any, version: int | None, name: str) -> Any:
    if isinstance(value, str):
        try:
            value = ipaddress.ip_address(value)
        except ValueError as error:
            raise FwpTypeMismatch(f"condition on {name}: {value!r} is not an address", rule="FI-6") from error
    if isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        if value.version != version:
            raise FwpTypeMismatch(f"condition on {name}: {value} at a layer of IP version {version}", rule="FI-6")
        return address_value(value.packed)
    if isinstance(value, (bytes, bytearray)) and len(value) == (4 if version == 4 else 16):
        return address_value(bytes(value))
    if isinstance(value, int) and version == 4:
        return value
    raise FwpTypeMismatch(f"condition on {name}: {value!r} is not an IPv{version} address", rule="FI-6")


@dataclass(frozen=True)
class WeightRange:
    """A weight given as a number 0–15: the engine picks one inside that sixteenth (FI-3)."""

    number: int


@dataclass(frozen=True)
class SubLayer:
    """A sublayer: filters of a layer that are decided together; the heavier is asked first."""

    key: UUID
    weight: int
    name: str = ""


UNIVERSAL = SubLayer(UUID("eebecc03-ced4-4380-819a-2734397b2b74"), 0x8000, "FWPM_SUBLAYER_UNIVERSAL")
INSPECTION = SubLayer(UUID("877519e1-e6a9-41a5-81b4-8c4f118e4a60"), 0x0000, "FWPM_SUBLAYER_INSPECTION")


@dataclass(eq=False)
class Filter(FilterParts):
    """One filter: at which layer, under which conditions, what happens.

    `action` BLOCK or PERMIT decides by itself; CALLOUT_TERMINATING, CALLOUT_INSPECTION and
    CALLOUT_UNKNOWN ask the callout named by `callout_key`.  Source: FI-1..FI-6.
    """

    layer: int
    action: Action
    conditions: tuple[Condition, ...] = ()
    callout_key: UUID | None = None
    sublayer: UUID = UNIVERSAL.key
    weight: int | WeightRange | None = None
    flags: FilterFlag = FilterFlag(0)  # noqa: RUF009
    context: Any = 0
    key: UUID = field(default_factory=uuid4)
    name: str = ""

    def compile(self) -> None:
        """Prepare the conditions.

        Raises LayerNotFound, FwpInvalidActionType, FwpNullPointer (a callout action without a key),
        ConditionNotFound, FwpTypeMismatch.
        """
        if not 0 <= self.layer < len(Layer):
            raise LayerNotFound(f"{self!r}: there is no layer {self.layer}", rule="FI-1")
        if self.action not in _FILTER_ACTIONS:
            raise FwpInvalidActionType(f"{self!r}: {self.action.name} is not a filter's action", rule="FI-1")
        if self.callout_key is None and self.action not in (Action.BLOCK, Action.PERMIT):
            raise FwpNullPointer(f"{self!r}: {self.action.name} names no callout", rule="CO-11")
        self.kind = int(self.action)
        self.clears_right = bool(self.flags & FilterFlag.CLEAR_ACTION_RIGHT)
        by_field: dict[str, list[Predicate]] = {}
        for condition in self.conditions:
            name = "" if self.flags & FilterFlag.OR_CONDITIONS else condition.name_at(self.layer)
            by_field.setdefault(name, []).append(condition.predicate(self.layer))
        self.groups = tuple(tuple(group) for group in by_field.values())

    def matches(self, seen: Indication) -> bool:
        """True when the indication meets the conditions: all fields, any of a field's values.  Source: FI-6."""
        for group in self.groups or ():
            for predicate in group:
                if predicate(seen):
                    break
            else:
                return False
        return True

    def exact(self) -> tuple[str, Any] | None:
        """A field and the one value it must have, to find the filter by; None when there is none."""
        if self.flags & FilterFlag.OR_CONDITIONS:
            return None
        for name in _INDEXED:
            mine = [item for item in self.conditions if item.name_at(self.layer) == name]
            if len(mine) == 1 and mine[0].match == MatchType.EQUAL:
                value = mine[0].value
                if name.endswith("ADDRESS"):
                    if _network(value, layer_info(self.layer).version) is not None:
                        continue
                    return name, _address(value, layer_info(self.layer).version, name)
                return name, _number(value, name)
        return None

    def __repr__(self) -> str:
        return f"<filter {self.filter_id} {self.name or self.action.name}>"


_FILTER_ACTIONS = (
    Action.BLOCK,
    Action.PERMIT,
    Action.CALLOUT_TERMINATING,
    Action.CALLOUT_INSPECTION,
    Action.CALLOUT_UNKNOWN,
)
_INDEXED = (
    "IP_REMOTE_PORT",
    "IP_LOCAL_PORT",
    "IP_REMOTE_ADDRESS",
    "IP_LOCAL_ADDRESS",
    "IP_SOURCE_ADDRESS",
    "IP_DESTINATION_ADDRESS",
)
"""Fields by whose exact value filters are found, the most telling first."""


def choose_weight(weight: int | WeightRange | None, conditions: int, serial: int) -> int:
    """The UINT64 weight in force: exact, inside a sixteenth, or the engine's choice below 2**60.

    More conditions weigh more; among equals the older weighs more.
    Raises FwpInvalidParameter outside the ranges.  Source: FI-3.
    """
    inside = min(conditions, 255) << 48 | (2**48 - 1 - serial)
    if weight is None:
        return inside
    if isinstance(weight, WeightRange):
        if not 0 <= weight.number <= 15:
            raise FwpInvalidParameter(f"weight range {weight.number} is not 0 to 15", rule="FI-3")
        return weight.number << 60 | inside
    if not 0 <= weight <= UINT64_MAX:
        raise FwpInvalidParameter(f"weight {weight} is not a UINT64", rule="FI-3")
    return weight
