"""The filter engine: which filters, sublayers and callouts are in force.

How they come to a decision together is `emulator.arbitration`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from emulator.arbitration import Arbiter, SubLayerFilters
from emulator.callout import RegisteredCallout
from emulator.callouts import CalloutRegistry
from emulator.contexts import FlowContexts
from emulator.errors import (
    CalloutNotificationFailed,
    FilterNotFound,
    FwpAlreadyExists,
    FwpInUse,
    LayerNotFound,
    SublayerNotFound,
)
from emulator.filters import INSPECTION, UNIVERSAL, Filter, SubLayer, choose_weight
from emulator.layers import Layer, layer_info
from emulator.ntstatus import nt_success
from emulator.wfptypes import Action, NotifyType

if TYPE_CHECKING:
    from emulator.core import Core

_BLOCK, _PERMIT = int(Action.BLOCK), int(Action.PERMIT)
AUTHORISES = {
    int(Layer.ALE_AUTH_CONNECT_V4): (4, True),
    int(Layer.ALE_AUTH_CONNECT_V6): (6, True),
    int(Layer.ALE_AUTH_RECV_ACCEPT_V4): (4, False),
    int(Layer.ALE_AUTH_RECV_ACCEPT_V6): (6, False),
}
"""Which flows a layer authorises: (IP version, whether this host opened them)."""


class FilterEngine(Arbiter):
    """Filters, sublayers and callouts of one host, and the decision they make together."""

    def __init__(self, core: Core) -> None:
        callouts = CalloutRegistry(core, self._callout_changed)
        super().__init__(core, FlowContexts(core, callouts))
        self.callouts = callouts
        self.sublayers: dict[UUID, SubLayer] = {item.key: item for item in (UNIVERSAL, INSPECTION)}
        self.filters: dict[int, Filter] = {}
        self.on_change: Callable[[], None] | None = None
        """Told after filters were added or deleted, and when there begin or cease to be callouts that may join
        connections in their middle: the stack then hooks the layers that are wanted.
        """
        self._joining = False
        self._ids = 0
        self._keys: set[UUID] = set()
        self._together = 0
        """Depth of the blocks that put changes off."""
        self._pending: set[int] = set()
        """Layers whose filters have changed in them."""
        self._guard = threading.RLock()

    # -- sublayers and filters --------------------------------------------------------------------------

    def add_sublayer(self, sublayer: SubLayer) -> SubLayer:
        """Add a sublayer; raises FwpAlreadyExists for a key in use.  Source: FI-4."""
        with self._guard:
            if sublayer.key in self.sublayers:
                raise FwpAlreadyExists(f"sublayer {sublayer.key} exists", rule="FI-4")
            self.sublayers[sublayer.key] = sublayer
        return sublayer

    def delete_sublayer(self, key: UUID) -> SubLayer:
        """Take a sublayer out; raises SublayerNotFound, FwpInUse (filters are in it, or it is built in)."""
        with self._guard:
            sublayer = self.sublayers.get(key)
            if sublayer is None:
                raise SublayerNotFound(f"there is no sublayer {key}", rule="FI-4")
            if sublayer in (UNIVERSAL, INSPECTION) or any(item.sublayer == key for item in self.filters.values()):
                raise FwpInUse(f"sublayer {sublayer.name or key} is built in or has filters", rule="FI-4")
            del self.sublayers[key]
        return sublayer

    def add_filter(self, item: Filter) -> Filter:
        """Put a filter in force for the indications that begin later.

        The callout it names is asked first and may refuse.  Raises LayerNotFound (also one that the profile's
        Windows lacks), SublayerNotFound, FwpAlreadyExists (key in use), FwpInvalidActionType, FwpNullPointer
        (a callout action without a key), ConditionNotFound, FwpInvalidParameter, FwpTypeMismatch,
        CalloutNotificationFailed.  Source: FI-1..FI-7, CO-30, VE-1.
        """
        with self._guard:
            if item.sublayer not in self.sublayers:
                raise SublayerNotFound(f"{item!r}: no sublayer {item.sublayer}", rule="FI-4")
            if item.key in self._keys:
                raise FwpAlreadyExists(f"{item!r}: there is a filter {item.key}", rule="FI-1")
            item.compile()
            if layer_info(item.layer).since > self.core.profile:
                name, profile = Layer(item.layer).name, self.core.profile.name
                raise LayerNotFound(f"{item!r}: there is no {name} in {profile}", rule="VE-1")
            if not item.filter_id:  # one that was deleted and comes back keeps its number
                self._ids += 1
                item.filter_id = self._ids
            item.effective_weight = choose_weight(item.weight, len(item.conditions), item.filter_id)
            item.callout = self.callouts.by_key(item.callout_key)
            status = self.callouts.tell(NotifyType.ADD_FILTER, item)
            if not nt_success(status):
                raise CalloutNotificationFailed(f"{item.callout!r} refused {item!r} with {status.name}", rule="CO-30")
            self.filters[item.filter_id] = item
            self._keys.add(item.key)
            self._changed(item.layer)
            self.callouts.tell(NotifyType.ADD_FILTER_POST_COMMIT, item)
        self._tell()
        return item

    def delete_filter(self, filter_id: int) -> None:
        """Take a filter out of force; its callout is told and cannot refuse.

        Raises FilterNotFound.  Source: CO-30, FI-7.
        """
        with self._guard:
            item = self.filters.pop(filter_id, None)
            if item is None:
                raise FilterNotFound(f"there is no filter {filter_id}", rule="FI-7")
            self._keys.discard(item.key)
            self._changed(item.layer)
            self.callouts.tell(NotifyType.DELETE_FILTER, item)
        self._tell()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Filters that are added or deleted inside come into force together, when the block ends.

        Many are put in force much sooner so than one by one.  Raises what `on_change` raises.
        """
        with self._guard:
            self._together += 1
            try:
                yield
            finally:
                self._together -= 1
                pending, self._pending = self._pending, self._pending if self._together else set()
                if not self._together:
                    for layer in pending:
                        self._rebuild(layer)
        if pending:
            self._tell()

    def layers(self) -> set[int]:
        """The layers that have filters."""
        return set(self.at_layer)

    def leaks(self) -> list[str]:
        """Flow contexts that callouts still have, in words (OR-3)."""
        return self.flows.leaks()

    def _changed(self, layer: int) -> None:
        if self._together:
            self._pending.add(layer)
        else:
            self._rebuild(layer)

    def _tell(self) -> None:
        if self.on_change is not None and not self._together:
            self.on_change()

    def _rebuild(self, layer: int) -> None:
        here = [item for item in self.filters.values() if item.layer == layer]
        by_sublayer: dict[UUID, list[Filter]] = {}
        for item in here:
            by_sublayer.setdefault(item.sublayer, []).append(item)
        # The built-in inspection sublayer comes last, whatever others weigh (FI-4).
        ordered = sorted(by_sublayer, key=lambda key: (key == INSPECTION.key, -self.sublayers[key].weight))
        built = tuple(SubLayerFilters(self.sublayers[key], by_sublayer[key], layer) for key in ordered)
        table = dict(self.at_layer)
        if built:
            table[layer] = built
        else:
            table.pop(layer, None)
        self.at_layer = table
        sole = dict(self.sole)
        sole.pop(layer, None)
        if len(here) == 1 and not here[0].groups and here[0].kind not in (_BLOCK, _PERMIT):
            sole[layer] = here[0]
        self.sole = sole
        if layer in AUTHORISES:
            version, outbound = AUTHORISES[layer]
            self.flows.table.reauthorise(version, outbound=outbound, asks=bool(built))

    def _callout_changed(self, key: UUID, callout: RegisteredCallout | None) -> None:
        with self._guard:
            for item in self.filters.values():
                if item.callout_key == key:
                    item.callout = callout
            joining = self.callouts.mid_stream
            changed, self._joining = joining != self._joining, joining
            if changed:
                self._changed(int(Layer.STREAM_V4))
        if changed:
            self._tell()
