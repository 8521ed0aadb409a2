"""Sessions, transactions, sublayers, callouts and filters as drivers manage them."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import pytest

from emulator.core import Core
from emulator.edge.fwpmk_structs import (
    FWPM_ACTION0,
    FWPM_CALLOUT0,
    FWPM_FILTER0,
    FWPM_SESSION0,
    FWPM_SESSION_FLAG_DYNAMIC,
    FWPM_SUBLAYER0,
    FWPM_SUBLAYER_INSPECTION,
    FWPM_SUBLAYER_UNIVERSAL,
    FWPM_TXN_READ_ONLY,
    RPC_C_AUTHN_DEFAULT,
    RPC_C_AUTHN_WINNT,
)
from emulator.filters import INSPECTION, UNIVERSAL, SubLayer
from emulator.fwpmk import Fwpmk
from emulator.ntstatus import NtStatus
from emulator.wdk import (
    FWP_ACTION_BLOCK,
    FWP_ACTION_CALLOUT_TERMINATING,
    FWPS_CALLOUT_NOTIFY_ADD_FILTER,
    FWPS_LAYER_IPFORWARD_V4,
    STATUS_FWP_ALREADY_EXISTS,
    STATUS_FWP_CALLOUT_NOT_FOUND,
    STATUS_FWP_CALLOUT_NOTIFICATION_FAILED,
    STATUS_FWP_FILTER_NOT_FOUND,
    STATUS_FWP_IN_USE,
    STATUS_FWP_INVALID_FLAGS,
    STATUS_FWP_INVALID_PARAMETER,
    STATUS_FWP_LAYER_NOT_FOUND,
    STATUS_FWP_NO_TXN_IN_PROGRESS,
    STATUS_FWP_NULL_POINTER,
    STATUS_FWP_SUBLAYER_NOT_FOUND,
    STATUS_FWP_TXN_IN_PROGRESS,
    STATUS_INVALID_HANDLE,
    STATUS_SUCCESS,
)

LAYER = FWPS_LAYER_IPFORWARD_V4
KEY, CALLOUT = UUID(int=1), UUID(int=2)


class Managed:
    """A core with its management functions and one open session."""

    def __init__(self, flags: int = 0) -> None:
        self.core = Core(lambda injection: None)
        self.fwpmk = Fwpmk(self.core)
        self.session = self.open(flags)

    def open(self, flags: int = 0) -> Any:
        status, session = self.fwpmk.FwpmEngineOpen0(None, RPC_C_AUTHN_WINNT, None, FWPM_SESSION0(flags=flags))
        assert status == STATUS_SUCCESS
        return session

    def add_sublayer(self, key: UUID = KEY, weight: int = 5) -> int:
        return self.fwpmk.FwpmSubLayerAdd0(self.session, FWPM_SUBLAYER0(subLayerKey=key, weight=weight), None)

    def add_callout(self, key: UUID = CALLOUT) -> tuple[int, int | None]:
        callout = FWPM_CALLOUT0(calloutKey=key, applicableLayer=LAYER)
        return self.fwpmk.FwpmCalloutAdd0(self.session, callout, None)

    def add_filter(self, **members: Any) -> tuple[int, int | None]:
        given = FWPM_FILTER0(**{"layerKey": LAYER, **members})
        return self.fwpmk.FwpmFilterAdd0(self.session, given, None)

    def add_calling(self, **members: Any) -> tuple[int, int | None]:
        return self.add_filter(action=FWPM_ACTION0(FWP_ACTION_CALLOUT_TERMINATING, CALLOUT), **members)

    @property
    def contents(self) -> tuple[set[int], set[UUID], set[UUID]]:
        """Filters, sublayers of drivers, callouts."""
        engine = self.core.engine
        built_in = {UNIVERSAL.key, INSPECTION.key}
        return set(engine.filters), set(engine.sublayers) - built_in, set(self.fwpmk._callouts)


def test_a_session_is_opened_and_closed_once() -> None:
    managed = Managed()
    assert managed.fwpmk.FwpmEngineOpen0(None, RPC_C_AUTHN_DEFAULT, None, None)[0] == STATUS_SUCCESS
    assert managed.fwpmk.FwpmEngineClose0(managed.session) == STATUS_SUCCESS
    assert managed.fwpmk.FwpmEngineClose0(managed.session) == STATUS_INVALID_HANDLE
    assert managed.add_filter() == (STATUS_INVALID_HANDLE, None)


@pytest.mark.rule("GE-7")
def test_a_session_is_refused() -> None:
    opened = Managed().fwpmk.FwpmEngineOpen0
    server: Any = "server"
    assert opened(server, RPC_C_AUTHN_WINNT, None, None) == (STATUS_FWP_INVALID_PARAMETER, None)
    assert opened(None, RPC_C_AUTHN_WINNT, None, FWPM_SESSION0(flags=2)) == (STATUS_FWP_INVALID_FLAGS, None)


@pytest.mark.parametrize("session", [None, 0, object()])
def test_a_value_that_is_no_session_is_refused_everywhere(session: Any) -> None:
    managed = Managed()
    managed.session = session
    results = [
        managed.fwpmk.FwpmTransactionBegin0(session, 0),
        managed.fwpmk.FwpmTransactionCommit0(session),
        managed.fwpmk.FwpmTransactionAbort0(session),
        managed.add_sublayer(),
        managed.fwpmk.FwpmSubLayerDeleteByKey0(session, KEY),
        managed.add_callout()[0],
        managed.fwpmk.FwpmCalloutDeleteByKey0(session, KEY),
        managed.fwpmk.FwpmCalloutDeleteById0(session, 1),
        managed.add_filter()[0],
        managed.fwpmk.FwpmFilterDeleteById0(session, 1),
        managed.fwpmk.FwpmFilterDeleteByKey0(session, KEY),
    ]
    assert results == [STATUS_INVALID_HANDLE] * 11
    assert managed.contents == (set(), set(), set())


def test_a_dynamic_session_takes_its_objects_along_and_another_leaves_them() -> None:
    for flags, left in ((FWPM_SESSION_FLAG_DYNAMIC, 0), (0, 1)):
        managed = Managed(flags)
        assert managed.add_sublayer() == STATUS_SUCCESS
        assert managed.add_callout()[0] == STATUS_SUCCESS
        assert managed.add_calling(subLayerKey=KEY)[0] == STATUS_SUCCESS
        assert managed.fwpmk.FwpmEngineClose0(managed.session) == STATUS_SUCCESS
        assert [len(kind) for kind in managed.contents] == [left] * 3


def test_a_dynamic_session_leaves_what_others_use_and_forgets_what_is_gone() -> None:
    managed = Managed()
    dynamic = managed.session = managed.open(FWPM_SESSION_FLAG_DYNAMIC)
    managed.add_sublayer()
    managed.add_callout()
    _, gone = managed.add_filter()
    assert gone is not None
    managed.session = managed.open()
    assert managed.fwpmk.FwpmFilterDeleteById0(managed.session, gone) == STATUS_SUCCESS
    _, kept = managed.add_calling(subLayerKey=KEY)
    assert managed.fwpmk.FwpmEngineClose0(dynamic) == STATUS_SUCCESS
    assert managed.contents == ({kept}, {KEY}, {CALLOUT})


# -- transactions ---------------------------------------------------------------------------------------------


def everything(managed: Managed) -> int:
    """Add one of each kind; the filter's id."""
    assert managed.add_sublayer() == STATUS_SUCCESS
    assert managed.add_callout()[0] == STATUS_SUCCESS
    status, number = managed.add_calling(subLayerKey=KEY)
    assert status == STATUS_SUCCESS
    assert number is not None
    return number


def test_a_transaction_keeps_its_changes_when_committed() -> None:
    managed = Managed()
    assert managed.fwpmk.FwpmTransactionBegin0(managed.session, 0) == STATUS_SUCCESS
    number = everything(managed)
    assert managed.fwpmk.FwpmTransactionCommit0(managed.session) == STATUS_SUCCESS
    assert managed.contents == ({number}, {KEY}, {CALLOUT})
    assert managed.fwpmk.FwpmTransactionAbort0(managed.session) == STATUS_FWP_NO_TXN_IN_PROGRESS
    assert managed.contents == ({number}, {KEY}, {CALLOUT})


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_transaction_takes_back_what_it_added(how: str) -> None:
    managed = Managed()
    managed.fwpmk.FwpmTransactionBegin0(managed.session, 0)
    everything(managed)
    ends = {"abort": managed.fwpmk.FwpmTransactionAbort0, "close": managed.fwpmk.FwpmEngineClose0}
    assert ends[how](managed.session) == STATUS_SUCCESS
    assert managed.contents == (set(), set(), set())


def test_a_transaction_puts_back_what_it_deleted() -> None:
    managed = Managed()
    number = everything(managed)
    before = managed.core.engine.filters[number]
    managed.fwpmk.FwpmTransactionBegin0(managed.session, 0)
    assert managed.fwpmk.FwpmFilterDeleteByKey0(managed.session, before.key) == STATUS_SUCCESS
    assert managed.fwpmk.FwpmCalloutDeleteByKey0(managed.session, CALLOUT) == STATUS_SUCCESS
    assert managed.fwpmk.FwpmSubLayerDeleteByKey0(managed.session, KEY) == STATUS_SUCCESS
    assert managed.contents == (set(), set(), set())
    assert managed.fwpmk.FwpmTransactionAbort0(managed.session) == STATUS_SUCCESS
    assert managed.contents == ({number}, {KEY}, {CALLOUT})
    assert managed.core.engine.filters[number] is before
    assert managed.core.engine.sublayers[KEY] == SubLayer(KEY, 5)


def test_an_aborted_object_is_not_deleted_again_with_the_session() -> None:
    managed = Managed(FWPM_SESSION_FLAG_DYNAMIC)
    managed.fwpmk.FwpmTransactionBegin0(managed.session, 0)
    managed.add_sublayer()
    managed.fwpmk.FwpmTransactionAbort0(managed.session)
    first, managed.session = managed.session, managed.open()
    managed.add_sublayer()
    managed.fwpmk.FwpmEngineClose0(first)
    assert managed.contents[1] == {KEY}


def test_transactions_are_not_nested() -> None:
    managed = Managed()
    begin, session = managed.fwpmk.FwpmTransactionBegin0, managed.session
    assert managed.fwpmk.FwpmTransactionCommit0(session) == STATUS_FWP_NO_TXN_IN_PROGRESS
    assert begin(session, 2) == STATUS_FWP_INVALID_FLAGS
    assert begin(session, FWPM_TXN_READ_ONLY) == STATUS_SUCCESS
    assert begin(session, 0) == STATUS_FWP_TXN_IN_PROGRESS
    assert begin(managed.open(), 0) == STATUS_SUCCESS


# -- objects --------------------------------------------------------------------------------------------------


@pytest.mark.rule("FI-4")
def test_a_sublayer_is_added_once_and_deleted_when_it_is_empty() -> None:
    managed = Managed()
    assert managed.add_sublayer(weight=7) == STATUS_SUCCESS
    assert managed.core.engine.sublayers[KEY].weight == 7
    assert managed.add_sublayer() == STATUS_FWP_ALREADY_EXISTS
    _, number = managed.add_filter(subLayerKey=KEY)
    assert number is not None
    delete = managed.fwpmk.FwpmSubLayerDeleteByKey0
    assert delete(managed.session, KEY) == STATUS_FWP_IN_USE
    managed.fwpmk.FwpmFilterDeleteById0(managed.session, number)
    assert delete(managed.session, KEY) == STATUS_SUCCESS
    assert delete(managed.session, KEY) == STATUS_FWP_SUBLAYER_NOT_FOUND
    assert delete(managed.session, None) == STATUS_FWP_NULL_POINTER
    for built_in in (FWPM_SUBLAYER_UNIVERSAL, FWPM_SUBLAYER_INSPECTION):
        assert delete(managed.session, built_in) == STATUS_FWP_IN_USE


@pytest.mark.rule("GE-7")
def test_a_wrong_sublayer_is_refused() -> None:
    managed = Managed()
    assert managed.fwpmk.FwpmSubLayerAdd0(managed.session, None, None) == STATUS_FWP_NULL_POINTER
    assert managed.add_sublayer(weight=0x10000) == STATUS_FWP_INVALID_PARAMETER
    nameless = FWPM_SUBLAYER0()
    assert managed.fwpmk.FwpmSubLayerAdd0(managed.session, nameless, None) == STATUS_SUCCESS
    assert managed.contents[1] == {nameless.subLayerKey}


def test_a_callout_is_added_once_and_deleted_when_no_filter_names_it() -> None:
    managed = Managed()
    assert managed.add_callout() == (STATUS_SUCCESS, 0)
    assert managed.add_callout() == (STATUS_FWP_ALREADY_EXISTS, None)
    _, number = managed.add_calling()
    assert number is not None
    delete = managed.fwpmk.FwpmCalloutDeleteByKey0
    assert delete(managed.session, CALLOUT) == STATUS_FWP_IN_USE
    managed.fwpmk.FwpmFilterDeleteById0(managed.session, number)
    assert delete(managed.session, CALLOUT) == STATUS_SUCCESS
    assert delete(managed.session, CALLOUT) == STATUS_FWP_CALLOUT_NOT_FOUND
    assert delete(managed.session, None) == STATUS_FWP_NULL_POINTER
    assert managed.fwpmk.FwpmCalloutAdd0(managed.session, None, None) == (STATUS_FWP_NULL_POINTER, None)
    nowhere = FWPM_CALLOUT0()
    assert managed.fwpmk.FwpmCalloutAdd0(managed.session, nowhere, None) == (STATUS_FWP_NULL_POINTER, None)
    nowhere.applicableLayer = 78
    assert managed.fwpmk.FwpmCalloutAdd0(managed.session, nowhere, None) == (STATUS_FWP_LAYER_NOT_FOUND, None)


def test_a_registered_callout_has_its_run_time_id() -> None:
    managed = Managed()
    registered = managed.core.engine.callouts.register(lambda seen: None, key=CALLOUT)
    assert managed.add_callout() == (STATUS_SUCCESS, registered.callout_id)
    assert managed.fwpmk.FwpmCalloutDeleteById0(managed.session, 99) == STATUS_FWP_CALLOUT_NOT_FOUND
    assert managed.fwpmk.FwpmCalloutDeleteById0(managed.session, registered.callout_id) == STATUS_SUCCESS
    assert managed.contents[2] == set()


@pytest.mark.rule("FI-7")
def test_a_filter_is_added_and_deleted() -> None:
    managed = Managed()
    key = uuid4()
    status, number = managed.add_filter(filterKey=key)
    assert status == STATUS_SUCCESS
    assert number is not None
    assert managed.core.engine.filters[number].action == FWP_ACTION_BLOCK
    assert managed.add_filter(filterKey=key) == (STATUS_FWP_ALREADY_EXISTS, None)
    by_id, by_key = managed.fwpmk.FwpmFilterDeleteById0, managed.fwpmk.FwpmFilterDeleteByKey0
    assert by_id(managed.session, number) == STATUS_SUCCESS
    assert by_id(managed.session, number) == STATUS_FWP_FILTER_NOT_FOUND
    assert by_key(managed.session, key) == STATUS_FWP_FILTER_NOT_FOUND
    assert by_key(managed.session, None) == STATUS_FWP_NULL_POINTER
    assert managed.fwpmk.FwpmFilterAdd0(managed.session, None, None) == (STATUS_FWP_NULL_POINTER, None)
    assert managed.add_filter(subLayerKey=KEY) == (STATUS_FWP_SUBLAYER_NOT_FOUND, None)
    assert managed.add_calling() == (STATUS_FWP_CALLOUT_NOT_FOUND, None)
    assert managed.contents == (set(), set(), set())


@pytest.mark.rule("CO-30")
def test_a_callout_may_refuse_a_filter() -> None:
    managed = Managed()
    managed.add_callout()
    told: list[int] = []

    def notify(kind: int, key: Any, item: Any) -> NtStatus:
        told.append(kind)
        return NtStatus.UNSUCCESSFUL

    managed.core.engine.callouts.register(lambda seen: None, key=CALLOUT, notify=notify)
    assert managed.add_calling() == (STATUS_FWP_CALLOUT_NOTIFICATION_FAILED, None)
    assert told == [FWPS_CALLOUT_NOTIFY_ADD_FILTER]
    assert managed.contents[0] == set()


@pytest.mark.rule("GE-5")
def test_managing_from_inside_a_callback_is_a_violation() -> None:
    managed = Managed()
    managed.core.dispatch_threads.add(threading.get_ident())
    managed.add_filter()
    assert managed.core.violations.rules() == ["GE-5"]
    assert len(managed.contents[0]) == 1
