"""The stream layer in the header's names: a driver that edits inline, and one that pends."""

from __future__ import annotations

import inspect
from typing import Any
from uuid import uuid4

import pytest

from emulator.fwpsk import FWPS_CALLOUT2, Fwpsk
from emulator.splice import Side
from emulator.stream_bench import StreamBench
from emulator.wdk import (
    AF_UNSPEC,
    FWP_ACTION_BLOCK,
    FWP_ACTION_NONE,
    FWP_ACTION_PERMIT,
    FWPS_INCOMING_FLAG_MID_STREAM_INSPECTION,
    FWPS_INJECTION_TYPE_STREAM,
    FWPS_LAYER_STREAM_V4,
    FWPS_STREAM_ACTION_DEFER,
    FWPS_STREAM_FLAG_RECEIVE,
    FWPS_STREAM_FLAG_SEND,
    FWPS_STREAM_FLAG_SEND_DISCONNECT,
    STATUS_FWP_INVALID_PARAMETER,
    STATUS_FWP_NULL_POINTER,
    STATUS_SUCCESS,
)
from emulator.wfptypes import CalloutFlag

SIGNATURES = {
    "FwpsStreamInjectAsync0": "injectionHandle injectionContext flags flowId calloutId layerId streamFlags"
    " netBufferList dataLength completionFn completionContext",
    "FwpsStreamContinue0": "flowId calloutId layerId streamFlags",
    "FwpsCopyStreamDataToBuffer0": "calloutStreamData buffer bytesToCopy",
    "FwpsCloneStreamData0": "calloutStreamData netBufferListPoolHandle netBufferPoolHandle allocateCloneFlags",
    "FwpsDiscardClonedStreamData0": "netBufferListChain allocateCloneFlags dispatchLevel",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_takes_the_documented_arguments_in_their_order(name: str) -> None:
    assert list(inspect.signature(getattr(Fwpsk, name)).parameters)[1:] == SIGNATURES[name].split()
    assert getattr(Fwpsk, name[:-1]) is getattr(Fwpsk, name)


class Bench:
    """A connection, the functions, and a callout registered by them."""

    def __init__(self, classify_fn: Any, flags: int = 0) -> None:
        self.bench = StreamBench()
        self.fwpsk = Fwpsk(self.bench.core)
        callout = FWPS_CALLOUT2(
            uuid4(), flags, classify_fn, lambda kind, key, item: STATUS_SUCCESS, lambda layer, callout_id, context: None
        )
        status, callout_id = self.fwpsk.FwpsCalloutRegister2(None, callout)
        assert status == STATUS_SUCCESS
        assert callout_id is not None
        self.callout_id: int = callout_id
        status, self.handle = self.fwpsk.FwpsInjectionHandleCreate0(AF_UNSPEC, FWPS_INJECTION_TYPE_STREAM)
        assert status == STATUS_SUCCESS
        self.registered = self.bench.core.engine.callouts.by_id(self.callout_id)
        self.completed: list[Any] = []

    def complete(self, context: Any, item: Any, dispatch: bool) -> None:
        self.completed.append(context)
        item.next = None
        self.fwpsk.FwpsFreeCloneNetBufferList0(item, 0)


@pytest.mark.rule("ST-20", "ST-21", "ST-25", "ST-27", "SD-1", "SD-2", "ST-40", "CO-12")
def test_a_driver_pends_and_reinjects_by_the_headers_names() -> None:
    pended: list[Any] = []

    def classify(fixed: Any, meta: Any, layer_data: Any, context: Any, item: Any, flow_context: Any, out: Any) -> None:
        data = layer_data.streamData
        buffer = bytearray(16)
        copied = driver.fwpsk.FwpsCopyStreamDataToBuffer0(data, buffer, 16)
        status, chain = driver.fwpsk.FwpsCloneStreamData0(data, None, None, 0)
        assert status == STATUS_SUCCESS
        assert data.dataOffset.netBufferList is data.netBufferListChain
        pended.append((meta.flowHandle, data.flags, data.dataLength, bytes(buffer[:copied]), chain))
        assert layer_data.missedBytes == layer_data.countBytesRequired == layer_data.streamAction == 0
        layer_data.countBytesEnforced = data.dataLength
        out.actionType = FWP_ACTION_BLOCK

    driver = Bench(classify)
    driver.bench.add_filter(driver.registered)
    driver.bench.send(Side.HOST, b"first", b"second")
    driver.bench.finish(Side.HOST)
    assert driver.bench.read(Side.REMOTE) == b""
    assert [entry[3] for entry in pended] == [b"first", b"second", b""]
    assert pended[2][1] == FWPS_STREAM_FLAG_SEND | FWPS_STREAM_FLAG_SEND_DISCONNECT
    for number, (flow_id, flags, length, _, chain) in enumerate(pended):
        arguments = (flow_id, driver.callout_id, FWPS_LAYER_STREAM_V4, flags, chain, length)
        assert driver.fwpsk.FwpsStreamInjectAsync0(driver.handle, None, 0, *arguments, driver.complete, number) == 0
    assert driver.bench.read(Side.REMOTE) == b"firstsecond"
    assert driver.bench.ended[Side.REMOTE]
    assert driver.completed == [0, 1, 2]
    assert not list(driver.bench.core.violations)


@pytest.mark.rule("ST-4", "ST-7", "SD-4")
def test_refusals_are_the_documented_statuses() -> None:
    driver = Bench(lambda *arguments: None)
    driver.bench.add_filter(driver.registered)
    flow_id = driver.bench.flow.number
    status, chain = STATUS_SUCCESS, driver.bench.core.ownership.create_from(b"x")
    common: Any = (driver.handle, None, 0, flow_id, driver.callout_id, FWPS_LAYER_STREAM_V4)
    inject: Any = driver.fwpsk.FwpsStreamInjectAsync0
    status = inject(*common, FWPS_STREAM_FLAG_SEND_DISCONNECT, chain, 1, driver.complete, None)
    assert status == STATUS_FWP_INVALID_PARAMETER
    status = inject(*common, FWPS_STREAM_FLAG_SEND, chain, 1, None, None)
    assert status == STATUS_FWP_NULL_POINTER
    where = (flow_id, driver.callout_id, FWPS_LAYER_STREAM_V4)
    status = driver.fwpsk.FwpsStreamContinue0(*where, FWPS_STREAM_FLAG_RECEIVE)
    assert status == STATUS_FWP_INVALID_PARAMETER
    driver.bench.core.ownership.free_list(chain)
    assert driver.fwpsk.FwpsCloneStreamData0(None, None, None, 0) == (STATUS_FWP_NULL_POINTER, None)


@pytest.mark.rule("ST-32", "SD-7", "ST-42")
def test_a_driver_defers_and_continues_in_mid_stream() -> None:
    flags: list[int] = []

    def classify(fixed: Any, meta: Any, layer_data: Any, context: Any, item: Any, flow_context: Any, out: Any) -> None:
        flags.append(meta.flags)
        if len(flags) == 1:
            layer_data.streamAction = FWPS_STREAM_ACTION_DEFER
            out.actionType = FWP_ACTION_NONE
        else:
            out.actionType = FWP_ACTION_PERMIT

    driver = Bench(classify, int(CalloutFlag.ALLOW_MID_STREAM_INSPECTION))
    driver.bench.send(Side.REMOTE, b"before ")
    driver.bench.add_filter(driver.registered)
    driver.bench.send(Side.REMOTE, b"after")
    assert driver.bench.read(Side.HOST) == b"before "
    status = driver.fwpsk.FwpsStreamContinue0(
        driver.bench.flow.number, driver.callout_id, FWPS_LAYER_STREAM_V4, FWPS_STREAM_FLAG_RECEIVE
    )
    assert status == STATUS_SUCCESS
    assert driver.bench.read(Side.HOST) == b"after"
    assert flags == [FWPS_INCOMING_FLAG_MID_STREAM_INSPECTION, 0]


@pytest.mark.rule("SD-4")
def test_clones_that_are_not_injected_are_discarded() -> None:
    def classify(fixed: Any, meta: Any, layer_data: Any, context: Any, item: Any, flow_context: Any, out: Any) -> None:
        _, chain = driver.fwpsk.FwpsCloneStreamData0(layer_data.streamData, None, None, 0)
        driver.fwpsk.FwpsDiscardClonedStreamData0(chain, 0, True)
        out.actionType = FWP_ACTION_PERMIT

    driver = Bench(classify)
    driver.bench.add_filter(driver.registered)
    driver.bench.send(Side.HOST, b"abc")
    assert driver.bench.read(Side.REMOTE) == b"abc"
    assert driver.bench.core.ownership.counters().clean
    assert not list(driver.bench.core.violations)
