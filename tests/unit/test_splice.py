"""The two-sided relay as a state table: events in, commands out."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.core import Core
from emulator.flows import FlowKey
from emulator.indication import Indication
from emulator.splice import HIGH_WATER, MOST_WAITING, Close, Flush, Read, Reset, Side, Splice
from emulator.stream import DISCONNECT
from emulator.stream_bench import StreamBench
from emulator.wfptypes import StreamFlag

KEY = FlowKey(6, bytes((10, 0, 0, 1)), 50000, bytes((10, 0, 0, 2)), 80)
OPENED = [Read(Side.REMOTE, True), Read(Side.HOST, True)]


def relay() -> Splice:
    core = Core(lambda injection: None)
    flow = core.streams.begin(KEY, outbound=True, now=0.0)
    assert flow is not None
    splice = Splice(flow)
    assert splice.turn() == OPENED
    return splice


def sent(splice: Splice, side: Side, octets: bytes) -> list[Any]:
    memory = bytearray(octets)
    return splice.received(side, memory, 0, len(memory))


def output(splice: Splice, side: Side) -> bytes:
    return b"".join(chunk.view() for chunk in splice.output(side))


def test_octets_come_out_on_the_other_side() -> None:
    splice = relay()
    assert sent(splice, Side.HOST, b"abc") == [Flush(Side.REMOTE)]
    assert output(splice, Side.REMOTE) == b"abc"
    assert output(splice, Side.HOST) == b""
    assert splice.wrote(Side.REMOTE, 2) == [Flush(Side.REMOTE)]
    assert output(splice, Side.REMOTE) == b"c"
    assert splice.wrote(Side.REMOTE, 1) == []
    assert splice.idle(Side.REMOTE)


def test_a_fin_is_carried_over_behind_the_octets_and_leaves_the_other_way_open() -> None:
    splice = relay()
    sent(splice, Side.HOST, b"abc")
    assert splice.finished(Side.HOST) == [Flush(Side.REMOTE), Read(Side.HOST, False)]
    assert output(splice, Side.REMOTE) == b"abc"
    splice.wrote(Side.REMOTE, 3)
    assert [chunk.flags & DISCONNECT for chunk in splice.output(Side.REMOTE)] == [StreamFlag.SEND_DISCONNECT]
    assert splice.wrote_fin(Side.REMOTE) == []
    assert sent(splice, Side.REMOTE, b"still here") == [Flush(Side.HOST)]
    assert not splice.over


def test_after_both_fins_both_sides_are_closed() -> None:
    splice = relay()
    splice.finished(Side.HOST)
    splice.wrote_fin(Side.REMOTE)
    splice.finished(Side.REMOTE)
    assert splice.wrote_fin(Side.HOST) == [Close()]
    assert splice.over
    assert splice.turn() == []
    assert len(splice.flow.core.engine.flows.table) == 0


@pytest.mark.parametrize("side", list(Side))
def test_a_reset_is_carried_over_at_once_and_is_no_fin(side: Side) -> None:
    splice = relay()
    sent(splice, side, b"waiting")
    assert splice.failed(side) == [Reset()]
    assert splice.output(side.other) == []
    assert splice.failed(side) == []
    assert splice.over


def test_a_side_is_read_only_as_fast_as_the_other_takes() -> None:
    splice = relay()
    piece = bytes(HIGH_WATER // 2)
    assert sent(splice, Side.HOST, piece) == [Flush(Side.REMOTE)]
    assert sent(splice, Side.HOST, piece) == [Flush(Side.REMOTE), Read(Side.HOST, False)]
    assert splice.wrote(Side.REMOTE, 1) == [Flush(Side.REMOTE), Read(Side.HOST, True)]
    assert sent(splice, Side.REMOTE, b"x") == [Flush(Side.HOST), Flush(Side.REMOTE)]


def test_urgent_octets_are_written_by_themselves() -> None:
    splice = relay()
    sent(splice, Side.HOST, b"ab")
    splice.received(Side.HOST, bytearray(b"!"), 0, 1, int(StreamFlag.SEND_EXPEDITED))
    sent(splice, Side.HOST, b"cd")
    written = []
    while pieces := splice.output(Side.REMOTE):
        written.append((b"".join(piece.view() for piece in pieces), pieces[0].urgent))
        splice.wrote(Side.REMOTE, sum(piece.length for piece in pieces))
    assert written == [(b"ab", False), (b"!", True), (b"cd", False)]


@pytest.mark.rule("ST-31")
def test_a_dropped_connection_resets_both_sides() -> None:
    splice = relay()
    splice.flow.drop()
    assert splice.turn() == [Reset()]
    assert splice.turn() == []


@pytest.mark.rule("ST-10", "ST-6")
def test_octets_behind_an_injected_fin_are_lost_and_the_connection_can_still_end() -> None:
    bench = StreamBench()
    handle = bench.core.create_handle(0, 1)

    def end(seen: Indication) -> None:
        if seen.stream.stream_data.octets == b"end":
            handle.stream_inject(
                None, lambda *_: None, flow_id=seen.flow_handle, callout_id=registered.callout_id,
                layer=seen.layer, stream_flags=int(StreamFlag.SEND | StreamFlag.SEND_DISCONNECT), data_length=0,
            )  # fmt: skip
            seen.block()
            return
        seen.permit()

    registered, _ = bench.add(end)
    bench.send(Side.HOST, b"one", b"end", b"two")
    assert bench.read(Side.REMOTE) == b"one"
    assert bench.ended[Side.REMOTE]
    bench.finish(Side.REMOTE)
    bench.finish(Side.HOST)
    assert bench.closed
    assert not list(bench.core.violations)


def test_what_is_read_and_not_written_yet_leaves_the_less_room() -> None:
    splice = relay()
    assert splice.room(Side.HOST) == MOST_WAITING
    sent(splice, Side.HOST, bytes(HIGH_WATER))
    assert (splice.room(Side.HOST), splice.room(Side.REMOTE)) == (MOST_WAITING - HIGH_WATER, MOST_WAITING)
    splice.wrote(Side.REMOTE, 1000)
    assert splice.room(Side.HOST) == MOST_WAITING - HIGH_WATER + 1000
    sent(splice, Side.HOST, bytes(MOST_WAITING))
    assert splice.room(Side.HOST) == 1
