"""Network send on real packets."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from emulator.errors import FwpInvalidFlags, FwpInvalidParameter, FwpNullPointer, InjectHandleStale
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.netbuffer import NetBufferList
from emulator.stack import Stack
from emulator.topology import Alone, HostOptions, Pair, Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionState, InjectionType
from emulator.wfptypes import MetadataField as M
from netns.capture import Capture
from tests.lab.conftest import Completions, Strict, expected_violations
from tests.lab.network_packets import PORT, Decide, Watch, at, between, udp

NETWORK = InjectionType.NETWORK
V4, V6 = AddressFamily.INET, AddressFamily.INET6
OUT_LAYERS = ("DATAGRAM_DATA", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET")


def send(stack: Stack, family: AddressFamily, *packets: bytes, **more: Any) -> list[str]:
    """Send packets by one handle, each in a list of its own; the statuses they were completed with."""
    done = Completions(stack)
    with stack.create_handle(family, NETWORK) as handle:
        for octets in packets:
            handle.network_send(stack.core.ownership.create_from(octets), done, **more)
        stack.settle()
    return done.names


def foreign(family: AddressFamily, number: int = 77) -> bytes:
    """An address that no host of a Pair has."""
    return ipaddress.ip_address(f"10.0.0.{number}" if family == V4 else f"fd00::{number}").packed


@pytest.mark.rule("NS-1", "NS-8", "HC-7", "ER-2")
def test_only_a_network_handle_sends(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done = Completions(stack)
    item = stack.core.ownership.create_from(between(pair.host, pair.peer, family, b"x"))
    for kind in (InjectionType.TRANSPORT, InjectionType.STREAM, InjectionType.FORWARD):
        with stack.create_handle(family, kind) as wrong, pytest.raises(InjectHandleStale):
            wrong.network_send(item, done)
    assert traffic.arrived() == []
    assert done.names == []
    with stack.create_handle(family, NETWORK) as right:
        right.network_send(item, done)
        assert traffic.arrived() == [b"x"]
    assert done.names == ["SUCCESS"]


@pytest.mark.rule("NS-2", "NS-3", "GE-1", "CF-2", "CF-4", "ER-3")
def test_what_is_no_packet_fails_in_its_completion_and_never_leaves(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    traffic = Datagrams(pair.host, pair.peer, family)
    good = between(pair.host, pair.peer, family, b"good")
    other = between(pair.host, pair.peer, V6 if family == V4 else V4, b"good")
    length_at = 2 if family == V4 else 4
    longer = good[:length_at] + (3000).to_bytes(2, "big") + good[length_at + 2 :]
    with Capture(pair.peer.namespace, "eth0") as wire:
        names = send(stack, family, b"", good[-12:], other, longer, good[:15], b"\x75" + good[1:])
        assert names == ["INVALID_PARAMETER"] * 6
        expected_violations(stack, *["NS-2"] * 5, "NS-3")
        assert traffic.arrived() == []
        frames = [frame.octets[14:] for frame in wire.drain()]
    assert not any(b"good" in octets for octets in frames)
    assert any(b"canary" in octets for octets in frames), "the capture saw nothing"


@pytest.mark.rule("GE-1", "CF-10", "NS-8")
def test_a_packet_without_a_route_is_accepted_and_completed_with_a_failure(pair: Pair, family: AddressFamily) -> None:
    nowhere = ipaddress.ip_address("203.0.113.1" if family == V4 else "2001:db8::1").packed
    assert send(pair.host.stack, family, udp(pair.host.octets(family), nowhere, b"")) == ["NETWORK_UNREACHABLE"]


@pytest.mark.rule("NS-4", "GE-6")
def test_flags_are_reserved_in_the_documented_profile(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    item = stack.core.ownership.create_from(between(pair.host, pair.peer, family, b""))
    with stack.create_handle(family, NETWORK) as handle:
        for flags in (1, 2, 0x80000000):
            with pytest.raises(FwpInvalidFlags):
                handle.network_send(item, Completions(stack), flags=flags)
    stack.core.ownership.free_list(item)


@pytest.mark.rule("NS-4", "DC-7")
def test_newer_headers_keep_the_identification_even_if_it_is_0(beds: Strict) -> None:
    pair = beds.make(Pair, HostOptions(header_flags=True))
    traffic = Datagrams(pair.host, pair.peer, V4)
    kept = between(pair.host, pair.peer, V4, b"kept", identification=0)
    named = between(pair.host, pair.peer, V4, b"named", identification=0x4242)
    with Capture(pair.peer.namespace, "eth0") as wire:
        assert send(pair.host.stack, V4, kept, named, flags=1) == ["SUCCESS", "SUCCESS"]
        assert traffic.arrived() == [b"kept", b"named"]
        sent = [bytes(frame.octets[14:]) for frame in wire.drain() if b"canary" not in frame.octets]
    assert kept in sent
    assert named in sent


@pytest.mark.rule("NS-5", "MD-6")
def test_compartments_are_the_unspecified_and_the_default_one(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    packet = between(pair.host, pair.peer, family, b"x")
    assert send(stack, family, packet, compartment=1) == ["SUCCESS"]
    item = stack.core.ownership.create_from(packet)
    with stack.create_handle(family, NETWORK) as handle, pytest.raises(FwpInvalidParameter):
        handle.network_send(item, Completions(stack), compartment=7)
    stack.core.ownership.free_list(item)
    assert traffic.arrived() == [b"x"]


@pytest.mark.rule("NS-6")
def test_the_destination_decides_the_way_out(routed: Routed, family: AddressFamily) -> None:
    stack = routed.mid.stack
    for target in (routed.left, routed.right):
        packet = udp(routed.mid.octets(family), target.octets(family), target.name.encode())
        receiver = target.socket(family, port=PORT)
        assert send(stack, family, packet) == ["SUCCESS"]
        assert receiver.recv(100) == target.name.encode()


@pytest.mark.rule("NS-7", "GE-7")
def test_a_completion_function_and_a_list_are_required(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    missing: Any = None
    item = stack.core.ownership.create_from(between(pair.host, pair.peer, family, b""))
    with stack.create_handle(family, NETWORK) as handle:
        with pytest.raises(FwpNullPointer):
            handle.network_send(item, missing)
        with pytest.raises(FwpNullPointer):
            handle.network_send(missing, Completions(stack))
        done = Completions(stack)
        handle.network_send(item, done, completion_context="mine", context="theirs")
        stack.settle()
    assert done.contexts == ["mine"]


@pytest.mark.rule("NS-9", "GE-10", "GE-12")
def test_it_passes_the_send_path_from_the_top_as_its_own(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    with stack.create_handle(family, NETWORK) as handle:
        watch = Watch(lambda seen: handle.state(seen.net_buffer_list)[0])
        at(stack, watch, *OUT_LAYERS, family=family)
        done = Completions(stack)
        handle.network_send(stack.core.ownership.create_from(between(pair.host, pair.peer, family, b"")), done)
        stack.settle()
    assert watch.layers == list(OUT_LAYERS)
    assert watch.seen == [InjectionState.INJECTED_BY_SELF] * 3
    assert done.names == ["SUCCESS"]


@pytest.mark.rule("GE-10", "GE-11", "GE-12", "NS-9")
def test_a_clone_captured_at_the_bottom_starts_again_at_the_top(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done = Completions(stack)
    with stack.create_handle(family, NETWORK) as handle:
        watch = Watch(lambda seen: handle.state(seen.net_buffer_list)[0].name)

        def decide(seen: Indication, item: NetBufferList) -> None:
            watch.classify(seen)
            if seen.info.group == "OUTBOUND_IPPACKET" and not handle.is_mine(item):
                handle.network_send(seen.clone(), done)
                seen.block(absorb=True)

        at(stack, Decide(decide), *OUT_LAYERS, family=family)
        assert traffic.exchange([b"x"]) == [b"x"]
    assert watch.layers == [*OUT_LAYERS, *OUT_LAYERS]
    assert watch.seen == ["NOT_INJECTED"] * 3 + ["INJECTED_BY_SELF"] * 3


@pytest.mark.rule("NS-10")
def test_an_invented_packet_looks_like_a_raw_send(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    packet = udp(foreign(family), pair.peer.octets(family), b"")
    watch = Watch(lambda seen: (seen.metadata.has(M.TRANSPORT_ENDPOINT_HANDLE), seen.metadata.header_include_header))
    at(stack, watch, "OUTBOUND_TRANSPORT", family=family)
    send(stack, family, packet)
    size = 20 if family == V4 else 40
    (endpoint, header), = watch.seen
    assert not endpoint
    assert header is not None
    assert header[12 if family == V4 else 8 :][: len(foreign(family))] == foreign(family)
    assert len(header) == size


@pytest.mark.rule("NS-11")
def test_a_foreign_source_leaves_and_a_multicast_source_does_not(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    many = ipaddress.ip_address("224.0.0.5" if family == V4 else "ff02::5").packed
    good = udp(foreign(family), pair.peer.octets(family), b"foreign")
    bad = udp(many, pair.peer.octets(family), b"multicast")
    assert send(stack, family, good, bad) == ["SUCCESS", "DATA_NOT_ACCEPTED"]
    traffic.canary()
    payload, source = traffic.receiver.recvfrom(100)
    assert (payload, ipaddress.ip_address(source[0]).packed) == (b"foreign", foreign(family))
    assert traffic.arrived() == []


@pytest.mark.rule("NS-12", "CF-10")
def test_larger_than_the_path_is_not_cut_for_the_caller(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    with Capture(pair.peer.namespace, "eth0") as wire:
        packet = between(pair.host, pair.peer, family, b"x" * 2000)
        assert send(pair.host.stack, family, packet) == ["INVALID_BUFFER_SIZE"]
        assert traffic.arrived() == []
        frames = [frame for frame in wire.drain() if b"canary" not in frame.octets and b"xxxx" in frame.octets]
    assert frames == []


@pytest.mark.rule("NS-13")
def test_what_the_stack_made_too_large_is_seen_whole_and_sent_in_fragments(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done, sizes = Completions(stack), []
    with stack.create_handle(family, NETWORK) as handle:

        def decide(seen: Indication, item: NetBufferList) -> None:
            if handle.is_mine(item):
                return seen.permit()
            sizes.append(item.data_length)
            handle.network_send(seen.clone(), done)
            return seen.block(absorb=True)

        at(stack, Decide(decide), "OUTBOUND_IPPACKET", family=family)
        payload = bytes(range(256)) * 16
        with Capture(pair.peer.namespace, "eth0") as wire:
            assert traffic.exchange([payload]) == [payload]
            arrived = [f for f in wire.drain() if b"canary" not in f.octets and len(f.octets) > 400]
    assert sizes == [4096 + 8 + (20 if family == V4 else 40)]
    assert len(arrived) == 3
    assert done.names == ["SUCCESS"]


@pytest.mark.rule("NS-14")
def test_loopback_destination_with_another_source_fails(pair: Pair) -> None:
    packet = udp(pair.host.octets(V4), bytes((127, 0, 0, 1)), b"x")
    receiver = pair.host.socket(V4, port=PORT, address="127.0.0.1")
    assert send(pair.host.stack, V4, packet) == ["BAD_NETWORK_NAME"]
    canary = pair.host.socket(V4, address="127.0.0.1")
    canary.sendto(b"canary", ("127.0.0.1", PORT))
    assert receiver.recv(100) == b"canary"


@pytest.mark.rule("NS-15", "LA-37")
def test_a_packet_to_ones_own_address_loops_back(pair: Pair, family: AddressFamily) -> None:
    stack, receiver = pair.host.stack, pair.host.socket(family, port=PORT)
    own = pair.host.octets(family)
    watch = Watch(lambda seen: (seen.info.group, bool(seen.condition_flags & 1)))
    at(stack, watch, "OUTBOUND_IPPACKET", "INBOUND_IPPACKET", family=family)
    assert send(stack, family, udp(own, own, b"to myself")) == ["SUCCESS"]
    assert receiver.recv(100) == b"to myself"
    assert watch.seen == [("OUTBOUND_IPPACKET", True), ("INBOUND_IPPACKET", True)]


@pytest.mark.rule("NS-16", "NR-9")
def test_loopback_captured_inbound_goes_on_by_send_and_not_by_receive(alone: Alone, family: AddressFamily) -> None:
    stack, traffic = alone.host.stack, Datagrams(alone.host, alone.host, family)
    done, receive = Completions(stack), [True]
    with stack.create_handle(family, NETWORK) as handle:

        def decide(seen: Indication, item: NetBufferList) -> None:
            if handle.is_mine(item):
                return seen.permit()
            clone = seen.clone(seen.metadata.ip_header_size)
            if receive[0]:
                handle.network_receive(clone, done, interface=seen.interface, sub_interface=SUB_INTERFACE)
            else:
                handle.network_send(clone, done)
            return seen.block(absorb=True)

        at(stack, Decide(decide), "INBOUND_IPPACKET", family=family)
        assert traffic.exchange([b"received"]) == []
        receive[0] = False
        assert traffic.exchange([b"sent"]) == [b"sent"]
    assert done.names == ["DATA_NOT_ACCEPTED", "SUCCESS"]


@pytest.mark.rule("NS-19", "GE-16")
def test_a_wrong_header_checksum_leaves_as_given(pair: Pair) -> None:
    traffic = Datagrams(pair.host, pair.peer, V4)
    wrong = bytearray(between(pair.host, pair.peer, V4, b"wrong"))
    wrong[11] ^= 0x55
    with Capture(pair.peer.namespace, "eth0") as wire:
        assert send(pair.host.stack, V4, bytes(wrong)) == ["SUCCESS"]
        assert traffic.arrived() == []
        assert bytes(wrong) in [bytes(frame.octets[14:]) for frame in wire.drain()]
    expected_violations(pair.host.stack, "GE-16")


@pytest.mark.rule("NS-19", "GE-16", "TS-20")
def test_a_wrong_transport_checksum_leaves_as_given(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    wrong = bytearray(between(pair.host, pair.peer, family, b"wrong"))
    wrong[-6] ^= 0x55  # in the checksum field
    with Capture(pair.peer.namespace, "eth0") as wire:
        assert send(pair.host.stack, family, bytes(wrong)) == ["SUCCESS"]
        assert traffic.arrived() == []
        assert any(bytes(frame.octets[-13:]) == bytes(wrong[-13:]) for frame in wire.drain())
    expected_violations(pair.host.stack, "GE-16")


@pytest.mark.rule("GE-16")
def test_checksum_0_means_unchecked_on_ipv4_only(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    packet = bytearray(between(pair.host, pair.peer, family, b"zero!"))
    packet[-7:-5] = b"\0\0"
    assert send(pair.host.stack, family, bytes(packet)) == ["SUCCESS"]
    assert traffic.arrived() == ([b"zero!"] if family == V4 else [])
    expected_violations(pair.host.stack, *([] if family == V4 else ["GE-16"]))


@pytest.mark.rule("NS-20")
def test_a_hop_limit_of_1_dies_at_the_router(routed: Routed, family: AddressFamily) -> None:
    stack = routed.mid.stack
    routed.left.namespace.sysctl("net.ipv4.ip_forward", 1)
    receiver = routed.right.socket(family, port=PORT)
    local = udp(routed.mid.octets(family), routed.right.octets(family), b"short", hop_limit=1, traffic_class=0x28)
    with Capture(routed.right.namespace, "eth0") as wire:
        assert send(stack, family, local) == ["SUCCESS"]
        assert receiver.recv(100) == b"short"
        (frame,) = [bytes(f.octets[14:]) for f in wire.drain() if b"short" in f.octets]
    assert frame[8 if family == V4 else 7] == 1
    traffic_class = frame[1] if family == V4 else ((frame[0] & 15) << 4 | frame[1] >> 4)
    assert traffic_class == 0x28
