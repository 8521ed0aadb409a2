"""Which layers a hook shows, in which order, and where the data of each starts.

Source: GE-10, GE-11, LA-12, LA-14, LA-15; design of the hooks: docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from emulator.injection import FORWARD as INJECT_FORWARD
from emulator.injection import NETWORK_RECEIVE, NETWORK_SEND, TRANSPORT_RECEIVE, TRANSPORT_SEND
from emulator.layerids import Layer
from emulator.octets import IpView
from emulator.paths.queue import HookNumber

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = (int(hook) for hook in HookNumber)

# What a packet is, as far as the choice of layers goes.
TCP, DATAGRAM, ICMP_ERROR = range(3)
_V4_ERRORS = frozenset((3, 4, 5, 11, 12))
_V6_ERRORS = frozenset((1, 2, 3, 4))
ICMP_HEADER_SIZE = 8


def kind_of(view: IpView) -> int:
    """TCP, DATAGRAM (anything else) or ICMP_ERROR."""
    protocol = view.protocol
    if protocol == 6:
        return TCP
    if protocol == 1 and view.version == 4 and view.icmp_type in _V4_ERRORS:
        return ICMP_ERROR
    if protocol == 58 and view.version == 6 and view.icmp_type in _V6_ERRORS:
        return ICMP_ERROR
    return DATAGRAM


class Step(NamedTuple):
    """One layer a packet is shown at: where its memory begins for the callout, and where its data starts."""

    layer: int
    inbound: bool
    offsets: Callable[[IpView], tuple[int, int]]


def _whole(view: IpView) -> tuple[int, int]:
    return view.start, view.start


def _behind_ip(view: IpView) -> tuple[int, int]:
    return view.start, view.transport_offset


def _payload(view: IpView) -> tuple[int, int]:
    return view.start, view.indicated_offset


def _transport(view: IpView) -> tuple[int, int]:
    return view.transport_offset, view.transport_offset


def _embedded(view: IpView) -> tuple[int, int]:
    return view.start, min(view.transport_offset + ICMP_HEADER_SIZE, view.end)


# (hook, kind) -> groups of layers in the order a packet meets them.
_GROUPS: Mapping[tuple[int, int], tuple[tuple[str, bool, Callable[[IpView], tuple[int, int]]], ...]] = {
    (PREROUTING, TCP): (("INBOUND_IPPACKET", True, _behind_ip),),
    (PREROUTING, DATAGRAM): (("INBOUND_IPPACKET", True, _behind_ip),),
    (PREROUTING, ICMP_ERROR): (("INBOUND_IPPACKET", True, _behind_ip),),
    (INPUT, TCP): (("INBOUND_TRANSPORT", True, _payload),),
    (INPUT, DATAGRAM): (("INBOUND_TRANSPORT", True, _payload), ("DATAGRAM_DATA", True, _payload)),
    (INPUT, ICMP_ERROR): (("INBOUND_TRANSPORT", True, _payload), ("INBOUND_ICMP_ERROR", True, _embedded)),
    (FORWARD, TCP): (("IPFORWARD", True, _whole),),
    (FORWARD, DATAGRAM): (("IPFORWARD", True, _whole),),
    (FORWARD, ICMP_ERROR): (("IPFORWARD", True, _whole),),
    (OUTPUT, TCP): (("OUTBOUND_TRANSPORT", False, _transport),),
    (OUTPUT, DATAGRAM): (("DATAGRAM_DATA", False, _transport), ("OUTBOUND_TRANSPORT", False, _transport)),
    (OUTPUT, ICMP_ERROR): (("OUTBOUND_ICMP_ERROR", False, _transport), ("OUTBOUND_TRANSPORT", False, _transport)),
    (POSTROUTING, TCP): (("OUTBOUND_IPPACKET", False, _whole),),
    (POSTROUTING, DATAGRAM): (("OUTBOUND_IPPACKET", False, _whole),),
    (POSTROUTING, ICMP_ERROR): (("OUTBOUND_IPPACKET", False, _whole),),
}

HOOKS_OF_GROUP: dict[str, int] = {
    group: hook for (hook, _), steps in _GROUPS.items() for group, _, _ in steps if group != "DATAGRAM_DATA"
}
"""The hook at which a layer group is shown; DATAGRAM_DATA is shown at two."""

REENTRY: Mapping[int, tuple[int, ...]] = {
    NETWORK_SEND: (OUTPUT, POSTROUTING),
    TRANSPORT_SEND: (OUTPUT, POSTROUTING),
    NETWORK_RECEIVE: (PREROUTING, INPUT),
    TRANSPORT_RECEIVE: (PREROUTING, INPUT),
    INJECT_FORWARD: (),
}
"""The hooks an injected packet meets, in order (GE-10, FW-3)."""

VERDICT_HOOK: Mapping[int, int] = {
    NETWORK_SEND: POSTROUTING,
    TRANSPORT_SEND: OUTPUT,
    NETWORK_RECEIVE: PREROUTING,
    TRANSPORT_RECEIVE: INPUT,
    INJECT_FORWARD: FORWARD,
}
"""The hook at which a held packet can go on by its verdict when its clone is injected."""


def hooks_for(layers: set[int]) -> set[tuple[int, int]]:
    """The (hook, IP version) pairs that have to be watched for these layers to be shown."""
    wanted: set[tuple[int, int]] = set()
    for number in layers:
        name = Layer(number).name.removesuffix("_DISCARD")
        group, version = name[:-3], int(name[-1]) if name[-3:-1] == "_V" else 0
        if group == "DATAGRAM_DATA":
            wanted |= {(OUTPUT, version), (INPUT, version)}
        elif group in HOOKS_OF_GROUP:
            wanted.add((HOOKS_OF_GROUP[group], version))
    return wanted


Plans = dict[tuple[int, int, int], tuple[Step, ...]]


def make_plans(layers: set[int]) -> Plans:
    """For each (hook, version, kind) the steps through those of `layers` that are shown there."""
    plans: Plans = {}
    for (hook, kind), groups in _GROUPS.items():
        for version in (4, 6):
            steps = (
                Step(int(Layer[f"{group}_V{version}"]), inbound, offsets) for group, inbound, offsets in groups
            )
            plans[hook, version, kind] = tuple(
                step for step in steps if step.layer in layers or step.layer + 1 in layers
            )
    return plans
