"""The stream layer of a host: deferring and continuing, and from where that is allowed."""

from __future__ import annotations

import threading

import pytest

from emulator.errors import FwpIncompatibleLayer, FwpInvalidParameter, WfpError
from emulator.indication import Indication
from emulator.layerids import Layer
from emulator.splice import Side
from emulator.stream_bench import StreamBench
from emulator.wfptypes import CalloutFlag, StreamFlag
from tests.unit.deferring import Deferring, deferred

RECEIVE = int(StreamFlag.RECEIVE)


@pytest.mark.rule("ST-32", "SD-7")
def test_a_deferred_stream_is_not_read_and_its_octets_come_again() -> None:
    bench, callout, callout_id = deferred()
    assert callout.shown == [b"first"]
    assert bench.reading == {Side.HOST: True, Side.REMOTE: False}
    assert bench.core.leaks() == [f"{bench.flow.flow!r} is deferred and was never continued (ST-32)"]
    callout.defer = False
    bench.core.streams.resume(bench.flow.number, callout_id, bench.layer, RECEIVE)
    assert callout.shown == [b"first", b"firstsecond"]
    assert bench.read(Side.HOST) == b"firstsecond"
    assert bench.reading[Side.REMOTE]
    assert bench.core.leaks() == []


@pytest.mark.rule("ST-32")
def test_deferring_the_outbound_stream_is_a_violation_and_does_nothing() -> None:
    bench = StreamBench()
    callout = Deferring()
    bench.add(callout)
    bench.send(Side.HOST, b"abc")
    assert bench.core.violations.rules() == ["ST-32"]
    assert bench.read(Side.REMOTE) == b"abc"
    assert bench.reading[Side.HOST]


@pytest.mark.rule("SD-8")
def test_continuing_with_other_flags_or_twice_is_refused_and_changes_nothing() -> None:
    bench, callout, callout_id = deferred()
    resume = bench.core.streams.resume
    with pytest.raises(FwpInvalidParameter):
        resume(bench.flow.number, callout_id, bench.layer, int(StreamFlag.RECEIVE | StreamFlag.RECEIVE_PUSH))
    assert not bench.reading[Side.REMOTE]
    callout.defer = False
    resume(bench.flow.number, callout_id, bench.layer, RECEIVE)
    with pytest.raises(FwpInvalidParameter):
        resume(bench.flow.number, callout_id, bench.layer, RECEIVE)


@pytest.mark.rule("ST-2", "SD-8")
def test_continuing_names_a_flow_a_callout_and_its_layer() -> None:
    bench, _, callout_id = deferred()
    number = bench.flow.number
    resume = bench.core.streams.resume
    wrong: list[tuple[int, int, int, type[WfpError]]] = [
        (number, callout_id, int(Layer.OUTBOUND_TRANSPORT_V4), FwpIncompatibleLayer),
        (number, callout_id, int(Layer.STREAM_V6), FwpInvalidParameter),
        (number + 1, callout_id, bench.layer, FwpInvalidParameter),
        (number, callout_id + 1, bench.layer, FwpInvalidParameter),
    ]
    for flow_id, callout, layer, error in wrong:
        with pytest.raises(error):
            resume(flow_id, callout, layer, RECEIVE)
    assert not bench.reading[Side.REMOTE]


@pytest.mark.rule("SD-9", "ST-43")
def test_continuing_inside_classify_is_a_violation_and_refused() -> None:
    bench, callout, callout_id = deferred()
    callout.defer = False
    refused: list[str] = []

    def classify(seen: Indication) -> None:
        try:
            bench.core.streams.resume(bench.flow.number, callout_id, bench.layer, RECEIVE)
        except FwpInvalidParameter as error:
            refused.append(error.rule)
        seen.permit()

    bench.add(classify, weight=1, flags=CalloutFlag.ALLOW_MID_STREAM_INSPECTION)
    bench.send(Side.HOST, b"x")
    assert refused == ["SD-9"]
    assert bench.core.violations.rules() == ["SD-9"]
    assert not bench.reading[Side.REMOTE]


@pytest.mark.rule("SD-7")
def test_a_continue_from_another_thread_waits_for_the_classify_that_defers() -> None:
    bench = StreamBench()
    entered, go = threading.Event(), threading.Event()
    shown: list[bytes] = []

    def classify(seen: Indication) -> None:
        shown.append(seen.stream.stream_data.octets)
        if len(shown) > 1:
            seen.permit()
            return
        seen.stream.defer()
        entered.set()
        assert go.wait(10)

    registered, _ = bench.add(classify)
    splice = bench.splice
    receiver = threading.Thread(target=lambda: splice.received(Side.REMOTE, bytearray(b"abc"), 0, 3))
    receiver.start()
    assert entered.wait(10)
    releaser = threading.Timer(0.05, go.set)
    releaser.start()
    bench.core.streams.resume(bench.flow.number, registered.callout_id, bench.layer, RECEIVE)
    receiver.join()
    releaser.join()
    assert shown == [b"abc", b"abc"]
    assert bench.read(Side.HOST) == b"abc"


@pytest.mark.rule("ST-43")
def test_continuing_while_an_injection_of_the_flow_runs_is_a_violation() -> None:
    bench = StreamBench()
    handle = bench.core.create_handle(0, 1)
    callout = Deferring()
    registered, _ = bench.add(callout, weight=9)
    entered, go = threading.Event(), threading.Event()

    def lower(seen: Indication) -> None:
        entered.set()
        assert go.wait(10)
        seen.permit()

    bench.add(lower, weight=8)
    bench.send(Side.REMOTE, b"deferred")
    place = {"flow_id": bench.flow.number, "callout_id": registered.callout_id, "layer": bench.layer}

    def inject() -> None:
        item = bench.core.ownership.create_from(b"x")
        handle.stream_inject(item, lambda *_: None, **place, stream_flags=RECEIVE, data_length=1)

    thread = threading.Thread(target=inject)
    thread.start()
    assert entered.wait(10)
    bench.flow.on_wake = None
    bench.core.streams.resume(place["flow_id"], place["callout_id"], place["layer"], RECEIVE)
    assert bench.core.violations.rules() == ["ST-43"]
    go.set()
    thread.join()
