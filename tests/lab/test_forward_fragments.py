"""Forwarded fragments, groups of them, and packets too large for the way out."""

from __future__ import annotations

import pytest

from emulator.construct import reassemble_forward_group
from emulator.fragments import fragment
from emulator.indication import Indication
from emulator.octets import IpView
from emulator.topology import Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, ConditionFlag
from tests.lab.conftest import Completions, Strict
from tests.lab.forwarding import FORWARD, V4, finish, inject
from tests.lab.layer_log import Log, send_raw
from tests.lab.network_packets import PORT, Decide, Watch, at, between, udp
from tests.lab.putting_back import PutBack


@pytest.mark.rule("FW-4", "FW-1")
def test_fragments_are_forwarded_singly(routed: Routed, family: AddressFamily, way: str) -> None:
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, family)
    handle = stack.create_handle(family, FORWARD)
    callout = PutBack(stack, handle, only=lambda seen: seen.view.protocol in (17, 44))
    at(stack, callout, "IPFORWARD", family=family)
    payload = bytes(range(250)) * 16
    assert traffic.exchange([payload]) == [payload]
    assert callout.states["NOT_INJECTED"] >= 3
    pieces = fragment(between(routed.left, routed.right, family, payload), 1280)
    finish(stack)
    for piece in pieces:
        assert inject(stack, family, piece, routed.mid.interface("eth1")) == "SUCCESS"
    assert traffic.arrived() == [payload]
    handle.destroy()


@pytest.fixture
def grouping(beds: Strict) -> Routed:
    """left === mid, which groups forwarded fragments, === right."""
    from emulator.paths.groups import FragmentGroups

    bed = beds.make(Routed)
    bed.mid.stack.packets.groups = FragmentGroups(bed.mid.stack.packets)
    return bed


@pytest.mark.rule("FW-4", "FW-6", "NB-24", "NS-18", "LA-37", "DC-12")
def test_a_group_is_shown_as_a_chain_and_goes_on_reassembled(grouping: Routed, family: AddressFamily) -> None:
    bed = grouping
    stack, traffic = bed.mid.stack, Datagrams(bed.left, bed.right, family)
    handle, done = stack.create_handle(family, FORWARD), Completions(stack)
    shown: list[tuple[bool, int]] = []
    take = [False]

    def classify(seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        group = bool(seen.flags & ConditionFlag.IS_FRAGMENT_GROUP)
        shown.append((group, len(list(item.lists()))))
        if not group or not take[0]:
            return seen.permit()
        whole = reassemble_forward_group(stack.core, family, item)
        handle.forward(whole, done, family=family, interface=seen.value("DESTINATION_INTERFACE_INDEX"))
        return seen.block(absorb=True)

    class Group(Decide):
        def classify(self, seen: Indication) -> None:
            if seen.view.protocol != 17 or not seen.view.is_fragment:
                return seen.permit()
            return classify(seen)

    at(stack, Group(lambda seen, item: None), "IPFORWARD", family=family)
    arriving = Log(stack, family, "INBOUND_IPPACKET", look=lambda seen: int(seen.flags),
                   wanted=lambda seen: seen.view.is_fragment)  # fmt: skip
    payload = bytes(range(250)) * 16
    assert traffic.exchange([payload]) == [payload]
    assert shown == [(False, 1)] * 3 + [(True, 3)]
    assert arriving.take() == [0, int(ConditionFlag.IS_FRAGMENT)] * 3
    take[0] = True
    shown.clear()
    assert traffic.exchange([payload]) == [payload]
    assert shown == [(False, 1)] * 3 + [(True, 3)]
    assert done.names == ["SUCCESS"]
    finish(stack, handle)
    assert stack.packets.groups is not None


@pytest.mark.rule("FW-6")
def test_without_grouping_each_fragment_is_shown_once(routed: Routed, family: AddressFamily) -> None:
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, family)
    watch = Watch(lambda seen: int(seen.flags), port=PORT)
    at(stack, watch, "IPFORWARD", family=family)
    payload = bytes(range(250)) * 16
    assert traffic.exchange([payload]) == [payload]
    assert watch.seen == [0, 0, 0]
    finish(stack)


@pytest.fixture
def narrow(routed: Routed) -> Routed:
    """Packets of more than 1400 octets do not pass the way out."""
    for end in routed.far.ends:
        end.set_mtu(1400)
    return routed


@pytest.mark.rule("FW-12")
def test_a_packet_larger_than_the_way_out_is_cut_where_it_may_be(narrow: Routed) -> None:
    traffic = Datagrams(narrow.left, narrow.right, V4)
    packet = udp(narrow.left.octets(V4), narrow.right.octets(V4), b"x" * 1440)
    assert inject(narrow.mid.stack, V4, packet, narrow.mid.interface("eth1")) == "SUCCESS"
    assert traffic.arrived() == [b"x" * 1440]


@pytest.mark.rule("FW-12", "CF-10")
def test_a_packet_larger_than_the_way_out_is_refused_where_it_may_not_be_cut(
    narrow: Routed, family: AddressFamily
) -> None:
    """Routers never cut IPv6 packets."""
    traffic = Datagrams(narrow.left, narrow.right, family)
    wire = narrow.left.wire()
    more = {"dont_fragment": True} if family == V4 else {}
    packet = udp(narrow.left.octets(family), narrow.right.octets(family), b"x" * 1440, **more)
    assert inject(narrow.mid.stack, family, packet, narrow.mid.interface("eth1")) == "INVALID_BUFFER_SIZE"
    assert traffic.arrived() == []
    errors = [IpView(octets) for octets in wire.packets() if IpView(octets).is_icmp]
    assert [(view.icmp_type, view.icmp_code) for view in errors if view.icmp_type in (2, 3)] == [
        (3, 4) if family == V4 else (2, 0)
    ]


@pytest.mark.rule("FW-6")
def test_groups_that_never_become_complete_are_bounded_and_end(
    grouping: Routed, family: AddressFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emulator.paths.groups.GROUPS_KEPT", 2)
    bed = grouping
    stack, traffic = bed.mid.stack, Datagrams(bed.left, bed.right, family)
    at(stack, Decide(lambda seen, item: seen.permit()), "IPFORWARD", family=family)
    firsts = []
    for number in range(1, 6):
        whole = between(bed.left, bed.right, family, bytes(2000), identification=number)
        firsts.append(fragment(whole, 1280, identification=number)[0])
    send_raw(bed.left, family, bed.right.address(family), *firsts)
    assert traffic.exchange([b"whole"]) == [b"whole"]
    book = stack.books.hooks[2]
    groups = stack.packets.groups
    assert groups is not None
    assert (book.held, book.blocked) == (2, 3)
    groups.now += 31.0
    stack.loop.call(groups.expire)
    assert (book.held, book.blocked) == (0, 5)
    finish(stack)
