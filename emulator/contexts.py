"""Flow contexts: what callouts attach to a flow, and when they get it back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from emulator.callouts import CalloutRegistry
from emulator.errors import FwpInvalidParameter, FwpNotFound, InvalidParameter, ObjectNameExists, Unsuccessful
from emulator.flows import Flow, FlowTable
from emulator.ntstatus import NtStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from emulator.core import Core


class FlowContexts:
    """The flows of one host and the contexts on them.

    `on_abort` is called with a flow that a callout wants ended: whoever can, resets the connection.
    """

    def __init__(self, core: Core, callouts: CalloutRegistry) -> None:
        self.core = core
        self.callouts = callouts
        callouts.contexts_of = self.count
        self.table = FlowTable(self._ended)
        self.on_abort: Callable[[Flow], None] | None = None
        self._guard = threading.RLock()
        self._leaving: dict[_Leaving, None] = {}

    def associate(self, flow_number: int, layer: int, callout_id: int, context: Any) -> None:
        """Attach a context to a flow, for one callout at one layer.

        Raises InvalidParameter (context 0, or the callout has no flow-delete function), FwpNotFound (no
        such flow), ObjectNameExists (there is one already; it stays).  Source: FL-1, FL-2, FL-3.
        """
        call = "FwpsFlowAssociateContext0"
        callout = self.callouts.by_id(callout_id)
        if not context or callout is None or callout.flow_delete is None:
            why = "the context is 0" if not context else f"callout {callout_id} has no flowDeleteFn"
            raise InvalidParameter(f"{call}: {why}", rule="FL-1")
        flow = self.table.number(flow_number)
        with self._guard:
            if flow is None or flow.ended:
                raise FwpNotFound(f"{call}: there is no flow {flow_number}", rule="FL-1")
            if (layer, callout_id) in flow.contexts:
                raise ObjectNameExists(f"{call}: {callout!r} has a context on {flow!r} already", rule="FL-2")
            flow.contexts[layer, callout_id] = context

    def remove(self, flow_number: int, layer: int, callout_id: int) -> NtStatus:
        """Take a context off a flow: SUCCESS when its delete function has run, PENDING when it runs later.

        Raises Unsuccessful (there is no context).  Source: FL-4, FL-10.
        """
        flow = self.table.number(flow_number)
        with self._guard:
            if flow is None or (layer, callout_id) not in flow.contexts:
                raise Unsuccessful(
                    f"FwpsFlowRemoveContext0: callout {callout_id} has no context on flow {flow_number}", rule="FL-4"
                )
            leaving = _Leaving(flow, layer, callout_id, flow.contexts.pop((layer, callout_id)))
            # Noting comes before looking: a classify that returns in between finds the note.
            self._leaving[leaving] = None
            if not self._take(leaving):
                return NtStatus.PENDING
        self._delete(leaving)
        return NtStatus.SUCCESS

    def abort(self, flow_number: int) -> None:
        """End a flow: its connection is reset, its contexts are given back.

        Raises FwpInvalidParameter (no such flow).  Source: FL-6.
        """
        flow = self.table.number(flow_number)
        if flow is None:
            raise FwpInvalidParameter(f"FwpsFlowAbort0: there is no flow {flow_number}", rule="FL-6")
        if self.on_abort is not None:
            self.on_abort(flow)
        self.table.end(flow)

    def enter(self, flow: Flow, callout_id: int) -> None:
        """Note that a classify of this flow begins for a callout; only then may it look at its context (FL-10)."""
        flow.classifying[callout_id] += 1

    def leave(self, flow: Flow, callout_id: int) -> None:
        """Note that a classify of this flow has returned; contexts removed meanwhile are deleted now."""
        flow.classifying[callout_id] -= 1
        if self._leaving:
            with self._guard:
                mine = (item for item in self._leaving if item.flow is flow and item.callout_id == callout_id)
                due = [item for item in mine if self._take(item)]
            for item in due:
                self._delete(item)

    def count(self, callout_id: int) -> int:
        """How many contexts a callout has, those whose delete function has not returned included."""
        with self._guard:
            held = sum(1 for flow in self.table for _, number in flow.contexts if number == callout_id)
            return held + sum(1 for item in self._leaving if item.callout_id == callout_id)

    def leaks(self) -> list[str]:
        """Contexts still attached, in words (OR-3)."""
        return [
            f"a flow context of callout {number} at layer {layer} on {flow!r} was never removed (CO-4)"
            for flow in self.table
            for layer, number in flow.contexts
        ]

    def _ended(self, flow: Flow) -> None:
        with self._guard:
            contexts, flow.contexts = flow.contexts, {}
            leaving = [_Leaving(flow, layer, number, context) for (layer, number), context in contexts.items()]
            self._leaving.update(dict.fromkeys(leaving))
            due = [item for item in leaving if self._take(item)]
        for item in due:
            self._delete(item)

    def _take(self, leaving: _Leaving) -> bool:
        """Make the caller the one who deletes a context, unless a classify still has it or another deletes it."""
        if leaving.taken or leaving.flow.classifying[leaving.callout_id]:
            return False
        leaving.taken = True
        return True

    def _delete(self, leaving: _Leaving) -> None:
        callout = self.callouts.by_id(leaving.callout_id)
        if callout is not None and callout.flow_delete is not None:
            try:
                callout.flow_delete(leaving.layer, leaving.callout_id, leaving.context)
            except Exception as error:  # the driver's own fault: told, and the run goes on
                self.core.callback_raised("flowDeleteFn", error)
        with self._guard:
            del self._leaving[leaving]


class _Leaving:
    """A context taken off its flow, until its delete function has returned."""

    __slots__ = ("flow", "layer", "callout_id", "context", "taken")

    def __init__(self, flow: Flow, layer: int, callout_id: int, context: Any) -> None:
        self.flow = flow
        self.layer = layer
        self.callout_id = callout_id
        self.context = context
        self.taken = False
