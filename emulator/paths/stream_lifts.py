"""Which connections have to be lifted so that the stream filters see theirs: filters to rules for the uplink.

A rule may choose more than its filter matches, never less: what is lifted in vain is carried by the kernel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from itertools import product
from typing import Any, Literal

from emulator.arbitration import SubLayerFilters
from emulator.filters import Condition, Filter, MatchType
from emulator.stream_engine import STREAM_LAYERS
from emulator.wfptypes import Direction, FilterFlag
from netns.uplinkrules import Lift, Ports

EVERYTHING = [Lift(version=4), Lift(version=6)]
"""Rules for all connections."""
MOST_RULES = 64
"""Of one filter; one that would need more chooses everything."""


def lifts_for(at_layer: dict[int, tuple[SubLayerFilters, ...]]) -> list[Lift]:
    """The rules for all stream filters, without doubles."""
    found: dict[Lift, None] = {}
    for version, layer in STREAM_LAYERS.items():
        for sublayer in at_layer.get(layer, ()):
            for item in sublayer.all:
                found.update(dict.fromkeys(_lifts(item, 4 if version == 4 else 6)))
    return list(found)


def _lifts(item: Filter, version: Literal[4, 6]) -> list[Lift]:
    if item.flags & FilterFlag.OR_CONDITIONS and len(item.conditions) > 1:
        return [Lift(version=version)]
    by_field: dict[str, list[Condition]] = {}
    for condition in item.conditions:
        by_field.setdefault(condition.field, []).append(condition)
    ways = _directions(by_field.get("DIRECTION", ()))
    local_ports = _ports(by_field.get("IP_LOCAL_PORT", ()))
    remote_ports = _ports(by_field.get("IP_REMOTE_PORT", ()))
    locals_ = _prefixes(by_field.get("IP_LOCAL_ADDRESS", ()), version)
    remotes = _prefixes(by_field.get("IP_REMOTE_ADDRESS", ()), version)
    choices = list(product(ways, locals_, remotes, local_ports, remote_ports))
    if len(choices) > MOST_RULES:
        return [Lift(version=version)]
    return [
        Lift(version=version, outbound=way, local=local, remote=remote, local_ports=own, remote_ports=other)
        for way, local, remote, own, other in choices
    ]


def _directions(conditions: Iterable[Condition]) -> list[bool | None]:
    found: list[bool | None] = []
    for condition in conditions:
        if condition.match != MatchType.EQUAL:
            return [None]
        found.append(int(condition.value) == Direction.OUTBOUND)
    return found or [None]


def _ports(conditions: Iterable[Condition]) -> list[Ports | None]:
    found: list[Ports | None] = []
    for condition in conditions:
        if condition.match == MatchType.EQUAL:
            found.append((int(condition.value), int(condition.value)))
        elif condition.match == MatchType.RANGE:
            found.append((int(condition.value[0]), int(condition.value[1])))
        else:
            return [None]
    return found or [None]


def _prefixes(conditions: Iterable[Condition], version: int) -> list[str | None]:
    found: list[str | None] = []
    for condition in conditions:
        prefix = _prefix(condition.value, version)
        if condition.match not in (MatchType.EQUAL, MatchType.PREFIX) or prefix is None:
            return [None]
        found.append(prefix)
    return found or [None]


def _prefix(value: Any, version: int) -> str | None:
    """A condition's address as a prefix; None when it is something else or of the other IP version."""
    if isinstance(value, bytes | bytearray):
        value = bytes(value)
    try:
        made = ipaddress.ip_network(value, strict=False)
    except (TypeError, ValueError):
        return None
    return str(made) if made.version == version else None
