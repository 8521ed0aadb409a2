"""Arbitration: who is asked in which order, and whose decision counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from emulator.filters import INSPECTION as INSPECTION_SUBLAYER
from emulator.filters import UNIVERSAL, SubLayer, WeightRange
from emulator.indication import Indication
from emulator.layers import Layer, layer_info
from emulator.wfptypes import Action, AddressFamily, ClassifyOutFlag, FilterFlag
from tests.unit.fakehost import INSPECTION, TERMINATING, UNKNOWN, FakeHost, layer, of_family

HERE = Layer.OUTBOUND_IPPACKET_V4
BLOCK, PERMIT, CONTINUE, NONE = Action.BLOCK, Action.PERMIT, Action.CONTINUE, Action.NONE
Classify = Callable[[Indication], None]


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def sublayer(host: FakeHost, weight: int) -> SubLayer:
    return host.engine.add_sublayer(SubLayer(uuid4(), weight))


def setting(action: int, rights: int | None = None) -> Classify:
    """A callout that writes its answer as a driver does."""

    def classify(seen: Indication) -> None:
        seen.action = action
        if rights is not None:
            seen.rights = rights

    return classify


def noting(calls: list[str], name: str, then: Classify = lambda seen: None) -> Classify:
    def classify(seen: Indication) -> None:
        calls.append(name)
        then(seen)

    return classify


# -- order ----------------------------------------------------------------------------------------------------


@pytest.mark.rule("FI-2")
def test_without_filters_everything_passes(host: FakeHost) -> None:
    seen = host.indication(HERE)
    assert host.show(seen)
    assert (seen.action, seen.blocked_by, seen.absorbed, seen.rights) == (PERMIT, 0, False, 1)


@pytest.mark.rule("FI-1")
@pytest.mark.parametrize("upside_down", [False, True])
def test_the_heavier_filter_of_a_sublayer_decides(host: FakeHost, upside_down: bool) -> None:
    weights = (2, 1) if upside_down else (1, 2)
    blocks = host.filter(HERE, action=BLOCK, weight=weights[0])
    host.filter(HERE, action=PERMIT, weight=weights[1])
    seen = host.indication(HERE)
    assert host.show(seen) is not upside_down
    assert seen.blocked_by == (blocks.filter_id if upside_down else 0)


@pytest.mark.rule("FI-1", "FI-3")
def test_filters_are_asked_by_weight_and_the_older_first(host: FakeHost) -> None:
    calls: list[str] = []
    for name, weight in (
        ("none", None), ("range 0", WeightRange(0)), ("range 15", WeightRange(15)), ("exact", 2**59),
        ("most", 2**64 - 1), ("equal", 2**59), ("range 3", WeightRange(3)), ("least", 0), ("younger", None),
    ):  # fmt: skip
        host.filter(HERE, noting(calls, name), weight=weight)
    host.show(host.indication(HERE))
    assert calls == [
        "most", "range 15", "range 3", "exact", "equal", "none", "range 0", "younger", "least",
    ]  # fmt: skip


@pytest.mark.rule("FI-1")
@pytest.mark.parametrize(("answer", "goes_on"), [(BLOCK, False), (PERMIT, False), (CONTINUE, True), (NONE, True)])
def test_the_first_decision_ends_a_sublayer(host: FakeHost, answer: Action, goes_on: bool) -> None:
    calls: list[str] = []
    host.filter(HERE, noting(calls, "first", setting(answer)), weight=2)
    host.filter(HERE, noting(calls, "second"), weight=1)
    host.show(host.indication(HERE))
    assert calls == (["first", "second"] if goes_on else ["first"])


@pytest.mark.rule("FI-1", "FI-4")
def test_sublayers_are_asked_by_weight_and_inspection_last(host: FakeHost) -> None:
    calls: list[str] = []
    order = [
        (INSPECTION_SUBLAYER.key, "inspection"), (sublayer(host, 0).key, "0"), (sublayer(host, 0xFFFF).key, "65535"),
        (UNIVERSAL.key, "universal"), (sublayer(host, 1).key, "1"),
    ]  # fmt: skip
    for key, name in order:
        host.filter(HERE, noting(calls, name), sublayer=key, weight=1)
    host.filter(HERE, noting(calls, "default"), weight=0)
    host.show(host.indication(HERE))
    assert calls == ["65535", "universal", "default", "1", "0", "inspection"]


@pytest.mark.rule("CO-11")
def test_only_the_layer_of_a_filter_is_asked(host: FakeHost, family: AddressFamily) -> None:
    calls: list[str] = []
    version = of_family(family)
    for group in ("INBOUND_IPPACKET", "OUTBOUND_IPPACKET", "IPFORWARD"):
        for number in (4, 6):
            host.filter(layer(group, number), noting(calls, f"{group} {number}"))
    host.show(host.indication(layer("IPFORWARD", version)))
    assert calls == [f"IPFORWARD {version}"]


# -- what a callout's answer counts for ------------------------------------------------------------------------

# Filter type, what the callout sets: passes, and whether the next filter of the sublayer is asked.
ANSWERS = [
    (TERMINATING, BLOCK, False, False),
    (TERMINATING, PERMIT, True, False),
    (TERMINATING, CONTINUE, False, False),
    (TERMINATING, NONE, False, False),
    (INSPECTION, BLOCK, True, True),
    (INSPECTION, PERMIT, True, True),
    (INSPECTION, CONTINUE, True, True),
    (INSPECTION, NONE, True, True),
    (UNKNOWN, BLOCK, False, False),
    (UNKNOWN, PERMIT, True, False),
    (UNKNOWN, CONTINUE, True, True),
    (UNKNOWN, NONE, True, True),
]


@pytest.mark.rule("CO-16")
@pytest.mark.parametrize(("kind", "answer", "passes", "goes_on"), ANSWERS)
def test_three_types_and_four_answers(
    host: FakeHost, kind: Action, answer: Action, passes: bool, goes_on: bool
) -> None:
    calls: list[str] = []
    item = host.filter(HERE, setting(answer), kind, weight=2)
    host.filter(HERE, noting(calls, "next"), weight=1)
    seen = host.indication(HERE)
    assert host.show(seen) is passes
    assert bool(calls) is goes_on
    assert seen.blocked_by == (0 if passes else item.filter_id)
    assert seen.rights == 1  # nobody cleared it: all of these are soft
    assert host.rules == []


@pytest.mark.rule("CO-16", "CO-13")
def test_an_inspection_leaves_no_trace(host: FakeHost) -> None:
    def meddles(seen: Indication) -> None:
        seen.block(absorb=True)

    host.filter(HERE, meddles, INSPECTION)
    seen = host.indication(HERE)
    assert host.show(seen)
    assert (seen.rights, seen.out_flags, seen.blocked_by) == (1, 0, 0)


# -- rights ---------------------------------------------------------------------------------------------------


def step(host: FakeHost, kind: str, key: Any) -> None:
    """One filter in a sublayer: plain block, permit, hard permit; or a callout that decides, soft or hard."""
    if kind in "BPH":
        flags = FilterFlag.CLEAR_ACTION_RIGHT if kind == "H" else FilterFlag(0)
        host.filter(HERE, action=BLOCK if kind == "B" else PERMIT, flags=flags, sublayer=key)
        return
    decide: dict[str, Classify] = {
        "b": lambda seen: seen.block(hard=False),
        "k": lambda seen: seen.block(),
        "p": lambda seen: seen.permit(),
        "h": lambda seen: seen.hard_permit(),
        "n": lambda seen: None,
    }
    host.filter(HERE, decide[kind], sublayer=key)


KINDS = "BPHbkphn"
# What two sublayers come to: one row for each first, one column for each second, in the order of KINDS.
PAIRS = {
    "B": "BBBBBBBB",  # a plain block is hard: final
    "P": "BPPBBPPP",  # a plain permit is soft: whatever comes after
    "H": "PPPBBPPP",  # a hard permit: only a callout's block is a veto
    "b": "BPPBBPPB",  # a callout's soft block can be permitted
    "k": "BBBBBBBB",
    "p": "BPPBBPPP",
    "h": "PPPBBPPP",
    "n": "BPPBBPPP",
}


@pytest.mark.rule("FI-2", "CO-14", "CO-15", "CO-19", "FI-5", "DC-4", "DC-6")
@pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, KINDS)))
def test_two_decisions_come_to_one(host: FakeHost, first: str, second: str) -> None:
    for kind, weight in ((first, 2), (second, 1)):
        step(host, kind, sublayer(host, weight).key)
    seen = host.indication(HERE)
    expected = PAIRS[first][KINDS.index(second)]
    assert host.show(seen) is (expected == "P")
    assert seen.action == (PERMIT if expected == "P" else BLOCK)
    assert bool(seen.blocked_by) is (expected == "B")


@pytest.mark.rule("FI-2", "CO-14")
@pytest.mark.parametrize("third", KINDS)
@pytest.mark.parametrize("veto", "bk")
def test_a_veto_is_final(host: FakeHost, veto: str, third: str) -> None:
    for kind, weight in (("h", 3), (veto, 2), (third, 1)):
        step(host, kind, sublayer(host, weight).key)
    assert not host.show(host.indication(HERE))


# Without the right: the decision before, what the callout sets, whether it passes, whether it is a violation.
POWERLESS = [
    (PERMIT, BLOCK, False, False),
    (PERMIT, PERMIT, True, False),
    (PERMIT, CONTINUE, True, True),
    (PERMIT, NONE, True, True),
    (BLOCK, BLOCK, False, False),
    (BLOCK, PERMIT, False, True),
    (BLOCK, CONTINUE, False, True),
    (BLOCK, 0xBAD, False, True),
]


@pytest.mark.rule("CO-14", "DC-4")
@pytest.mark.parametrize(("before", "answer", "passes", "violates"), POWERLESS)
@pytest.mark.parametrize("kind", [TERMINATING, UNKNOWN, INSPECTION])
def test_without_the_right_only_a_veto_counts(
    host: FakeHost, before: Action, answer: int, passes: bool, violates: bool, kind: Action
) -> None:
    found: list[tuple[int, bool]] = []

    def classify(seen: Indication) -> None:
        found.append((seen.action, seen.may_decide))
        seen.action = answer

    host.filter(HERE, setting(before, 0), sublayer=sublayer(host, 2).key)
    host.filter(HERE, classify, kind, sublayer=sublayer(host, 1).key)
    inspects = kind == INSPECTION
    assert host.show(host.indication(HERE)) is ((before == PERMIT) if inspects else passes)
    assert found == [(before, False)]
    assert host.rules == (["CO-14"] if violates and not inspects else [])


@pytest.mark.rule("CO-14")
@pytest.mark.parametrize("before", [PERMIT, BLOCK])
def test_a_callout_that_leaves_everything_as_it_is_breaks_nothing(host: FakeHost, before: Action) -> None:
    host.filter(HERE, setting(before, 0), sublayer=sublayer(host, 2).key)
    host.filter(HERE, lambda seen: None, sublayer=sublayer(host, 1).key)
    assert host.show(host.indication(HERE)) is (before == PERMIT)
    assert host.rules == []


@pytest.mark.rule("CO-13")
def test_a_right_that_is_gone_cannot_be_taken_back(host: FakeHost) -> None:
    calls: list[int] = []
    host.filter(HERE, setting(BLOCK, 0), sublayer=sublayer(host, 3).key)
    host.filter(HERE, setting(BLOCK, 1), sublayer=sublayer(host, 2).key)
    host.filter(HERE, lambda seen: calls.append(seen.rights), sublayer=sublayer(host, 1).key)
    assert not host.show(host.indication(HERE))
    assert calls == [0]


@pytest.mark.rule("CO-15", "FI-5")
@pytest.mark.parametrize("flags", [FilterFlag(0), FilterFlag.CLEAR_ACTION_RIGHT])
def test_the_flag_of_the_filter_makes_a_permit_hard(host: FakeHost, flags: FilterFlag) -> None:
    host.filter(HERE, lambda seen: seen.permit(), sublayer=sublayer(host, 2).key, flags=flags)
    host.filter(HERE, action=BLOCK, sublayer=sublayer(host, 1).key)
    assert host.show(host.indication(HERE)) is bool(flags)


@pytest.mark.rule("CO-3", "FI-5", "FI-2")
@pytest.mark.parametrize("hard", [False, True])
def test_the_permit_of_a_missing_callout_is_soft_unless_said_otherwise(host: FakeHost, hard: bool) -> None:
    flags = FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED | (FilterFlag.CLEAR_ACTION_RIGHT if hard else FilterFlag(0))
    host.filter(HERE, action=TERMINATING, callout_key=uuid4(), sublayer=sublayer(host, 2).key, flags=flags)
    host.filter(HERE, action=BLOCK, sublayer=sublayer(host, 1).key)
    assert host.show(host.indication(HERE)) is hard


@pytest.mark.rule("DC-5", "FI-2")
@pytest.mark.parametrize("decision", "BPHbkph")
def test_every_sublayer_is_asked_whatever_was_decided(host: FakeHost, decision: str) -> None:
    calls: list[str] = []
    step(host, decision, sublayer(host, 3).key)
    host.filter(HERE, noting(calls, "unknown"), sublayer=sublayer(host, 2).key)
    host.filter(HERE, noting(calls, "inspection"), INSPECTION, sublayer=sublayer(host, 1).key)
    host.show(host.indication(HERE))
    assert calls == ["unknown", "inspection"]


# -- absorbing ------------------------------------------------------------------------------------------------

PACKET_LAYERS = [
    item for item in Layer
    if layer_info(item).version and layer_info(item).group in (
        "INBOUND_IPPACKET", "OUTBOUND_IPPACKET", "IPFORWARD", "INBOUND_TRANSPORT", "OUTBOUND_TRANSPORT",
        "DATAGRAM_DATA", "INBOUND_ICMP_ERROR", "OUTBOUND_ICMP_ERROR", "ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT",
        "ALE_FLOW_ESTABLISHED", "STREAM_PACKET",
    )
]  # fmt: skip


@pytest.mark.rule("CO-17", "DC-14")
@pytest.mark.parametrize("where", PACKET_LAYERS)
def test_a_block_is_absorbed_at_packet_layers_but_not_where_discards_are_shown(host: FakeHost, where: Layer) -> None:
    host.filter(where, lambda seen: seen.block(absorb=True))
    seen = host.indication(where)
    assert not host.show(seen)
    allowed = not layer_info(where).discard
    assert seen.absorbed is allowed
    assert host.rules == ([] if allowed else ["CO-17"])


@pytest.mark.rule("CO-17")
@pytest.mark.parametrize("kind", [TERMINATING, UNKNOWN])
@pytest.mark.parametrize("answer", [PERMIT, CONTINUE, NONE])
def test_nothing_but_a_block_is_absorbed(host: FakeHost, kind: Action, answer: Action) -> None:
    def classify(seen: Indication) -> None:
        seen.action = answer
        seen.out_flags |= ClassifyOutFlag.ABSORB

    host.filter(HERE, classify, kind, sublayer=sublayer(host, 2).key)
    host.filter(HERE, lambda seen: seen.block(), sublayer=sublayer(host, 1).key)
    seen = host.indication(HERE)
    assert not host.show(seen)
    assert not seen.absorbed
    assert host.rules == ["CO-17"]


@pytest.mark.rule("CO-17", "CO-15")
@pytest.mark.parametrize("permits", "Pp")
def test_a_block_that_was_overridden_absorbs_nothing(host: FakeHost, permits: str) -> None:
    host.filter(HERE, lambda seen: seen.block(absorb=True, hard=False), sublayer=sublayer(host, 3).key)
    step(host, permits, sublayer(host, 2).key)
    seen = host.indication(HERE)
    assert host.show(seen)
    assert not seen.absorbed
    host.filter(HERE, action=BLOCK, sublayer=sublayer(host, 1).key)
    again = host.indication(HERE)
    assert not host.show(again)
    assert not again.absorbed
    assert host.rules == []


@pytest.mark.rule("CO-13")
@pytest.mark.parametrize("answer", [BLOCK, PERMIT, CONTINUE])
def test_the_other_flags_are_the_engines(host: FakeHost, answer: Action) -> None:
    def classify(seen: Indication) -> None:
        seen.action = answer
        seen.out_flags |= ClassifyOutFlag.NO_MORE_DATA | ClassifyOutFlag.BUFFER_LIMIT_REACHED

    host.filter(HERE, classify)
    seen = host.indication(HERE)
    host.show(seen)
    assert seen.out_flags == 0
