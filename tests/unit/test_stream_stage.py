"""What a stream callout is shown, and what its answers do: the waterfall of one direction."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.indication import Indication
from emulator.splice import Side
from emulator.stream import IoPacket, clone_stream_data, discard_cloned
from emulator.stream_bench import StreamBench
from emulator.stream_stage import BUFFER_LIMIT
from emulator.wfptypes import Action, ClassifyOutFlag, StreamFlag, WindowsVersion
from tests.unit.scripted import Answer, Scripted, block, more, permit

NO_MORE_DATA = int(ClassifyOutFlag.NO_MORE_DATA)


@pytest.mark.rule("ST-21", "LA-34")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("outbound", [True, False])
def test_direction_is_the_connections_and_the_flag_is_the_datas(version: int, outbound: bool) -> None:
    bench = StreamBench(version=version, outbound=outbound)
    found: list[Any] = []

    def classify(seen: Indication) -> None:
        values = {name: seen.value(name) for name in ("DIRECTION", "IP_LOCAL_PORT", "IP_REMOTE_PORT")}
        found.append((values, int(seen.stream.stream_data.flags)))
        assert seen.value("IP_LOCAL_ADDRESS") != seen.value("IP_REMOTE_ADDRESS")
        seen.permit()

    bench.add(classify)
    bench.send(Side.HOST, b"to the remote end")
    bench.send(Side.REMOTE, b"from it")
    ends = {"DIRECTION": int(not outbound), "IP_LOCAL_PORT": 50000, "IP_REMOTE_PORT": 8888}
    assert found == [(ends, StreamFlag.SEND), (ends, StreamFlag.RECEIVE)]


@pytest.mark.rule("ST-25")
@pytest.mark.parametrize(
    ("answer", "shown", "read"),
    [
        (permit(3), [b"0123456789", b"3456789"], b"0123456789"),
        (permit(0), [b"0123456789"], b"0123456789"),
        (permit(99), [b"0123456789"], b"0123456789"),
        (block(3), [b"0123456789", b"3456789"], b"3456789"),
        (block(0), [b"0123456789"], b""),
        (block(99), [b"0123456789"], b""),
    ],
)
def test_the_action_is_for_the_enforced_octets_and_the_rest_comes_again(
    answer: Answer, shown: list[bytes], read: bytes
) -> None:
    bench = StreamBench()
    callout = Scripted(answer)
    bench.add(callout)
    bench.send(Side.HOST, b"0123456789")
    assert callout.shown == shown
    assert bench.read(Side.REMOTE) == read


@pytest.mark.rule("ST-27", "DC-15")
@pytest.mark.parametrize("action", [Action.BLOCK, Action.PERMIT, Action.CONTINUE, Action.NONE])
def test_a_stream_action_makes_the_action_void(action: Action) -> None:
    bench = StreamBench()

    def both(seen: Indication, packet: IoPacket) -> None:
        seen.action = int(action)
        packet.need_more(2)

    callout = Scripted(both)
    bench.add(callout)
    bench.send(Side.HOST, b"ab", b"cd")
    assert callout.shown == [b"ab", b"abcd"]
    assert bench.read(Side.REMOTE) == b"abcd"


@pytest.mark.rule("ST-31", "DC-16")
@pytest.mark.parametrize(
    ("action", "drops"),
    [(Action.CALLOUT_UNKNOWN, True), (Action.CALLOUT_TERMINATING, True), (Action.CALLOUT_INSPECTION, False)],
)
def test_a_callout_drops_the_connection_unless_its_filter_inspects(action: Action, drops: bool) -> None:
    bench = StreamBench()
    bench.add(lambda seen: seen.stream.drop_connection(), action=action)
    bench.send(Side.HOST, b"ab")
    assert bench.reset is drops
    assert bench.read(Side.REMOTE) == (b"" if drops else b"ab")


@pytest.mark.rule("ST-28")
def test_need_more_data_counts_what_is_additional() -> None:
    bench = StreamBench()
    callout = Scripted(more(6))
    bench.add(callout)
    bench.send(Side.HOST, b"abcd", b"efgh", b"i")
    assert callout.shown == [b"abcd"]
    assert bench.read(Side.REMOTE) == b""
    bench.send(Side.HOST, b"jk")
    assert callout.shown == [b"abcd", b"abcdefghijk"]
    assert bench.read(Side.REMOTE) == b"abcdefghijk"


@pytest.mark.rule("ST-28")
def test_a_required_count_without_need_more_data_is_a_violation() -> None:
    bench = StreamBench()

    def wrong(seen: Indication, packet: IoPacket) -> None:
        seen.permit()
        packet.count_bytes_required = 4

    bench.add(Scripted(wrong))
    bench.send(Side.HOST, b"ab")
    assert bench.core.violations.rules() == ["ST-28"]
    assert bench.read(Side.REMOTE) == b"ab"


@pytest.mark.rule("ST-29")
def test_at_the_limit_the_callout_must_decide() -> None:
    bench = StreamBench()
    piece = bytes(1 << 20)
    callout = Scripted(more(BUFFER_LIMIT * 2))
    bench.add(callout)
    for _ in range(7):
        bench.send(Side.HOST, piece)
    assert len(callout.shown) == 1
    bench.send(Side.HOST, piece)
    assert [len(shown) for shown in callout.shown] == [1 << 20, BUFFER_LIMIT]
    assert callout.out_flags == [0, ClassifyOutFlag.BUFFER_LIMIT_REACHED]
    assert len(bench.read(Side.REMOTE)) == BUFFER_LIMIT
    assert not list(bench.core.violations)


@pytest.mark.rule("ST-29")
def test_asking_for_more_than_the_limit_drops_the_connection() -> None:
    bench = StreamBench()
    bench.add(Scripted(*[more(BUFFER_LIMIT)] * 3))
    for _ in range(9):
        if not bench.reset:
            bench.send(Side.HOST, bytes(1 << 20))
    assert bench.reset
    assert bench.core.violations.rules() == ["ST-29"]


@pytest.mark.rule("ST-30")
def test_the_end_of_the_stream_ends_the_wait_for_more() -> None:
    bench = StreamBench()
    callout = Scripted(more(10))
    bench.add(callout)
    bench.send(Side.HOST, b"abcd", b"ef")
    bench.finish(Side.HOST)
    assert callout.shown == [b"abcd", b"abcdef", b""]
    assert callout.out_flags == [0, NO_MORE_DATA, NO_MORE_DATA]
    assert bench.read(Side.REMOTE) == b"abcdef"
    assert bench.ended[Side.REMOTE]
    assert not list(bench.core.violations)


@pytest.mark.rule("ST-30")
def test_asking_for_more_at_the_end_lets_what_there_is_pass_and_is_told() -> None:
    bench = StreamBench()
    bench.add(Scripted(more(6), more(6)))
    bench.send(Side.HOST, b"abcd")
    bench.finish(Side.HOST)
    assert bench.read(Side.REMOTE) == b"abcd"
    assert bench.ended[Side.REMOTE]
    assert bench.core.violations.rules() == ["ST-30"]


@pytest.mark.rule("ST-35", "DC-11")
@pytest.mark.parametrize(("side", "flags"), [
    (Side.HOST, StreamFlag.SEND | StreamFlag.SEND_DISCONNECT),
    (Side.REMOTE, StreamFlag.RECEIVE | StreamFlag.RECEIVE_DISCONNECT),
])  # fmt: skip
def test_a_fin_is_an_empty_indication_of_its_own(side: Side, flags: int) -> None:
    bench = StreamBench()
    callout = Scripted()
    bench.add(callout)
    bench.send(side, b"ab")
    bench.finish(side)
    assert callout.shown == [b"ab", b""]
    assert callout.flags[1] == flags
    assert callout.out_flags == [0, NO_MORE_DATA]
    assert bench.ended == {side: False, side.other: True}


@pytest.mark.rule("ST-36", "DC-11")
@pytest.mark.parametrize("profile", [WindowsVersion.VISTA_SP1, WindowsVersion.WINDOWS_7])
@pytest.mark.parametrize(
    ("side", "flag"), [(Side.HOST, StreamFlag.SEND_ABORT), (Side.REMOTE, StreamFlag.RECEIVE_ABORT)]
)
def test_a_reset_is_indicated_from_windows_7_on(side: Side, flag: int, profile: WindowsVersion) -> None:
    bench = StreamBench(profile=profile)
    deleted: list[Any] = []
    callout = Scripted()
    registered, _ = bench.add(callout, flow_delete=lambda *args: deleted.append(args[2]))
    bench.core.engine.flows.associate(bench.flow.number, bench.layer, registered.callout_id, 7)
    bench.fail(side)
    assert [value & flag for value in callout.flags] == ([flag] if profile >= WindowsVersion.WINDOWS_7 else [])
    assert deleted == [7]
    assert bench.reset
    assert not any(bench.ended.values())


@pytest.mark.rule("ST-38")
def test_permitting_while_an_earlier_clone_is_pending_is_a_violation() -> None:
    bench = StreamBench()
    chains: list[Any] = []

    def pend(seen: Indication, packet: IoPacket) -> None:
        chains.append(clone_stream_data(bench.core.ownership, packet.stream_data))
        seen.block()

    bench.add(Scripted(pend, permit()))
    bench.send(Side.HOST, b"first")
    assert not list(bench.core.violations)
    bench.send(Side.HOST, b"second")
    assert bench.core.violations.rules() == ["ST-38"]
    discard_cloned(bench.core.ownership, chains[0])


@pytest.mark.rule("ST-45")
def test_a_block_leaves_the_connection_healthy() -> None:
    bench = StreamBench()
    bench.add(Scripted(block(), block()))
    bench.send(Side.REMOTE, b"never seen")
    bench.send(Side.HOST, b"nor this")
    bench.send(Side.HOST, b"but this")
    assert bench.read(Side.HOST) == b""
    assert bench.read(Side.REMOTE) == b"but this"
    assert bench.reading == {Side.HOST: True, Side.REMOTE: True}
    assert not bench.reset


def test_urgent_octets_are_shown_alone() -> None:
    bench = StreamBench()
    callout = Scripted(more(1))
    bench.add(callout, conditions=[])
    bench.send(Side.REMOTE, b"ab", b"cd")
    bench.send(Side.REMOTE, b"!", flags=int(StreamFlag.RECEIVE_EXPEDITED))
    bench.send(Side.REMOTE, b"ef")
    assert callout.shown == [b"ab", b"abcd", b"!", b"ef"]
    assert callout.flags[2] & StreamFlag.RECEIVE_EXPEDITED
    assert bytes(bench.urgent[Side.HOST]) == b"!"
    assert bench.read(Side.HOST) == b"abcd!ef"
