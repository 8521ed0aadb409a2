"""Indications: what a callout sees and decides, and that it does so in time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emulator.errors import FwpNullPointer, InvalidParameter
from emulator.filters import Filter
from emulator.flows import FlowKey
from emulator.indication import Indication
from emulator.layers import Layer, layer_info
from emulator.netbuffer import NetBufferList
from emulator.octets import IpView
from emulator.wfptypes import Action, AddressFamily, ConditionFlag, Direction, FilterFlag
from tests.unit.fakehost import FakeHost, Origin, layer, of_family, udp

HERE = Layer.INBOUND_IPPACKET_V4


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def data(seen: Indication) -> NetBufferList:
    assert seen.net_buffer_list is not None
    return seen.net_buffer_list


def test_an_indication_knows_where_it_is(host: FakeHost) -> None:
    seen = host.indication(HERE)
    seen.condition_flags = int(ConditionFlag.IS_FRAGMENT)
    assert seen.info is layer_info(HERE)
    assert seen.direction is Direction.INBOUND
    assert host.indication(Layer.OUTBOUND_IPPACKET_V4).direction is Direction.OUTBOUND
    assert seen.flags == ConditionFlag.IS_FRAGMENT
    assert repr(seen) == "<indication at INBOUND_IPPACKET_V4 <stack list, 15 octets, indicated>>"


def test_the_view_is_parsed_once(host: FakeHost) -> None:
    seen = host.indication(HERE)
    assert seen.view.protocol == 17
    assert seen.view is seen.view
    known = IpView(bytearray(udp(4)))
    seen.known_view = known
    assert seen.view is known


@pytest.mark.rule("FL-8")
def test_a_packet_without_a_flow_has_no_handle(host: FakeHost) -> None:
    seen = host.indication(HERE)
    assert seen.flow_handle == 0
    seen.flow = host.engine.flows.table.begin(FlowKey(17, b"", 0, b"", 0), outbound=True, now=0)
    assert seen.flow_handle == seen.flow.number != 0


# -- deciding -------------------------------------------------------------------------------------------------


@pytest.mark.rule("CO-15", "CO-19")
@pytest.mark.parametrize(
    ("decide", "action", "rights", "absorbed"),
    [
        (lambda seen: seen.permit(), Action.PERMIT, True, False),
        (lambda seen: seen.hard_permit(), Action.PERMIT, False, False),
        (lambda seen: seen.block(), Action.BLOCK, False, False),
        (lambda seen: seen.block(hard=False), Action.BLOCK, True, False),
        (lambda seen: seen.block(absorb=True), Action.BLOCK, False, True),
        (lambda seen: seen.continue_(), Action.CONTINUE, True, False),
    ],
)
def test_each_decision_sets_action_and_right(
    host: FakeHost, decide: Callable[[Indication], None], action: Action, rights: bool, absorbed: bool
) -> None:
    seen = host.indication(HERE)
    assert (seen.action, seen.may_decide, seen.absorbed) == (Action.NONE, True, False)
    decide(seen)
    assert (seen.action, seen.may_decide, seen.absorbed) == (action, rights, absorbed)


@pytest.mark.rule("CO-15")
def test_a_permit_is_final_when_the_filter_says_so(host: FakeHost) -> None:
    seen = host.indication(HERE)
    seen.filter = Filter(HERE, Action.BLOCK, flags=FilterFlag.CLEAR_ACTION_RIGHT)
    seen.filter.compile()
    seen.permit()
    assert not seen.may_decide


# -- in time --------------------------------------------------------------------------------------------------

LATE: dict[str, Callable[[Indication], object]] = {
    "value": lambda seen: seen.value("INTERFACE_INDEX"),
    "values": lambda seen: seen.values,
    "metadata": lambda seen: seen.metadata,
    "permit": lambda seen: seen.permit(),
    "hard_permit": lambda seen: seen.hard_permit(),
    "block": lambda seen: seen.block(absorb=True),
    "continue": lambda seen: seen.continue_(),
}


@pytest.mark.rule("CO-12")
@pytest.mark.parametrize("name", LATE)
def test_after_classify_an_indication_is_over(host: FakeHost, name: str) -> None:
    kept: list[Indication] = []
    host.filter(HERE, kept.append)
    seen = host.indication(HERE)
    LATE[name](seen)
    seen.action, seen.rights, seen.out_flags = Action.NONE, 1, 0
    assert host.show(seen)
    assert kept == [seen]
    assert host.rules == []
    before = (seen.action, seen.rights, seen.out_flags)
    LATE[name](seen)
    assert host.rules == ["CO-12"]
    assert (seen.action, seen.rights, seen.out_flags) == before


@pytest.mark.rule("CO-12", "NB-11")
def test_after_classify_its_list_is_over_unless_referenced(host: FakeHost) -> None:
    seen = host.indication(HERE)
    host.show(seen)
    with pytest.raises(InvalidParameter):
        seen.clone()
    assert host.rules == ["NB-11"]
    kept = host.indication(HERE)
    host.ownership.reference(kept.net_buffer_list)
    host.show(kept)
    host.free(kept.clone())
    host.ownership.dereference(data(kept))
    assert host.rules == ["NB-11"]
    assert host.ownership.counters().clean


# -- cloning --------------------------------------------------------------------------------------------------


@pytest.mark.rule("NB-2", "NB-13")
@pytest.mark.parametrize("payload", [b"", b"payload"])
def test_an_incoming_packet_is_cloned_from_its_ip_header(family: AddressFamily, host: FakeHost, payload: bytes) -> None:
    version = of_family(family)
    packet = udp(version, payload)
    for group in ("INBOUND_IPPACKET", "INBOUND_TRANSPORT", "DATAGRAM_DATA"):
        origin = Origin()
        seen = host.indication(layer(group, version), packet, inbound=True, origin=origin)
        metadata = seen.metadata
        retreat = metadata.ip_header_size + (0 if group == "INBOUND_IPPACKET" else metadata.transport_header_size)
        before = data(seen).octets, data(seen).data_offset
        clone = seen.clone(retreat)
        assert clone.octets == packet
        assert (data(seen).octets, data(seen).data_offset) == before
        assert data(seen).flat
        assert not origin.edited
        host.free(clone)
    assert host.rules == []


@pytest.mark.rule("NB-13")
def test_a_clone_that_fails_puts_the_original_back(host: FakeHost) -> None:
    seen = host.indication(HERE)
    host.ownership.deny = lambda call: True
    offset = data(seen).data_offset
    with pytest.raises(Exception, match="fault injection"):
        seen.clone(20)
    assert data(seen).data_offset == offset


@pytest.mark.rule("NB-13")
def test_nothing_stands_in_front_of_an_outgoing_packet(family: AddressFamily, host: FakeHost) -> None:
    version = of_family(family)
    packet = udp(version, inbound=False)
    seen = host.indication(layer("OUTBOUND_TRANSPORT", version), packet, inbound=False)
    clone = seen.clone(20)
    assert clone.octets[20:] == data(seen).octets
    assert clone.octets[:20] not in packet
    assert clone.data_length == data(seen).data_length + 20
    assert data(seen).data_offset == 0
    host.free(clone)
    assert host.rules == []


@pytest.mark.rule("QS-11")
def test_where_there_is_no_packet_there_is_nothing_to_clone(host: FakeHost) -> None:
    seen = host.indication(HERE)
    seen.net_buffer_list = None
    with pytest.raises(FwpNullPointer):
        seen.clone(20)
