"""Filters to rules for the uplink: never less than the filter matches."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.core import Core
from emulator.filters import Condition, Filter, MatchType
from emulator.layerids import Layer
from emulator.paths.stream_lifts import lifts_for
from emulator.wfptypes import Action, Direction, FilterFlag
from netns.uplinkrules import Lift

EQUAL, RANGE, GREATER, PREFIX = MatchType.EQUAL, MatchType.RANGE, MatchType.GREATER, MatchType.PREFIX
EVERYTHING = Lift(version=4)


def lifts(*conditions: Condition, layer: Layer = Layer.STREAM_V4, flags: FilterFlag = FilterFlag(0)) -> list[Lift]:  # noqa: B008
    core = Core(lambda injection: None)
    core.engine.add_filter(Filter(int(layer), Action.BLOCK, conditions, flags=flags))
    return lifts_for(core.engine.at_layer)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], [EVERYTHING]),
        ([("IP_REMOTE_PORT", EQUAL, 80)], [Lift(version=4, remote_ports=(80, 80))]),
        ([("IP_LOCAL_PORT", RANGE, (5, 9))], [Lift(version=4, local_ports=(5, 9))]),
        (
            [("IP_REMOTE_PORT", EQUAL, 80), ("IP_REMOTE_PORT", EQUAL, 443)],
            [Lift(version=4, remote_ports=(80, 80)), Lift(version=4, remote_ports=(443, 443))],
        ),
        ([("IP_REMOTE_ADDRESS", EQUAL, "10.0.0.2")], [Lift(version=4, remote="10.0.0.2/32")]),
        ([("IP_REMOTE_ADDRESS", PREFIX, "10.0.0.0/8")], [Lift(version=4, remote="10.0.0.0/8")]),
        ([("IP_LOCAL_ADDRESS", EQUAL, 0x0A000001)], [Lift(version=4, local="10.0.0.1/32")]),
        ([("DIRECTION", EQUAL, Direction.INBOUND)], [Lift(version=4, outbound=False)]),
        ([("IP_REMOTE_PORT", GREATER, 80)], [EVERYTHING]),
        ([("IP_REMOTE_PORT", EQUAL, 80), ("IP_REMOTE_PORT", GREATER, 99)], [EVERYTHING]),
        ([("FLAGS", EQUAL, 0)], [EVERYTHING]),
    ],
)
def test_what_a_filters_conditions_choose(conditions: list[tuple[str, MatchType, Any]], expected: list[Lift]) -> None:
    assert lifts(*(Condition(*condition) for condition in conditions)) == expected


def test_conditions_of_which_one_suffices_choose_everything() -> None:
    either = (Condition("IP_REMOTE_PORT", EQUAL, 80), Condition("IP_LOCAL_PORT", EQUAL, 81))
    assert lifts(*either, flags=FilterFlag.OR_CONDITIONS) == [EVERYTHING]


def test_ipv6_filters_choose_ipv6_and_other_layers_nothing() -> None:
    address = Condition("IP_REMOTE_ADDRESS", EQUAL, "fd00::2")
    assert lifts(address, layer=Layer.STREAM_V6) == [Lift(version=6, remote="fd00::2/128")]
    assert lifts(layer=Layer.OUTBOUND_TRANSPORT_V4) == []


def test_a_filter_of_too_many_choices_chooses_everything() -> None:
    many = [Condition("IP_REMOTE_PORT", EQUAL, port) for port in range(65)]
    assert lifts(*many) == [EVERYTHING]
