"""The ready stream callouts, on octets alone: the acceptance cases of the stream layer without a network."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from emulator.callouts_stream import InlineEdit, OutOfBandEdit, StreamMonitor, Turns, Worker, overlap
from emulator.splice import Side
from emulator.stream import clone_stream_data
from emulator.stream_bench import StreamBench
from emulator.wfptypes import Action, StreamFlag

CLOUDY, SUNNY, RAINY = b"cloudy", b"sunny", b"rainy"


def splits(octets: bytes, most: int) -> list[tuple[bytes, ...]]:
    """Every way to cut octets into 2 up to `most` pieces; only single cuts and evenly many of the others."""
    found: list[tuple[bytes, ...]] = []
    for cuts in range(1, most):
        ways = list(combinations(range(1, len(octets)), cuts))
        for way in ways[:: max(1, len(ways) // 40)]:
            edges = (0, *way, len(octets))
            found.append(tuple(octets[a:b] for a, b in zip(edges, edges[1:], strict=False)))
    return found


@pytest.mark.rule("ST-16", "ST-26")
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("version", [4, 6])
def test_inline_edit_of_one_write(side: Side, version: int) -> None:
    bench = StreamBench(version=version)
    edit = InlineEdit(bench.core.create_handle(0, 1), CLOUDY, SUNNY)
    bench.add(edit)
    bench.send(side, b"today: cloudy, tomorrow: cloudy.")
    bench.finish(side)
    assert bench.read(side.other) == b"today: sunny, tomorrow: sunny."
    assert bench.ended[side.other]
    assert edit.replaced == 2
    assert edit.injector.completed == {0: 2}
    assert not list(bench.core.violations)
    assert bench.core.ownership.counters().clean


@pytest.mark.rule("ST-16", "ST-28")
@pytest.mark.parametrize("pieces", splits(b"abcPATdefPAPATx", 7))
def test_inline_edit_is_the_same_for_every_split(pieces: tuple[bytes, ...]) -> None:
    bench = StreamBench()
    bench.add(InlineEdit(bench.core.create_handle(0, 1), b"PAT", b"12345"))
    bench.send(Side.HOST, *pieces)
    bench.finish(Side.HOST)
    assert bench.read(Side.REMOTE) == b"abc12345defPA12345x"
    assert bench.ended[Side.REMOTE]
    assert not list(bench.core.violations)


@pytest.mark.rule("ST-26")
def test_replacing_goes_by_n_p_and_m() -> None:
    bench = StreamBench()
    edit = InlineEdit(bench.core.create_handle(0, 1), b"ppp", b"rr")
    sizes: list[int] = []

    def classify(seen: Any) -> None:
        sizes.append(seen.stream.stream_data.data_length)
        edit.classify(seen)

    bench.add(classify)
    bench.send(Side.HOST, b"nnnnpppmmmmm")
    assert sizes == [12, 8, 5]
    assert bench.read(Side.REMOTE) == b"nnnnrrmmmmm"


@pytest.mark.rule("ST-15", "ST-14", "ST-40", "SD-2")
@pytest.mark.parametrize("pieces", splits(b"it is rainy or cloudy, rai", 4))
def test_out_of_band_above_inline(pieces: tuple[bytes, ...]) -> None:
    bench = StreamBench()
    turns = Turns()
    upper = OutOfBandEdit(bench.core.create_handle(0, 1), RAINY, CLOUDY, turns)
    lower = InlineEdit(bench.core.create_handle(0, 1), CLOUDY, SUNNY)
    bench.add(upper, weight=0x40)
    bench.add(lower, weight=0x20)
    bench.send(Side.HOST, *pieces)
    bench.finish(Side.HOST)
    assert bench.read(Side.REMOTE) == b""
    assert not bench.ended[Side.REMOTE]
    turns.run()
    assert bench.read(Side.REMOTE) == b"it is sunny or sunny, rai"
    assert bench.ended[Side.REMOTE]
    assert not list(bench.core.violations)
    assert bench.core.ownership.counters().clean


@pytest.mark.rule("ST-8", "SD-2", "SD-3")
def test_a_chain_of_three_clones_goes_through_whole_and_completes_three_times() -> None:
    bench = StreamBench()
    handle = bench.core.create_handle(0, 1)
    chains: list[Any] = []
    completed: list[Any] = []

    def classify(seen: Any) -> None:
        if seen.stream.stream_data.data_length < 9:
            seen.stream.need_more(1)
            return
        chains.append(clone_stream_data(bench.core.ownership, seen.stream.stream_data))
        seen.block()

    registered, _ = bench.add(classify)
    bench.send(Side.HOST, b"abc", b"def", b"ghi")

    def done(context: Any, item: Any, dispatch: bool) -> None:
        completed.append(context)
        item.next = None
        bench.core.ownership.free_clone(item)

    handle.stream_inject(
        chains[0], done, flow_id=bench.flow.number, callout_id=registered.callout_id, layer=bench.layer,
        stream_flags=int(StreamFlag.SEND), data_length=9, completion_context="shared",
    )  # fmt: skip
    assert bench.read(Side.REMOTE) == b"abcdefghi"
    assert completed == ["shared"] * 3
    assert bench.core.ownership.counters().clean


@pytest.mark.rule("ST-35", "ST-10")
def test_the_fin_comes_last_and_the_other_way_still_flows() -> None:
    bench = StreamBench()
    turns = Turns()
    bench.add(OutOfBandEdit(bench.core.create_handle(0, 1), RAINY, CLOUDY, turns))
    bench.send(Side.HOST, b"request ra")
    bench.finish(Side.HOST)
    turns.run(1)
    assert bench.read(Side.REMOTE) == b"request "
    assert not bench.ended[Side.REMOTE]
    turns.run()
    assert bench.read(Side.REMOTE) == b"ra"
    assert bench.ended[Side.REMOTE]
    bench.send(Side.REMOTE, b"answer: rainy")
    bench.finish(Side.REMOTE)
    turns.run()
    assert bench.read(Side.HOST) == b"answer: cloudy"
    assert bench.closed
    assert not list(bench.core.violations)


@pytest.mark.rule("ST-32", "SD-7")
def test_an_inbound_stream_is_deferred_at_the_limit_and_nothing_is_lost() -> None:
    bench = StreamBench()
    turns = Turns()
    edit = OutOfBandEdit(bench.core.create_handle(0, 1), RAINY, CLOUDY, turns, limit=1000)
    bench.add(edit)
    assert not bench.flow.ended
    expected = b""
    sent = 0
    while sent < 50:
        if bench.reading[Side.REMOTE]:
            piece = b"%03d rainy " % sent * 10
            expected += piece
            bench.send(Side.REMOTE, piece)
            sent += 1
        else:
            assert turns.run(1)
    turns.run()
    assert bench.read(Side.HOST) == expected.replace(RAINY, CLOUDY)
    assert edit.deferrals
    assert edit.most_pending <= 1000
    assert not list(bench.core.violations)


@pytest.mark.rule("ST-17")
def test_out_of_band_on_a_thread_loses_nothing() -> None:
    bench = StreamBench()
    with Worker() as worker:
        edit = OutOfBandEdit(bench.core.create_handle(0, 1), b"\x00none\x00", b"", worker, limit=1 << 30)
        bench.add(edit)
        bench.flow.on_wake = None
        octets = bytes(range(256)) * 400
        for start in range(0, len(octets), 100):
            bench.flow.indicate(False, bytearray(octets[start : start + 100]), 0, 100)
        bench.finish(Side.HOST)
    bench.turn()
    assert bench.read(Side.REMOTE) == octets
    assert bench.ended[Side.REMOTE]
    assert not list(bench.core.violations)


@pytest.mark.rule("CO-18")
def test_a_monitor_sees_all_and_changes_nothing() -> None:
    bench = StreamBench()
    monitor = StreamMonitor()
    bench.add(monitor, action=Action.CALLOUT_INSPECTION)
    bench.send(Side.HOST, b"question")
    bench.send(Side.REMOTE, b"answer")
    bench.finish(Side.REMOTE)
    assert (bytes(monitor.sent), bytes(monitor.received)) == (b"question", b"answer")
    assert monitor.ends == [StreamFlag.RECEIVE | StreamFlag.RECEIVE_DISCONNECT]
    assert bench.read(Side.REMOTE) == b"question"
    assert bench.read(Side.HOST) == b"answer"


def test_overlap_is_the_longest_beginning_of_the_pattern() -> None:
    assert [overlap(octets, b"aab") for octets in (b"", b"a", b"aa", b"aaa", b"ab", b"xaab")] == [0, 1, 2, 2, 0, 0]
