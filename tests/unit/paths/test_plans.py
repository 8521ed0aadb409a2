"""Which layers a hook shows, and which hooks are watched for a layer."""

from __future__ import annotations

import pytest

from emulator.flowtracking import BEGINS, ESTABLISHES, REACCEPTS, RECONNECTS
from emulator.headers import build_ip_header
from emulator.layers import Layer, layer_of
from emulator.octets import IpView
from emulator.paths.plans import (
    DATAGRAM,
    FORWARD,
    ICMP_ERROR,
    INPUT,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    TCP,
    group_of,
    hooks_for,
    kind_of,
    make_plans,
)

PACKET_GROUPS = (
    "INBOUND_IPPACKET", "OUTBOUND_IPPACKET", "IPFORWARD", "INBOUND_TRANSPORT", "OUTBOUND_TRANSPORT", "DATAGRAM_DATA",
    "INBOUND_ICMP_ERROR", "OUTBOUND_ICMP_ERROR", "STREAM_PACKET", "ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT",
    "ALE_FLOW_ESTABLISHED",
)  # fmt: skip
BOTH = {OUTPUT, INPUT}


def every(version: int) -> set[int]:
    return {int(layer_of(group, version)) for group in PACKET_GROUPS}


def names(hook: int, version: int, kind: int, due: int = BEGINS | ESTABLISHES) -> list[str]:
    """The layers that a packet is shown at which is all of `due` to its flow."""
    steps = make_plans(every(version))[hook, version, kind].steps
    shown = [step for step in steps if not step.due or step.due & due]
    return [group_of(step.layer)[0] if step.layer >= 0 else "begin" for step in shown]


@pytest.mark.rule("GE-10", "LA-10", "LA-11", "LA-14", "LA-15")
@pytest.mark.parametrize("version", [4, 6])
def test_layers_come_in_the_order_of_windows(version: int) -> None:
    assert names(OUTPUT, version, DATAGRAM) == [
        "begin", "ALE_AUTH_CONNECT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA", "OUTBOUND_TRANSPORT"
    ]  # fmt: skip
    assert names(INPUT, version, DATAGRAM) == [
        "INBOUND_TRANSPORT", "begin", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA"
    ]  # fmt: skip
    assert names(OUTPUT, version, TCP) == [
        "begin", "ALE_AUTH_CONNECT", "ALE_FLOW_ESTABLISHED", "STREAM_PACKET", "OUTBOUND_TRANSPORT"
    ]  # fmt: skip
    assert names(INPUT, version, TCP) == [
        "INBOUND_TRANSPORT", "begin", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED", "STREAM_PACKET"
    ]  # fmt: skip
    assert names(OUTPUT, version, ICMP_ERROR) == ["OUTBOUND_ICMP_ERROR", "OUTBOUND_TRANSPORT"]
    assert names(INPUT, version, ICMP_ERROR) == ["INBOUND_TRANSPORT", "INBOUND_ICMP_ERROR"]
    for kind in (TCP, DATAGRAM, ICMP_ERROR):
        assert names(PREROUTING, version, kind) == ["INBOUND_IPPACKET"]
        assert names(FORWARD, version, kind) == ["IPFORWARD"]
        assert names(POSTROUTING, version, kind) == ["OUTBOUND_IPPACKET"]


@pytest.mark.rule("LA-16", "MD-8")
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("kind", "data"), [(TCP, "STREAM_PACKET"), (DATAGRAM, "DATAGRAM_DATA")])
def test_a_packet_of_either_direction_asks_again_where_its_flow_was_authorised(
    version: int, kind: int, data: str
) -> None:
    for due, layer in ((REACCEPTS, "ALE_AUTH_RECV_ACCEPT"), (RECONNECTS, "ALE_AUTH_CONNECT")):
        assert names(INPUT, version, kind, due) == ["INBOUND_TRANSPORT", layer, data]
        assert names(OUTPUT, version, kind, due) == [layer, data, "OUTBOUND_TRANSPORT"]


@pytest.mark.rule("LA-3", "QS-11")
@pytest.mark.parametrize("version", [4, 6])
def test_only_the_connect_of_tcp_has_no_data(version: int) -> None:
    plans = make_plans(every(version))
    bare = [
        (hook, kind, Layer(step.layer).name)
        for (hook, _, kind), plan in plans.items()
        for step in plan.steps
        if not step.with_data
    ]
    assert set(bare) == {(hook, TCP, f"ALE_AUTH_CONNECT_V{version}") for hook in BOTH}


@pytest.mark.rule("FL-7", "LA-14")
def test_authorisation_is_shown_for_what_begins_and_establishes_a_flow() -> None:
    due: dict[str, int] = {}
    for plan in make_plans(every(4)).values():
        for step in plan.steps:
            if step.layer >= 0:
                group = group_of(step.layer)[0]
                due[group] = due.get(group, 0) | step.due
    assert {group for group, bits in due.items() if bits} == {
        "ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED"
    }  # fmt: skip
    assert due["ALE_AUTH_CONNECT"] == BEGINS | RECONNECTS
    assert due["ALE_AUTH_RECV_ACCEPT"] == BEGINS | REACCEPTS
    assert due["ALE_FLOW_ESTABLISHED"] == ESTABLISHES


@pytest.mark.parametrize(
    ("group", "hooks"),
    [
        ("INBOUND_IPPACKET", {PREROUTING}),
        ("OUTBOUND_IPPACKET", {POSTROUTING}),
        ("IPFORWARD", {FORWARD}),
        ("INBOUND_TRANSPORT", {INPUT}),
        ("OUTBOUND_TRANSPORT", {OUTPUT}),
        ("DATAGRAM_DATA", BOTH),
        ("STREAM_PACKET", BOTH),
        ("INBOUND_ICMP_ERROR", {INPUT}),
        ("OUTBOUND_ICMP_ERROR", {OUTPUT}),
        ("ALE_AUTH_CONNECT", BOTH),
        ("ALE_AUTH_RECV_ACCEPT", BOTH),
        ("ALE_FLOW_ESTABLISHED", BOTH),
        ("STREAM", set()),
        ("ALE_RESOURCE_ASSIGNMENT", set()),
    ],
)
@pytest.mark.parametrize("version", [4, 6])
def test_a_layer_has_the_hooks_watched_that_it_needs(group: str, hooks: set[int], version: int) -> None:
    assert hooks_for({int(layer_of(group, version))}) == {(hook, version) for hook in hooks}


@pytest.mark.rule("LA-13", "LA-15")
def test_discards_are_watched_where_they_are_found_out() -> None:
    ip, transport = (int(layer_of(group, 4, discard=True)) for group in ("INBOUND_IPPACKET", "INBOUND_TRANSPORT"))
    assert hooks_for({ip}) == {(PREROUTING, 4), (INPUT, 4)}
    assert hooks_for({transport}) == {(INPUT, 4)}
    plans = make_plans({ip})
    assert [plans[INPUT, 4, kind].finds for kind in (TCP, DATAGRAM, ICMP_ERROR)] == [False, True, False]
    assert not plans[INPUT, 6, DATAGRAM].finds


def test_layers_without_hooks_of_the_queue_are_of_no_version_or_of_one() -> None:
    assert group_of(Layer.INBOUND_MAC_FRAME_ETHERNET) == ("INBOUND_MAC_FRAME_ETHERNET", 0, False)
    assert group_of(Layer.DATAGRAM_DATA_V6_DISCARD) == ("DATAGRAM_DATA", 6, True)
    assert hooks_for({int(Layer.INBOUND_MAC_FRAME_ETHERNET)}) == set()


def test_nothing_is_looked_up_while_no_filter_wants_it() -> None:
    plans = make_plans({int(layer_of("OUTBOUND_IPPACKET", 4))})
    assert not any(plan.finds or plan.tracks for plan in plans.values())
    assert [key for key, plan in plans.items() if plan.steps] == [
        (POSTROUTING, 4, kind) for kind in (TCP, DATAGRAM, ICMP_ERROR)
    ]


@pytest.mark.parametrize(
    ("version", "protocol", "first", "kind"),
    [
        (4, 6, 0, TCP), (4, 17, 0, DATAGRAM), (4, 1, 8, DATAGRAM), (4, 1, 3, ICMP_ERROR), (4, 1, 11, ICMP_ERROR),
        (4, 58, 1, DATAGRAM), (6, 58, 1, ICMP_ERROR), (6, 58, 128, DATAGRAM), (6, 58, 135, DATAGRAM),
        (4, 47, 3, DATAGRAM),
    ],
)  # fmt: skip
def test_a_packet_is_of_a_kind(version: int, protocol: int, first: int, kind: int) -> None:
    ends = (bytes(4), b"\1\2\3\4") if version == 4 else (bytes(16), bytes(15) + b"\1")
    packet = build_ip_header(version, *ends, protocol, bytes((first,)) + bytes(27))
    assert kind_of(IpView(packet)) == kind
