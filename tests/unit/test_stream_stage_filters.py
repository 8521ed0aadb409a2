"""Which filters decide about a stream, in which order, and what their types and actions count for."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.filters import Condition, MatchType
from emulator.indication import Indication
from emulator.splice import Side
from emulator.stream import IoPacket
from emulator.stream_bench import StreamBench
from emulator.wfptypes import Action, CalloutFlag, ClassifyOutFlag, FilterFlag
from tests.unit.scripted import Scripted, act, block, more, permit

TYPES = [Action.CALLOUT_TERMINATING, Action.CALLOUT_UNKNOWN, Action.CALLOUT_INSPECTION]
NO_MORE_DATA = int(ClassifyOutFlag.NO_MORE_DATA)


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
