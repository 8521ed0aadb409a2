"""Forward injection on real packets: by the verdict of the held packet, and by a socket."""

from __future__ import annotations

import ipaddress
from collections import Counter

import pytest

from emulator.indication import Indication
from emulator.netbuffer import NetBufferList
from emulator.octets import IpView
from emulator.topology import Empty, Host, Pair, Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, ConditionFlag
from tests.lab.conftest import Completions, Strict
from tests.lab.forwarding import EVERY_IP_LAYER, FORWARD, V4, by_port, finish, inject
from tests.lab.network_packets import PORT, Decide, Watch, at, between
from tests.lab.putting_back import ALL_TYPES, PutBack, forgiven, inspect


@pytest.mark.case("E01")
@pytest.mark.rule("FW-1", "FW-3", "FW-5", "FW-8", "FW-10", "GE-12", "LA-31", "MD-2", "DC-3")
def test_transit_packets_are_put_back_and_no_layer_sees_them_again(
    routed: Routed, family: AddressFamily, way: str
) -> None:
    """All arrive, TTL lowered once, one indication each, also for another callout."""
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, family)
    assert traffic.exchange([b"before"]) == [b"before"]
    handle = stack.create_handle(family, ALL_TYPES)
    layers: list[str] = []
    shown: list[tuple[int, ...]] = []

    def note(seen: Indication) -> None:
        if by_port(seen):
            layers.append(seen.info.group)
            if seen.info.group == "IPFORWARD":
                shown.append((
                    seen.value("SOURCE_INTERFACE_INDEX"), seen.value("DESTINATION_INTERFACE_INDEX"),
                    seen.view.hop_limit, int(seen.metadata.current_metadata_values), int(seen.flags),
                ))  # fmt: skip

    inspect(stack, note, *EVERY_IP_LAYER, family=family)
    callout = PutBack(stack, handle, only=by_port)
    at(stack, callout, "IPFORWARD", family=family)
    wire = routed.right.wire()
    payloads = [b"datagram %d" % number for number in range(50)]
    assert traffic.exchange(payloads) == payloads
    assert {IpView(packet).hop_limit for packet in wire.packets(port=PORT)} == {63}
    assert Counter(layers) == {"INBOUND_IPPACKET": 50, "IPFORWARD": 50}
    index = routed.mid.interface
    assert set(shown) == {(index("eth0"), index("eth1"), 63, 0x800, 0)}
    assert callout.states == {"NOT_INJECTED": 50}
    assert callout.done.names == ["SUCCESS"] * 50
    book = stack.books.injections
    assert (book.by_verdict, book.by_injector) == ((50, 0) if way == "verdict" else (0, 50))
    finish(stack, handle)
    assert traffic.exchange([b"after"]) == [b"after"]


@pytest.mark.rule("FW-5")
def test_without_forwarding_nothing_is_shown(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    watch = Watch()
    at(stack, watch, "IPFORWARD", family=family)
    beyond = ipaddress.ip_address("10.9.9.9" if family == V4 else "fd99::9").packed
    pair.peer.namespace.add_route(
        "10.9.9.0/24" if family == V4 else "fd99::/64", via=pair.host.address(family)
    )
    sender = pair.peer.socket(family)
    sender.sendto(b"x", (str(ipaddress.ip_address(beyond)), PORT))
    Datagrams(pair.peer, pair.host, family).canary()
    assert watch.layers == []
    finish(stack)


@pytest.mark.rule("FW-7", "LA-37")
@pytest.mark.parametrize("function", ["forward", "network_send"])
def test_a_packet_from_an_address_of_the_other_interface_passes_through_outbound(
    routed: Routed, family: AddressFamily, function: str
) -> None:
    stack = routed.mid.stack
    handle = stack.create_handle(family, ALL_TYPES)
    done, flags = Completions(stack), []
    receiver = routed.left.socket(family, port=PORT)

    def decide(seen: Indication, item: NetBufferList) -> None:
        flags.append(bool(seen.flags & ConditionFlag.IS_OUTBOUND_PASS_THRU))
        if handle.is_mine(item):
            return seen.permit()
        if function == "forward":
            interface = seen.value("DESTINATION_INTERFACE_INDEX")
            handle.forward(seen.clone(), done, family=family, interface=interface)
        else:
            handle.network_send(seen.clone(), done)
        return seen.block(absorb=True)

    at(stack, Decide(decide), "IPFORWARD", family=family)
    sender = routed.mid.socket(family)  # bound to the address of the right interface
    sender.sendto(b"weak", (routed.left.address(family), PORT))
    if function == "forward":
        stack.settle()
        assert (flags, done.names) == ([True], ["INVALID_PARAMETER"])
        finish(stack)
        sender.sendto(b"later", (routed.left.address(family), PORT))
        assert receiver.recv(100) == b"later"
    else:
        octets, source = receiver.recvfrom(100)
        assert (octets, source[0]) == (b"weak", routed.mid.address(family))
        stack.settle()
        assert (flags, done.names) == ([True, True], ["SUCCESS"])
    finish(stack, handle)


@pytest.fixture
def three(beds: Strict) -> tuple[Host, Host, Host, Host]:
    """left === mid === right and mid === other, where right and other have the same subnet behind them."""
    bed = beds.make(Empty)
    left = bed.add_host("left", "10.1.0.2", "fd01::2")
    mid = bed.add_host("mid", "10.2.0.1", "fd02::1", emulated=True, forwarding=True)
    right = bed.add_host("right", "10.9.0.1", "fd09::1")
    other = bed.add_host("other", "10.9.0.1", "fd09::1")
    for number, end in ((1, left), (2, right), (3, other)):
        bed.lab.link(
            mid.namespace, end.namespace,
            addresses=([f"10.{number}.0.1/24", f"fd0{number}::1/64"], [f"10.{number}.0.2/24", f"fd0{number}::2/64"]),
        )  # fmt: skip
    for end in (right, other):
        end.namespace.run(["ip", "addr", "add", "10.9.0.1/32", "dev", "lo"])
        end.namespace.run(["ip", "addr", "add", "fd09::1/128", "dev", "lo", "nodad"])
    for end, number in ((left, 1), (right, 2), (other, 3)):
        end.namespace.add_route("0.0.0.0/0", via=f"10.{number}.0.1")
        end.namespace.add_route("::/0", via=f"fd0{number}::1")
    for metric, number in ((10, 2), (20, 3)):
        mid.namespace.run(["ip", "route", "add", "10.9.0.0/16", "via", f"10.{number}.0.2", "metric", str(metric)])
        mid.namespace.run(["ip", "route", "add", "fd09::/64", "via", f"fd0{number}::2", "metric", str(metric)])
    return left, mid, right, other


@pytest.mark.rule("FW-2")
def test_the_interface_index_names_the_way_out(
    three: tuple[Host, Host, Host, Host], family: AddressFamily
) -> None:
    left, mid, right, other = three
    stack = mid.stack
    at_right, at_other = right.socket(family, port=PORT), other.socket(family, port=PORT)
    where = (right.address(family), PORT)
    sender = left.socket(family)
    sender.sendto(b"plain", where)
    assert at_right.recv(100) == b"plain"
    handle, done = stack.create_handle(family, FORWARD), Completions(stack)
    ways = {b"eth1": mid.interface("eth1"), b"eth2": mid.interface("eth2"), b"0": 0, b"9999": 9999, b"lo": 1}

    def decide(seen: Indication, item: NetBufferList) -> None:
        handle.forward(seen.clone(), done, family=family, interface=ways[seen.payload])
        seen.block(absorb=True)

    at(stack, Decide(decide), "IPFORWARD", family=family)
    sender.sendto(b"eth2", where)
    assert at_other.recv(100) == b"eth2"
    sender.sendto(b"eth1", where)
    assert at_right.recv(100) == b"eth1"
    stack.injector.verdicts = False  # where the verdict would do, the socket goes the same way
    for payload in (b"0", b"9999", b"lo", b"eth1"):
        sender.sendto(payload, where)
    assert at_right.recv(100) == b"eth1"
    stack.settle()
    assert done.names == ["SUCCESS"] * 2 + ["INVALID_PARAMETER"] * 3 + ["SUCCESS"]
    finish(stack, handle)


@pytest.mark.rule("FW-1", "FW-3", "FW-9")
def test_a_packet_made_from_nothing_is_forwarded_unseen(routed: Routed, family: AddressFamily) -> None:
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, family)
    watch = Watch()
    at(stack, watch, *EVERY_IP_LAYER, family=family)
    out = routed.mid.interface("eth1")
    packet = between(routed.left, routed.right, family, b"made", hop_limit=7)
    wire = routed.right.wire()
    assert inject(stack, family, packet, out) == "SUCCESS"
    assert traffic.arrived() == [b"made"]
    assert IpView(wire.packets(port=PORT)[0]).hop_limit == 7
    assert watch.layers == []
    for interface in (0, 1, 9999):
        assert inject(stack, family, packet, interface) == "INVALID_PARAMETER"
    assert inject(stack, family, packet[:15], out) == "INVALID_PARAMETER"
    assert traffic.arrived() == []
    forgiven(stack, "FW-1")
    finish(stack)


@pytest.mark.rule("FW-13", "GE-16", "NS-19")
def test_a_wrong_header_checksum_is_forwarded_wrong(routed: Routed, way: str) -> None:
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, V4)
    handle = stack.create_handle(V4, FORWARD)

    def spoil(seen: Indication, clone: NetBufferList) -> None:
        clone.write(10, b"\xba\xad")

    at(stack, PutBack(stack, handle, only=by_port, edit=spoil), "IPFORWARD", family=V4)
    watch = Watch()
    at(stack, watch, "OUTBOUND_IPPACKET", "OUTBOUND_TRANSPORT", family=V4)
    wire = routed.right.wire()
    assert traffic.exchange([b"stale"]) == []
    stack.settle()  # a socket's packet passes the router's queue once more, for its octets, and so may come last
    traffic.canary()
    assert [packet[10:12] for packet in wire.packets(port=PORT)] == [b"\xba\xad"]
    assert watch.layers == []
    forgiven(stack, "GE-16")
    finish(stack, handle)


@pytest.mark.rule("OR-1")
def test_what_goes_by_verdict_and_what_goes_by_a_socket_keep_their_order(
    routed: Routed, family: AddressFamily
) -> None:
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, family)
    handle, done, count = stack.create_handle(family, FORWARD), Completions(stack), iter(range(10000))

    def decide(seen: Indication, item: NetBufferList) -> None:
        made = next(count) % 4 == 2
        mine = stack.core.ownership.create_from(item.octets) if made else seen.clone()
        handle.forward(mine, done, family=family, interface=seen.value("DESTINATION_INTERFACE_INDEX"))
        seen.block(absorb=True)

    at(stack, Decide(decide), "IPFORWARD", family=family)
    payloads = [b"%d" % number for number in range(400)]
    for first in range(0, 400, 40):
        traffic.send(*payloads[first : first + 40])
    assert traffic.arrived() == payloads
    book = stack.books.injections
    assert (book.by_verdict, book.by_injector) == (300, 100)
    finish(stack, handle)
