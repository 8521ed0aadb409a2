"""The filter engine: filters at a layer are asked in order, callouts decide, one result comes out.

Arbitration (FI-1, FI-2, CO-13..CO-17, DC-5): sublayers by weight, filters in them by weight; the first
BLOCK or PERMIT ends its sublayer; all sublayers are asked; what counts is the last decision made while the
right to decide was still there, and a callout's BLOCK vetoes any PERMIT.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

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
from emulator.fields import reader
from emulator.filters import INSPECTION, UNIVERSAL, Filter, SubLayer, choose_weight
from emulator.layers import Layer, layer_info
from emulator.ntstatus import nt_success
from emulator.wfptypes import Action, FilterFlag, NotifyType

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.indication import Indication

_BLOCK, _PERMIT, _NONE = int(Action.BLOCK), int(Action.PERMIT), int(Action.NONE)
_TERMINATING, _INSPECTION = int(Action.CALLOUT_TERMINATING), int(Action.CALLOUT_INSPECTION)
_ABSORB = 1
_ABSORB_ALLOWED = tuple(layer_info(layer).absorb_allowed for layer in Layer)


class SubLayerFilters:
    """The filters of one sublayer at one layer, heaviest first, found by exact field values where possible."""

    __slots__ = ("sublayer", "all", "plain", "by_value")

    def __init__(self, sublayer: SubLayer, filters: list[Filter], layer: int) -> None:
        self.sublayer = sublayer
        self.all = sorted(filters, key=lambda item: (-item.effective_weight, item.filter_id))
        self.plain: list[tuple[int, Filter]] = []
        indexed: dict[str, dict[Any, list[tuple[int, Filter]]]] = {}
        few = len(self.all) <= 8
        for order, item in enumerate(self.all):
            exact = None if few else item.exact()
            if exact is None:
                self.plain.append((order, item))
            else:
                indexed.setdefault(exact[0], {}).setdefault(exact[1], []).append((order, item))
        self.by_value = [(reader(layer, name), table) for name, table in indexed.items()]

    def candidates(self, seen: Indication) -> Iterator[Filter]:
        """Filters that may match by their indexed field, heaviest first."""
        found = list(self.plain)
        for read, table in self.by_value:
            for entry in table.get(read(seen), ()):
                insort(found, entry, key=lambda pair: pair[0])
        return iter([item for _, item in found])


class FilterEngine:
    """Filters, sublayers and callouts of one host, and the decision they make together."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.callouts = CalloutRegistry(core, self._callout_changed)
        self.flows = FlowContexts(core, self.callouts)
        self.sublayers: dict[UUID, SubLayer] = {item.key: item for item in (UNIVERSAL, INSPECTION)}
        self.filters: dict[int, Filter] = {}
        self.at_layer: dict[int, tuple[SubLayerFilters, ...]] = {}
        """Per layer, the sublayers that have filters there, heaviest first; replaced whole on a change."""
        self.sole: dict[int, Filter] = {}
        """The filter of a layer where there is but one, for every packet, and it asks a callout."""
        self.on_change: Callable[[], None] | None = None
        """Told after filters were added or deleted: the stack then hooks the layers that are wanted."""
        self.on_indicate: Callable[[Indication], None] | None = None
        """Told of every indication before a filter is asked; with the other two, for the trace."""
        self.on_classify: Callable[[Indication, Filter, bool], None] | None = None
        """Told of every filter's decision."""
        self.on_decided: Callable[[Indication, bool], None] | None = None
        """Told what came out of an indication: whether it may pass."""
        self._ids = 0
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
            if any(other.key == item.key for other in self.filters.values()):
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
            self._rebuild(item.layer)
            self.callouts.tell(NotifyType.ADD_FILTER_POST_COMMIT, item)
        if self.on_change is not None:
            self.on_change()
        return item

    def delete_filter(self, filter_id: int) -> None:
        """Take a filter out of force; its callout is told and cannot refuse.

        Raises FilterNotFound.  Source: CO-30, FI-7.
        """
        with self._guard:
            item = self.filters.pop(filter_id, None)
            if item is None:
                raise FilterNotFound(f"there is no filter {filter_id}", rule="FI-7")
            self._rebuild(item.layer)
            self.callouts.tell(NotifyType.DELETE_FILTER, item)
        if self.on_change is not None:
            self.on_change()

    def layers(self) -> set[int]:
        """The layers that have filters."""
        return set(self.at_layer)

    def leaks(self) -> list[str]:
        """Flow contexts that callouts still have, in words (OR-3)."""
        return self.flows.leaks()

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

    def _callout_changed(self, key: UUID, callout: RegisteredCallout | None) -> None:
        with self._guard:
            for item in self.filters.values():
                if item.callout_key == key:
                    item.callout = callout

    # -- classifying ------------------------------------------------------------------------------------

    def classify(self, seen: Indication) -> bool:
        """Ask every filter of the indication's layer; True when the data may pass.

        Afterwards the indication holds the decision and is no longer valid for callouts.
        Source: FI-1, FI-2, CO-10..CO-17, DC-5.
        """
        if self.on_indicate is None and self.on_classify is None and seen.layer in self.sole:
            return self._classify_sole(self.sole[seen.layer], seen)
        decision = _PERMIT
        if self.on_indicate is not None:
            self.on_indicate(seen)
        for sublayer in self.at_layer.get(seen.layer, ()):
            for item in sublayer.candidates(seen) if sublayer.by_value else sublayer.all:
                if item.groups and not item.matches(seen):
                    continue
                result = self._ask(item, seen, decision)
                if self.on_classify is not None:
                    self.on_classify(seen, item, result != 0)
                if result:
                    if result == _BLOCK and decision != _BLOCK:
                        seen.blocked_by = item.filter_id
                    decision = result
                    break
        seen.action = decision
        seen.ended = True
        if decision != _BLOCK:
            seen.out_flags &= ~_ABSORB
            seen.blocked_by = 0
        if self.on_decided is not None:
            self.on_decided(seen, decision != _BLOCK)
        return decision != _BLOCK

    def _classify_sole(self, item: Filter, seen: Indication) -> bool:
        """The same, in fewer steps, where one callout decides alone."""
        result = self._ask(item, seen, _PERMIT)
        seen.ended = True
        if result == _BLOCK:
            seen.action = _BLOCK
            seen.blocked_by = item.filter_id
            return False
        seen.action = _PERMIT
        if seen.out_flags:
            seen.out_flags &= ~_ABSORB
        return True

    def _ask(self, item: Filter, seen: Indication, decision: int) -> int:
        """The decision after one matching filter, or 0 when it does not end its sublayer."""
        kind = item.kind
        if kind in (_BLOCK, _PERMIT):
            return _plain(item, seen, decision)
        callout = item.callout
        if callout is None or callout.unregistering:
            return _unregistered(item, seen, decision)
        flow = seen.flow
        if flow is not None and callout.flow_delete is not None:  # without that function it has no contexts (FL-1)
            # Entering comes before looking: a removal that begins in between waits for this classify (FL-10).
            self.flows.enter(flow, callout.callout_id)
            seen.flow_context = flow.contexts.get((seen.layer, callout.callout_id), 0)
            if callout.conditional_on_flow and not seen.flow_context:
                self.flows.leave(flow, callout.callout_id)
                return 0
        else:
            if callout.conditional_on_flow:
                return 0
            flow = None
            seen.flow_context = 0
        # Counting comes before looking, too: an unregister that begins in between waits (CO-6).
        callout.running += 1
        if callout.unregistering:
            if flow is not None:
                self.flows.leave(flow, callout.callout_id)
            callout.running -= 1
            _tell_idle(callout)
            return _unregistered(item, seen, decision)
        rights, flags = seen.rights, seen.out_flags
        entry = _NONE if decision == _PERMIT and rights else decision
        seen.action = entry
        seen.filter = item
        try:
            callout.classify(seen)
        except Exception as error:  # the driver's own fault: told, and the packet does not slip through
            self.core.callback_raised(f"classifyFn of {callout!r}", error)
            seen.action, seen.rights, seen.out_flags = _BLOCK if rights else entry, rights, flags
        finally:
            if flow is not None:
                self.flows.leave(flow, callout.callout_id)
            callout.running -= 1
            if callout.unregistering:
                _tell_idle(callout)
        if seen.out_flags != flags:
            self._check_flags(item, seen, flags)
        if rights and kind != _INSPECTION:
            action = seen.action
            if action == _BLOCK or (action == _PERMIT and not seen.out_flags):
                return action
        return self._result(item, seen, decision, entry, rights, flags)

    def _result(
        self, item: Filter, seen: Indication, decision: int, entry: int, rights: int, flags: int
    ) -> int:
        """What a callout's answer counts for.  Source: CO-13, CO-14, CO-16."""
        kind, action = item.kind, seen.action
        if kind == _INSPECTION:
            seen.rights, seen.out_flags = rights, flags
            return 0
        if not rights:
            seen.rights = 0
            if action == _BLOCK and decision == _PERMIT:
                return _BLOCK
            if action != entry:
                self.core.violate(
                    "CO-14",
                    f"classifyFn of {item.callout!r}",
                    f"it set {_name(action)} without the right to decide; only a BLOCK over a PERMIT counts",
                )
            seen.out_flags = flags
            return decision if kind == _TERMINATING else 0
        if action == _BLOCK:
            return _BLOCK
        if action == _PERMIT:
            seen.out_flags &= ~_ABSORB
            return _PERMIT
        seen.out_flags = flags
        return _BLOCK if kind == _TERMINATING else 0

    def _check_flags(self, item: Filter, seen: Indication, flags: int) -> None:
        """Keep of the flags what a callout may change: ABSORB, with a BLOCK, where the layer has it."""
        if seen.out_flags == _ABSORB and seen.action == _BLOCK and _ABSORB_ALLOWED[seen.layer]:
            seen.out_flags |= flags
            return
        absorb = seen.out_flags & _ABSORB
        if absorb and not flags & _ABSORB:
            why = "with a BLOCK only" if seen.action != _BLOCK else ""
            why = why or ("" if _ABSORB_ALLOWED[seen.layer] else f"not at {Layer(seen.layer).name}")
            if why:
                self.core.violate("CO-17", f"classifyFn of {item.callout!r}", f"ABSORB counts {why}")
                absorb = 0
        seen.out_flags = flags & ~_ABSORB | absorb


def _tell_idle(callout: RegisteredCallout) -> None:
    """A classify is over: an unregister that waited for it goes on."""
    with callout.idle:
        callout.idle.notify_all()


def _name(action: int) -> str:
    try:
        return Action(action).name
    except ValueError:
        return f"the action {action:#x}"


def _plain(item: Filter, seen: Indication, decision: int) -> int:
    """A filter without a callout: its BLOCK is hard, its PERMIT soft unless it clears the right (FI-2, FI-5)."""
    if not seen.rights:
        return decision
    if item.kind == _BLOCK:
        seen.rights = 0
        return _BLOCK
    return _permit(item, seen)


def _unregistered(item: Filter, seen: Indication, decision: int) -> int:
    """A filter whose callout is not there: blocks, unless told to permit; an inspection is ignored (CO-3)."""
    if item.kind == _INSPECTION:
        return 0
    if not seen.rights:
        return decision
    if item.flags & FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED:
        return _permit(item, seen)
    seen.rights = 0
    return _BLOCK


def _permit(item: Filter, seen: Indication) -> int:
    """A PERMIT that no callout has made: soft unless the filter says otherwise."""
    seen.out_flags &= ~_ABSORB
    if item.clears_right:
        seen.rights = 0
    return _PERMIT
