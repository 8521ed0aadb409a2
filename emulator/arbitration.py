"""Arbitration: filters at a layer are asked in order, callouts decide, one result comes out.

Sublayers by weight, filters in them by weight; the first BLOCK or PERMIT ends its sublayer; all sublayers are asked;
what counts is the last decision made while the right to decide was still there, and a callout's BLOCK vetoes any
PERMIT.  Source: FI-1, FI-2, CO-13..CO-17, DC-5.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from emulator.callout import RegisteredCallout
from emulator.deciding import ABSORB, BLOCK, NONE, PERMIT
from emulator.fields import reader
from emulator.filters import Filter, SubLayer
from emulator.layers import Layer, layer_info
from emulator.wfptypes import Action, FilterFlag

if TYPE_CHECKING:
    from emulator.contexts import FlowContexts
    from emulator.core import Core
    from emulator.indication import Indication

_TERMINATING, _INSPECTION = int(Action.CALLOUT_TERMINATING), int(Action.CALLOUT_INSPECTION)
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


class Arbiter:
    """The filters in force on one host, as they are asked; `FilterEngine` puts them there."""

    def __init__(self, core: Core, flows: FlowContexts) -> None:
        self.core = core
        self.flows = flows
        self.at_layer: dict[int, tuple[SubLayerFilters, ...]] = {}
        """Per layer, the sublayers that have filters there, heaviest first; replaced whole on a change."""
        self.sole: dict[int, Filter] = {}
        """The filter of a layer where there is but one, for every packet, and it asks a callout."""
        self.on_indicate: Callable[[Indication], None] | None = None
        """Told of every indication before a filter is asked; with the other two, for the trace."""
        self.on_classify: Callable[[Indication, Filter, bool], None] | None = None
        """Told of every filter's decision."""
        self.on_decided: Callable[[Indication, bool], None] | None = None
        """Told what came out of an indication: whether it may pass."""

    def classify(self, seen: Indication) -> bool:
        """Ask every filter of the indication's layer; True when the data may pass.

        Afterwards the indication holds the decision and is no longer valid for callouts.
        Source: FI-1, FI-2, CO-10..CO-17, DC-5.
        """
        return self.judge(seen)

    def judge(self, seen: Indication) -> bool:
        """The same, for those of the emulator that are compiled."""
        if self.on_indicate is None and self.on_classify is None:
            sole = self.sole.get(seen.layer)
            if sole is not None:
                return self._classify_sole(sole, seen)
        decision = PERMIT
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
                    if result == BLOCK and decision != BLOCK:
                        seen.blocked_by = item.filter_id
                    decision = result
                    break
        seen.action = decision
        seen.ended = True
        if decision != BLOCK:
            seen.out_flags &= ~ABSORB
            seen.blocked_by = 0
        if self.on_decided is not None:
            self.on_decided(seen, decision != BLOCK)
        return decision != BLOCK

    def _classify_sole(self, item: Filter, seen: Indication) -> bool:
        """The same, in fewer steps, where one callout decides alone."""
        result = self._ask(item, seen, PERMIT)
        seen.ended = True
        if result == BLOCK:
            seen.action = BLOCK
            seen.blocked_by = item.filter_id
            return False
        seen.action = PERMIT
        if seen.out_flags:
            seen.out_flags &= ~ABSORB
        return True

    def _ask(self, item: Filter, seen: Indication, decision: int) -> int:
        """The decision after one matching filter, or 0 when it does not end its sublayer."""
        kind = item.kind
        if kind in (BLOCK, PERMIT):
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
        entry = NONE if decision == PERMIT and rights else decision
        seen.action = entry
        seen.filter = item
        try:
            callout.classify(seen)
        except Exception as error:  # the driver's own fault: told, and the packet does not slip through
            self.core.callback_raised(f"classifyFn of {callout!r}", error)
            seen.action, seen.rights, seen.out_flags = BLOCK if rights else entry, rights, flags
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
            if action == BLOCK or (action == PERMIT and not seen.out_flags):
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
            if action == BLOCK and decision == PERMIT:
                return BLOCK
            if action != entry:
                self.core.violate(
                    "CO-14",
                    f"classifyFn of {item.callout!r}",
                    f"it set {_name(action)} without the right to decide; only a BLOCK over a PERMIT counts",
                )
            seen.out_flags = flags
            return decision if kind == _TERMINATING else 0
        if action == BLOCK:
            return BLOCK
        if action == PERMIT:
            seen.out_flags &= ~ABSORB
            return PERMIT
        seen.out_flags = flags
        return BLOCK if kind == _TERMINATING else 0

    def _check_flags(self, item: Filter, seen: Indication, flags: int) -> None:
        """Keep of the flags what a callout may change: ABSORB, with a BLOCK, where the layer has it."""
        if seen.out_flags == ABSORB and seen.action == BLOCK and _ABSORB_ALLOWED[seen.layer]:
            seen.out_flags |= flags
            return
        absorb = seen.out_flags & ABSORB
        if absorb and not flags & ABSORB:
            why = "with a BLOCK only" if seen.action != BLOCK else ""
            why = why or ("" if _ABSORB_ALLOWED[seen.layer] else f"not at {Layer(seen.layer).name}")
            if why:
                self.core.violate("CO-17", f"classifyFn of {item.callout!r}", f"ABSORB counts {why}")
                absorb = 0
        seen.out_flags = flags & ~ABSORB | absorb


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
    if item.kind == BLOCK:
        seen.rights = 0
        return BLOCK
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
    return BLOCK


def _permit(item: Filter, seen: Indication) -> int:
    """A PERMIT that no callout has made: soft unless the filter says otherwise."""
    seen.out_flags &= ~ABSORB
    if item.clears_right:
        seen.rights = 0
    return PERMIT
