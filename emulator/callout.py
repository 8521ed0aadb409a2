"""Callouts: the user's functions at a layer, registered with the engine.

A callout written in Python derives from `Callout`; one written with the header's names is a set of
functions that the edge wraps.  The engine knows one form only: `RegisteredCallout`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from emulator.ntstatus import NtStatus
from emulator.wfptypes import CalloutFlag, NotifyType

if TYPE_CHECKING:
    from emulator.filters import Filter
    from emulator.indication import Indication

ClassifyFn = Callable[["Indication"], None]
"""Looks at one indication and sets its action."""
NotifyFn = Callable[[NotifyType, "UUID | None", "Filter"], NtStatus]
"""Told of filters that name the callout; a failing status on ADD_FILTER prevents the add (CO-30)."""
FlowDeleteFn = Callable[[int, int, Any], None]
"""Told (layer, callout id, flow context) when a flow with a context ends (CO-31)."""


class Callout:
    """A callout in Python: derive, and write `classify`.

    `classify` is called for each indication that a filter naming the callout matches.  It decides by
    `seen.permit()`, `seen.block(...)` or nothing (continue).  It runs on the host's dispatch thread: no
    waiting, no creating or destroying of handles.  Source: CO-10..CO-22.
    """

    flags = CalloutFlag(0)
    """CalloutFlag of this callout, for example CONDITIONAL_ON_FLOW."""

    def classify(self, seen: Indication) -> None:
        """Look at one indication and decide."""
        raise NotImplementedError

    def notify(self, kind: NotifyType, filter_key: UUID | None, filter: Filter) -> NtStatus:
        """Be told of filters that name this callout; a failing status prevents an add.  Source: CO-30."""
        return NtStatus.SUCCESS

    flow_delete: FlowDeleteFn | None = None
    """Called (layer, callout id, context) when a flow with a context of this callout ends; needed for contexts."""


class RegisteredCallout:
    """A callout the engine knows: its key, id, functions, and how many classifies run."""

    __slots__ = (
        "key", "callout_id", "flags", "classify", "notify", "flow_delete", "unregistering", "leaving", "running",
        "idle", "conditional_on_flow", "mid_stream",
    )  # fmt: skip

    def __init__(
        self,
        callout_id: int,
        classify: ClassifyFn,
        *,
        key: UUID | None = None,
        flags: CalloutFlag = CalloutFlag(0),  # noqa: B008  an immutable value
        notify: NotifyFn | None = None,
        flow_delete: FlowDeleteFn | None = None,
    ) -> None:
        self.key = key or uuid4()
        self.callout_id = callout_id
        self.flags = flags
        self.conditional_on_flow = bool(flags & CalloutFlag.CONDITIONAL_ON_FLOW)
        self.mid_stream = bool(flags & CalloutFlag.ALLOW_MID_STREAM_INSPECTION)
        self.classify = classify
        self.notify = notify
        self.flow_delete = flow_delete
        self.unregistering = False
        self.leaving = False
        self.running = 0
        self.idle = threading.Condition()

    def __repr__(self) -> str:
        return f"<callout {self.callout_id} {getattr(self.classify, '__qualname__', self.classify)}>"
