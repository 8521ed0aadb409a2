"""The refusals of the emulated engine: your call was wrong, and this is the rule it broke.

    WfpError                          has .status and .rule; never raised itself
    ├── injection handles
    │   ├── TcpipNotReady             FWP_TCPIP_NOT_READY
    │   ├── InjectHandleClosing       FWP_INJECT_HANDLE_CLOSING
    │   ├── InjectHandleStale         FWP_INJECT_HANDLE_STALE
    │   └── InvalidHandle             INVALID_HANDLE
    ├── arguments
    │   ├── FwpNullPointer            FWP_NULL_POINTER
    │   ├── FwpInvalidFlags           FWP_INVALID_FLAGS
    │   ├── FwpInvalidEnumerator      FWP_INVALID_ENUMERATOR
    │   ├── FwpReserved               FWP_RESERVED
    │   ├── FwpInvalidParameter       FWP_INVALID_PARAMETER
    │   ├── FwpOutOfBounds            FWP_OUT_OF_BOUNDS
    │   ├── FwpIncompatibleLayer      FWP_INCOMPATIBLE_LAYER
    │   ├── InvalidParameter          INVALID_PARAMETER
    │   └── InvalidMember             INVALID_MEMBER
    ├── objects of the engine
    │   ├── CalloutNotFound           FWP_CALLOUT_NOT_FOUND
    │   ├── FilterNotFound            FWP_FILTER_NOT_FOUND
    │   ├── SublayerNotFound          FWP_SUBLAYER_NOT_FOUND
    │   ├── LayerNotFound             FWP_LAYER_NOT_FOUND
    │   ├── ConditionNotFound         FWP_CONDITION_NOT_FOUND
    │   ├── FwpNotFound               FWP_NOT_FOUND
    │   ├── FwpAlreadyExists          FWP_ALREADY_EXISTS
    │   ├── FwpInUse                  FWP_IN_USE
    │   ├── FwpNoTxnInProgress        FWP_NO_TXN_IN_PROGRESS
    │   ├── FwpTxnInProgress          FWP_TXN_IN_PROGRESS
    │   ├── FwpInvalidActionType      FWP_INVALID_ACTION_TYPE
    │   ├── FwpTypeMismatch           FWP_TYPE_MISMATCH
    │   ├── ActionIncompatibleWithLayer  FWP_ACTION_INCOMPATIBLE_WITH_LAYER
    │   ├── CalloutNotificationFailed FWP_CALLOUT_NOTIFICATION_FAILED
    │   ├── ObjectNameExists          OBJECT_NAME_EXISTS (passes NT_SUCCESS, yet refused: FL-2)
    │   └── DeviceBusy                DEVICE_BUSY
    └── state and means
        ├── CannotPend                FWP_CANNOT_PEND
        ├── TooManyCommands           TOO_MANY_COMMANDS
        ├── InsufficientResources     INSUFFICIENT_RESOURCES
        ├── NotImplementedInProfile   NOT_IMPLEMENTED
        ├── NotSupported              NOT_SUPPORTED
        └── Unsuccessful              UNSUCCESSFUL

The groups order the drawing only; every leaf derives from WfpError directly. Inside the
emulator a refusal is raised; the edge turns it into its status, and nothing else catches it.
"""

from __future__ import annotations

from typing import ClassVar

from emulator.ntstatus import NtStatus


class WfpError(Exception):
    """A call the engine refuses: nothing was done, no completion will come, the caller keeps what it owns.

    Abstract: one leaf per status. Raises TypeError when constructed itself. Source: GE-2, GE-7.
    """

    status: ClassVar[NtStatus]
    """What the edge returns for it."""

    rule: str
    """Id of the contract rule the call broke, for example `HC-9`."""

    def __init__(self, message: str, *, rule: str) -> None:
        if type(self) is WfpError:
            raise TypeError("WfpError is abstract: raise the leaf named after the status")
        super().__init__(message)
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.rule}: {self.status.windows_name})"

    def __reduce__(self) -> tuple[object, ...]:
        # The keyword-only rule would be lost by the default; worker processes pass refusals back whole.
        return (_restored, (type(self), self.args[0], self.rule))


def _restored(leaf: type[WfpError], message: str, rule: str) -> WfpError:
    return leaf(message, rule=rule)


class TcpipNotReady(WfpError):
    """The emulated stack is not up yet: call again later (HC-13, ER-1)."""

    status = NtStatus.FWP_TCPIP_NOT_READY


class InjectHandleClosing(WfpError):
    """The injection handle is being destroyed (HD-4)."""

    status = NtStatus.FWP_INJECT_HANDLE_CLOSING


class InjectHandleStale(WfpError):
    """The injection handle was not created for this kind of injection (ER-2, HC-9)."""

    status = NtStatus.FWP_INJECT_HANDLE_STALE


class InvalidHandle(WfpError):
    """The value is no live handle of this kind (HD-6)."""

    status = NtStatus.INVALID_HANDLE


class FwpNullPointer(WfpError):
    """A required pointer is missing (GE-7)."""

    status = NtStatus.FWP_NULL_POINTER


class FwpInvalidFlags(WfpError):
    """A flags word has bits that are not defined here (GE-7)."""

    status = NtStatus.FWP_INVALID_FLAGS


class FwpInvalidEnumerator(WfpError):
    """A value is outside its enumeration."""

    status = NtStatus.FWP_INVALID_ENUMERATOR


class FwpReserved(WfpError):
    """A reserved parameter is not zero (GE-6, GE-7)."""

    status = NtStatus.FWP_RESERVED


class FwpInvalidParameter(WfpError):
    """A value is bad in a way no other status names (GE-7)."""

    status = NtStatus.FWP_INVALID_PARAMETER


class FwpOutOfBounds(WfpError):
    """A number is outside its permitted range."""

    status = NtStatus.FWP_OUT_OF_BOUNDS


class FwpIncompatibleLayer(WfpError):
    """The function does not work at this layer (GE-7)."""

    status = NtStatus.FWP_INCOMPATIBLE_LAYER


class InvalidParameter(WfpError):
    """A value is bad where the page names the general status (GE-7)."""

    status = NtStatus.INVALID_PARAMETER


class InvalidMember(WfpError):
    """A value needed for the work is absent from what the layer gave."""

    status = NtStatus.INVALID_MEMBER


class CalloutNotFound(WfpError):
    """No callout has this id or key."""

    status = NtStatus.FWP_CALLOUT_NOT_FOUND


class FilterNotFound(WfpError):
    """No filter has this id or key."""

    status = NtStatus.FWP_FILTER_NOT_FOUND


class SublayerNotFound(WfpError):
    """No sublayer has this key."""

    status = NtStatus.FWP_SUBLAYER_NOT_FOUND


class LayerNotFound(WfpError):
    """No layer has this id."""

    status = NtStatus.FWP_LAYER_NOT_FOUND


class ConditionNotFound(WfpError):
    """The layer has no such field to put a condition on."""

    status = NtStatus.FWP_CONDITION_NOT_FOUND


class FwpNotFound(WfpError):
    """An object of another kind than those above is not there."""

    status = NtStatus.FWP_NOT_FOUND


class FwpAlreadyExists(WfpError):
    """An object with this key exists already."""

    status = NtStatus.FWP_ALREADY_EXISTS


class FwpInUse(WfpError):
    """The object is referred to by others and cannot go."""

    status = NtStatus.FWP_IN_USE


class FwpNoTxnInProgress(WfpError):
    """The call is allowed only inside a transaction."""

    status = NtStatus.FWP_NO_TXN_IN_PROGRESS


class FwpTxnInProgress(WfpError):
    """The call is not allowed inside a transaction."""

    status = NtStatus.FWP_TXN_IN_PROGRESS


class FwpInvalidActionType(WfpError):
    """A filter's action is not one a filter may have."""

    status = NtStatus.FWP_INVALID_ACTION_TYPE


class FwpTypeMismatch(WfpError):
    """A condition's value has another type than its field."""

    status = NtStatus.FWP_TYPE_MISMATCH


class ActionIncompatibleWithLayer(WfpError):
    """The layer does not allow a filter with this action."""

    status = NtStatus.FWP_ACTION_INCOMPATIBLE_WITH_LAYER


class CalloutNotificationFailed(WfpError):
    """The callout's notify function refused the filter."""

    status = NtStatus.FWP_CALLOUT_NOTIFICATION_FAILED


class ObjectNameExists(WfpError):
    """A context is already there and stays; the status passes NT_SUCCESS all the same (FL-2)."""

    status = NtStatus.OBJECT_NAME_EXISTS


class DeviceBusy(WfpError):
    """The callout still has flow contexts; it goes when they have gone (CO-4)."""

    status = NtStatus.DEVICE_BUSY


class CannotPend(WfpError):
    """The operation cannot be pended here."""

    status = NtStatus.FWP_CANNOT_PEND


class TooManyCommands(WfpError):
    """A connection was redirected more often than is allowed."""

    status = NtStatus.TOO_MANY_COMMANDS


class InsufficientResources(WfpError):
    """A pool, or the fault injected for it, has nothing left."""

    status = NtStatus.INSUFFICIENT_RESOURCES


class NotImplementedInProfile(WfpError):
    """The Windows version of the profile does not have this function yet (VE-1)."""

    status = NtStatus.NOT_IMPLEMENTED


class NotSupported(WfpError):
    """The function exists, but not for this object."""

    status = NtStatus.NOT_SUPPORTED


class Unsuccessful(WfpError):
    """Refused for a reason that has no status of its own (HD-5, FL-4)."""

    status = NtStatus.UNSUCCESSFUL
