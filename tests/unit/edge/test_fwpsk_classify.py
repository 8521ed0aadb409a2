"""What a classifyFn decides with: classifyOut and the filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from emulator.core import Core
from emulator.edge.fwpsk_classify import FWPS_CLASSIFY_OUT0, FWPS_FILTER0, as_classify
from emulator.filters import UNIVERSAL, Condition, Filter, MatchType, SubLayer
from emulator.headers import build_ip_header
from emulator.indication import Indication, OwnIndication
from emulator.interfaces import InterfaceTable
from emulator.wdk import (
    FWP_ACTION_BLOCK,
    FWP_ACTION_CALLOUT_TERMINATING,
    FWP_ACTION_CONTINUE,
    FWP_ACTION_NONE,
    FWP_ACTION_PERMIT,
    FWPS_CLASSIFY_OUT_FLAG_ABSORB,
    FWPS_CLASSIFY_OUT_FLAG_BUFFER_LIMIT_REACHED,
    FWPS_CLASSIFY_OUT_FLAG_NO_MORE_DATA,
    FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT,
    FWPS_LAYER_IPFORWARD_V4,
    FWPS_LAYER_OUTBOUND_IPPACKET_V4,
    FWPS_RIGHT_ACTION_WRITE,
)

PACKET = build_ip_header(4, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 17, bytes([3, 232, 0, 53, 0, 8, 0, 0]))


def indication(core: Core, layer: int = FWPS_LAYER_OUTBOUND_IPPACKET_V4) -> Indication:
    memory = bytearray(PACKET)
    item = core.ownership.create_from(PACKET)
    return OwnIndication(core, layer, False, item, memory, 0, len(memory), 2, InterfaceTable())


def new_core() -> Core:
    return Core(lambda injection: None)


@pytest.mark.rule("CO-13")
def test_the_write_right_can_be_cleared_and_not_set_again() -> None:
    seen = indication(new_core())
    out = FWPS_CLASSIFY_OUT0(seen)
    assert out.rights == FWPS_RIGHT_ACTION_WRITE
    out.rights |= FWPS_RIGHT_ACTION_WRITE
    assert seen.rights == 1
    out.rights &= ~FWPS_RIGHT_ACTION_WRITE
    assert (out.rights, seen.rights) == (0, 0)
    out.rights |= FWPS_RIGHT_ACTION_WRITE
    assert (out.rights, seen.rights) == (0, 0)


@pytest.mark.rule("CO-13")
def test_of_the_flags_a_callout_writes_absorb_alone() -> None:
    seen = indication(new_core())
    out = FWPS_CLASSIFY_OUT0(seen)
    out.flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB | FWPS_CLASSIFY_OUT_FLAG_NO_MORE_DATA
    assert (out.flags, seen.out_flags) == (FWPS_CLASSIFY_OUT_FLAG_ABSORB, 1)
    seen.out_flags |= FWPS_CLASSIFY_OUT_FLAG_BUFFER_LIMIT_REACHED
    out.flags = 0
    assert out.flags == FWPS_CLASSIFY_OUT_FLAG_BUFFER_LIMIT_REACHED


@pytest.mark.rule("CO-13")
@pytest.mark.parametrize("action", [FWP_ACTION_BLOCK, FWP_ACTION_PERMIT, FWP_ACTION_CONTINUE, FWP_ACTION_NONE])
def test_an_action_written_is_the_indication_s(action: int) -> None:
    seen = indication(new_core())
    out = FWPS_CLASSIFY_OUT0(seen)
    out.actionType = action
    out.outContext = 5
    assert (seen.action, out.actionType, out.outContext, out.reserved) == (action, action, 5, 0)


@pytest.mark.rule("CO-12", "CO-13")
def test_a_decision_written_after_classify_is_a_violation() -> None:
    core = new_core()
    seen = indication(core)
    out = FWPS_CLASSIFY_OUT0(seen)
    core.engine.classify(seen)
    assert list(core.violations) == []
    out.actionType = FWP_ACTION_BLOCK
    out.rights = 0
    out.flags = FWPS_CLASSIFY_OUT_FLAG_ABSORB
    assert core.violations.rules() == ["CO-12"] * 3
    assert (seen.action, seen.rights, seen.out_flags) == (FWP_ACTION_PERMIT, 1, 0)


# -- with the engine ------------------------------------------------------------------------------------------


class Chain:
    """Two sublayers' worth of callouts, the first heavier; `decide` of each gets classifyOut."""

    def __init__(self, *decisions: Callable[[Any], None]) -> None:
        self.core = new_core()
        self.core.readiness = lambda: None
        self.entry: list[tuple[int, int]] = []
        for weight, decide in zip((200, 100), decisions, strict=True):
            key = uuid4()
            self.core.engine.callouts.register(as_classify(self.classify_with(decide), 0), key=key)
            self.core.engine.add_filter(
                Filter(
                    FWPS_LAYER_OUTBOUND_IPPACKET_V4,
                    FWP_ACTION_CALLOUT_TERMINATING,
                    callout_key=key,
                    weight=weight,
                    sublayer=self.sublayer(weight),
                )
            )

    def sublayer(self, weight: int) -> UUID:
        return self.core.engine.add_sublayer(SubLayer(uuid4(), weight)).key

    def classify_with(self, decide: Callable[[Any], None]) -> Callable[..., None]:
        def classify(fixed: Any, meta: Any, data: Any, item: Any, context: Any, out: Any) -> None:
            self.entry.append((out.actionType, out.rights))
            decide(out)

        return classify

    def run(self) -> Indication:
        seen = indication(self.core)
        self.core.engine.classify(seen)
        return seen


def hard_permit(out: Any) -> None:
    out.actionType = FWP_ACTION_PERMIT
    out.rights &= ~FWPS_RIGHT_ACTION_WRITE


def hard_block(out: Any) -> None:
    out.actionType = FWP_ACTION_BLOCK
    out.rights &= ~FWPS_RIGHT_ACTION_WRITE


def soft(action: int) -> Callable[[Any], None]:
    def decide(out: Any) -> None:
        out.actionType = action

    return decide


def seize(action: int) -> Callable[[Any], None]:
    """Set the right again, which is ignored, and decide."""

    def decide(out: Any) -> None:
        out.rights = FWPS_RIGHT_ACTION_WRITE
        out.actionType = action

    return decide


@pytest.mark.rule("CO-13", "CO-14", "CO-15", "DC-4")
@pytest.mark.parametrize(
    ("first", "second", "action", "violations"),
    [
        (hard_permit, soft(FWP_ACTION_BLOCK), FWP_ACTION_BLOCK, []),
        (hard_permit, soft(FWP_ACTION_CONTINUE), FWP_ACTION_PERMIT, ["CO-14"]),
        (hard_permit, soft(FWP_ACTION_PERMIT), FWP_ACTION_PERMIT, []),
        (hard_block, soft(FWP_ACTION_PERMIT), FWP_ACTION_BLOCK, ["CO-14"]),
        (hard_block, seize(FWP_ACTION_PERMIT), FWP_ACTION_BLOCK, ["CO-14"]),
        (soft(FWP_ACTION_BLOCK), soft(FWP_ACTION_PERMIT), FWP_ACTION_PERMIT, []),
        (soft(FWP_ACTION_PERMIT), soft(FWP_ACTION_BLOCK), FWP_ACTION_BLOCK, []),
    ],
)
def test_what_two_callouts_decide_together(
    first: Callable[[Any], None], second: Callable[[Any], None], action: int, violations: list[str]
) -> None:
    chain = Chain(first, second)
    assert chain.run().action == action
    assert chain.core.violations.rules() == violations


@pytest.mark.rule("CO-14")
def test_the_second_callout_sees_that_the_right_is_gone() -> None:
    chain = Chain(hard_permit, soft(FWP_ACTION_BLOCK))
    chain.run()
    assert [rights for _, rights in chain.entry] == [1, 0]


# -- the filter -----------------------------------------------------------------------------------------------


def test_a_filter_is_shown_with_its_members() -> None:
    core = new_core()
    key = uuid4()
    callout = core.engine.callouts.register(lambda seen: None, key=key)
    item = Filter(
        FWPS_LAYER_IPFORWARD_V4,
        FWP_ACTION_CALLOUT_TERMINATING,
        (Condition("IP_SOURCE_ADDRESS", MatchType.EQUAL, "10.0.0.1"),),
        key,
        weight=5,
        flags=FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT,
        context=0x1234,
    )
    core.engine.add_filter(item)
    shown = FWPS_FILTER0(core, item)
    assert (shown.filterId, shown.weight.uint64, shown.subLayerWeight) == (item.filter_id, 5, UNIVERSAL.weight)
    assert (shown.flags, shown.numFilterConditions, shown.context) == (1, 1, 0x1234)
    assert (shown.action.type, shown.action.calloutId) == (FWP_ACTION_CALLOUT_TERMINATING, callout.callout_id)
    assert shown.providerContext is None
    item.callout = None
    assert shown.action.calloutId == 0


@pytest.mark.rule("CO-12")
def test_layer_data_is_the_list_or_what_a_stream_layer_gave_or_nothing() -> None:
    core = new_core()
    given: list[Any] = []
    classify = as_classify(lambda *arguments: given.append(arguments[2]), 1)
    seen = indication(core)
    seen.filter = Filter(FWPS_LAYER_OUTBOUND_IPPACKET_V4, FWP_ACTION_CALLOUT_TERMINATING)
    item = seen.net_buffer_list
    classify(seen)
    seen.net_buffer_list = None
    classify(seen)
    seen.stream = "stream data"
    classify(seen)
    assert given[:2] == [item, None]
    assert len(given) == 3
    assert given[2] is not None


