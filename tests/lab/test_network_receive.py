"""Network receive on real packets."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections import Counter
from typing import Any

import pytest

from emulator.errors import FwpInvalidParameter, InjectHandleStale
from emulator.fragments import fragment
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.stack import Stack
from emulator.topology import Host, Pair, Routed
from emulator.traffic import Datagrams, drain
from emulator.wfptypes import AddressFamily, InjectionType
from tests.lab.conftest import Completions, expected_violations
from tests.lab.network_packets import PORT, Decide, Watch, at, between, udp

NETWORK = InjectionType.NETWORK
V4, V6 = AddressFamily.INET, AddressFamily.INET6
IN_LAYERS = ("INBOUND_IPPACKET", "INBOUND_TRANSPORT", "DATAGRAM_DATA")


def eth0(host: Host) -> int:
    return host.namespace.index_of("eth0")


def receive(
    stack: Stack, family: AddressFamily, interface: int, *packets: bytes, sub: int = SUB_INTERFACE
) -> list[str]:
    """Let packets arrive, each in a list of its own; the statuses they were completed with."""
    done = Completions(stack)
    with stack.create_handle(family, NETWORK) as handle:
        for octets in packets:
            item = stack.core.ownership.create_from(octets)
            handle.network_receive(item, done, interface=interface, sub_interface=sub)
        stack.settle()
    return done.names


class Reinject:
    """Blocks what arrives at INBOUND_IPPACKET and receives its clone, once."""

    def __init__(self, stack: Stack, handle: InjectionHandle, *, retreat: bool = True, change: Any = None) -> None:
        self.done = Completions(stack)
        self.states: Counter[str] = Counter()
        self.handle, self.retreat, self.change = handle, retreat, change

    def __call__(self, seen: Indication, item: NetBufferList) -> None:
        self.states[self.handle.state(item)[0].name] += 1
        if self.handle.is_mine(item):
            return seen.permit()
        clone = seen.clone(seen.metadata.ip_header_size if self.retreat else 0)
        if self.change is not None:
            self.change(clone)
        self.handle.network_receive(clone, self.done, interface=seen.interface, sub_interface=SUB_INTERFACE)
        return seen.block(absorb=True)


@pytest.mark.rule("NR-1")
def test_fragments_injected_one_by_one_reach_the_application_whole(pair: Pair, family: AddressFamily) -> None:
    stack, receiver = pair.host.stack, pair.host.socket(family, port=PORT)
    payload = bytes(range(256)) * 12
    whole = between(pair.peer, pair.host, family, payload)
    pieces = fragment(whole, 1280, identification=7)
    assert len(pieces) == 3
    assert receive(stack, family, eth0(pair.host), *pieces) == ["SUCCESS"] * 3
    assert receiver.recv(65535) == payload


@pytest.mark.rule("NR-1", "NR-12")
def test_only_a_network_handle_receives(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    item = stack.core.ownership.create_from(between(pair.peer, pair.host, family, b"x"))
    with stack.create_handle(family, InjectionType.FORWARD) as wrong, pytest.raises(InjectHandleStale):
        wrong.network_receive(item, Completions(stack), interface=eth0(pair.host), sub_interface=1)
    stack.core.ownership.free_list(item)


@pytest.mark.rule("NR-2", "NB-2", "LA-1")
def test_without_the_retreat_nothing_is_received(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    with stack.create_handle(family, NETWORK) as handle:
        again = Reinject(stack, handle, retreat=False)
        at(stack, Decide(again), "INBOUND_IPPACKET", family=family)
        assert traffic.exchange([b"one"]) == []
        assert again.done.names == ["INVALID_PARAMETER"]
        expected_violations(stack, "NR-2")
        again.retreat = True
        assert traffic.exchange([b"two"]) == [b"two"]


@pytest.mark.rule("NR-3")
def test_it_arrives_on_the_interface_that_was_named(routed: Routed, family: AddressFamily) -> None:
    host, stack = routed.mid, routed.mid.stack
    near, far = host.namespace.index_of("eth0"), host.namespace.index_of("eth1")
    receiver = host.socket(family, port=PORT)
    level, option = (socket.IPPROTO_IP, 8) if family == V4 else (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
    receiver.setsockopt(level, option, 1)
    for index in (near, far):
        packet = between(routed.right, host, family, b"%d" % index)
        assert receive(stack, family, index, packet) == ["SUCCESS"]
        payload, control, _, _ = receiver.recvmsg(100, 200)
        assert payload == b"%d" % index
        (info,) = [data for _, _, data in control]
        assert struct.unpack_from("I", info, 0 if family == V4 else 16) == (index,)


@pytest.mark.rule("NR-3")
def test_a_socket_bound_to_another_device_does_not_get_it(routed: Routed, family: AddressFamily) -> None:
    host, stack = routed.mid, routed.mid.stack
    bound = host.socket(family, port=PORT)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
    packets = [between(routed.right, host, family, text) for text in (b"by eth0", b"by eth1")]
    receive(stack, family, host.namespace.index_of("eth0"), packets[0])
    receive(stack, family, host.namespace.index_of("eth1"), packets[1])
    assert bound.recv(100) == b"by eth1"
    assert drain(bound) == []


@pytest.mark.rule("NR-4", "CF-10")
def test_interfaces_that_do_not_exist_fail(pair: Pair, family: AddressFamily) -> None:
    stack, receiver = pair.host.stack, pair.host.socket(family, port=PORT)
    packet = between(pair.peer, pair.host, family, b"x")
    assert receive(stack, family, 0, packet) == ["INVALID_PARAMETER"]
    assert receive(stack, family, 9999, packet) == ["INVALID_PARAMETER"]
    assert receive(stack, family, eth0(pair.host), packet, sub=0) == ["INVALID_PARAMETER"]
    assert receive(stack, family, eth0(pair.host), between(pair.peer, pair.host, family, b"good")) == ["SUCCESS"]
    assert receiver.recv(100) == b"good"


@pytest.mark.rule("NR-5", "NR-13", "GE-10", "GE-12", "QS-10")
def test_it_passes_the_receive_path_from_the_bottom_as_its_own(pair: Pair, family: AddressFamily) -> None:
    stack, receiver = pair.host.stack, pair.host.socket(family, port=PORT)
    done = Completions(stack)
    with stack.create_handle(family, NETWORK) as handle:
        watch = Watch(lambda seen: handle.state(seen.net_buffer_list)[0].name)
        at(stack, watch, *IN_LAYERS, family=family)
        packet = between(pair.peer, pair.host, family, b"x")
        handle.network_receive(
            stack.core.ownership.create_from(packet), done, interface=eth0(pair.host), sub_interface=1
        )
        assert receiver.recv(10) == b"x"
        stack.settle()
    assert watch.layers == list(IN_LAYERS)
    assert watch.seen == ["INJECTED_BY_SELF"] * 3
    assert done.names == ["SUCCESS"]


@pytest.mark.rule("NR-5", "NR-13", "QS-10")
def test_a_held_packet_is_received_again_once(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    payloads = [b"%d" % number for number in range(50)]
    with stack.create_handle(family, NETWORK) as handle:
        again = Reinject(stack, handle)
        at(stack, Decide(again), "INBOUND_IPPACKET", family=family)
        assert sorted(traffic.exchange(payloads)) == sorted(payloads)
    assert dict(again.states) == {"NOT_INJECTED": 50, "INJECTED_BY_SELF": 50}
    assert again.done.names == ["SUCCESS"] * 50


@pytest.mark.rule("NR-6", "GE-16")
def test_a_stale_header_checksum_is_not_received(pair: Pair) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, V4)

    def stale(clone: NetBufferList) -> None:
        clone.write(8, bytes([clone.read(8, 1)[0] - 1]))  # the hop limit, and not the checksum

    with stack.create_handle(V4, NETWORK) as handle:
        again = Reinject(stack, handle, change=stale)
        at(stack, Decide(again), "INBOUND_IPPACKET", family=V4)
        assert traffic.exchange([b"stale"]) == []
        assert again.done.names == ["DATA_NOT_ACCEPTED"]
        expected_violations(stack, "NR-6")
        again.change = None
        assert traffic.exchange([b"right"]) == [b"right"]


@pytest.mark.rule("NR-7", "GE-16")
def test_a_wrong_transport_checksum_is_seen_at_the_bottom_only(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    watch = Watch()
    at(stack, watch, "INBOUND_IPPACKET", "INBOUND_TRANSPORT", family=family)
    wrong = bytearray(between(pair.peer, pair.host, family, b"wrong"))
    wrong[-1] ^= 1
    receive(stack, family, eth0(pair.host), bytes(wrong))
    assert traffic.arrived() == []
    assert watch.layers == ["INBOUND_IPPACKET"]
    expected_violations(stack, "GE-16")


@pytest.mark.rule("NR-8", "CF-9")
@pytest.mark.parametrize("group", ["INBOUND_IPPACKET", "INBOUND_TRANSPORT"])
def test_blocked_on_its_way_up_it_was_not_accepted(pair: Pair, family: AddressFamily, group: str) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    at(stack, Decide(lambda seen, item: seen.block()), group, family=family)
    packet = between(pair.peer, pair.host, family, b"x")
    assert receive(stack, family, eth0(pair.host), packet) == ["DATA_NOT_ACCEPTED"]
    assert traffic.arrived() == []


@pytest.mark.rule("NR-9", "NR-10")
def test_loopback_and_own_addresses_do_not_come_from_outside(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    loopback = ipaddress.ip_address("127.0.0.1" if family == V4 else "::1").packed
    own, peer = pair.host.octets(family), pair.peer.octets(family)
    packets = [udp(loopback, loopback, b"a"), udp(peer, loopback, b"b"), udp(own, own, b"c")]
    assert receive(stack, family, eth0(pair.host), *packets) == ["DATA_NOT_ACCEPTED"] * 3
    assert traffic.arrived() == []
    assert receive(stack, family, eth0(pair.host), udp(peer, own, b"good")) == ["SUCCESS"]
    assert traffic.arrived() == [b"good"]


@pytest.mark.rule("NR-11")
def test_what_is_not_for_the_host_is_forwarded_if_it_forwards(routed: Routed, family: AddressFamily) -> None:
    host, stack = routed.mid, routed.mid.stack
    receiver = routed.right.socket(family, port=PORT)
    watch = Watch()
    at(stack, watch, "INBOUND_IPPACKET", "IPFORWARD", "INBOUND_TRANSPORT", family=family)
    packet = between(routed.left, routed.right, family, b"transit")
    assert receive(stack, family, host.namespace.index_of("eth0"), packet) == ["SUCCESS"]
    assert receiver.recv(100) == b"transit"
    assert watch.layers == ["INBOUND_IPPACKET", "IPFORWARD"]
    key = "net.ipv4.ip_forward" if family == V4 else "net.ipv6.conf.all.forwarding"
    host.namespace.sysctl(key, 0)
    receive(stack, family, host.namespace.index_of("eth0"), packet)
    host.namespace.sysctl(key, 1)
    canary = between(routed.left, routed.right, family, b"canary")
    receive(stack, family, host.namespace.index_of("eth0"), canary)
    assert receiver.recv(100) == b"canary"


@pytest.mark.rule("NR-12", "NS-5")
def test_compartments_as_for_send(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    item = stack.core.ownership.create_from(between(pair.peer, pair.host, family, b""))
    with stack.create_handle(family, NETWORK) as handle, pytest.raises(FwpInvalidParameter):
        handle.network_receive(item, Completions(stack), interface=2, sub_interface=1, compartment=3)
    stack.core.ownership.free_list(item)


@pytest.mark.rule("NR-14")
def test_the_cable_does_not_see_it(pair: Pair, family: AddressFamily) -> None:
    from netns.capture import Capture

    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    with Capture(pair.peer.namespace, "eth0") as wire:
        receive(stack, family, eth0(pair.host), between(pair.peer, pair.host, family, b"unwired"))
        assert traffic.arrived() == [b"unwired"]
        frames = [bytes(frame.octets) for frame in wire.drain()]
    assert not any(b"unwired" in octets for octets in frames)
    assert any(b"canary" in octets for octets in frames), "the capture saw nothing"


@pytest.mark.rule("NR-15")
def test_an_incoming_list_holds_one_packet(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    packet = bytearray(between(pair.peer, pair.host, family, b""))
    item = stack.core.ownership.create(Mdl(packet), 0, len(packet))
    item.first_net_buffer.next = NetBuffer(Mdl(bytearray(packet)), 0, len(packet))
    with stack.create_handle(family, NETWORK) as handle, pytest.raises(FwpInvalidParameter):
        handle.network_receive(item, Completions(stack), interface=eth0(pair.host), sub_interface=1)
    stack.core.ownership.free_list(item)


@pytest.mark.rule("NR-16", "LA-20")
def test_reinjecting_every_indication_of_fragments_multiplies_them(pair: Pair, family: AddressFamily) -> None:
    """One of the three ways a fragmented datagram is indicated has to be chosen."""
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    payload = bytes(range(250)) * 20
    from emulator.callout import Callout

    with stack.create_handle(family, NETWORK) as handle:
        again = Reinject(stack, handle)
        choose = [True]

        class Chosen(Callout):
            def classify(self, seen: Indication) -> None:
                fragments_only = bool(seen.condition_flags & 0x20)
                wanted = fragments_only if choose[0] else True
                if not wanted or seen.net_buffer_list is None or b"canary" in seen.net_buffer_list.octets:
                    return seen.permit()
                return again(seen, seen.net_buffer_list)

        at(stack, Chosen(), "INBOUND_IPPACKET", family=family)
        assert traffic.exchange([payload]) == [payload]
        chosen = sum(again.states.values())
        again.states.clear()
        choose[0] = False
        traffic.exchange([payload])
        stack.settle()
        for item in list(stack.core.engine.filters.values()):  # what still comes does not meet a destroyed handle
            stack.delete_filter(item)
    assert sum(again.states.values()) > chosen
