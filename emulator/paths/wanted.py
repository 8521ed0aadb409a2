"""Which packets of a hook the filters in force may want, in words of the kernel: the others need not come here.

What is told is never too little: a filter counts by one of its conditions, and one that has none the kernel could
test wants everything.  Source: FI-6; docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any, Final

from emulator.filters import Condition, Filter, MatchType
from emulator.layers import layer_info
from emulator.ledger import MAGIC, MAGIC_MASK
from emulator.paths.plans import FORWARD, HOOKS_OF_GROUP, INPUT, OUTPUT, group_of
from emulator.wfptypes import FilterFlag
from netns.ruletext import Among, Mark

MOST: Final = 128
"""Filters of a hook that are told to the kernel: each one more or less costs an exchange of all."""
_PLAIN: Final = frozenset(
    ("INBOUND_IPPACKET", "OUTBOUND_IPPACKET", "IPFORWARD", "INBOUND_TRANSPORT", "OUTBOUND_TRANSPORT")
)
"""The layer groups whose packets nobody but their filters has to see."""
_INBOUND: Final = frozenset(("INBOUND_IPPACKET", "INBOUND_TRANSPORT"))
_OURS: Final = Mark(MAGIC << 24, MAGIC_MASK)
_TELLING: Final = (
    "IP_REMOTE_PORT",
    "IP_LOCAL_PORT",
    "IP_REMOTE_ADDRESS",
    "IP_LOCAL_ADDRESS",
    "IP_SOURCE_ADDRESS",
    "IP_DESTINATION_ADDRESS",
    "IP_PROTOCOL",
)
"""Fields by which a filter is told to the kernel, the most telling first."""
Side = tuple[str, Any]
"""A field of `Among`, and one value for it."""


def wanted_at(hook: int, version: int, filters: Iterable[Filter], hooks: set[tuple[int, int]]) -> Among | None:
    """What the filters want of the packets of one hook; None for all.

    `filters` are all in force, `hooks` those that are watched for them.
    """
    if hook in (INPUT, OUTPUT) and {(INPUT, version), (OUTPUT, version)} <= hooks:
        return None  # an answer is told from a beginning only where all of both directions is seen
    sides: dict[str, list[Any]] = {}
    count = 0
    for item in filters:
        group, of_version, discard = group_of(item.layer)
        if of_version not in (0, version):
            continue
        if discard or group not in _PLAIN:
            return None
        if hook not in HOOKS_OF_GROUP[group]:
            continue
        count += 1
        told = _told(item, inbound=group in _INBOUND) if count <= MOST else None
        if told is None:
            return None
        for name, value in told:
            sides.setdefault(name, []).append(value)
    # What is routed has been completed before, if it was injected; what was forward-injected is seen by nobody.
    marks = () if hook == FORWARD and sides else (_OURS,)
    return Among(marks=marks, **{name: tuple(dict.fromkeys(values)) for name, values in sides.items()})


def _told(item: Filter, *, inbound: bool) -> list[Side] | None:
    """The values of one field of which a packet has one whenever the filter wants it; None when that is not known."""
    if item.flags & FilterFlag.OR_CONDITIONS and len(item.conditions) > 1:
        return None
    by_field: dict[str, list[Condition]] = {}
    for condition in item.conditions:
        by_field.setdefault(condition.name_at(item.layer), []).append(condition)
    version = layer_info(item.layer).version
    for name in _TELLING:
        told = [_side(name, condition, version, inbound=inbound) for condition in by_field.get(name, ())]
        found = [side for side in told if side is not None]
        if found and len(found) == len(told):
            return found
    return None


def _side(name: str, condition: Condition, version: int | None, *, inbound: bool) -> Side | None:
    """What a condition says of an address, port or protocol; None when it cannot be said."""
    if name == "IP_PROTOCOL":
        number = _number(condition.value) if condition.match == MatchType.EQUAL else None
        return None if number is None else ("protocols", number)
    source = name == "IP_SOURCE_ADDRESS" or name.startswith("IP_REMOTE_" if inbound else "IP_LOCAL_")
    if name.endswith("_PORT"):
        ports = _ports(condition)
        return None if ports is None else ("source_ports" if source else "destination_ports", ports)
    network = _network(condition, version)
    return None if network is None else ("sources" if source else "destinations", network)


def _ports(condition: Condition) -> tuple[int, int] | None:
    match, value = condition.match, condition.value
    if match not in (MatchType.EQUAL, MatchType.RANGE):
        return None
    first, last = (_number(end) for end in (value if match == MatchType.RANGE else (value, value)))
    # 0 is what a packet without ports has.
    return (first, last) if first is not None and last is not None and 0 < first <= last <= 0xFFFF else None


def _network(condition: Condition, version: int | None) -> str | None:
    if condition.match not in (MatchType.EQUAL, MatchType.PREFIX):
        return None
    value = condition.value
    try:
        if isinstance(value, str) or hasattr(value, "version"):
            network = ip_network(value, strict=False)
        elif isinstance(value, int) and version == 4:
            network = ip_network(value)
        else:
            network = ip_network(ip_address(bytes(value)))
    except (TypeError, ValueError):
        return None
    return str(network) if network.version == version and network.prefixlen else None


def _number(value: Any) -> int | None:
    try:
        number = int(value, 0) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number <= 0xFFFF else None
