"""Callouts through the edge: registering, the form of each version's classifyFn, notifications, flows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from emulator.core import Core
from emulator.errors import CalloutNotificationFailed
from emulator.filters import Filter
from emulator.flows import FlowKey
from emulator.fwpsk import FWPS_CALLOUT0, FWPS_CALLOUT1, FWPS_CALLOUT2, Fwpsk
from emulator.headers import build_ip_header
from emulator.indication import Indication, OwnIndication
from emulator.interfaces import InterfaceTable
from emulator.ntstatus import nt_success
from emulator.wdk import (
    FWP_ACTION_BLOCK,
    FWP_ACTION_CALLOUT_TERMINATING,
    FWP_ACTION_PERMIT,
    FWPS_CALLOUT_NOTIFY_ADD_FILTER,
    FWPS_CALLOUT_NOTIFY_DELETE_FILTER,
    FWPS_LAYER_IPFORWARD_V4,
    FWPS_LAYER_STREAM_V4,
    STATUS_DEVICE_BUSY,
    STATUS_FWP_ALREADY_EXISTS,
    STATUS_FWP_CALLOUT_NOT_FOUND,
    STATUS_FWP_INVALID_PARAMETER,
    STATUS_FWP_NOT_FOUND,
    STATUS_FWP_NULL_POINTER,
    STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_EXISTS,
    STATUS_PENDING,
    STATUS_SUCCESS,
    STATUS_UNSUCCESSFUL,
)
from emulator.wfptypes import Action

KEY = UUID(int=1)
PACKET = build_ip_header(4, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 17, bytes([3, 232, 0, 53, 0, 8, 0, 0]))
FORMS = {0: FWPS_CALLOUT0, 1: FWPS_CALLOUT1, 2: FWPS_CALLOUT2}
every_version = pytest.mark.parametrize("version", FORMS)


class Driver:
    """A core and its edge, and what callouts were told."""

    def __init__(self) -> None:
        self.core = Core(lambda injection: None)
        self.core.readiness = lambda: None
        self.fwpsk = Fwpsk(self.core)
        self.classified: list[tuple[Any, ...]] = []
        self.notified: list[tuple[Any, ...]] = []
        self.deleted: list[tuple[int, int, Any]] = []
        self.notify_status: int = STATUS_SUCCESS

    def classify(self, *arguments: Any) -> None:
        self.classified.append(arguments)
        arguments[-1].actionType = FWP_ACTION_PERMIT

    def notify(self, *arguments: Any) -> int:
        self.notified.append(arguments)
        return self.notify_status

    def flow_delete(self, *arguments: Any) -> None:
        self.deleted.append(arguments)

    def register(self, version: int = 1, **changed: Any) -> tuple[int, int | None]:
        members = {"classifyFn": self.classify, "notifyFn": self.notify, "flowDeleteFn": self.flow_delete}
        callout = FORMS[version](KEY, **members | changed)
        status, number = getattr(self.fwpsk, f"FwpsCalloutRegister{version}")(object(), callout)
        return status, number

    def filter(self, **changed: Any) -> Filter:
        return Filter(FWPS_LAYER_IPFORWARD_V4, FWP_ACTION_CALLOUT_TERMINATING, callout_key=KEY, **changed)

    def show(self, packet: bytes = PACKET) -> Indication:
        memory = bytearray(packet)
        item = self.core.ownership.create_from(packet)
        seen = OwnIndication(
            self.core, FWPS_LAYER_IPFORWARD_V4, False, item, memory, 0, len(memory), 2, InterfaceTable()
        )
        self.core.engine.classify(seen)
        return seen


@every_version
@pytest.mark.rule("CO-10")
def test_a_classify_function_gets_the_arguments_of_its_version(version: int) -> None:
    driver = Driver()
    driver.register(version)
    item = driver.core.engine.add_filter(driver.filter(context=0x77))
    seen = driver.show()
    [arguments] = driver.classified
    fixed, meta, data, *context, given, flow_context, out = arguments
    assert fixed.layerId == FWPS_LAYER_IPFORWARD_V4
    assert meta.currentMetadataValues == seen.metadata.current_metadata_values
    assert data is seen.net_buffer_list
    assert context == ([] if version == 0 else [None])
    assert (given.filterId, given.context, flow_context) == (item.filter_id, 0x77, 0)
    assert seen.action == out.actionType == FWP_ACTION_PERMIT


@every_version
@pytest.mark.rule("CO-1", "CO-4")
def test_a_callout_is_registered_once_and_unregistered(version: int) -> None:
    driver = Driver()
    status, number = driver.register(version)
    assert status == STATUS_SUCCESS
    assert number
    assert driver.register(version) == (STATUS_FWP_ALREADY_EXISTS, None)
    assert driver.fwpsk.FwpsCalloutUnregisterById0(number) == STATUS_SUCCESS
    assert driver.fwpsk.FwpsCalloutUnregisterById0(number) == STATUS_FWP_CALLOUT_NOT_FOUND
    assert driver.register(version)[0] == STATUS_SUCCESS
    assert driver.fwpsk.FwpsCalloutUnregisterByKey0(KEY) == STATUS_SUCCESS
    assert driver.fwpsk.FwpsCalloutUnregisterByKey0(KEY) == STATUS_FWP_CALLOUT_NOT_FOUND
    assert driver.fwpsk.FwpsCalloutUnregisterByKey0(None) == STATUS_FWP_NULL_POINTER


@every_version
@pytest.mark.rule("CO-1", "GE-7")
def test_what_is_missing_of_a_callout_is_refused(version: int) -> None:
    driver = Driver()
    register = getattr(driver.fwpsk, f"FwpsCalloutRegister{version}")
    assert register(object(), None) == (STATUS_FWP_NULL_POINTER, None)
    assert driver.register(version, classifyFn=None) == (STATUS_FWP_NULL_POINTER, None)
    assert driver.register(version, notifyFn=None) == (STATUS_FWP_NULL_POINTER, None)
    assert driver.register(version, flowDeleteFn=None)[0] == STATUS_SUCCESS


@pytest.mark.rule("CO-2", "CO-3")
def test_a_filter_may_come_before_its_callout() -> None:
    driver = Driver()
    driver.core.engine.add_filter(driver.filter())
    assert driver.show().action == FWP_ACTION_BLOCK
    _, number = driver.register()
    assert driver.show().action == FWP_ACTION_PERMIT
    assert number is not None
    driver.fwpsk.FwpsCalloutUnregisterById0(number)
    assert driver.show().action == FWP_ACTION_BLOCK


@pytest.mark.rule("CO-30")
def test_a_callout_is_told_of_its_filters_and_may_set_their_context() -> None:
    driver = Driver()

    def notify(kind: int, key: Any, given: Any) -> int:
        driver.notified.append((kind, key, given.filterId))
        given.context = 99
        return STATUS_SUCCESS

    driver.register(notifyFn=notify)
    item = driver.core.engine.add_filter(driver.filter())
    assert item.context == 99
    driver.core.engine.delete_filter(item.filter_id)
    assert driver.notified == [
        (FWPS_CALLOUT_NOTIFY_ADD_FILTER, item.key, item.filter_id),
        (FWPS_CALLOUT_NOTIFY_DELETE_FILTER, None, item.filter_id),
    ]


@pytest.mark.rule("CO-30")
@pytest.mark.parametrize("status", [STATUS_UNSUCCESSFUL, 0xE0000001, 0xC0FFEE00])
def test_a_callout_that_fails_the_notification_prevents_the_filter(status: int) -> None:
    driver = Driver()
    driver.register()
    driver.notify_status = status
    with pytest.raises(CalloutNotificationFailed):
        driver.core.engine.add_filter(driver.filter())
    assert driver.core.engine.filters == {}
    for accepted in (STATUS_PENDING, 0x00001234):
        driver.notify_status = accepted
        driver.core.engine.add_filter(driver.filter())
    assert len(driver.core.engine.filters) == 2


@pytest.mark.rule("GE-9")
def test_a_classify_function_that_raises_is_named() -> None:
    driver = Driver()

    def my_classify(*_: Any) -> None:
        raise KeyError("a bug of the driver's")

    driver.register(classifyFn=my_classify)
    driver.core.engine.add_filter(driver.filter())
    assert driver.show().action == Action.BLOCK
    assert "my_classify" in driver.core.callback_errors[0][0]


# -- flows ----------------------------------------------------------------------------------------------------


class FlowDriver(Driver):
    """With one flow, and one registered callout."""

    def __init__(self, **changed: Any) -> None:
        super().__init__()
        _, number = self.register(**changed)
        assert number is not None
        self.callout = number
        key = FlowKey(17, bytes(4), 1, bytes([1] * 4), 2)
        self.flow = self.core.engine.flows.table.begin(key, outbound=True, now=0.0)

    def associate(self, context: Any, flow: int | None = None) -> int:
        return self.fwpsk.FwpsFlowAssociateContext0(
            self.flow.number if flow is None else flow, FWPS_LAYER_STREAM_V4, self.callout, context
        )

    def remove(self) -> int:
        return self.fwpsk.FwpsFlowRemoveContext0(self.flow.number, FWPS_LAYER_STREAM_V4, self.callout)


@pytest.mark.rule("FL-1", "FL-2", "FL-4", "ER-4", "CO-31")
def test_a_flow_context_through_its_life() -> None:
    driver = FlowDriver()
    assert driver.associate(0x1234) == STATUS_SUCCESS
    again = driver.associate(0x5678)
    assert again == STATUS_OBJECT_NAME_EXISTS
    assert nt_success(again)
    assert driver.fwpsk.FwpsCalloutUnregisterById0(driver.callout) == STATUS_DEVICE_BUSY
    assert driver.remove() == STATUS_SUCCESS
    assert driver.deleted == [(FWPS_LAYER_STREAM_V4, driver.callout, 0x1234)]
    assert driver.remove() == STATUS_UNSUCCESSFUL
    assert driver.fwpsk.FwpsCalloutUnregisterById0(driver.callout) == STATUS_SUCCESS


@pytest.mark.rule("FL-1")
def test_a_flow_context_is_refused() -> None:
    assert FlowDriver().associate(0) == STATUS_INVALID_PARAMETER
    assert FlowDriver().associate(1, flow=99) == STATUS_FWP_NOT_FOUND
    assert FlowDriver(flowDeleteFn=None).associate(1) == STATUS_INVALID_PARAMETER


@pytest.mark.rule("FL-4")
def test_a_context_removed_under_a_classify_is_pending() -> None:
    driver = FlowDriver()
    driver.associate(7)
    driver.core.engine.flows.enter(driver.flow, driver.callout)
    assert driver.remove() == STATUS_PENDING
    assert driver.deleted == []
    driver.core.engine.flows.leave(driver.flow, driver.callout)
    assert driver.deleted == [(FWPS_LAYER_STREAM_V4, driver.callout, 7)]


@pytest.mark.rule("FL-6")
def test_an_aborted_flow_gives_its_contexts_back() -> None:
    driver = FlowDriver()
    driver.associate(7)
    aborted: list[Any] = []
    driver.core.engine.flows.on_abort = aborted.append
    assert driver.fwpsk.FwpsFlowAbort0(driver.flow.number) == STATUS_SUCCESS
    assert (aborted, [context for _, _, context in driver.deleted]) == ([driver.flow], [7])
    assert driver.fwpsk.FwpsFlowAbort0(driver.flow.number) == STATUS_FWP_INVALID_PARAMETER


