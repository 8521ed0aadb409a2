# ruff: noqa: N802, N803  the names are the header's
"""The functions of fwpmk.h that drivers call: sessions, transactions, sublayers, callouts and filters.

    fwpmk = Fwpmk(core)
    status, engine = fwpmk.FwpmEngineOpen0(None, RPC_C_AUTHN_WINNT, None, session)

The conventions are those of `emulator.fwpsk`.  One `Fwpmk` per host: it is what knows the callouts added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from emulator.edge.fwpmk_filters import CALLOUT_ACTIONS, engine_filter
from emulator.edge.fwpmk_structs import (
    FWPM_CALLOUT0,
    FWPM_FILTER0,
    FWPM_SESSION0,
    FWPM_SESSION_FLAG_DYNAMIC,
    FWPM_SUBLAYER0,
    FWPM_TXN_READ_ONLY,
)
from emulator.edge.fwpsk_edge import Edge, as_status
from emulator.errors import (
    CalloutNotFound,
    FilterNotFound,
    FwpAlreadyExists,
    FwpInUse,
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNoTxnInProgress,
    FwpNullPointer,
    FwpTxnInProgress,
    InvalidHandle,
    LayerNotFound,
)
from emulator.filters import SubLayer
from emulator.layers import layer_info

if TYPE_CHECKING:
    from emulator.core import Core

Undo = Callable[[], object]


class EngineSession:
    """An open session: what a dynamic one takes along when it closes, and how to undo a transaction."""

    __slots__ = ("dynamic", "open", "objects", "journal")

    def __init__(self, *, dynamic: bool) -> None:
        self.dynamic = dynamic
        self.open = True
        self.objects: list[tuple[str, UUID]] = []
        """Kind and key of what the session added, in order."""
        self.journal: list[Undo] | None = None
        """How to take back the transaction's changes; None outside of one."""


class Fwpmk(Edge):
    """The fwpmk.h functions of one emulated host, spelled as the header spells them.

    A dynamic session's objects go when it closes; other objects stay.
    Differs from Windows: inside a transaction every change is in force at once, and taken back by an abort;
    transactions of several sessions do not wait for each other; security descriptors are not looked at.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._callouts: dict[UUID, FWPM_CALLOUT0] = {}

    # -- sessions and transactions ----------------------------------------------------------------------

    @as_status(out=True)
    def FwpmEngineOpen0(
        self, serverName: None, authnService: int, authIdentity: Any, session: FWPM_SESSION0 | None
    ) -> EngineSession:
        """A session with the engine; the caller closes it."""
        self._passive("FwpmEngineOpen0")
        if serverName is not None:
            raise FwpInvalidParameter("FwpmEngineOpen0: serverName must be NULL", rule="GE-7")
        flags = session.flags if session is not None else 0
        if flags & ~FWPM_SESSION_FLAG_DYNAMIC:
            raise FwpInvalidFlags(f"FwpmEngineOpen0: flags {flags:#x} hold undefined bits", rule="GE-7")
        return EngineSession(dynamic=bool(flags))

    @as_status()
    def FwpmEngineClose0(self, engineHandle: Any) -> None:
        """Close a session: its open transaction is aborted, a dynamic one's objects are deleted."""
        session = self._session("FwpmEngineClose0", engineHandle)
        if session.journal is not None:
            self._abort(session)
        session.open = False
        for kind, key in reversed(session.objects if session.dynamic else []):
            self._delete_if_there(kind, key)

    @as_status()
    def FwpmTransactionBegin0(self, engineHandle: Any, flags: int) -> None:
        """Begin a transaction of this session."""
        session = self._session("FwpmTransactionBegin0", engineHandle)
        if flags & ~FWPM_TXN_READ_ONLY:
            raise FwpInvalidFlags(f"FwpmTransactionBegin0: flags {flags:#x} hold undefined bits", rule="GE-7")
        if session.journal is not None:
            raise FwpTxnInProgress("FwpmTransactionBegin0: this session is in a transaction", rule="GE-7")
        session.journal = []

    @as_status()
    def FwpmTransactionCommit0(self, engineHandle: Any) -> None:
        """Keep what the transaction changed."""
        session = self._session("FwpmTransactionCommit0", engineHandle)
        if session.journal is None:
            raise FwpNoTxnInProgress("FwpmTransactionCommit0: there is no transaction", rule="GE-7")
        session.journal = None

    @as_status()
    def FwpmTransactionAbort0(self, engineHandle: Any) -> None:
        """Take back what the transaction changed."""
        session = self._session("FwpmTransactionAbort0", engineHandle)
        if session.journal is None:
            raise FwpNoTxnInProgress("FwpmTransactionAbort0: there is no transaction", rule="GE-7")
        self._abort(session)

    def _abort(self, session: EngineSession) -> None:
        journal, session.journal = session.journal or [], None
        for undo in reversed(journal):
            undo()

    # -- sublayers --------------------------------------------------------------------------------------

    @as_status()
    def FwpmSubLayerAdd0(self, engineHandle: Any, subLayer: FWPM_SUBLAYER0 | None, sd: Any) -> None:
        """Add a sublayer; without a key it gets one, written into `subLayer`.  Source: FI-4."""
        session = self._session("FwpmSubLayerAdd0", engineHandle)
        if subLayer is None:
            raise FwpNullPointer("FwpmSubLayerAdd0: subLayer is missing", rule="GE-7")
        if not 0 <= subLayer.weight <= 0xFFFF:
            raise FwpInvalidParameter(f"FwpmSubLayerAdd0: weight {subLayer.weight} is no UINT16", rule="FI-4")
        key = subLayer.subLayerKey = subLayer.subLayerKey or uuid4()
        self.core.engine.add_sublayer(SubLayer(key, subLayer.weight, subLayer.displayData.name))
        self._added(session, "sublayer", key)

    @as_status()
    def FwpmSubLayerDeleteByKey0(self, engineHandle: Any, key: UUID | None) -> None:
        """Delete a sublayer without filters; STATUS_FWP_IN_USE while it has some."""
        session = self._session("FwpmSubLayerDeleteByKey0", engineHandle)
        if key is None:
            raise FwpNullPointer("FwpmSubLayerDeleteByKey0: key is missing", rule="GE-7")
        sublayer = self.core.engine.delete_sublayer(key)
        self._changed(session, lambda: self.core.engine.add_sublayer(sublayer))

    # -- callouts ---------------------------------------------------------------------------------------

    @as_status(out=True)
    def FwpmCalloutAdd0(self, engineHandle: Any, callout: FWPM_CALLOUT0 | None, sd: Any) -> int:
        """Make a callout known to filters; its run-time id, 0 while it is not registered.

        Differs from Windows: a callout gets its run-time id when it is registered.
        """
        session = self._session("FwpmCalloutAdd0", engineHandle)
        if callout is None:
            raise FwpNullPointer("FwpmCalloutAdd0: callout is missing", rule="GE-7")
        if callout.applicableLayer is None:
            raise FwpNullPointer("FwpmCalloutAdd0: applicableLayer is missing", rule="GE-7")
        try:
            layer_info(callout.applicableLayer)
        except IndexError:
            raise LayerNotFound(f"FwpmCalloutAdd0: no layer {callout.applicableLayer}", rule="GE-7") from None
        key = callout.calloutKey = callout.calloutKey or uuid4()
        if key in self._callouts:
            raise FwpAlreadyExists(f"FwpmCalloutAdd0: there is a callout {key}", rule="CO-1")
        self._callouts[key] = callout
        self._added(session, "callout", key)
        registered = self.core.engine.callouts.by_key(key)
        callout.calloutId = registered.callout_id if registered is not None else 0
        return callout.calloutId

    @as_status()
    def FwpmCalloutDeleteByKey0(self, engineHandle: Any, key: UUID | None) -> None:
        """Forget a callout that no filter names; STATUS_FWP_IN_USE while one does."""
        session = self._session("FwpmCalloutDeleteByKey0", engineHandle)
        if key is None:
            raise FwpNullPointer("FwpmCalloutDeleteByKey0: key is missing", rule="GE-7")
        self._delete_callout(session, key)

    @as_status()
    def FwpmCalloutDeleteById0(self, engineHandle: Any, id: int) -> None:
        """As FwpmCalloutDeleteByKey0, for the run-time id of a registered callout."""
        session = self._session("FwpmCalloutDeleteById0", engineHandle)
        registered = self.core.engine.callouts.by_id(id)
        if registered is None:
            raise CalloutNotFound(f"FwpmCalloutDeleteById0: no callout {id}", rule="GE-7")
        self._delete_callout(session, registered.key)

    def _delete_callout(self, session: EngineSession, key: UUID) -> None:
        callout = self._callouts.get(key)
        if callout is None:
            raise CalloutNotFound(f"FwpmCalloutDelete: no callout {key}", rule="GE-7")
        if any(item.callout_key == key for item in self.core.engine.filters.values()):
            raise FwpInUse(f"FwpmCalloutDelete: filters name callout {key}", rule="GE-7")
        del self._callouts[key]
        self._changed(session, lambda: self._callouts.__setitem__(key, callout))

    # -- filters ----------------------------------------------------------------------------------------

    @as_status(out=True)
    def FwpmFilterAdd0(self, engineHandle: Any, filter: FWPM_FILTER0 | None, sd: Any) -> int:
        """Put a filter in force; its run-time id.  Source: FI-1..FI-7, CO-30."""
        session = self._session("FwpmFilterAdd0", engineHandle)
        if filter is None:
            raise FwpNullPointer("FwpmFilterAdd0: filter is missing", rule="GE-7")
        if filter.action.type in CALLOUT_ACTIONS and filter.action.calloutKey not in self._callouts:
            raise CalloutNotFound(
                f"FwpmFilterAdd0: callout {filter.action.calloutKey} was not added (FwpmCalloutAdd0)", rule="FI-1"
            )
        made = self.core.engine.add_filter(engine_filter(filter))
        self._added(session, "filter", made.key)
        return made.filter_id

    @as_status()
    def FwpmFilterDeleteById0(self, engineHandle: Any, id: int) -> None:
        """Take a filter out of force.  Source: FI-7, CO-30."""
        session = self._session("FwpmFilterDeleteById0", engineHandle)
        self._delete_filter(session, id)

    @as_status()
    def FwpmFilterDeleteByKey0(self, engineHandle: Any, key: UUID | None) -> None:
        """Take a filter out of force.  Source: FI-7, CO-30."""
        session = self._session("FwpmFilterDeleteByKey0", engineHandle)
        if key is None:
            raise FwpNullPointer("FwpmFilterDeleteByKey0: key is missing", rule="GE-7")
        self._delete_filter(session, self._filter_id(key))

    def _delete_filter(self, session: EngineSession, number: int) -> None:
        item = self.core.engine.filters.get(number)
        self.core.engine.delete_filter(number)
        if item is not None:
            self._changed(session, lambda: self.core.engine.add_filter(item))

    def _filter_id(self, key: UUID) -> int:
        for item in self.core.engine.filters.values():
            if item.key == key:
                return item.filter_id
        raise FilterNotFound(f"there is no filter {key}", rule="FI-7")

    # -- what they share --------------------------------------------------------------------------------

    def _session(self, call: str, value: object) -> EngineSession:
        self._passive(call)
        if not isinstance(value, EngineSession) or not value.open:
            raise InvalidHandle(f"{call}: {value!r} is no open session", rule="GE-8")
        return value

    def _passive(self, call: str) -> None:
        if self.core.at_dispatch():
            self.core.violate("GE-5", call, "called from a classify or completion function; it needs PASSIVE_LEVEL")

    def _added(self, session: EngineSession, kind: str, key: UUID) -> None:
        session.objects.append((kind, key))

        def undo() -> None:
            session.objects.remove((kind, key))
            self._delete_if_there(kind, key)

        self._changed(session, undo)

    @staticmethod
    def _changed(session: EngineSession, undo: Undo) -> None:
        if session.journal is not None:
            session.journal.append(undo)

    def _delete_if_there(self, kind: str, key: UUID) -> None:
        """Delete one object; one that is gone, or still used by another session's, stays as it is."""
        engine = self.core.engine
        filters = list(engine.filters.values())
        if kind == "filter":
            for item in filters:
                if item.key == key:
                    engine.delete_filter(item.filter_id)
        elif kind == "sublayer":
            if key in engine.sublayers and not any(item.sublayer == key for item in filters):
                engine.delete_sublayer(key)
        elif not any(item.callout_key == key for item in filters):
            self._callouts.pop(key, None)
