"""The rows of the WFPSampler matrix, as data: scenarios, layers, triggers, sources, and what is not emulated.

Microsoft's WFPSampler is the widest of the public sample drivers, and what the WFP logo tests run.  A row is one of
its scenarios (S1..S15) at one layer; cells are a row's triggers times its sources, for both families.
Source: the sample's own list of scenarios, layers and options.
"""

from __future__ import annotations

from dataclasses import dataclass

CORE, EXT, PARTIAL, NOT_APPLICABLE = "core", "ext", "partial", "N/A"
GRADES = (CORE, EXT, PARTIAL, NOT_APPLICABLE)
"""How near to the heart of packet injection a row is; N/A: it says nothing about packets."""

INLINE, DPC, THREADED_DPC, WORK_ITEM = "inline", "DPC", "threaded DPC", "work item"
TRIGGERS = (INLINE, DPC, THREADED_DPC, WORK_ITEM)
CLONE, NEW, EDITED, FAST = "clone", "new list", "edited", "fast"
SOURCES = {"S4": CLONE, "S5": NEW, "S6": EDITED}

_NO_FRAMES = "the link layer is not emulated: MAC injection is not there yet"
_NO_SWITCH = "the virtual switch is not emulated"
_NO_PEND = "pending and completing an operation is not emulated yet"
_NO_REDIRECT = "redirection by classify handle is not emulated"
_NO_STREAM_DISCARD = "nothing shows what the stream layer has dropped"
_NO_SOCKET_LAYER = "nothing shows binds, listens and closures of sockets yet"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One or two rows of the matrix: a layer, for each family, with one of the sample's scenarios."""

    number: int
    """M<number> for IPv4, and for IPv6 the next one where the matrix counts the families apart."""
    layer: str
    """A layer group, such as INBOUND_TRANSPORT."""
    grade: str
    protocols: tuple[str, ...] = ("udp",)
    """What a cell is measured with: it passes when all of them do.  TCP is left out of inline triggers."""
    missing: str = ""
    """Why it cannot be run here; empty when it can."""
    single: bool = False
    """One row for a layer without IP version."""


INJECTING = (
    Row(number=1, layer="INBOUND_IPPACKET", grade=CORE),
    Row(number=3, layer="OUTBOUND_IPPACKET", grade=CORE),
    Row(number=5, layer="IPFORWARD", grade=CORE),
    Row(number=7, layer="INBOUND_TRANSPORT", grade=CORE, protocols=("udp", "tcp")),
    Row(number=9, layer="OUTBOUND_TRANSPORT", grade=CORE, protocols=("udp", "tcp")),
    Row(number=11, layer="DATAGRAM_DATA", grade=CORE),
    Row(number=13, layer="INBOUND_ICMP_ERROR", grade=EXT, protocols=("icmp",)),
    Row(number=15, layer="OUTBOUND_ICMP_ERROR", grade=EXT, protocols=("icmp",)),
    Row(number=17, layer="ALE_AUTH_CONNECT", grade=CORE),
    Row(number=19, layer="ALE_AUTH_RECV_ACCEPT", grade=CORE, protocols=("udp", "tcp")),
    Row(number=21, layer="ALE_FLOW_ESTABLISHED", grade=PARTIAL),
    Row(number=23, layer="STREAM_PACKET", grade=EXT, protocols=("tcp",)),
    Row(number=25, layer="INBOUND_MAC_FRAME_ETHERNET", grade=CORE, single=True, missing=_NO_FRAMES),
    Row(number=26, layer="OUTBOUND_MAC_FRAME_ETHERNET", grade=CORE, single=True, missing=_NO_FRAMES),
    Row(number=27, layer="INBOUND_MAC_FRAME_NATIVE", grade=EXT, single=True, missing=_NO_FRAMES),
    Row(number=28, layer="OUTBOUND_MAC_FRAME_NATIVE", grade=EXT, single=True, missing=_NO_FRAMES),
    Row(number=29, layer="INGRESS_VSWITCH_ETHERNET", grade=EXT, single=True, missing=_NO_SWITCH),
    Row(number=30, layer="EGRESS_VSWITCH_ETHERNET", grade=EXT, single=True, missing=_NO_SWITCH),
)
"""S4 to S7: block, and inject a clone, a new list, an edited packet; S7 a clone, always inline."""

PORTLESS_TCP = frozenset({"ALE_AUTH_RECV_ACCEPT"})
"""Layers that see only the first segment of a connection: changing its port alone makes no connection."""

STREAM = Row(number=31, layer="STREAM", grade=CORE, protocols=("tcp",))
FAST_STREAM = Row(number=32, layer="STREAM", grade=CORE, protocols=("tcp",))
FLOWS = Row(number=38, layer="ALE_FLOW_ESTABLISHED", grade=CORE)
PROXY = (
    Row(number=39, layer="OUTBOUND_TRANSPORT", grade=CORE),
    Row(number=40, layer="INBOUND_IPPACKET", grade=CORE),
)
_NO_CALLOUT = "the sample documents this layer for its proxy and has no such callout: there is nothing to run"
NO_PROXY = tuple(
    Row(number=41, layer=layer, grade=CORE, missing=_NO_CALLOUT)
    for layer in ("INBOUND_TRANSPORT", "DATAGRAM_DATA", "STREAM_PACKET")
)
PENDING = (
    Row(number=33, layer="ALE_AUTH_CONNECT", grade=CORE, missing=_NO_PEND),
    Row(number=34, layer="ALE_AUTH_RECV_ACCEPT", grade=CORE, missing=_NO_PEND),
    Row(number=35, layer="ALE_RESOURCE_ASSIGNMENT", grade=PARTIAL, missing=_NO_PEND),
    Row(number=36, layer="ALE_AUTH_LISTEN", grade=PARTIAL, missing=_NO_PEND),
)
CLOSURE = Row(number=37, layer="ALE_ENDPOINT_CLOSURE", grade=EXT, missing=_NO_PEND)
REDIRECT = (
    Row(number=42, layer="ALE_CONNECT_REDIRECT", grade=EXT, missing=_NO_REDIRECT),
    Row(number=43, layer="ALE_BIND_REDIRECT", grade=EXT, missing=_NO_REDIRECT),
)
CONTAINERS = Row(
    number=47, layer="none", grade=NOT_APPLICABLE, single=True, missing="application containers: nothing like them here"
)

_SHOWN = (*(row.layer for row in INJECTING if not row.missing), "STREAM")
_SOCKET_LAYERS = (
    "ALE_RESOURCE_ASSIGNMENT", "ALE_AUTH_LISTEN", "ALE_RESOURCE_RELEASE", "ALE_ENDPOINT_CLOSURE",
    "ALE_CONNECT_REDIRECT", "ALE_BIND_REDIRECT",
)  # fmt: skip
_DISCARDING = ("ALE_RESOURCE_ASSIGNMENT", "ALE_AUTH_LISTEN")
_SWITCH_TRANSPORT = ("INGRESS_VSWITCH_TRANSPORT", "EGRESS_VSWITCH_TRANSPORT")


def verdict_rows(number: int, grade: str) -> tuple[Row, ...]:
    """The 48 layers of S1 and S2; the four of the virtual switch's transport are row M48."""
    shown = [Row(number=number, layer=layer, grade=grade) for layer in _SHOWN]
    sockets = [Row(number=number, layer=layer, grade=grade, missing=_NO_SOCKET_LAYER) for layer in _SOCKET_LAYERS]
    frames = [
        Row(number=number, layer=row.layer, grade=grade, missing=row.missing, single=True)
        for row in INJECTING
        if row.single
    ]
    switch = [Row(number=48, layer=layer, grade=EXT, missing=_NO_SWITCH) for layer in _SWITCH_TRANSPORT]
    return (*shown, *sockets, *frames, *switch)


def discard_rows() -> tuple[Row, ...]:
    """The 28 layers that S3 adds: each shows what was dropped at the layer whose name it has."""
    shown = [
        Row(number=46, layer=f"{layer}_DISCARD", grade=PARTIAL, missing=_NO_STREAM_DISCARD * (layer == "STREAM"))
        for layer in _SHOWN
        if layer != "STREAM_PACKET"
    ]
    return (
        *shown,
        *(
            Row(number=46, layer=f"{layer}_DISCARD", grade=PARTIAL, missing=_NO_SOCKET_LAYER)
            for layer in _DISCARDING
        ),
    )
