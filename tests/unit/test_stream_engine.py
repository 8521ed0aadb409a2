"""The stream layer of a host: deferring and continuing, filters that come and go, ends of connections."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from emulator.errors import FwpIncompatibleLayer, FwpInvalidParameter, WfpError
from emulator.indication import Indication
from emulator.layerids import Layer
from emulator.splice import Side
from emulator.stream import IoPacket, clone_stream_data, discard_cloned
from emulator.stream_bench import StreamBench
from emulator.wfptypes import Action, CalloutFlag, IncomingFlag, StreamFlag, WindowsVersion

RECEIVE = int(StreamFlag.RECEIVE)


class Deferring:
    """Defers while told so, else permits; remembers what it was shown."""

    def __init__(self, *, defer: bool = True) -> None:
        self.defer = defer
        self.shown: list[bytes] = []

    def __call__(self, seen: Indication) -> None:
        packet: IoPacket = seen.stream
        self.shown.append(packet.stream_data.octets)
        if self.defer:
            packet.defer()
        else:
            seen.permit()


def deferred() -> tuple[StreamBench, Deferring, int]:
    bench = StreamBench()
    callout = Deferring()
    registered, _ = bench.add(callout)
    bench.send(Side.REMOTE, b"first", b"second")
    return bench, callout, registered.callout_id


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


@pytest.mark.rule("FL-5")
def test_a_flow_that_is_carried_ends_with_its_connection_and_not_before() -> None:
    bench = StreamBench()
    deleted: list[Any] = []
    registered, _ = bench.add(Deferring(defer=False), flow_delete=lambda *args: deleted.append(args[2]))
    flow, table = bench.flow.flow, bench.core.engine.flows.table
    bench.core.engine.flows.associate(flow.number, bench.layer, registered.callout_id, 5)
    table.end(flow)  # as the packet layers do when they see the last segment
    assert (flow.ended, deleted) == (False, [])
    bench.finish(Side.HOST)
    bench.finish(Side.REMOTE)
    assert (flow.ended, deleted, len(table)) == (True, [5], 0)


@pytest.mark.rule("ST-42")
@pytest.mark.parametrize("allowed", [True, False])
def test_a_filter_added_in_mid_stream_needs_the_flag(allowed: bool) -> None:
    bench = StreamBench()
    bench.send(Side.HOST, b"before")
    shown: list[tuple[bytes, int]] = []

    def classify(seen: Indication) -> None:
        shown.append((seen.stream.stream_data.octets, seen.stream.incoming_flags))
        seen.permit()

    bench.add(classify, flags=CalloutFlag.ALLOW_MID_STREAM_INSPECTION if allowed else CalloutFlag(0))
    bench.send(Side.HOST, b"one")
    bench.send(Side.HOST, b"two")
    expected = [(b"one", IncomingFlag.MID_STREAM_INSPECTION), (b"two", 0)]
    assert shown == (expected if allowed else [])
    assert bench.read(Side.REMOTE) == b"beforeonetwo"


@pytest.mark.rule("FI-7")
def test_what_a_removed_filter_held_goes_on_in_order() -> None:
    bench = StreamBench()

    def classify(seen: Indication) -> None:
        seen.stream.need_more(100)

    _, item = bench.add(classify)
    bench.send(Side.HOST, b"held", b"more")
    assert bench.read(Side.REMOTE) == b""
    bench.remove(item)
    assert bench.read(Side.REMOTE) == b"heldmore"
    bench.send(Side.HOST, b"next")
    assert bench.read(Side.REMOTE) == b"next"


@pytest.mark.rule("ST-41")
def test_removing_a_filter_that_has_deferred_is_a_violation_and_the_stream_goes_on() -> None:
    bench = StreamBench()
    _, item = bench.add(Deferring())
    bench.send(Side.REMOTE, b"abc")
    bench.remove(item)
    assert bench.core.violations.rules() == ["ST-41"]
    assert bench.read(Side.HOST) == b"abc"
    assert bench.reading[Side.REMOTE]


@pytest.mark.rule("ST-41")
def test_removing_a_filter_while_clones_are_pending_or_more_is_wanted_is_a_violation() -> None:
    chains: list[Any] = []

    def pend(seen: Indication) -> None:
        chains.append(clone_stream_data(seen.core.ownership, seen.stream.stream_data))
        seen.block()

    def more(seen: Indication) -> None:
        seen.stream.need_more(1)

    for classify in (pend, more):
        bench = StreamBench()
        _, item = bench.add(classify)
        bench.send(Side.REMOTE, b"abc")
        bench.remove(item)
        assert bench.core.violations.rules() == ["ST-41"]
        for chain in chains:
            discard_cloned(bench.core.ownership, chain)
        chains.clear()


@pytest.mark.rule("ST-41")
@pytest.mark.parametrize("profile", [WindowsVersion.VISTA, WindowsVersion.VISTA_SP1])
def test_vista_cannot_remove_filters_at_stream_layers(profile: WindowsVersion) -> None:
    bench = StreamBench(profile=profile)
    _, item = bench.add(Deferring(defer=False))
    bench.send(Side.HOST, b"abc")
    bench.remove(item)
    assert bench.core.violations.rules() == (["ST-41"] if profile == WindowsVersion.VISTA else [])


@pytest.mark.rule("FL-3", "CO-20")
@pytest.mark.parametrize("version", [4, 6])
def test_a_context_attached_at_flow_established_is_seen_at_stream(version: int) -> None:
    bench = StreamBench(version=version)
    established = {4: Layer.ALE_FLOW_ESTABLISHED_V4, 6: Layer.ALE_FLOW_ESTABLISHED_V6}[version]
    found: list[Any] = []

    def stream(seen: Indication) -> None:
        found.append(seen.flow_context)
        seen.permit()

    registered, _ = bench.add(stream, flags=CalloutFlag.CONDITIONAL_ON_FLOW, flow_delete=lambda *_: None)

    def attach(seen: Indication) -> None:
        assert seen.value("IP_REMOTE_PORT") == 8888
        bench.core.engine.flows.associate(seen.flow_handle, bench.layer, registered.callout_id, 77)

    bench.add(attach, layer=int(established), action=Action.CALLOUT_INSPECTION)
    bench.send(Side.HOST, b"x")
    assert found == [77]


@pytest.mark.rule("CO-20")
def test_a_block_at_flow_established_refuses_the_connection() -> None:
    bench = StreamBench()
    bench.add_filter(action=Action.BLOCK, layer=int(Layer.ALE_FLOW_ESTABLISHED_V4))
    with pytest.raises(ConnectionRefusedError):
        bench.send(Side.HOST, b"x")
    assert len(bench.core.engine.flows.table) == 0


@pytest.mark.rule("FL-6")
def test_aborting_a_flow_resets_its_connection_and_gives_contexts_back() -> None:
    bench = StreamBench()
    deleted: list[Any] = []
    registered, _ = bench.add(Deferring(defer=False), flow_delete=lambda *args: deleted.append(args[2]))
    flows = bench.core.engine.flows
    flows.associate(bench.flow.number, bench.layer, registered.callout_id, 5)
    number = bench.flow.number
    flows.abort(number)
    bench.turn()
    assert bench.reset
    assert deleted == [5]
    with pytest.raises(FwpInvalidParameter):
        flows.abort(number)


@pytest.mark.rule("FL-5", "CO-31")
def test_an_ordinary_end_gives_contexts_back_once() -> None:
    bench = StreamBench()
    deleted: list[Any] = []
    registered, _ = bench.add(Deferring(defer=False), flow_delete=lambda *args: deleted.append(args[2]))
    bench.core.engine.flows.associate(bench.flow.number, bench.layer, registered.callout_id, 5)
    bench.finish(Side.HOST)
    assert deleted == []
    bench.finish(Side.REMOTE)
    assert bench.closed
    assert not bench.reset
    assert deleted == [5]


@pytest.mark.rule("ST-35", "OR-3")
def test_a_fin_that_was_consumed_is_told_at_detach() -> None:
    bench = StreamBench()

    def swallow(seen: Indication) -> None:
        seen.block()

    bench.add(swallow)
    bench.finish(Side.HOST)
    assert not bench.ended[Side.REMOTE]
    assert not bench.closed
    assert "FIN consumed, never reinjected" in bench.core.leaks()[0]
    bench.core.streams.detach()
    assert bench.core.violations.rules() == ["ST-35"]
    bench.turn()
    assert bench.reset
    assert bench.core.leaks() == []


@pytest.mark.rule("ST-37", "ST-18")
def test_one_flow_is_never_classified_on_two_threads_and_keeps_its_order() -> None:
    bench = StreamBench()
    inside = 0
    worst = 0
    order: list[bytes] = []

    def classify(seen: Indication) -> None:
        nonlocal inside, worst
        inside += 1
        worst = max(worst, inside)
        order.append(seen.stream.stream_data.octets)
        threading.Event().wait(0.0002)
        inside -= 1
        seen.permit()

    bench.add(classify)
    flow = bench.flow
    flow.on_wake = None

    def feed(inbound: bool, name: bytes) -> None:
        for number in range(100):
            octets = bytearray(name + b"%03d" % number)
            flow.indicate(inbound, octets, 0, len(octets))

    threads = [threading.Thread(target=feed, args=args) for args in ((True, b"r"), (False, b"s"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == 1
    for name in (b"r", b"s"):
        assert [item for item in order if item.startswith(name)] == [name + b"%03d" % n for n in range(100)]


@pytest.mark.rule("CO-21")
def test_two_flows_are_classified_at_the_same_time() -> None:
    first = StreamBench()
    second = StreamBench(core=first.core, ports=(50001, 8888))
    meeting = threading.Barrier(2, timeout=10)

    def classify(seen: Indication) -> None:
        meeting.wait()
        seen.permit()

    first.add(classify)
    splices = [first.splice, second.splice]
    threads = [
        threading.Thread(target=splice.received, args=(Side.HOST, bytearray(b"x"), 0, 1)) for splice in splices
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not meeting.broken
    first.turn()
    second.turn()
    assert first.read(Side.REMOTE) == second.read(Side.REMOTE) == b"x"
