"""What a stream callout is shown, and what its answers do: the waterfall of one direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emulator.filters import Condition, MatchType
from emulator.indication import Indication
from emulator.splice import Side
from emulator.stream import IoPacket, clone_stream_data, discard_cloned
from emulator.stream_bench import StreamBench
from emulator.stream_stage import BUFFER_LIMIT
from emulator.wfptypes import Action, CalloutFlag, ClassifyOutFlag, FilterFlag, StreamFlag, WindowsVersion

Answer = Callable[[Indication, IoPacket], None]

TYPES = [Action.CALLOUT_TERMINATING, Action.CALLOUT_UNKNOWN, Action.CALLOUT_INSPECTION]
NO_MORE_DATA = int(ClassifyOutFlag.NO_MORE_DATA)


class Scripted:
    """A callout that answers by a script, permits when that has ended, and remembers what it was shown."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.shown: list[bytes] = []
        self.flags: list[int] = []
        self.missed: list[int] = []
        self.out_flags: list[int] = []
        self.rights: list[int] = []

    def __call__(self, seen: Indication) -> None:
        packet: IoPacket = seen.stream
        self.shown.append(packet.stream_data.octets)
        self.flags.append(packet.stream_data.flags)
        self.missed.append(packet.missed_bytes)
        self.out_flags.append(seen.out_flags)
        self.rights.append(seen.rights)
        if self.answers:
            self.answers.pop(0)(seen, packet)
        else:
            seen.permit()


def permit(octets: int = 0) -> Answer:
    def answer(seen: Indication, packet: IoPacket) -> None:
        seen.permit()
        packet.count_bytes_enforced = octets

    return answer


def block(octets: int = 0) -> Answer:
    def answer(seen: Indication, packet: IoPacket) -> None:
        seen.block()
        packet.count_bytes_enforced = octets

    return answer


def more(octets: int) -> Answer:
    def answer(seen: Indication, packet: IoPacket) -> None:
        packet.need_more(octets)

    return answer


def act(action: Action) -> Answer:
    def answer(seen: Indication, packet: IoPacket) -> None:
        seen.action = int(action)

    return answer


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


@pytest.mark.rule("ST-27")
def test_a_stream_action_makes_the_action_void() -> None:
    bench = StreamBench()

    def both(seen: Indication, packet: IoPacket) -> None:
        seen.block()
        packet.need_more(2)

    callout = Scripted(both)
    bench.add(callout)
    bench.send(Side.HOST, b"ab", b"cd")
    assert callout.shown == [b"ab", b"abcd"]
    assert bench.read(Side.REMOTE) == b"abcd"


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


@pytest.mark.rule("ST-31", "FL-5", "CO-31")
@pytest.mark.parametrize("kind", TYPES)
def test_drop_connection_resets_unless_the_filter_only_inspects(kind: Action) -> None:
    bench = StreamBench()
    deleted: list[Any] = []

    def drop(seen: Indication) -> None:
        seen.stream.drop_connection()

    registered, _ = bench.add(drop, action=kind, flow_delete=lambda *args: deleted.append(args))
    bench.core.engine.flows.associate(bench.flow.number, bench.layer, registered.callout_id, "mine")
    bench.send(Side.HOST, b"ab")
    inspects = kind == Action.CALLOUT_INSPECTION
    assert bench.reset is not inspects
    assert bench.read(Side.REMOTE) == (b"ab" if inspects else b"")
    assert deleted == ([] if inspects else [(bench.layer, registered.callout_id, "mine")])


@pytest.mark.rule("ST-33")
def test_allow_connection_ends_the_classifies_of_this_callout_alone() -> None:
    bench = StreamBench()

    def allow(seen: Indication, packet: IoPacket) -> None:
        packet.allow_connection()

    first, second = Scripted(allow), Scripted()
    bench.add(first, weight=9)
    bench.add(second, weight=8)
    bench.send(Side.HOST, b"ab", b"cd")
    bench.send(Side.REMOTE, b"ef")
    assert first.shown == [b"ab"]
    assert second.shown == [b"ab", b"cd", b"ef"]
    assert bench.read(Side.REMOTE) == b"abcd"


@pytest.mark.rule("ST-34", "ST-24", "FI-1")
def test_blocked_octets_never_reach_the_callouts_below() -> None:
    bench = StreamBench()
    upper, lower = Scripted(permit(2), block(5), permit()), Scripted()
    bench.add(lower, weight=1)
    bench.add(upper, weight=2)
    bench.send(Side.HOST, b"ab_____cd")
    bench.send(Side.HOST, b"ef")
    assert lower.shown == [b"ab", b"cd", b"ef"]
    assert lower.missed == [0, 5, 0]
    assert bench.read(Side.REMOTE) == b"abcdef"


@pytest.mark.rule("ST-34")
def test_the_right_to_write_means_nothing_at_the_stream_layer() -> None:
    bench = StreamBench()
    upper, lower = Scripted(), Scripted(block())
    bench.add(upper, weight=2)
    bench.add(lower, weight=1)
    bench.send(Side.HOST, b"abc")
    assert (upper.rights, lower.rights) == ([1], [0])
    assert bench.read(Side.REMOTE) == b""
    assert not list(bench.core.violations)


@pytest.mark.rule("CO-16", "ST-34")
@pytest.mark.parametrize("action", [Action.NONE, Action.CONTINUE, Action.PERMIT, Action.BLOCK])
@pytest.mark.parametrize("kind", TYPES)
def test_what_an_action_counts_for_depends_on_the_filters_type(kind: Action, action: Action) -> None:
    bench = StreamBench()
    below = Scripted()
    bench.add(Scripted(act(action)), action=kind, weight=2)
    bench.add(below, weight=1)
    bench.send(Side.HOST, b"abc")
    blocked = {
        Action.CALLOUT_TERMINATING: action != Action.PERMIT,
        Action.CALLOUT_UNKNOWN: action == Action.BLOCK,
        Action.CALLOUT_INSPECTION: False,
    }[kind]
    assert below.shown == ([] if blocked else [b"abc"])
    assert bench.read(Side.REMOTE) == (b"" if blocked else b"abc")


@pytest.mark.rule("FI-1", "ST-34")
def test_permit_ends_its_sublayer_and_continue_does_not() -> None:
    bench = StreamBench()
    first, second = Scripted(permit(2), act(Action.CONTINUE)), Scripted()
    _, item = bench.add(first, action=Action.CALLOUT_UNKNOWN)
    bench.add(second, sublayer=item.sublayer)
    bench.send(Side.HOST, b"abcd")
    assert first.shown == [b"abcd", b"cd"]
    assert second.shown == [b"cd"]
    assert bench.read(Side.REMOTE) == b"abcd"


def test_octets_that_pass_a_filter_by_do_not_overtake_those_it_holds() -> None:
    bench = StreamBench()
    first = Scripted(act(Action.CONTINUE), permit())
    second = Scripted(more(1))
    _, item = bench.add(first, action=Action.CALLOUT_UNKNOWN)
    bench.add(second, sublayer=item.sublayer)
    bench.send(Side.HOST, b"ab", b"cd")
    assert second.shown == [b"ab", b"ab"]
    assert second.out_flags == [0, NO_MORE_DATA]
    assert bench.read(Side.REMOTE) == b"abcd"


@pytest.mark.rule("ST-35")
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


@pytest.mark.rule("ST-36")
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


@pytest.mark.rule("ST-42", "FL-9")
def test_a_conditional_callout_sees_the_flows_with_its_context_alone() -> None:
    bench = StreamBench()
    callout = Scripted()
    registered, _ = bench.add(callout, flags=CalloutFlag.CONDITIONAL_ON_FLOW, flow_delete=lambda *_: None)
    bench.send(Side.HOST, b"before")
    bench.core.engine.flows.associate(bench.flow.number, bench.layer, registered.callout_id, "context")
    bench.send(Side.HOST, b"with")
    bench.core.engine.flows.remove(bench.flow.number, bench.layer, registered.callout_id)
    bench.send(Side.HOST, b"after")
    assert callout.shown == [b"with"]
    assert bench.read(Side.REMOTE) == b"beforewithafter"


@pytest.mark.rule("FL-4", "FL-10")
def test_a_context_removed_inside_classify_is_deleted_after_it() -> None:
    bench = StreamBench()
    order: list[Any] = []

    def classify(seen: Indication) -> None:
        status = bench.core.engine.flows.remove(bench.flow.number, bench.layer, registered.callout_id)
        order.append(status.name)
        order.append("classify returns")
        seen.permit()

    registered, _ = bench.add(classify, flow_delete=lambda *_: order.append("deleted"))
    bench.core.engine.flows.associate(bench.flow.number, bench.layer, registered.callout_id, 1)
    bench.send(Side.HOST, b"x")
    assert order == ["PENDING", "classify returns", "deleted"]


@pytest.mark.rule("CO-3")
@pytest.mark.parametrize(
    ("kind", "flags", "read"),
    [
        (Action.CALLOUT_TERMINATING, FilterFlag(0), b""),
        (Action.CALLOUT_UNKNOWN, FilterFlag(0), b""),
        (Action.CALLOUT_TERMINATING, FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED, b"abc"),
        (Action.CALLOUT_INSPECTION, FilterFlag(0), b"abc"),
        (Action.BLOCK, FilterFlag(0), b""),
        (Action.PERMIT, FilterFlag(0), b"abc"),
    ],
)
def test_a_filter_without_a_callout_decides_by_its_type(kind: Action, flags: FilterFlag, read: bytes) -> None:
    bench = StreamBench()
    bench.add_filter(action=kind, filter_flags=flags)
    bench.send(Side.HOST, b"abc")
    assert bench.read(Side.REMOTE) == read


@pytest.mark.rule("CO-11")
def test_a_filter_whose_conditions_do_not_match_is_not_asked() -> None:
    bench = StreamBench()
    callout, other = Scripted(), Scripted()
    bench.add(callout, conditions=[Condition("IP_REMOTE_PORT", MatchType.EQUAL, 8888)])
    bench.add(other, conditions=[Condition("IP_REMOTE_PORT", MatchType.EQUAL, 8889)])
    bench.send(Side.HOST, b"abc")
    assert (callout.shown, other.shown) == ([b"abc"], [])


def test_a_classify_that_raises_is_told_and_a_terminating_one_blocks() -> None:
    bench = StreamBench()

    def broken(seen: Indication) -> None:
        raise ZeroDivisionError("a fault of the driver")

    bench.add(broken)
    bench.send(Side.HOST, b"abc")
    assert bench.read(Side.REMOTE) == b""
    assert bench.core.violations.rules() == ["GE-9"]


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
