# ruff: noqa: N801  the names are the header's
"""What a classifyFn decides with, and the form in which the engine calls it.

Written after classifyFn returned, a decision is a violation (CO-12).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any
from uuid import UUID

from emulator.callout import ClassifyFn, NotifyFn
from emulator.edge.fwpsk_stream import FWPS_STREAM_CALLOUT_IO_PACKET0
from emulator.edge.fwpsk_structs import FWPS_ACTION0
from emulator.edge.fwpsk_values import FWPS_INCOMING_METADATA_VALUES0, FWPS_INCOMING_VALUES0
from emulator.edge.fwptypes import FWP_UINT64, FWP_VALUE0
from emulator.ntstatus import NtStatus, nt_success
from emulator.wfptypes import NotifyType

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.filters import Filter
    from emulator.indication import Indication

_ABSORB = 1


class FWPS_FILTER0:
    """The filter that matched.  A driver may write `context` when it is told of the filter."""

    __slots__ = ("_core", "_filter")

    def __init__(self, core: Core, item: Filter) -> None:
        self._core = core
        self._filter = item

    @property
    def filterId(self) -> int:
        """Run-time id."""
        return self._filter.filter_id

    @property
    def weight(self) -> FWP_VALUE0:
        """The weight in force, a UINT64."""
        return FWP_VALUE0(FWP_UINT64, self._filter.effective_weight)

    @property
    def subLayerWeight(self) -> int:
        """Weight of its sublayer."""
        return self._core.engine.sublayers[self._filter.sublayer].weight

    @property
    def flags(self) -> int:
        """FWPS_FILTER_FLAG_… bits."""
        return self._filter.flags

    @property
    def numFilterConditions(self) -> int:
        """How many conditions it has."""
        return len(self._filter.conditions)

    @property
    def action(self) -> FWPS_ACTION0:
        """What it does; calloutId is 0 where no callout is registered for it."""
        callout = self._filter.callout
        return FWPS_ACTION0(self._filter.action, callout.callout_id if callout is not None else 0)

    @property
    def context(self) -> Any:
        """The number given with the filter."""
        return self._filter.context

    @context.setter
    def context(self, value: Any) -> None:
        self._filter.context = value

    @property
    def providerContext(self) -> None:
        """None: provider contexts are not emulated."""
        return

    def __repr__(self) -> str:
        return repr(self._filter)


FWPS_FILTER1 = FWPS_FILTER2 = FWPS_FILTER0


class FWPS_CLASSIFY_OUT0:
    """Where a callout writes its decision.  Source: CO-13, CO-14, CO-17, DC-4."""

    __slots__ = ("_seen", "outContext", "reserved")

    def __init__(self, seen: Indication) -> None:
        self._seen = seen
        self.outContext = 0
        self.reserved = 0

    @property
    def actionType(self) -> int:
        """FWP_ACTION_…; what the engine made of earlier decisions until the callout writes it."""
        return self._seen.action

    @actionType.setter
    def actionType(self, value: int) -> None:
        if self._in_time():
            self._seen.action = int(value)

    @property
    def filterId(self) -> int:
        """The engine's own; 0 unless a filter blocked."""
        return self._seen.blocked_by

    @property
    def rights(self) -> int:
        """FWPS_RIGHT_ACTION_WRITE while the action may be changed; it can be cleared, never set again."""
        return self._seen.rights

    @rights.setter
    def rights(self, value: int) -> None:
        if not value & 1 and self._in_time():
            self._seen.rights = 0

    @property
    def flags(self) -> int:
        """FWPS_CLASSIFY_OUT_FLAG_…; a callout changes ABSORB only, other bits are the engine's."""
        return self._seen.out_flags

    @flags.setter
    def flags(self, value: int) -> None:
        if self._in_time():
            self._seen.out_flags = self._seen.out_flags & ~_ABSORB | value & _ABSORB

    def _in_time(self) -> bool:
        seen = self._seen
        if seen.ended:
            seen.core.violate("CO-12", "classifyFn", "classifyOut was written after classifyFn had returned")
        return not seen.ended


def layer_data(seen: Indication) -> Any:
    """What classifyFn gets as layerData: the list, a stream layer's data, or None.  Source: CO-12."""
    return seen.net_buffer_list if seen.stream is None else FWPS_STREAM_CALLOUT_IO_PACKET0(seen.stream)


def as_classify(classify_fn: Callable[..., None], version: int) -> ClassifyFn:
    """A callout's classifyFn of version 0, 1 or 2 in the form the engine calls.  Source: CO-10."""
    # Unspecified: classifyContext.  Nothing takes one yet, so that it is None.
    context = () if version == 0 else (None,)

    def classify(seen: Indication) -> None:
        assert seen.filter is not None
        classify_fn(
            FWPS_INCOMING_VALUES0(seen),
            FWPS_INCOMING_METADATA_VALUES0(seen),
            layer_data(seen),
            *context,
            FWPS_FILTER0(seen.core, seen.filter),
            seen.flow_context,
            FWPS_CLASSIFY_OUT0(seen),
        )

    return update_wrapper(classify, classify_fn)


def as_notify(core: Core, notify_fn: Callable[..., int]) -> NotifyFn:
    """A callout's notifyFn in the form the engine calls.  Source: CO-30."""

    def notify(kind: NotifyType, key: UUID | None, item: Filter) -> NtStatus:
        status = notify_fn(kind, key, FWPS_FILTER0(core, item))
        try:
            return NtStatus(status)
        except ValueError:  # a status of the driver's own
            return NtStatus.SUCCESS if nt_success(status) else NtStatus.UNSUCCESSFUL

    return update_wrapper(notify, notify_fn)
