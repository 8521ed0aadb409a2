"""Registering callouts, and what they hang on flows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from emulator.edge.fwpsk_classify import as_classify, as_notify
from emulator.edge.fwpsk_edge import Edge, as_status
from emulator.edge.fwpsk_structs import FWPS_CALLOUT0, FWPS_CALLOUT1, FWPS_CALLOUT2
from emulator.errors import CalloutNotFound, FwpNullPointer
from emulator.ntstatus import NtStatus
from emulator.wfptypes import CalloutFlag, WindowsVersion


class CalloutFunctions(Edge):
    """The functions on callouts and flow contexts.  Source: CO-1..CO-6, FL-1..FL-6.

    Differs from Windows: deviceObject is not looked at, for there are no devices.
    """

    @as_status(out=True)
    def FwpsCalloutRegister0(self, deviceObject: Any, callout: FWPS_CALLOUT0 | None) -> int:
        """Register a callout whose classifyFn takes no classifyContext; its run-time id.  Source: CO-1."""
        return self._register(callout, 0)

    @as_status(out=True, since=WindowsVersion.WINDOWS_7)
    def FwpsCalloutRegister1(self, deviceObject: Any, callout: FWPS_CALLOUT1 | None) -> int:
        """Register a callout of version 1; its run-time id.  Source: CO-1."""
        return self._register(callout, 1)

    @as_status(out=True, since=WindowsVersion.WINDOWS_8)
    def FwpsCalloutRegister2(self, deviceObject: Any, callout: FWPS_CALLOUT2 | None) -> int:
        """Register a callout of version 2; its run-time id.  Source: CO-1."""
        return self._register(callout, 2)

    def _register(self, callout: FWPS_CALLOUT0 | None, version: int) -> int:
        if callout is None or callout.classifyFn is None or callout.notifyFn is None:
            raise FwpNullPointer(
                f"FwpsCalloutRegister{version}: the callout, its classifyFn or its notifyFn is missing", rule="CO-1"
            )
        registered = self.core.engine.callouts.register(
            as_classify(callout.classifyFn, version),
            key=callout.calloutKey,
            flags=CalloutFlag(callout.flags),
            notify=as_notify(self.core, callout.notifyFn),
            flow_delete=callout.flowDeleteFn,
        )
        return registered.callout_id

    @as_status()
    def FwpsCalloutUnregisterById0(self, calloutId: int) -> None:
        """End a callout.  Source: CO-4..CO-6."""
        self.core.engine.callouts.unregister(calloutId)

    @as_status()
    def FwpsCalloutUnregisterByKey0(self, calloutKey: UUID | None) -> None:
        """End a callout.  Source: CO-4..CO-6."""
        if calloutKey is None:
            raise FwpNullPointer("FwpsCalloutUnregisterByKey0: calloutKey is missing", rule="GE-7")
        callout = self.core.engine.callouts.by_key(calloutKey)
        if callout is None:
            raise CalloutNotFound(f"FwpsCalloutUnregisterByKey0: no callout {calloutKey}", rule="CO-4")
        self.core.engine.callouts.unregister(callout.callout_id)

    @as_status()
    def FwpsFlowAssociateContext0(self, flowId: int, layerId: int, calloutId: int, flowContext: Any) -> None:
        """Hang a context on a flow; STATUS_OBJECT_NAME_EXISTS passes NT_SUCCESS.  Source: FL-1..FL-3."""
        self.core.engine.flows.associate(flowId, layerId, calloutId, flowContext)

    @as_status()
    def FwpsFlowRemoveContext0(self, flowId: int, layerId: int, calloutId: int) -> NtStatus:
        """Take a context off a flow; STATUS_PENDING when flowDeleteFn comes later.  Source: FL-4, FL-10."""
        return self.core.engine.flows.remove(flowId, layerId, calloutId)

    @as_status(since=WindowsVersion.WINDOWS_8)
    def FwpsFlowAbort0(self, flowId: int) -> None:
        """End a flow and its connection.  Source: FL-6."""
        self.core.engine.flows.abort(flowId)

    # Names without a version are the same functions (HC-3).
    FwpsCalloutUnregisterById = FwpsCalloutUnregisterById0
    FwpsCalloutUnregisterByKey = FwpsCalloutUnregisterByKey0
    FwpsFlowAssociateContext = FwpsFlowAssociateContext0
    FwpsFlowRemoveContext = FwpsFlowRemoveContext0
    FwpsFlowAbort = FwpsFlowAbort0

    @property
    def FwpsCalloutRegister(self) -> Any:
        """The newest version that the profile has."""
        if self.core.profile >= WindowsVersion.WINDOWS_8:
            return self.FwpsCalloutRegister2
        if self.core.profile >= WindowsVersion.WINDOWS_7:
            return self.FwpsCalloutRegister1
        return self.FwpsCalloutRegister0
