"""Which layers a hook shows, in which order, and where the data of each starts.

Source: GE-10, GE-11, LA-3, LA-10..LA-16; design of the hooks: docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from emulator.flowtracking import BEGINS, ESTABLISHES, REACCEPTS, RECONNECTS
from emulator.injection import FORWARD as INJECT_FORWARD
from emulator.injection import NETWORK_RECEIVE, NETWORK_SEND, TRANSPORT_RECEIVE, TRANSPORT_SEND
from emulator.layerids import Layer
from emulator.octets import IpView
from emulator.paths.indicated import EndpointIndication, IpIndication, PathIndication
from emulator.paths.queue import HookNumber
from emulator.paths.steps import Offsets, Plan, Step, transport, whole

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = (int(hook) for hook in HookNumber)

# What a packet is, as far as the choice of layers goes.
TCP, DATAGRAM, ICMP_ERROR = range(3)
_KINDS = (TCP, DATAGRAM, ICMP_ERROR)
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


def behind_ip(view: IpView) -> tuple[int, int]:
    """Data from the transport header on, the IP header in front of it."""
    return view.start, view.transport_offset


def payload(view: IpView) -> tuple[int, int]:
    """Data from the payload on (ICMP: from its header), the headers in front of it."""
    return view.start, view.indicated_offset


def _embedded(view: IpView) -> tuple[int, int]:
    return view.start, min(view.transport_offset + ICMP_HEADER_SIZE, view.end)


class _Row(NamedTuple):
    """A layer group as it stands in the order of its hook."""

    group: str
    inbound: bool
    offsets: Offsets
    due: int = 0
    kind: type[PathIndication] = EndpointIndication
    with_data: bool = True

    def step(self, layer: int) -> Step:
        """It, at one layer of its group."""
        return Step(layer, self.inbound, self.offsets, self.kind, self.due, self.with_data)


_BEGIN = _Row("", False, whole, BEGINS)
_IN_IP = _Row("INBOUND_IPPACKET", True, behind_ip, kind=IpIndication)
_OUT_IP = _Row("OUTBOUND_IPPACKET", False, whole, kind=IpIndication)
_ROUTED = _Row("IPFORWARD", True, whole, kind=PathIndication)
_IN_TRANSPORT = _Row("INBOUND_TRANSPORT", True, payload)
_OUT_TRANSPORT = _Row("OUTBOUND_TRANSPORT", False, transport)
_ACCEPT = _Row("ALE_AUTH_RECV_ACCEPT", True, payload, BEGINS | REACCEPTS)
# A packet of the other direction than the flow's asks again, too (LA-16, MD-8).
_REACCEPT = _Row("ALE_AUTH_RECV_ACCEPT", False, transport, REACCEPTS)
_RECONNECT = _Row("ALE_AUTH_CONNECT", True, payload, RECONNECTS)
_IN_FLOW = _Row("ALE_FLOW_ESTABLISHED", True, payload, ESTABLISHES)
_OUT_FLOW = _Row("ALE_FLOW_ESTABLISHED", False, transport, ESTABLISHES)

# (hook, kind) -> layer groups in the order a packet meets them.
_ROWS: Mapping[tuple[int, int], tuple[_Row, ...]] = {
    **dict.fromkeys([(PREROUTING, kind) for kind in _KINDS], (_IN_IP,)),
    **dict.fromkeys([(FORWARD, kind) for kind in _KINDS], (_ROUTED,)),
    **dict.fromkeys([(POSTROUTING, kind) for kind in _KINDS], (_OUT_IP,)),
    (INPUT, TCP): (
        _IN_TRANSPORT, _BEGIN, _ACCEPT, _RECONNECT._replace(with_data=False), _IN_FLOW,
        _Row("STREAM_PACKET", True, payload),
    ),
    (INPUT, DATAGRAM): (
        _IN_TRANSPORT, _BEGIN, _ACCEPT, _RECONNECT, _IN_FLOW,
        _Row("DATAGRAM_DATA", True, payload),
    ),
    (INPUT, ICMP_ERROR): (_IN_TRANSPORT, _Row("INBOUND_ICMP_ERROR", True, _embedded)),
    (OUTPUT, TCP): (
        _BEGIN, _Row("ALE_AUTH_CONNECT", False, transport, BEGINS | RECONNECTS, with_data=False), _REACCEPT, _OUT_FLOW,
        _Row("STREAM_PACKET", False, transport), _OUT_TRANSPORT,
    ),
    (OUTPUT, DATAGRAM): (
        _BEGIN, _Row("ALE_AUTH_CONNECT", False, transport, BEGINS | RECONNECTS), _REACCEPT, _OUT_FLOW,
        _Row("DATAGRAM_DATA", False, transport), _OUT_TRANSPORT,
    ),
    (OUTPUT, ICMP_ERROR): (_Row("OUTBOUND_ICMP_ERROR", False, transport), _OUT_TRANSPORT),
}  # fmt: skip

_TRACKED_KINDS = (TCP, DATAGRAM)
_BOTH = (OUTPUT, INPUT)
HOOKS_OF_GROUP: Mapping[str, tuple[int, ...]] = {
    "INBOUND_IPPACKET": (PREROUTING,),
    "OUTBOUND_IPPACKET": (POSTROUTING,),
    "IPFORWARD": (FORWARD,),
    "INBOUND_TRANSPORT": (INPUT,),
    "OUTBOUND_TRANSPORT": (OUTPUT,),
    "INBOUND_ICMP_ERROR": (INPUT,),
    "OUTBOUND_ICMP_ERROR": (OUTPUT,),
    # What follows from a flow needs both directions: an answer begins no flow.
    **dict.fromkeys(
        ("DATAGRAM_DATA", "STREAM_PACKET", "ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED"), _BOTH
    ),
}
"""The hooks that have to be watched for a layer group."""
_PORT_UNREACHABLE = "INBOUND_IPPACKET"
"""Its discard layer also shows datagrams to closed ports, which INPUT finds out (LA-15)."""

REENTRY: Mapping[int, tuple[int, ...]] = {
    NETWORK_SEND: (OUTPUT, POSTROUTING),
    TRANSPORT_SEND: (OUTPUT, POSTROUTING),
    NETWORK_RECEIVE: (PREROUTING, INPUT),
    TRANSPORT_RECEIVE: (PREROUTING, INPUT),
    INJECT_FORWARD: (),
}
"""The hooks an injected packet meets, in order (GE-10, FW-3)."""

VERDICT_HOOKS: Mapping[int, tuple[int, ...]] = {
    NETWORK_SEND: (POSTROUTING,),
    TRANSPORT_SEND: (OUTPUT, POSTROUTING),
    NETWORK_RECEIVE: (PREROUTING, INPUT),
    TRANSPORT_RECEIVE: (PREROUTING, INPUT),
    INJECT_FORWARD: (FORWARD,),
}
"""The hooks at which a held packet can go on by its verdict when its clone is injected."""


def group_of(layer: int) -> tuple[str, int, bool]:
    """Name of a layer's group, its IP version (0 for none), and whether it shows discards."""
    name = Layer(layer).name
    plain = name.removesuffix("_DISCARD")
    version = int(plain[-1]) if plain[-3:-1] == "_V" else 0
    return plain[:-3] if version else plain, version, plain != name


def hooks_for(layers: set[int]) -> set[tuple[int, int]]:
    """The (hook, IP version) pairs that have to be watched for these layers to be shown."""
    wanted: set[tuple[int, int]] = set()
    for number in layers:
        group, version, discard = group_of(number)
        wanted |= {(hook, version) for hook in HOOKS_OF_GROUP.get(group, ())}
        if discard and group == _PORT_UNREACHABLE:
            wanted.add((INPUT, version))
    return wanted


Plans = dict[tuple[int, int, int], Plan]


def make_plans(layers: set[int]) -> Plans:
    """For each (hook, version, kind) the steps through those of `layers` that are shown there."""
    shown: dict[int, set[str]] = {4: set(), 6: set()}
    unreachable = {4: False, 6: False}
    for number in layers:
        group, version, discard = group_of(number)
        if version:
            shown[version].add(group)
            unreachable[version] |= discard and group == _PORT_UNREACHABLE
    return {
        (hook, version, kind): _plan(hook, version, kind, shown[version], unreachable[version])
        for hook, kind in _ROWS
        for version in (4, 6)
    }


def _plan(hook: int, version: int, kind: int, shown: set[str], unreachable: bool) -> Plan:
    tracks = hook in _BOTH and kind in _TRACKED_KINDS and any(hook in HOOKS_OF_GROUP.get(group, ()) for group in shown)
    rows = [row for row in _ROWS[hook, kind] if row.group in shown or (tracks and row is _BEGIN)]
    steps = tuple(row.step(int(Layer[f"{row.group}_V{version}"]) if row.group else -1) for row in rows)
    finds = hook == INPUT and (any(row.group for row in rows) or (unreachable and kind == DATAGRAM))
    return Plan(steps, finds, tracks)
