"""The 78 run-time layers, and the one table from which everything about them is derived.

A row of the table describes a layer group (both IP versions and their discard variants); `layer_info`
gives the row as it applies to one layer.
Source: contract 1.6, LA-1 to LA-37, MD-2, CO-17, part 26; fwpsk.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from emulator.layerfields import FIELD_ALIASES, FIELDS
from emulator.layerids import DataStart, InjectFunction, Layer
from emulator.layertable import ROWS
from emulator.metadatabits import L2MetadataField, MetadataField
from emulator.wfptypes import ConditionFlag, Direction, WindowsVersion

__all__ = [
    "DataStart",
    "InjectFunction",
    "Layer",
    "LayerInfo",
    "discard_layer",
    "field_index",
    "layer_info",
    "layer_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerInfo:
    """What is known about one layer."""

    layer: Layer
    group: str
    """Name without IP version and DISCARD, for example `INBOUND_TRANSPORT`."""
    version: int | None
    """4, 6, or None where the layer is not of one IP version."""
    discard: bool
    base: Layer
    """The layer whose discards this one shows; the layer itself otherwise."""
    discard_layer: Layer | None
    direction: Direction | None
    """None where packets of both directions, or no packets, are shown."""
    fields: tuple[str, ...]
    """Names in the order of their index in incomingValue."""
    field_indexes: Mapping[str, int]
    metadata: MetadataField
    """Bits that may be set here (MD-2)."""
    l2_metadata: L2MetadataField
    data_starts: tuple[DataStart, DataStart]
    """Indexed by Direction: outbound, inbound."""
    inject_functions: tuple[InjectFunction | None, InjectFunction | None]
    """What re-injects a packet captured here; indexed by Direction; None where nothing does."""
    retreat: MetadataField
    """Sizes whose sum an inbound packet must be retreated by before its injection function takes it."""
    l2_retreat: L2MetadataField
    condition_flags: ConditionFlag
    """Bits the FLAGS field may have here (LA-37)."""
    absorb_allowed: bool
    """Whether BLOCK may go with ABSORB (CO-17)."""
    tcp_out_of_band: bool
    """Whether TCP captured here may be injected only outside classify (TS-16, TR-11)."""
    since: WindowsVersion

    def data_start(self, direction: Direction) -> DataStart:
        """Where the data of a packet of this direction starts."""
        return self.data_starts[direction]

    def inject_function(self, direction: Direction) -> InjectFunction | None:
        """What re-injects a packet of this direction captured here."""
        return self.inject_functions[direction]


_NO_FUNCTIONS = (None, None)


def _describe(layer: Layer) -> LayerInfo:
    name = layer.name
    discard = name.endswith("_DISCARD")
    base = Layer[name.removesuffix("_DISCARD")]
    group = base.name.removesuffix("_V4").removesuffix("_V6")
    version = {"_V4": 4, "_V6": 6}.get(base.name[-3:])
    row = ROWS[group]
    fields = FIELDS[group]
    inbound, outbound = row.inject
    return LayerInfo(
        layer=layer,
        group=group,
        version=version,
        discard=discard,
        base=base,
        discard_layer=Layer.__members__.get(f"{name}_DISCARD"),
        direction=row.direction,
        fields=fields,
        field_indexes=MappingProxyType({field: index for index, field in enumerate(fields)}),
        metadata=row.metadata | MetadataField.DISCARD_REASON if discard else row.metadata,
        l2_metadata=row.l2_metadata,
        data_starts=(row.starts[1], row.starts[0]),
        inject_functions=_NO_FUNCTIONS if discard else (outbound, inbound),
        retreat=row.retreat,
        l2_retreat=row.l2_retreat,
        condition_flags=row.flags,
        absorb_allowed=row.absorb and not discard,
        tcp_out_of_band=row.tcp_out_of_band and not discard,
        since=row.since,
    )


_TABLE: tuple[LayerInfo, ...] = tuple(map(_describe, Layer))


def layer_info(layer: int) -> LayerInfo:
    """What is known about a layer, given as `Layer` or as its run-time id.

    Raises IndexError for a number that is no layer.
    """
    if layer < 0:
        raise IndexError(f"{layer} is no run-time layer id")
    return _TABLE[layer]


def layer_of(group: str, version: int | None = None, *, discard: bool = False) -> Layer:
    """The layer of a group such as `INBOUND_TRANSPORT`; `version` is None for the groups without one.

    Raises KeyError when there is no such layer.
    """
    name = group if version is None else f"{group}_V{version}"
    return Layer[f"{name}_DISCARD" if discard else name]


def discard_layer(layer: int) -> Layer | None:
    """The layer that shows what was thrown away at this one; None where there is none.

    A discard layer has no discard layer of its own. Raises IndexError for a number that is no layer.
    """
    return layer_info(layer).discard_layer


def field_index(layer: int, name: str) -> int:
    """Position of a field in incomingValue at this layer.

    `name` is the header's without `FWPS_FIELD_<layer>_`; second names count (ICMP_TYPE for IP_LOCAL_PORT).
    Raises KeyError when the layer has no such field, IndexError for a number that is no layer.
    """
    info = layer_info(layer)
    found = info.field_indexes.get(name)
    if found is not None:
        return found
    for stands_for in FIELD_ALIASES.get(name, ()):
        if stands_for in info.field_indexes:
            return info.field_indexes[stands_for]
    raise KeyError(f"{info.layer.name} has no field {name}")
