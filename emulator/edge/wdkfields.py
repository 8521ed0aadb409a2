"""Field indexes under their header names: some 800, so they are looked up in the table of layers.

    from emulator.edge.wdkfields import FWPS_FIELD_INBOUND_TRANSPORT_V4_IP_LOCAL_PORT

A name the header does not have raises ImportError, or AttributeError when read from the module.
Source: fwpsk.h by way of `emulator.layerfields`.
"""

from __future__ import annotations

from emulator.layers import Layer, field_index, layer_info

_PREFIX = "FWPS_FIELD_"


def __getattr__(name: str) -> int:
    if name.startswith(_PREFIX):
        found = _find(name.removeprefix(_PREFIX))
        if found is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [
        f"{_PREFIX}{layer.name}_{field}"
        for layer in Layer
        if not layer_info(layer).discard
        for field in (*layer_info(layer).fields, "MAX")
    ]


def _find(rest: str) -> int | None:
    for layer in Layer:
        info = layer_info(layer)
        if info.discard or not rest.startswith(layer.name + "_"):
            continue
        # One layer's name may begin another's (none does today): go on when the field is not there.
        field = rest.removeprefix(layer.name + "_")
        if field == "MAX":
            return len(info.fields)
        try:
            return field_index(layer, field)
        except KeyError:
            continue
    return None
