"""The steps of a packet's way through the layers of one hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.octets import IpView

if TYPE_CHECKING:
    from emulator.paths.indicated import PathIndication

Offsets = Callable[[IpView], tuple[int, int]]


def whole(view: IpView) -> tuple[int, int]:
    """Data from the IP header on."""
    return view.start, view.start


def transport(view: IpView) -> tuple[int, int]:
    """Data from the transport header on, nothing in front of it."""
    return view.transport_offset, view.transport_offset


class Step:
    """One layer a packet is shown at: where its memory begins for the callout, and where its data starts."""

    layer: int
    """-1 for the place where a flow begins, which is no layer."""
    inbound: bool
    offsets: Offsets
    whole: bool
    """Whether those are `whole`, which need not be asked then; likewise `transport`."""
    transport: bool
    kind: type[PathIndication]
    due: int
    """Shown only for packets that are one of these to their flow: BEGINS, ESTABLISHES, …; 0 for all."""
    with_data: bool
    """False where the layer has no packet: layerData is NULL (QS-11, LA-3)."""

    def __init__(
        self,
        layer: int,
        inbound: bool,
        offsets: Offsets,
        kind: type[PathIndication],
        due: int = 0,
        with_data: bool = True,
    ) -> None:
        self.layer = layer
        self.inbound = inbound
        self.offsets = offsets
        self.whole = offsets is whole
        self.transport = offsets is transport
        self.kind = kind
        self.due = due
        self.with_data = with_data


class Plan:
    """The steps of one hook, IP version and kind of packet."""

    steps: tuple[Step, ...]
    finds: bool
    """A packet that belongs to no endpoint is not shown here (LA-13, LA-15)."""
    tracks: bool
    """The packets' flows have to be known."""

    def __init__(self, steps: tuple[Step, ...], finds: bool = False, tracks: bool = False) -> None:
        self.steps = steps
        self.finds = finds
        self.tracks = tracks
