"""Conditions and weights: what matches, what is refused before it is in force."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import (
    ConditionNotFound,
    FwpInvalidActionType,
    FwpInvalidParameter,
    FwpNullPointer,
    FwpTypeMismatch,
    LayerNotFound,
    WfpError,
)
from emulator.filters import Condition, Filter, MatchType, WeightRange, choose_weight
from emulator.layers import Layer
from emulator.wfptypes import Action, AddressFamily, ConditionFlag, FilterFlag
from tests.unit.fakehost import REMOTE, FakeHost, icmp, layer, of_family, udp

M = MatchType
HERE = Layer.INBOUND_TRANSPORT_V4
PORT = "IP_REMOTE_PORT"


def matches(condition: Condition | tuple[Condition, ...], *, version: int = 4, flags: int = 0, **packet: Any) -> bool:
    """Whether a packet at INBOUND_TRANSPORT meets the conditions of a filter."""
    where = layer("INBOUND_TRANSPORT", version)
    conditions = condition if isinstance(condition, tuple) else (condition,)
    item = Filter(where, Action.BLOCK, conditions, flags=FilterFlag(packet.pop("filter_flags", 0)))
    item.compile()
    seen = FakeHost().indication(where, udp(version, **packet))
    seen.condition_flags = flags
    return item.matches(seen)


NUMBERS = [
    (M.EQUAL, 53, {53}),
    (M.EQUAL_CASE_INSENSITIVE, 53, {53}),
    (M.NOT_EQUAL, 53, {0, 52, 54, 65535}),
    (M.GREATER, 53, {54, 65535}),
    (M.LESS, 53, {0, 52}),
    (M.GREATER_OR_EQUAL, 53, {53, 54, 65535}),
    (M.LESS_OR_EQUAL, 53, {0, 52, 53}),
    (M.RANGE, (53, 54), {53, 54}),
    (M.RANGE, (54, 53), set()),
    (M.FLAGS_ALL_SET, 0x35, {53, 65535}),
    (M.FLAGS_ANY_SET, 0x01, {53, 65535}),
    (M.FLAGS_NONE_SET, 0x01, {0, 52, 54}),
    (M.PREFIX, 53, {53}),
    (M.NOT_PREFIX, 53, {0, 52, 54, 65535}),
]


@pytest.mark.rule("FI-6")
@pytest.mark.parametrize(("match", "value", "ports"), NUMBERS)
def test_every_match_of_numbers(match: MatchType, value: Any, ports: set[int]) -> None:
    found = {port for port in (0, 52, 53, 54, 65535) if matches(Condition(PORT, match, value), remote=port)}
    assert found == ports


def test_every_kind_of_match_is_tried() -> None:
    assert {match for match, _, _ in NUMBERS} == set(MatchType)


def hosts(version: int, *last: int) -> list[bytes]:
    return [REMOTE[version][:-1] + bytes([number]) for number in last]


def text(version: int, last: str) -> str:
    return {4: "10.0.0.", 6: "2001:db8::"}[version] + last


ADDRESSES = [
    (M.EQUAL, "9", {9}),
    (M.NOT_EQUAL, "9", {2, 8, 10, 255}),
    (M.PREFIX, "9", {9}),
    (M.NOT_PREFIX, "9", {2, 8, 10, 255}),
    (M.GREATER, "9", {10, 255}),
    (M.LESS, "9", {2, 8}),
    (M.GREATER_OR_EQUAL, "9", {9, 10, 255}),
    (M.LESS_OR_EQUAL, "9", {2, 8, 9}),
    (M.RANGE, ("8", "10"), {8, 9, 10}),
    (M.EQUAL, "8/network", {8, 9, 10}),
    (M.PREFIX, "8/network", {8, 9, 10}),
    (M.NOT_EQUAL, "8/network", {2, 255}),
    (M.NOT_PREFIX, "8/network", {2, 255}),
]


def in_hex(version: int, last: str) -> str:
    return last if version == 4 else f"{int(last):x}"


@pytest.mark.rule("FI-6", "LA-34")
@pytest.mark.parametrize(("match", "value", "found"), ADDRESSES)
@pytest.mark.parametrize("field", ["IP_REMOTE_ADDRESS", "IP_LOCAL_ADDRESS"])
def test_every_match_of_addresses(
    family: AddressFamily, field: str, match: MatchType, value: Any, found: set[int]
) -> None:
    version = of_family(family)
    if isinstance(value, tuple):
        wanted: Any = tuple(text(version, in_hex(version, item)) for item in value)
    else:
        number, _, network = value.partition("/")
        wanted = text(version, in_hex(version, number)) + ({4: "/30", 6: "/126"}[version] if network else "")
    condition = Condition(field, match, wanted)
    end = "source" if field == "IP_REMOTE_ADDRESS" else "to"
    packets: list[dict[str, Any]] = [{end: address} for address in hosts(version, 2, 8, 9, 10, 255)]
    assert {packet[end][-1] for packet in packets if matches(condition, version=version, **packet)} == found


@pytest.mark.parametrize("number", [8, 12])
def test_an_address_may_be_given_in_any_form(family: AddressFamily, number: int) -> None:
    version = of_family(family)
    (address,) = hosts(version, number)
    forms: list[Any] = [text(version, in_hex(version, "8"))]
    if version == 4:
        forms += [0x0A000008, bytes([10, 0, 0, 8]), bytearray([10, 0, 0, 8]), IPv4Address("10.0.0.8"),
                  IPv4Network("10.0.0.8/32")]  # fmt: skip
    else:
        octets = IPv6Address("2001:db8::8").packed
        forms += [octets, bytearray(octets), IPv6Address(octets), IPv6Network("2001:db8::8/128")]
    for form in forms:
        condition = Condition("IP_REMOTE_ADDRESS", M.EQUAL, form)
        assert matches(condition, version=version, source=address) is (number == 8), form


@pytest.mark.parametrize(
    ("match", "found"),
    [(M.FLAGS_ALL_SET, [False, False, True]), (M.FLAGS_NONE_SET, [True, False, False]),
     (M.FLAGS_ANY_SET, [False, True, True])],
)  # fmt: skip
def test_the_flags_of_an_indication_can_be_a_condition(match: MatchType, found: list[bool]) -> None:
    wanted = ConditionFlag.IS_LOOPBACK | ConditionFlag.IS_RAW_ENDPOINT
    condition = Condition("FLAGS", match, wanted)
    assert [matches(condition, flags=flags) for flags in (0, ConditionFlag.IS_LOOPBACK, wanted)] == found


# -- several conditions ---------------------------------------------------------------------------------------


def port(number: int) -> Condition:
    return Condition(PORT, M.EQUAL, number)


def local(number: int) -> Condition:
    return Condition("IP_LOCAL_PORT", M.EQUAL, number)


@pytest.mark.rule("FI-6")
@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ((), {(1, 1), (1, 2), (2, 1), (2, 2)}),
        ((port(1),), {(1, 1), (1, 2)}),
        ((port(1), port(2)), {(1, 1), (1, 2), (2, 1), (2, 2)}),
        ((port(1), local(2)), {(1, 2)}),
        ((port(1), local(2), port(2)), {(1, 2), (2, 2)}),
        ((port(1), port(3), local(1), local(2)), {(1, 1), (1, 2)}),
        ((port(3), local(1)), set()),
    ],
)
def test_all_fields_and_any_value_of_a_field(
    conditions: tuple[Condition, ...], found: set[tuple[int, int]]
) -> None:
    ends = [(remote, here) for remote in (1, 2) for here in (1, 2)]
    got = {end for end in ends if matches(conditions, remote=end[0], local=end[1])}
    assert got == found


@pytest.mark.rule("FI-5", "FI-6")
def test_with_the_flag_any_condition_is_enough() -> None:
    conditions = (port(1), local(2))
    got = {
        (remote, here)
        for remote in (1, 3)
        for here in (2, 4)
        if matches(conditions, filter_flags=FilterFlag.OR_CONDITIONS, remote=remote, local=here)
    }
    assert got == {(1, 2), (1, 4), (3, 2)}


@pytest.mark.rule("LA-34")
def test_icmp_type_and_code_are_second_names_of_the_ports(family: AddressFamily) -> None:
    version = of_family(family)
    where = layer("INBOUND_TRANSPORT", version)
    seen = FakeHost().indication(where, icmp(version, 8, 3, bytes(4)))
    for name, value in (("ICMP_TYPE", 8), ("ICMP_CODE", 3), ("IP_LOCAL_PORT", 8), ("IP_REMOTE_PORT", 3)):
        assert Condition(name, M.EQUAL, value).predicate(where)(seen)
        assert not Condition(name, M.EQUAL, value + 1).predicate(where)(seen)
    item = Filter(where, Action.BLOCK, (Condition("ICMP_TYPE", M.EQUAL, 8), Condition("IP_LOCAL_PORT", M.EQUAL, 9)))
    item.compile()
    assert item.matches(seen)  # one field under two names: any of its values


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.rule("FI-6")
@pytest.mark.parametrize(
    ("where", "condition", "refusal"),
    [
        (HERE, Condition("NO_SUCH_FIELD", M.EQUAL, 1), ConditionNotFound),
        (Layer.STREAM_V4, Condition("INTERFACE_INDEX", M.EQUAL, 1), ConditionNotFound),
        (HERE, Condition(PORT, M.EQUAL, "http"), FwpTypeMismatch),
        (HERE, Condition(PORT, M.EQUAL, None), FwpTypeMismatch),
        (HERE, Condition(PORT, M.EQUAL, 80.5), FwpTypeMismatch),
        (HERE, Condition(PORT, M.EQUAL, b"80"), FwpTypeMismatch),
        (HERE, Condition(PORT, M.EQUAL, (80, 81)), FwpTypeMismatch),
        (HERE, Condition(PORT, M.RANGE, (80, "http")), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.EQUAL, "::1"), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.EQUAL, "2001:db8::/32"), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.EQUAL, "10.0.0"), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.EQUAL, "10.0.0.0/33"), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.EQUAL, bytes(5)), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.EQUAL, bytes(16)), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.GREATER, "10.0.0.0/8"), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.RANGE, ("10.0.0.1", "::1")), FwpTypeMismatch),
        (HERE, Condition("IP_REMOTE_ADDRESS", M.FLAGS_ANY_SET, "10.0.0.1"), FwpTypeMismatch),
        (Layer.INBOUND_TRANSPORT_V6, Condition("IP_REMOTE_ADDRESS", M.FLAGS_ANY_SET, "::1"), FwpTypeMismatch),
        (Layer.INBOUND_TRANSPORT_V6, Condition("IP_REMOTE_ADDRESS", M.EQUAL, 1), FwpTypeMismatch),
        (Layer.INBOUND_TRANSPORT_V6, Condition("IP_REMOTE_ADDRESS", M.EQUAL, "10.0.0.1"), FwpTypeMismatch),
    ],
)
def test_a_condition_that_cannot_be_is_refused(where: Layer, condition: Condition, refusal: type[WfpError]) -> None:
    host = FakeHost()
    with pytest.raises(refusal) as refused:
        host.filter(where, action=Action.BLOCK, conditions=(condition,))
    assert refused.value.rule == "FI-6"
    assert (host.engine.filters, host.engine.at_layer) == ({}, {})


def test_a_range_is_a_pair() -> None:
    for value in (5, (5,), (1, 2, 3), [1, 2]):
        with pytest.raises(FwpInvalidParameter):
            Condition(PORT, M.RANGE, value)


def test_numbers_may_be_written_out() -> None:
    assert matches(Condition(PORT, M.EQUAL, "0x35"), remote=53)
    assert matches(Condition(PORT, M.EQUAL, True), remote=1)


@pytest.mark.parametrize(
    ("item", "refusal"),
    [
        (Filter(78, Action.BLOCK), LayerNotFound),
        (Filter(-1, Action.BLOCK), LayerNotFound),
        (Filter(HERE, Action.CONTINUE), FwpInvalidActionType),
        (Filter(HERE, Action.NONE, callout_key=uuid4()), FwpInvalidActionType),
        (Filter(HERE, Action.CALLOUT_TERMINATING), FwpNullPointer),
        (Filter(HERE, Action.CALLOUT_INSPECTION), FwpNullPointer),
        (Filter(HERE, Action.CALLOUT_UNKNOWN), FwpNullPointer),
    ],
)
def test_a_filter_that_cannot_be_is_refused(item: Filter, refusal: type[WfpError]) -> None:
    host = FakeHost()
    with pytest.raises(refusal):
        host.engine.add_filter(item)
    assert host.engine.filters == {}


# -- weights --------------------------------------------------------------------------------------------------


@pytest.mark.rule("FI-3")
@given(st.integers(0, 2**64 - 1), st.integers(0, 300), st.integers(1, 2**40))
def test_an_exact_weight_is_in_force_as_it_is(weight: int, conditions: int, serial: int) -> None:
    assert choose_weight(weight, conditions, serial) == weight


@pytest.mark.rule("FI-3")
@given(st.integers(0, 300), st.integers(1, 2**40), st.integers(0, 15))
def test_the_engine_chooses_inside_of_the_range(conditions: int, serial: int, number: int) -> None:
    empty = choose_weight(None, conditions, serial)
    assert 0 <= empty < 2**60
    assert number << 60 <= choose_weight(WeightRange(number), conditions, serial) < (number + 1) << 60
    assert choose_weight(None, conditions, serial + 1) < empty
    assert choose_weight(None, conditions + 1, serial) >= empty


@pytest.mark.rule("FI-3")
@pytest.mark.parametrize("weight", [-1, 2**64, WeightRange(16), WeightRange(-1)])
def test_other_weights_are_refused(weight: Any) -> None:
    host = FakeHost()
    with pytest.raises(FwpInvalidParameter) as refusal:
        host.filter(HERE, action=Action.BLOCK, weight=weight)
    assert refusal.value.rule == "FI-3"
    assert host.engine.filters == {}
