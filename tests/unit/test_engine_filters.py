"""Filters in force: added and deleted, found by value as if asked one by one, and callouts that go wrong."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.errors import FilterNotFound, FwpAlreadyExists, FwpInUse, LayerNotFound, SublayerNotFound
from emulator.filters import INSPECTION as INSPECTION_SUBLAYER
from emulator.filters import UNIVERSAL, Condition, Filter, MatchType, SubLayer
from emulator.indication import Indication
from emulator.layers import Layer
from emulator.wfptypes import Action, FilterFlag, WindowsVersion
from tests.unit.fakehost import INSPECTION, REMOTE, TERMINATING, UNKNOWN, FakeHost, layer, udp

HERE = Layer.OUTBOUND_IPPACKET_V4
BLOCK, PERMIT = Action.BLOCK, Action.PERMIT


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


# -- adding and deleting --------------------------------------------------------------------------------------


@pytest.mark.rule("FI-1", "FI-7")
def test_a_filter_is_in_force_until_it_is_deleted(host: FakeHost) -> None:
    changes: list[set[int]] = []
    host.engine.on_change = lambda: changes.append(host.engine.layers())
    item = host.filter(HERE, action=BLOCK)
    assert not host.show(host.indication(HERE))
    host.engine.delete_filter(item.filter_id)
    assert host.show(host.indication(HERE))
    assert changes == [{HERE}, set()]
    with pytest.raises(FilterNotFound):
        host.engine.delete_filter(item.filter_id)
    assert len(changes) == 2


@pytest.mark.rule("FI-1", "FI-7")
def test_filters_that_are_added_together_come_into_force_together(host: FakeHost) -> None:
    changes: list[set[int]] = []
    host.engine.on_change = lambda: changes.append(host.engine.layers())
    with host.engine.together():
        with host.engine.together():
            first = host.filter(HERE, action=BLOCK)
            with pytest.raises(FwpAlreadyExists):
                host.engine.add_filter(Filter(HERE, BLOCK, key=first.key))
        host.filter(Layer.INBOUND_IPPACKET_V4, action=BLOCK)
        assert host.show(host.indication(HERE))
        assert changes == []
    assert not host.show(host.indication(HERE))
    assert changes == [{HERE, Layer.INBOUND_IPPACKET_V4}]
    with host.engine.together():
        host.engine.delete_filter(first.filter_id)
        assert not host.show(host.indication(HERE))
    assert host.show(host.indication(HERE))
    with host.engine.together():
        pass
    assert len(changes) == 2


@pytest.mark.rule("FI-7")
@pytest.mark.parametrize("step", ["add", "delete"])
def test_a_change_counts_for_indications_that_begin_later(host: FakeHost, step: str) -> None:
    calls: list[str] = []
    late = host.engine.add_sublayer(SubLayer(uuid4(), 1)).key
    there = host.filter(HERE, lambda seen: calls.append("last"), sublayer=late) if step == "delete" else None

    def classify(seen: Indication) -> None:
        if calls.count("first") == 0:
            if there is not None:
                host.engine.delete_filter(there.filter_id)
            else:
                host.filter(HERE, lambda seen: calls.append("last"), sublayer=late)
        calls.append("first")

    host.filter(HERE, classify)
    for _ in range(2):
        host.show(host.indication(HERE))
    assert calls == (["first", "first", "last"] if step == "add" else ["first", "last", "first"])


def test_filters_are_numbered_and_a_key_is_used_once(host: FakeHost) -> None:
    first, second = host.filter(HERE, action=BLOCK), host.filter(HERE, action=PERMIT)
    assert first.filter_id != second.filter_id != 0
    with pytest.raises(FwpAlreadyExists):
        host.engine.add_filter(Filter(HERE, BLOCK, key=first.key))
    assert len(host.engine.filters) == 2
    assert repr(first) == f"<filter {first.filter_id} BLOCK>"


@pytest.mark.rule("FI-4")
def test_sublayers_are_added_used_and_deleted(host: FakeHost) -> None:
    mine = host.engine.add_sublayer(SubLayer(uuid4(), 5, "mine"))
    with pytest.raises(FwpAlreadyExists):
        host.engine.add_sublayer(SubLayer(mine.key, 6))
    item = host.filter(HERE, action=BLOCK, sublayer=mine.key)
    for key in (mine.key, UNIVERSAL.key, INSPECTION_SUBLAYER.key):
        with pytest.raises(FwpInUse):
            host.engine.delete_sublayer(key)
    host.engine.delete_filter(item.filter_id)
    assert host.engine.delete_sublayer(mine.key) is mine
    with pytest.raises(SublayerNotFound):
        host.filter(HERE, action=BLOCK, sublayer=mine.key)
    with pytest.raises(SublayerNotFound):
        host.engine.delete_sublayer(mine.key)
    assert host.engine.filters == {}


@pytest.mark.rule("FI-4")
def test_a_filter_without_a_sublayer_is_in_the_universal_one(host: FakeHost) -> None:
    assert host.filter(HERE, action=BLOCK).sublayer == UNIVERSAL.key
    assert set(host.engine.sublayers) == {UNIVERSAL.key, INSPECTION_SUBLAYER.key}
    assert UNIVERSAL.weight > INSPECTION_SUBLAYER.weight == 0


@pytest.mark.rule("VE-1")
@pytest.mark.parametrize(
    ("where", "since"),
    [
        (Layer.OUTBOUND_TRANSPORT_V4, WindowsVersion.VISTA),
        (Layer.STREAM_PACKET_V6, WindowsVersion.WINDOWS_7),
        (Layer.ALE_CONNECT_REDIRECT_V4, WindowsVersion.WINDOWS_7),
        (Layer.INBOUND_MAC_FRAME_ETHERNET, WindowsVersion.WINDOWS_8),
        (Layer.INGRESS_VSWITCH_ETHERNET, WindowsVersion.WINDOWS_8),
    ],
)
def test_a_layer_is_there_from_its_windows_on(where: Layer, since: WindowsVersion) -> None:
    for profile in WindowsVersion:
        host = FakeHost(profile=profile)
        if profile >= since:
            assert host.filter(where, action=BLOCK).filter_id in host.engine.filters
            continue
        with pytest.raises(LayerNotFound) as refusal:
            host.filter(where, action=BLOCK)
        assert refusal.value.rule == "VE-1"
        assert host.engine.filters == {}


def test_every_decision_can_be_followed(host: FakeHost) -> None:
    followed: list[tuple[int, bool]] = []
    host.engine.on_classify = lambda seen, item, decided: followed.append((item.filter_id, decided))
    host.filter(HERE, action=BLOCK, weight=9, conditions=(Condition("FLAGS", MatchType.EQUAL, 1),))
    looks = host.filter(HERE, lambda seen: None, INSPECTION, weight=8)
    permits = host.filter(HERE, lambda seen: seen.permit(), weight=7)
    host.filter(HERE, action=BLOCK, weight=6)
    host.show(host.indication(HERE))
    assert followed == [(looks.filter_id, False), (permits.filter_id, True)]


# -- many filters ---------------------------------------------------------------------------------------------

FIELDS = st.sampled_from(["IP_REMOTE_PORT", "IP_LOCAL_PORT", "IP_PROTOCOL", "FLAGS"])
NUMBER = st.integers(0, 3)
LAST = st.integers(1, 4)


def network(version: int, last: int, length: int | None) -> str:
    text = f"10.0.0.{last}" if version == 4 else f"2001:db8::{last}"
    return text if length is None else f"{text}/{length + (0 if version == 4 else 96)}"


@st.composite
def conditions(draw: st.DrawFn, version: int) -> Condition:
    if draw(st.booleans()):
        field = draw(st.sampled_from(["IP_REMOTE_ADDRESS", "IP_LOCAL_ADDRESS"]))
        match = draw(st.sampled_from([MatchType.EQUAL, MatchType.EQUAL, MatchType.NOT_EQUAL]))
        length = draw(st.sampled_from([None, None, None, 31, 32]))
        return Condition(field, match, network(version, draw(LAST), length))
    match = draw(st.sampled_from([MatchType.EQUAL, MatchType.EQUAL, MatchType.EQUAL, MatchType.GREATER]))
    return Condition(draw(FIELDS), match, draw(NUMBER))


@st.composite
def described(draw: st.DrawFn, version: int) -> dict[str, Any]:
    return {
        "action": draw(st.sampled_from([BLOCK, PERMIT, UNKNOWN, UNKNOWN])),
        "conditions": tuple(draw(st.lists(conditions(version), max_size=3))),
        "weight": draw(st.sampled_from([None, 1, 2, 3])),
        "flags": draw(st.sampled_from([FilterFlag(0), FilterFlag(0), FilterFlag.OR_CONDITIONS])),
    }


@pytest.mark.rule("FI-1", "FI-6")
@given(st.data(), st.sampled_from([4, 6]))
@settings(max_examples=40, deadline=None)
def test_filters_found_by_value_are_those_found_one_by_one(data: st.DataObject, version: int) -> None:
    where = layer("INBOUND_TRANSPORT", version)
    host = FakeHost()
    callout = host.callout(lambda seen: None)
    sublayers = [host.engine.add_sublayer(SubLayer(uuid4(), weight)).key for weight in (1, 2)]
    for options in data.draw(st.lists(described(version), min_size=9, max_size=25)):
        options["sublayer"] = sublayers[0]
        host.filter(where, callout if options["action"] == UNKNOWN else None, **options)
    for options in data.draw(st.lists(described(version), max_size=12)):
        options["sublayer"] = sublayers[1]
        host.filter(where, callout if options["action"] == UNKNOWN else None, **options)
    asked: list[tuple[int, bool]] = []
    host.engine.on_classify = lambda seen, item, decided: asked.append((item.filter_id, decided))
    packet = udp(
        version,
        local=data.draw(NUMBER),
        remote=data.draw(NUMBER),
        source=REMOTE[version][:-1] + bytes([data.draw(LAST)]),
        to=REMOTE[version][:-1] + bytes([data.draw(LAST)]),
    )
    outcomes = []
    for one_by_one in (False, True):
        for found in host.engine.at_layer[where]:
            if one_by_one:
                found.by_value = []
        seen = host.indication(where, packet)
        outcomes.append((host.show(seen), seen.blocked_by, list(asked)))
        asked.clear()
    assert outcomes[0] == outcomes[1]


def test_many_filters_are_not_all_asked(host: FakeHost) -> None:
    where = Layer.INBOUND_TRANSPORT_V4
    for number in range(50):
        host.filter(where, action=BLOCK, conditions=(Condition("IP_LOCAL_PORT", MatchType.EQUAL, number),))
    host.filter(where, lambda seen: None, conditions=(Condition("IP_LOCAL_PORT", MatchType.GREATER, 1),), weight=0)
    (found,) = host.engine.at_layer[where]
    seen = host.indication(where, udp(4, local=7))
    assert [item.conditions[0].value for item in found.candidates(seen)] == [7, 1]
    assert not host.show(seen)
    assert host.show(host.indication(where, udp(4, local=99)))


@pytest.mark.rule("FI-6")
@pytest.mark.parametrize(
    ("conditions", "flags", "found"),
    [
        ((80, 443), FilterFlag(0), {80, 443}),
        ((80,), FilterFlag(0), {80}),
        ((80,), FilterFlag.OR_CONDITIONS, {22, 80, 443}),
    ],
)
def test_among_many_a_filter_is_found_by_any_of_its_values(
    host: FakeHost, conditions: tuple[int, ...], flags: FilterFlag, found: set[int]
) -> None:
    where = Layer.INBOUND_TRANSPORT_V4
    for number in range(1000, 1020):
        host.filter(where, action=BLOCK, conditions=(Condition("IP_LOCAL_PORT", MatchType.EQUAL, number),))
    ports = tuple(Condition("IP_LOCAL_PORT", MatchType.EQUAL, number) for number in conditions)
    udp_only = Condition("IP_PROTOCOL", MatchType.EQUAL, 17)
    host.filter(where, action=BLOCK, conditions=(*ports, udp_only), flags=flags)
    stopped = {port for port in (22, 80, 443) if not host.show(host.indication(where, udp(4, local=port)))}
    assert stopped == found


# -- callouts that go wrong -----------------------------------------------------------------------------------


@pytest.mark.rule("GE-9")
@pytest.mark.parametrize(("kind", "passes"), [(TERMINATING, False), (UNKNOWN, False), (INSPECTION, True)])
def test_a_callout_that_raises_is_told_and_nothing_slips_through(host: FakeHost, kind: Action, passes: bool) -> None:
    def broken(seen: Indication) -> None:
        seen.hard_permit()
        seen.out_flags = 7
        raise KeyError("mine")

    callout = host.callout(broken)
    host.filter(HERE, callout, kind)
    seen = host.indication(HERE)
    assert host.show(seen) is passes
    assert (seen.rights, seen.out_flags) == (1, 0)
    assert host.rules == ["GE-9"]
    ((where, error),) = host.core.callback_errors
    assert "broken" in where
    assert isinstance(error, KeyError)
    assert callout.running == 0


@pytest.mark.rule("GE-9", "CO-14")
@pytest.mark.parametrize("before", [PERMIT, BLOCK])
def test_a_callout_that_raises_without_the_right_changes_nothing(host: FakeHost, before: Action) -> None:
    def decided(seen: Indication) -> None:
        seen.action, seen.rights = before, 0

    def broken(seen: Indication) -> None:
        seen.action = BLOCK if before == PERMIT else PERMIT
        raise KeyError("mine")

    host.filter(HERE, decided)
    host.filter(HERE, broken, TERMINATING, sublayer=host.engine.add_sublayer(SubLayer(uuid4(), 1)).key)
    assert host.show(host.indication(HERE)) is (before == PERMIT)
    assert host.rules == ["GE-9"]


def test_what_ends_the_program_leaves_the_callout_idle(host: FakeHost) -> None:
    def stopped(seen: Indication) -> None:
        raise KeyboardInterrupt

    callout = host.callout(stopped)
    host.filter(HERE, callout)
    with pytest.raises(KeyboardInterrupt):
        host.show(host.indication(HERE))
    assert callout.running == 0
    assert host.rules == []
