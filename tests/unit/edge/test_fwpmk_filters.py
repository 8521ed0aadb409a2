"""A driver's description of a filter, and what the engine makes of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from emulator.core import Core
from emulator.edge import fwpmk_structs
from emulator.edge.fwpmk_filters import engine_filter
from emulator.edge.fwpmk_structs import (
    FWPM_ACTION0,
    FWPM_CONDITION_DIRECTION,
    FWPM_CONDITION_FLAGS,
    FWPM_CONDITION_ICMP_TYPE,
    FWPM_CONDITION_IP_PROTOCOL,
    FWPM_CONDITION_IP_REMOTE_ADDRESS,
    FWPM_CONDITION_IP_REMOTE_PORT,
    FWPM_DISPLAY_DATA0,
    FWPM_FILTER0,
    FWPM_FILTER_CONDITION0,
    FWPM_FILTER_FLAG_BOOTTIME,
    FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT,
    FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT,
    FWPM_FILTER_FLAG_INDEXED,
    FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
    FWPM_FILTER_FLAG_PERSISTENT,
    FWPM_LAYER_DATAGRAM_DATA_V4,
    FWPM_LAYER_OUTBOUND_TRANSPORT_V4,
    FWPM_LAYER_OUTBOUND_TRANSPORT_V6,
)
from emulator.edge.fwptypes import (
    FWP_BYTE_ARRAY16_TYPE,
    FWP_CONDITION_VALUE0,
    FWP_EMPTY,
    FWP_MATCH_EQUAL,
    FWP_MATCH_FLAGS_NONE_SET,
    FWP_MATCH_GREATER,
    FWP_MATCH_NOT_EQUAL,
    FWP_MATCH_RANGE,
    FWP_RANGE0,
    FWP_RANGE_TYPE,
    FWP_UINT8,
    FWP_UINT16,
    FWP_UINT32,
    FWP_UINT64,
    FWP_V4_ADDR_AND_MASK,
    FWP_V4_ADDR_MASK,
    FWP_V6_ADDR_AND_MASK,
    FWP_V6_ADDR_MASK,
    FWP_VALUE0,
)
from emulator.errors import (
    ConditionNotFound,
    FwpInvalidActionType,
    FwpInvalidEnumerator,
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNullPointer,
    FwpReserved,
    FwpTypeMismatch,
    LayerNotFound,
    NotSupported,
    WfpError,
)
from emulator.filters import UNIVERSAL, WeightRange
from emulator.headers import build_ip_header
from emulator.indication import Indication, OwnIndication
from emulator.interfaces import InterfaceTable
from emulator.layerids import Layer
from emulator.wdk import (
    FWP_ACTION_BLOCK,
    FWP_ACTION_CALLOUT_INSPECTION,
    FWP_ACTION_CONTINUE,
    FWP_ACTION_PERMIT,
    FWP_CONDITION_FLAG_IS_LOOPBACK,
    FWP_DIRECTION_INBOUND,
    FWP_DIRECTION_OUTBOUND,
    FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT,
    FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED,
)

V4, V6 = FWPM_LAYER_OUTBOUND_TRANSPORT_V4, FWPM_LAYER_OUTBOUND_TRANSPORT_V6
REMOTE6 = bytes([0xFD, *bytes(14), 2])


def shown(layer: int, protocol: int = 17) -> Indication:
    """A datagram to 10.0.0.2 or fd00::2, port 53; or an echo request."""
    six = Layer(layer).name.endswith("V6")
    ends = (bytes([0xFD, *bytes(14), 1]), REMOTE6) if six else (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    payload = bytes([8, 0, 0, 0, 0, 1, 0, 1]) if protocol == 1 else bytes([3, 232, 0, 53, 0, 8, 0, 0])
    memory = bytearray(build_ip_header(6 if six else 4, *ends, protocol, payload))
    core = Core(lambda injection: None)
    return OwnIndication(core, layer, False, None, memory, 0, len(memory), 2, InterfaceTable())


def condition(key: str, match: int, kind: int, content: Any) -> FWPM_FILTER_CONDITION0:
    return FWPM_FILTER_CONDITION0(key, match, FWP_CONDITION_VALUE0(kind, content))


def ports(low: int, high: int) -> FWP_RANGE0:
    return FWP_RANGE0(FWP_VALUE0(FWP_UINT16, low), FWP_VALUE0(FWP_UINT16, high))


REMOTE, PORT, PROTOCOL = FWPM_CONDITION_IP_REMOTE_ADDRESS, FWPM_CONDITION_IP_REMOTE_PORT, FWPM_CONDITION_IP_PROTOCOL
MATCHES: list[tuple[int, tuple[str, int, int, Any], bool]] = [
    (V4, (PORT, FWP_MATCH_EQUAL, FWP_UINT16, 53), True),
    (V4, (PORT, FWP_MATCH_EQUAL, FWP_UINT16, 54), False),
    (V4, (PORT, FWP_MATCH_NOT_EQUAL, FWP_UINT16, 54), True),
    (V4, (PORT, FWP_MATCH_GREATER, FWP_UINT16, 52), True),
    (V4, (PORT, FWP_MATCH_RANGE, FWP_RANGE_TYPE, ports(50, 53)), True),
    (V4, (PORT, FWP_MATCH_RANGE, FWP_RANGE_TYPE, ports(54, 60)), False),
    (V4, (PROTOCOL, FWP_MATCH_EQUAL, FWP_UINT8, 17), True),
    (V4, (PROTOCOL, FWP_MATCH_EQUAL, FWP_UINT8, 6), False),
    (V4, (REMOTE, FWP_MATCH_EQUAL, FWP_UINT32, 0x0A000002), True),
    (V4, (REMOTE, FWP_MATCH_EQUAL, FWP_UINT32, 0x0200000A), False),
    (V4, (REMOTE, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, FWP_V4_ADDR_AND_MASK(0x0A000000, 0xFF000000)), True),
    (V4, (REMOTE, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, FWP_V4_ADDR_AND_MASK(0x0B000000, 0xFF000000)), False),
    (V4, (REMOTE, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, FWP_V4_ADDR_AND_MASK(0x0B000000, 0)), True),
    (V6, (REMOTE, FWP_MATCH_EQUAL, FWP_BYTE_ARRAY16_TYPE, REMOTE6), True),
    (V6, (REMOTE, FWP_MATCH_EQUAL, FWP_BYTE_ARRAY16_TYPE, bytes(16)), False),
    (V6, (REMOTE, FWP_MATCH_EQUAL, FWP_V6_ADDR_MASK, FWP_V6_ADDR_AND_MASK(REMOTE6, 8)), True),
    (V6, (REMOTE, FWP_MATCH_EQUAL, FWP_V6_ADDR_MASK, FWP_V6_ADDR_AND_MASK(bytes(16), 8)), False),
    (V6, (REMOTE, FWP_MATCH_RANGE, FWP_RANGE_TYPE, FWP_RANGE0(
        FWP_VALUE0(FWP_BYTE_ARRAY16_TYPE, bytes(16)), FWP_VALUE0(FWP_BYTE_ARRAY16_TYPE, REMOTE6))), True),
    (V4, (FWPM_CONDITION_FLAGS, FWP_MATCH_FLAGS_NONE_SET, FWP_UINT32, FWP_CONDITION_FLAG_IS_LOOPBACK), True),
    (FWPM_LAYER_DATAGRAM_DATA_V4, (FWPM_CONDITION_DIRECTION, FWP_MATCH_EQUAL, FWP_UINT32, FWP_DIRECTION_OUTBOUND),
     True),
    (FWPM_LAYER_DATAGRAM_DATA_V4, (FWPM_CONDITION_DIRECTION, FWP_MATCH_EQUAL, FWP_UINT32, FWP_DIRECTION_INBOUND),
     False),
]  # fmt: skip


@pytest.mark.rule("FI-6", "LA-34")
@pytest.mark.parametrize(("layer", "given", "matches"), MATCHES)
def test_a_condition_matches_as_it_is_typed(layer: int, given: tuple[str, int, int, Any], matches: bool) -> None:
    made = engine_filter(FWPM_FILTER0(layerKey=layer, filterCondition=[condition(*given)]))
    made.compile()
    assert made.matches(shown(layer)) is matches


def test_icmp_type_is_the_local_port_where_the_layer_has_no_other() -> None:
    given = condition(FWPM_CONDITION_ICMP_TYPE, FWP_MATCH_EQUAL, FWP_UINT16, 8)
    made = engine_filter(FWPM_FILTER0(layerKey=V4, filterCondition=[given]))
    made.compile()
    assert made.matches(shown(V4, protocol=1))
    assert not made.matches(shown(V4))


def test_only_the_first_conditions_count_when_their_number_is_given() -> None:
    both = [condition(PORT, FWP_MATCH_EQUAL, FWP_UINT16, 53), condition(PROTOCOL, FWP_MATCH_EQUAL, FWP_UINT8, 6)]
    for number, matches in ((None, False), (2, False), (1, True), (0, True)):
        made = engine_filter(FWPM_FILTER0(layerKey=V4, filterCondition=both, numFilterConditions=number))
        made.compile()
        assert made.matches(shown(V4)) is matches


@pytest.mark.rule("FI-3", "FI-5")
def test_the_other_members_become_the_engine_s() -> None:
    flags = (
        FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT
        | FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED
        | FWPM_FILTER_FLAG_INDEXED
    )
    key, sublayer, callout = UUID(int=1), UUID(int=2), UUID(int=3)
    made = engine_filter(
        FWPM_FILTER0(
            key, FWPM_DISPLAY_DATA0("mine"), flags, layerKey=V6, subLayerKey=sublayer,
            weight=FWP_VALUE0(FWP_UINT64, 2**63), action=FWPM_ACTION0(FWP_ACTION_CALLOUT_INSPECTION, callout),
            rawContext=0x1234,
        )
    )  # fmt: skip
    assert (made.key, made.name, made.layer, made.sublayer) == (key, "mine", V6, sublayer)
    assert (made.weight, made.action, made.callout_key) == (2**63, FWP_ACTION_CALLOUT_INSPECTION, callout)
    assert made.context == 0x1234
    assert made.flags == FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT | FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED

    plain = engine_filter(FWPM_FILTER0(layerKey=V4, action=FWPM_ACTION0(FWP_ACTION_PERMIT, callout)))
    assert (plain.sublayer, plain.weight, plain.callout_key, plain.flags) == (UNIVERSAL.key, None, None, 0)
    ranged = engine_filter(FWPM_FILTER0(layerKey=V4, weight=FWP_VALUE0(FWP_UINT8, 15)))
    assert ranged.weight == WeightRange(15)


def with_condition(*given: Any) -> dict[str, Any]:
    return {"filterCondition": [condition(*given)]}


MASK_WITH_HOLE = FWP_V4_ADDR_AND_MASK(0, 0xFF00FF00)


@pytest.mark.rule("FI-6", "FI-3", "GE-7")
@pytest.mark.parametrize(
    ("error", "changed"),
    [
        (FwpReserved, {"reserved": 1, "flags": 0x80}),
        (FwpInvalidFlags, {"flags": 0x80}),
        (NotSupported, {"flags": FWPM_FILTER_FLAG_PERSISTENT}),
        (NotSupported, {"flags": FWPM_FILTER_FLAG_BOOTTIME}),
        (NotSupported, {"flags": FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT}),
        (FwpNullPointer, {"layerKey": None}),
        (LayerNotFound, {"layerKey": 78}),
        (LayerNotFound, {"layerKey": -1}),
        (FwpInvalidActionType, {"action": FWPM_ACTION0(FWP_ACTION_CONTINUE)}),
        (FwpInvalidActionType, {"action": FWPM_ACTION0(0)}),
        (FwpTypeMismatch, {"weight": FWP_VALUE0(FWP_UINT32, 1)}),
        (ConditionNotFound, with_condition("IP_SOURCE_ADDRESS", FWP_MATCH_EQUAL, FWP_UINT32, 1)),
        (NotSupported, with_condition("PROFILE_ID", FWP_MATCH_EQUAL, FWP_UINT32, 1)),
        (FwpInvalidEnumerator, with_condition(PORT, 13, FWP_UINT16, 53)),
        (FwpTypeMismatch, with_condition(PORT, FWP_MATCH_EQUAL, FWP_UINT32, 53)),
        (FwpTypeMismatch, with_condition(PORT, FWP_MATCH_EQUAL, FWP_EMPTY, None)),
        (FwpTypeMismatch, with_condition(PORT, FWP_MATCH_RANGE, FWP_UINT16, 53)),
        (FwpTypeMismatch, with_condition(PORT, FWP_MATCH_EQUAL, FWP_RANGE_TYPE, ports(1, 2))),
        (FwpTypeMismatch, with_condition(PROTOCOL, FWP_MATCH_RANGE, FWP_RANGE_TYPE, ports(1, 2))),
        (FwpTypeMismatch, with_condition(REMOTE, FWP_MATCH_EQUAL, FWP_BYTE_ARRAY16_TYPE, bytes(16))),
        (FwpTypeMismatch, with_condition(REMOTE, FWP_MATCH_EQUAL, FWP_V6_ADDR_MASK, FWP_V6_ADDR_AND_MASK())),
        (FwpTypeMismatch, with_condition(PORT, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, FWP_V4_ADDR_AND_MASK())),
        (FwpInvalidParameter, with_condition(REMOTE, FWP_MATCH_EQUAL, FWP_V4_ADDR_MASK, MASK_WITH_HOLE)),
    ],
)
def test_a_wrong_filter_is_refused(error: type[WfpError], changed: dict[str, Any]) -> None:
    good: dict[str, Any] = {"layerKey": V4, "action": FWPM_ACTION0(FWP_ACTION_BLOCK)}
    with pytest.raises(error):
        engine_filter(FWPM_FILTER0(**good | changed))


# -- the names ------------------------------------------------------------------------------------------------


def test_every_layer_and_field_has_a_key_and_nothing_else_has() -> None:
    names = dir(fwpmk_structs)
    assert len([name for name in names if name.startswith("FWPM_LAYER_")]) == len(Layer)
    assert fwpmk_structs.FWPM_LAYER_IPFORWARD_V6_DISCARD == Layer.IPFORWARD_V6_DISCARD
    assert {"FWPM_CONDITION_IP_LOCAL_PORT", "FWPM_CONDITION_ALE_APP_ID", "FWPM_FILTER0"} <= set(names)
    for wrong in ("FWPM_LAYER_IPFORWARD", "FWPM_CONDITION_IP_FOO", "FWPM_OTHER"):
        with pytest.raises(AttributeError, match=wrong):
            getattr(fwpmk_structs, wrong)
