"""The stream layer of a host: filters that come and go, contexts, threads, ends of connections."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from emulator.errors import FwpInvalidParameter
from emulator.indication import Indication
from emulator.layerids import Layer
from emulator.splice import Side
from emulator.stream import clone_stream_data, discard_cloned
from emulator.stream_bench import StreamBench
from emulator.wfptypes import Action, CalloutFlag, IncomingFlag, WindowsVersion
from tests.unit.deferring import Deferring


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
