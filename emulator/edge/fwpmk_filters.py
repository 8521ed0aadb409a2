"""A filter of fwpmtypes.h in the form the engine knows."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any

from emulator.edge.fwpmk_structs import (
    FWPM_FILTER0,
    FWPM_FILTER_CONDITION0,
    FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT,
    FWPM_FILTER_FLAG_INDEXED,
    FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
)
from emulator.edge.fwptypes import (
    FWP_DATA_TYPE,
    FWP_EMPTY,
    FWP_RANGE_TYPE,
    FWP_UINT8,
    FWP_UINT64,
    FWP_V4_ADDR_MASK,
    FWP_V6_ADDR_MASK,
    FWP_VALUE0,
    field_type,
)
from emulator.errors import (
    ConditionNotFound,
    FwpInvalidActionType,
    FwpInvalidEnumerator,
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNullPointer,
    FwpReserved,
    FwpTypeMismatch,
    LayerNotFound,
    NotSupported,
)
from emulator.fields import READERS
from emulator.filters import UNIVERSAL, Condition, Filter, MatchType, WeightRange
from emulator.layers import field_index, layer_info
from emulator.wfptypes import Action, FilterFlag

CALLOUT_ACTIONS = (Action.CALLOUT_TERMINATING, Action.CALLOUT_INSPECTION, Action.CALLOUT_UNKNOWN)
_ACTIONS = (Action.BLOCK, Action.PERMIT, *CALLOUT_ACTIONS)
_KNOWN_FLAGS = 0x7F
_FLAGS = {
    FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT: FilterFlag.CLEAR_ACTION_RIGHT,
    FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED: FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED,
    FWPM_FILTER_FLAG_INDEXED: FilterFlag(0),
}


def engine_filter(given: FWPM_FILTER0) -> Filter:
    """The engine's filter for what a driver describes.

    Raises FwpNullPointer, FwpReserved, FwpInvalidFlags, NotSupported (persistent, boot-time and disabled
    filters, provider contexts), LayerNotFound, FwpInvalidActionType, FwpInvalidEnumerator,
    ConditionNotFound, FwpTypeMismatch, FwpInvalidParameter.  Source: FI-1..FI-6.
    """
    if given.reserved is not None:
        raise FwpReserved("FwpmFilterAdd0: reserved must be NULL", rule="GE-7")
    flags = _flags(given.flags)
    layer = given.layerKey
    if layer is None:
        raise FwpNullPointer("FwpmFilterAdd0: layerKey is missing", rule="GE-7")
    try:
        layer_info(layer)
    except IndexError:
        raise LayerNotFound(f"FwpmFilterAdd0: there is no layer {layer}", rule="FI-1") from None
    if given.action.type not in _ACTIONS:
        raise FwpInvalidActionType(f"FwpmFilterAdd0: action {given.action.type:#x} is not a filter's", rule="FI-1")
    made = Filter(
        layer,
        Action(given.action.type),
        tuple(_condition(layer, one) for one in given.filterCondition[: given.numFilterConditions]),
        given.action.calloutKey if given.action.type in CALLOUT_ACTIONS else None,
        sublayer=given.subLayerKey if given.subLayerKey else UNIVERSAL.key,
        weight=_weight(given.weight),
        flags=flags,
        context=given.rawContext,
        name=given.displayData.name,
    )
    if given.filterKey:
        made.key = given.filterKey
    return made


def _flags(given: int) -> FilterFlag:
    if given & ~_KNOWN_FLAGS:
        raise FwpInvalidFlags(f"FwpmFilterAdd0: flags {given:#x} hold undefined bits", rule="GE-7")
    unsupported = given & ~sum(_FLAGS)
    if unsupported:
        raise NotSupported(f"FwpmFilterAdd0: flags {unsupported:#x} are not emulated", rule="FI-5")
    made = FilterFlag(0)
    for bit, flag in _FLAGS.items():
        if given & bit:
            made |= flag
    return made


def _weight(given: FWP_VALUE0) -> int | WeightRange | None:
    if given.type == FWP_EMPTY:
        return None
    if given.type == FWP_UINT64:
        return int(given.content)
    if given.type == FWP_UINT8:
        return WeightRange(int(given.content))
    raise FwpTypeMismatch("FwpmFilterAdd0: a weight is FWP_EMPTY, FWP_UINT8 or FWP_UINT64", rule="FI-3")


def _condition(layer: int, given: FWPM_FILTER_CONDITION0) -> Condition:
    try:
        name = layer_info(layer).fields[field_index(layer, given.fieldKey)]
    except KeyError as error:
        raise ConditionNotFound(f"FwpmFilterAdd0: {error.args[0]}", rule="FI-6") from error
    if name not in READERS:
        raise NotSupported(f"FwpmFilterAdd0: {name} has no value on Linux to compare", rule="FI-6")
    try:
        match = MatchType(given.matchType)
    except ValueError:
        raise FwpInvalidEnumerator(f"FwpmFilterAdd0: match type {given.matchType}", rule="FI-6") from None
    value = given.conditionValue
    if (match == MatchType.RANGE) != (value.type == FWP_RANGE_TYPE):
        raise FwpTypeMismatch(f"FwpmFilterAdd0: {name}: a range goes with FWP_MATCH_RANGE", rule="FI-6")
    return Condition(name, match, _value(layer, name, value))


def _value(layer: int, name: str, given: FWP_VALUE0) -> Any:
    """A condition's value as the engine compares it, its type checked against the field's."""
    want = field_type(layer, name)
    content = given.content
    if given.type == FWP_RANGE_TYPE:
        return _value(layer, name, content.valueLow), _value(layer, name, content.valueHigh)
    version = layer_info(layer).version if name.endswith("_ADDRESS") else None
    if given.type == FWP_V4_ADDR_MASK and version == 4:
        return IPv4Network((content.addr, _prefix(content.mask)), strict=False)
    if given.type == FWP_V6_ADDR_MASK and version == 6:
        return IPv6Network((bytes(content.addr), content.prefixLength), strict=False)
    if given.type != want:
        is_ = FWP_DATA_TYPE(given.type).name
        raise FwpTypeMismatch(f"FwpmFilterAdd0: {name} is of type {want.name}, not {is_}", rule="FI-6")
    return bytes(content) if version == 6 else int(content)


def _prefix(mask: int) -> int:
    prefix = mask.bit_count()
    if mask != (0xFFFFFFFF << 32 - prefix) & 0xFFFFFFFF:
        raise FwpInvalidParameter(f"FwpmFilterAdd0: the mask {mask:#x} has holes", rule="FI-6")
    return prefix
