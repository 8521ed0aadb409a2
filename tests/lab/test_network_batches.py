"""Network sends that leave together, on real packets: each keeps its place, its octets and its own status."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import pytest

from emulator.indication import Indication
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.paths.batch import MOST
from emulator.stack import Stack
from emulator.topology import Alone, Host, Pair, Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionState, InjectionType
from netns.capture import Capture
from tests.lab.conftest import Completions
from tests.lab.network_packets import PORT, Decide, Watch, at, between, udp
from tests.lab.test_network_lists import several

NETWORK, FORWARD = InjectionType.NETWORK, InjectionType.FORWARD
V4, V6 = AddressFamily.INET, AddressFamily.INET6


def together(stack: Stack, work: Callable[[], None]) -> None:
    """Inject on the host's thread, which performs nothing before all of it is there."""
    stack.loop.call(work)
    stack.settle()


def numbered(a: Host, b: Host, family: AddressFamily, payload: bytes) -> bytes:
    """A packet from one host to the other to which the kernel adds nothing."""
    return between(a, b, family, payload, **({"identification": 7} if family == V4 else {}))


def nowhere(family: AddressFamily) -> bytes:
    """An address that there is no route to."""
    return ipaddress.ip_address("203.0.113.1" if family == V4 else "2001:db8::1").packed


def spoiled(packet: bytes, family: AddressFamily) -> bytes:
    """The packet with a wrong header checksum, which the kernel would repair, or, without one, too large a length."""
    place = 11 if family == V4 else 4
    return packet[:place] + bytes((packet[place] ^ 0x55,)) + packet[place + 1 :]


def on_wire(wire: Capture, traffic: Datagrams) -> list[bytes]:
    """The IP packets to the port of the tests that came by, without those of the canary."""
    traffic.canary()
    ports = (4999).to_bytes(2, "big") + PORT.to_bytes(2, "big")
    packets = [bytes(frame.octets[14:]) for frame in wire.drain() if b"canary" not in frame.octets]
    return [packet for packet in packets if ports in (packet[20:24], packet[40:44])]


@pytest.mark.parametrize("seen_by", [None, "OUTBOUND_IPPACKET"], ids=["no hook", "hook"])
@pytest.mark.rule("CF-10", "NS-12", "NS-11", "OR-1")
def test_what_fails_in_a_batch_fails_alone(pair: Pair, family: AddressFamily, seen_by: str | None) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    many = ipaddress.ip_address("224.0.0.5" if family == V4 else "ff02::5").packed
    watch = Watch()
    if seen_by is not None:
        at(stack, watch, seen_by, family=family)
    done = Completions(stack)
    host, peer = pair.host, pair.peer
    good = [numbered(host, peer, family, b"%d" % number) for number in range(5)]
    packets = [
        good[0], numbered(host, peer, family, b"x" * 2000), good[1], udp(host.octets(family), nowhere(family), b""),
        udp(host.octets(family), nowhere(family), b"again"), good[2], udp(many, peer.octets(family), b""), good[3],
        good[4], numbered(host, peer, family, b"y" * 2000),
    ]  # fmt: skip

    with stack.create_handle(family, NETWORK) as handle, Capture(peer.namespace, "eth0") as wire:
        expected = dict.fromkeys(range(len(packets)), "SUCCESS")
        expected |= {1: "INVALID_BUFFER_SIZE", 3: "NETWORK_UNREACHABLE", 4: "NETWORK_UNREACHABLE"}
        expected |= {6: "DATA_NOT_ACCEPTED", 9: "INVALID_BUFFER_SIZE"}

        def inject() -> None:
            for number, octets in enumerate(packets):
                handle.network_send(stack.core.ownership.create_from(octets), done, completion_context=number)

        together(stack, inject)
        assert dict(zip(done.contexts, done.names, strict=True)) == expected
        assert on_wire(wire, traffic) == good
    if seen_by is None:
        assert done.contexts == list(range(len(packets)))
    else:
        assert len(watch.layers) == len(good)
    assert stack.books.injections.failed == 5


@pytest.mark.rule("OR-1", "NS-8")
def test_both_families_leave_in_the_order_of_their_injection(pair: Pair) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, V4)
    done = Completions(stack)
    families = [V4, V4, V6, V4, V6, V6, V6, V4]
    packets = [numbered(pair.host, pair.peer, family, b"%d" % n) for n, family in enumerate(families)]
    with (
        stack.create_handle(V4, NETWORK) as four, stack.create_handle(V6, NETWORK) as six,
        Capture(pair.peer.namespace, "eth0") as wire,
    ):  # fmt: skip

        def inject() -> None:
            for number, (family, octets) in enumerate(zip(families, packets, strict=True)):
                handle = four if family == V4 else six
                item = stack.core.ownership.create_from(octets)
                handle.network_send(item, done, completion_context=number)

        together(stack, inject)
        assert on_wire(wire, traffic) == packets
    assert done.contexts == list(range(len(packets)))
    assert set(done.names) == {"SUCCESS"}


@pytest.mark.parametrize("seen_by", [None, "OUTBOUND_IPPACKET"], ids=["no hook", "hook"])
@pytest.mark.rule("NS-17", "OR-1", "OR-7", "CF-3")
def test_a_list_of_more_than_a_batch_leaves_in_order(pair: Pair, family: AddressFamily, seen_by: str | None) -> None:
    """Also round packets that cannot be in a batch, that are refused, and that lie in several pieces of memory."""
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    if seen_by is not None:
        at(stack, Watch(), seen_by, family=family)
    done = Completions(stack)
    traffic.canary()  # while the neighbour is looked for, the kernel keeps few packets
    packets = [numbered(pair.host, pair.peer, family, b"%d" % number) for number in range(2 * MOST + 20)]
    packets[7] = between(pair.host, pair.peer, family, b"x" * 2000)
    packets[MOST + 3] = spoiled(packets[MOST + 3], family)
    item = several(stack, packets)
    in_pieces(item, 5)
    expected = [octets for number, octets in enumerate(packets) if number not in (7, MOST + 3 if family == V6 else 7)]
    with stack.create_handle(family, NETWORK) as handle, Capture(pair.peer.namespace, "eth0") as wire:
        before = stack.core.ownership.create_from(numbered(pair.host, pair.peer, family, b"before"))
        after = stack.core.ownership.create_from(numbered(pair.host, pair.peer, family, b"after"))
        expected = [before.octets, *expected, after.octets]

        def inject() -> None:
            handle.network_send(before, done)
            handle.network_send(item, done)
            handle.network_send(after, done)

        together(stack, inject)
        assert on_wire(wire, traffic) == expected
    assert sorted(done.names) == ["INVALID_BUFFER_SIZE", "SUCCESS", "SUCCESS"]
    book = stack.books.injections
    assert (book.accepted, book.by_injector, book.completed, book.failed) == (3, 3, 3, 1)
    assert book.vanished == 0


def in_pieces(item: NetBufferList, place: int) -> None:
    """Lay one packet of a list into three pieces of memory, with space in front."""
    buffer = list(item.net_buffers())[place]
    octets = buffer.read(0, buffer.data_length)
    last = Mdl(bytearray(octets[30:] + b"behind"))
    middle = Mdl(bytearray(b"...." + octets[3:30]), 4, next=last)
    buffer.first_mdl = Mdl(bytearray(8) + octets[:3], next=middle)
    buffer.data_offset = 8


@pytest.mark.parametrize("listed", [False, True], ids=["single", "listed"])
@pytest.mark.rule("OR-1", "NS-9")
def test_sends_and_a_clone_put_back_leave_in_the_order_of_their_injection(
    pair: Pair, family: AddressFamily, way: str, listed: bool
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done = Completions(stack)
    with stack.create_handle(family, NETWORK) as handle:

        def make(payload: bytes) -> NetBufferList:
            return stack.core.ownership.create_from(between(pair.host, pair.peer, family, payload))

        def decide(seen: Indication, item: NetBufferList) -> None:
            if handle.is_mine(item):
                return seen.permit()
            two = [between(pair.host, pair.peer, family, payload) for payload in (b"1", b"2")]
            first = [several(stack, two)] if listed else [make(b"1"), make(b"2")]
            for made in (*first, seen.clone(), make(b"4"), make(b"5")):
                handle.network_send(made, done)
            return seen.block(absorb=True)

        at(stack, Decide(decide), "OUTBOUND_IPPACKET", family=family)
        assert traffic.exchange([b"3"]) == [b"1", b"2", b"3", b"4", b"5"]
    assert set(done.names) == {"SUCCESS"}


@pytest.mark.rule("OR-1", "FW-3")
def test_sends_that_no_hook_sees_and_a_verdict_keep_their_order(routed: Routed, family: AddressFamily) -> None:
    """The sends leave by sockets, a forwarded packet by its verdict, which waits until its burst is over."""
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, family)
    done = Completions(stack)
    with stack.create_handle(family, NETWORK) as sends, stack.create_handle(family, FORWARD) as forwards:

        def make(payload: bytes) -> NetBufferList:
            return stack.core.ownership.create_from(between(routed.mid, routed.right, family, payload))

        def decide(seen: Indication, item: NetBufferList) -> None:
            name, out = bytes(seen.payload), seen.value("DESTINATION_INTERFACE_INDEX")
            sends.network_send(make(b"before" + name), done)
            forwards.forward(seen.clone(), done, family=family, interface=out)
            sends.network_send(make(b"after" + name), done)
            seen.block(absorb=True)

        at(stack, Decide(decide), "IPFORWARD", family=family)
        arrived = traffic.exchange([b"a", b"b", b"c"])
    assert arrived == [order for name in (b"a", b"b", b"c") for order in (b"before" + name, name, b"after" + name)]
    assert done.names == ["SUCCESS"] * 9


@pytest.mark.rule("NS-15", "QS-2", "QS-4")
def test_every_packet_of_a_batch_has_its_own_history(alone: Alone, family: AddressFamily) -> None:
    """Packets to the host itself: no hook on their way out, one on their way in, which knows them by their marks."""
    stack = alone.host.stack
    own = ipaddress.ip_address("127.0.0.1" if family == V4 else "::1").packed
    traffic = Datagrams(alone.host, alone.host, family)
    done, states = Completions(stack), []
    with stack.create_handle(family, NETWORK) as mine, stack.create_handle(family, NETWORK) as others:
        watch = Watch(lambda seen: states.append((bytes(seen.payload), mine.state(seen.net_buffer_list))))
        at(stack, watch, "INBOUND_TRANSPORT", family=family)

        def inject() -> None:
            ten = [udp(own, own, b"list %d" % number) for number in range(10)]
            singles = [stack.core.ownership.create_from(udp(own, own, b"single")) for _ in range(3)]
            mine.network_send(several(stack, ten), done, context="list")
            others.network_send(singles[0], done)
            mine.network_send(singles[1], done, context="single")
            mine.network_send(several(stack, [udp(own, own, b"two")] * 2), done, context="two")
            others.network_send(several(stack, [udp(own, own, b"ten")] * 10), done)
            others.network_send(singles[2], done)

        together(stack, inject)
        traffic.exchange([b"not injected"])
    by_self, other = InjectionState.INJECTED_BY_SELF, (InjectionState.INJECTED_BY_OTHER, None)
    assert states == [
        *[(b"list %d" % number, (by_self, "list")) for number in range(10)], (b"single", other),
        (b"single", (by_self, "single")), *[(b"two", (by_self, "two"))] * 2, *[(b"ten", other)] * 10,
        (b"single", other), (b"not injected", (InjectionState.NOT_INJECTED, None)),
    ]  # fmt: skip
    assert set(done.names) == {"SUCCESS"}


@pytest.mark.rule("NS-8", "OR-1")
def test_a_batch_that_finds_no_room_waits_for_it(pair: Pair, family: AddressFamily) -> None:
    """The cable is slow, and the socket holds a few packets only."""
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    traffic.canary()
    shape = ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "800kbps", "burst", "4kb", "limit", "1mb"]
    pair.host.namespace.run(shape)
    raw = pair.host.namespace.open_in(lambda: stack.sockets.raw(4 if family == V4 else 6))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    done = Completions(stack)
    packets = [numbered(pair.host, pair.peer, family, b"%02d" % number + bytes(500)) for number in range(60)]
    with stack.create_handle(family, NETWORK) as handle:

        def inject() -> None:
            for octets in packets:
                handle.network_send(stack.core.ownership.create_from(octets), done)

        together(stack, inject)
        assert [payload[:2] for payload in traffic.arrived()] == [b"%02d" % number for number in range(60)]
    assert done.names == ["SUCCESS"] * 60


@pytest.mark.rule("NS-8", "CF-3")
def test_what_a_completion_injects_leaves_behind_the_batch(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    left = 40
    with stack.create_handle(family, NETWORK) as handle:

        def inject(number: int) -> None:
            item = stack.core.ownership.create_from(numbered(pair.host, pair.peer, family, b"%d" % number))
            handle.network_send(item, again, completion_context=number)

        def again(number: int, item: NetBufferList, dispatch_level: bool) -> None:
            stack.core.ownership.free_list(item)
            if number < left:
                inject(number + 10)

        def begin() -> None:
            for number in range(10):
                inject(number)

        together(stack, begin)
        assert traffic.arrived() == [b"%d" % number for number in range(left + 10)]


@pytest.mark.rule("GE-3")
def test_memory_that_changes_after_its_completion_is_not_what_leaves(pair: Pair, family: AddressFamily) -> None:
    """Lists of many packets over the same few pieces of memory, filled anew as soon as they are back."""
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    rounds = iter(range(1, 20))
    with stack.create_handle(family, NETWORK) as handle:
        item = several(stack, filled(pair.host, pair.peer, family, 0))

        def again(context: object, item: NetBufferList, dispatch_level: bool) -> None:
            number = next(rounds, None)
            if number is None:
                stack.core.ownership.free_list(item)
                return
            buffer: NetBuffer | None = item.first_net_buffer
            for octets in filled(pair.host, pair.peer, family, number):
                assert buffer is not None
                buffer.write(0, octets)
                buffer = buffer.next
            handle.network_send(item, again)

        together(stack, lambda: handle.network_send(item, again))
        assert traffic.arrived() == [b"%02d.%d" % (number, place) for number in range(20) for place in range(4)]


def filled(a: Host, b: Host, family: AddressFamily, number: int) -> list[bytes]:
    return [between(a, b, family, b"%02d.%d" % (number, place)) for place in range(4)]
