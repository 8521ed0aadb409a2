"""What of a hook's packets is told to the kernel: never less than the filters want, and little more."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.filters import Condition, Filter, MatchType
from emulator.layers import Layer
from emulator.ledger import MAGIC, MAGIC_MASK
from emulator.octets import IpView
from emulator.paths.plans import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING
from emulator.paths.wanted import MOST, wanted_at
from emulator.wfptypes import Action, FilterFlag
from netns.ruletext import Among, Mark
from tests.unit.fakehost import LOCAL, REMOTE, FakeHost, icmp, layer, tcp, udp

EQUAL, RANGE, PREFIX, GREATER = MatchType.EQUAL, MatchType.RANGE, MatchType.PREFIX, MatchType.GREATER
OURS = (Mark(MAGIC << 24, MAGIC_MASK),)
OUT = {4: Layer.OUTBOUND_TRANSPORT_V4, 6: Layer.OUTBOUND_TRANSPORT_V6}
SHOWN = {OUTPUT: "OUTBOUND_TRANSPORT", INPUT: "INBOUND_TRANSPORT", PREROUTING: "INBOUND_IPPACKET",
         POSTROUTING: "OUTBOUND_IPPACKET", FORWARD: "IPFORWARD"}  # fmt: skip


def wanting(where: int, *conditions: tuple[str, MatchType, Any], **more: Any) -> Filter:
    """A filter in force at a layer."""
    made = Filter(where, Action.CALLOUT_UNKNOWN, tuple(Condition(*one) for one in conditions), uuid4(), **more)
    made.compile()
    return made


def wanted(*filters: Filter, hook: int = OUTPUT, version: int = 4, hooks: tuple[int, ...] = ()) -> Among | None:
    return wanted_at(hook, version, filters, {(one, version) for one in (hook, *hooks)})


def holds(among: Among, view: IpView) -> bool:
    """Whether the kernel would queue an unmarked packet."""
    ported = view.protocol in (6, 17)
    ports = among.source_ports or among.destination_ports
    return (
        any(ip_address(view.source) in ip_network(one) for one in among.sources)
        or any(ip_address(view.destination) in ip_network(one) for one in among.destinations)
        or view.protocol in among.protocols
        or bool(ports and (not ported or view.is_fragment))
        or any(ported and low <= (view.source_port or 0) <= high for low, high in among.source_ports)
        or any(ported and low <= (view.destination_port or 0) <= high for low, high in among.destination_ports)
    )


def test_a_filter_without_conditions_wants_everything() -> None:
    assert wanted(wanting(OUT[4])) is None
    assert wanted(wanting(OUT[4], ("IP_REMOTE_PORT", EQUAL, 53)), wanting(OUT[4])) is None


def test_a_filter_is_told_by_its_most_telling_field() -> None:
    item = wanting(OUT[4], ("IP_PROTOCOL", EQUAL, 17), ("IP_REMOTE_ADDRESS", EQUAL, "10.0.0.2"),
                   ("IP_REMOTE_PORT", EQUAL, 53), ("IP_REMOTE_PORT", RANGE, (80, 90)))  # fmt: skip
    assert wanted(item) == Among(marks=OURS, destination_ports=((53, 53), (80, 90)))


def test_all_filters_of_the_hook_count_and_no_others() -> None:
    filters = (
        wanting(OUT[4], ("IP_LOCAL_PORT", EQUAL, 7)),
        wanting(OUT[4], ("IP_REMOTE_ADDRESS", PREFIX, "10.1.0.0/16")),
        wanting(OUT[6], ("IP_PROTOCOL", EQUAL, 58)),
        wanting(Layer.OUTBOUND_IPPACKET_V4),
    )
    assert wanted(*filters) == Among(marks=OURS, source_ports=((7, 7),), destinations=("10.1.0.0/16",))
    assert wanted(*filters, version=6) == Among(marks=OURS, protocols=(58,))
    assert wanted(*filters, hook=POSTROUTING) is None


def test_an_incoming_packet_has_its_remote_end_in_front() -> None:
    item = wanting(Layer.INBOUND_TRANSPORT_V4, ("IP_REMOTE_ADDRESS", EQUAL, 0x0A000002))
    assert wanted(item, hook=INPUT) == Among(marks=OURS, sources=("10.0.0.2/32",))
    item = wanting(Layer.INBOUND_TRANSPORT_V6, ("IP_LOCAL_ADDRESS", EQUAL, LOCAL[6]))
    assert wanted(item, hook=INPUT, version=6) == Among(marks=OURS, destinations=("2001:db8::1/128",))


def test_what_is_routed_need_not_be_shown_for_having_been_injected() -> None:
    item = wanting(Layer.IPFORWARD_V4, ("IP_SOURCE_ADDRESS", EQUAL, "10.0.0.1"))
    assert wanted(item, hook=FORWARD) == Among(sources=("10.0.0.1/32",))


@pytest.mark.parametrize(
    "conditions",
    [
        [("IP_REMOTE_PORT", GREATER, 1024)],
        [("IP_REMOTE_PORT", EQUAL, 0)],
        [("IP_REMOTE_PORT", EQUAL, 53), ("IP_REMOTE_PORT", GREATER, 1024)],
        [("IP_REMOTE_ADDRESS", MatchType.NOT_EQUAL, "10.0.0.1")],
        [("IP_REMOTE_ADDRESS", EQUAL, "0.0.0.0/0")],
        [("INTERFACE_INDEX", EQUAL, 2)],
    ],
)
def test_what_the_kernel_is_not_asked_makes_the_filter_want_everything(
    conditions: list[tuple[str, MatchType, Any]],
) -> None:
    assert wanted(wanting(OUT[4], *conditions)) is None


def test_alternatives_of_several_fields_want_everything() -> None:
    several = (("IP_REMOTE_PORT", EQUAL, 53), ("IP_LOCAL_PORT", EQUAL, 53))
    assert wanted(wanting(OUT[4], *several, flags=FilterFlag.OR_CONDITIONS)) is None
    assert wanted(wanting(OUT[4], several[0], flags=FilterFlag.OR_CONDITIONS)) is not None


@pytest.mark.rule("LA-14", "TR-8")
def test_where_flows_are_followed_everything_is_shown() -> None:
    narrow = wanting(OUT[4], ("IP_REMOTE_PORT", EQUAL, 53))
    assert wanted(narrow, hooks=(INPUT,)) is None
    assert wanted(narrow, wanting(Layer.DATAGRAM_DATA_V4, ("IP_REMOTE_PORT", EQUAL, 53))) is None


@pytest.mark.rule("LA-13", "MD-13")
def test_where_discards_are_shown_everything_is() -> None:
    narrow = wanting(Layer.INBOUND_TRANSPORT_V4, ("IP_LOCAL_PORT", EQUAL, 53))
    assert wanted(narrow, hook=INPUT) is not None
    discards = wanting(Layer.INBOUND_TRANSPORT_V4_DISCARD, ("IP_LOCAL_PORT", EQUAL, 53))
    assert wanted(narrow, discards, hook=INPUT) is None


def test_more_filters_than_are_worth_an_exchange_each_want_everything() -> None:
    filters = [wanting(OUT[4], ("IP_REMOTE_PORT", EQUAL, 1 + number)) for number in range(MOST + 1)]
    assert wanted(*filters[:MOST]) is not None
    assert wanted(*filters) is None


def condition(field: str, version: int) -> st.SearchStrategy[tuple[str, MatchType, Any]]:
    """A condition that packets of the test often meet."""
    if field.endswith("PORT"):
        ports = st.sampled_from([0, 7, 8, 53, 5000, 40000])
        ranges = st.tuples(ports, ports).map(lambda pair: (min(pair), max(pair)))
        return st.one_of(
            st.tuples(st.just(field), st.sampled_from([EQUAL, GREATER, MatchType.NOT_EQUAL]), ports),
            st.tuples(st.just(field), st.just(RANGE), ranges),
        )
    if field == "IP_PROTOCOL":
        return st.tuples(st.just(field), st.sampled_from([EQUAL, GREATER]), st.sampled_from([1, 6, 17, 58]))
    ends = [str(ip_address(one[version])) for one in (LOCAL, REMOTE)]
    nets = [str(ip_network(f"{one}/{length}", strict=False)) for one in ends for length in (0, 8, 24)]
    return st.tuples(st.just(field), st.sampled_from([EQUAL, MatchType.NOT_EQUAL]), st.sampled_from(ends + nets))


@pytest.mark.rule("FI-6")
@given(st.data(), st.sampled_from(list(SHOWN)), st.sampled_from([4, 6]))
@settings(max_examples=300, deadline=None)
def test_no_packet_that_a_filter_wants_is_left_to_the_kernel(data: st.DataObject, hook: int, version: int) -> None:
    host, where = FakeHost(), layer(SHOWN[hook], version)
    known = [name for name in ("IP_PROTOCOL", "IP_LOCAL_PORT", "IP_REMOTE_PORT", "IP_LOCAL_ADDRESS",
                               "IP_REMOTE_ADDRESS", "IP_SOURCE_ADDRESS", "IP_DESTINATION_ADDRESS")
             if name in host.indication(where).info.fields]  # fmt: skip
    some = st.lists(st.sampled_from(known).flatmap(lambda name: condition(name, version)), min_size=1, max_size=3)
    flags = st.sampled_from([FilterFlag(0), FilterFlag.OR_CONDITIONS])
    filters = [wanting(where, *data.draw(some), flags=data.draw(flags)) for _ in range(data.draw(st.integers(1, 3)))]
    among = wanted(*filters, hook=hook, version=version)
    inbound = hook not in (OUTPUT, POSTROUTING)
    made = [udp(version, inbound=inbound, local=local, remote=remote) for local in (7, 5000) for remote in (8, 53)]
    made += [tcp(version, inbound=inbound), icmp(version, 8 if version == 4 else 128, 0, bytes(8), inbound=inbound)]
    made += [udp(version, inbound=not inbound)]
    for packet in made:
        seen = host.indication(where, packet)
        assert among is None or holds(among, seen.view) or not any(item.matches(seen) for item in filters)
