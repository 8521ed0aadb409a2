"""Transport receive on real packets: by the verdict of the held packet, and by arriving anew."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from emulator.construct import construct_ip_header
from emulator.errors import FwpInvalidFlags, FwpInvalidParameter, FwpReserved
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.netbuffer import NetBufferList
from emulator.octets import IpView
from emulator.schedule import Schedule
from emulator.topology import HostOptions, Pair, Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionType
from emulator.wfptypes import MetadataField as M
from netns.patience import patient
from tests.lab.conftest import Completions, Strict, expected_violations
from tests.lab.network_packets import PORT, Decide, at, between
from tests.lab.putting_back import PutBack, Worker, forgiven, inspect

TRANSPORT = InjectionType.TRANSPORT
V4, V6 = AddressFamily.INET, AddressFamily.INET6
IN_LAYERS = ("INBOUND_IPPACKET", "INBOUND_TRANSPORT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA")


def by_port(seen: Indication) -> bool:
    return PORT in (seen.view.destination_port, seen.view.source_port)


def finish(bed: Any, *handles: Any) -> None:
    stack = bed.stacks[0]
    for number in list(stack.core.engine.filters):
        stack.core.engine.delete_filter(number)
    for handle in handles:
        handle.destroy()


def put(stack: Any, family: AddressFamily, octets: bytes, interface: int, sub: int = SUB_INTERFACE) -> str:
    """Let one whole packet arrive; the name of its completion's status."""
    done = Completions(stack)
    with stack.create_handle(family, TRANSPORT) as handle:
        item = stack.core.ownership.create_from(octets)
        handle.transport_receive(item, done, family=family, interface=interface, sub_interface=sub)
        stack.settle()
    return done.names[0]


@pytest.mark.rule("TR-2", "LA-1", "LA-20", "GE-12")
@pytest.mark.parametrize("layer", ["INBOUND_TRANSPORT", "DATAGRAM_DATA"])
def test_a_clone_retreated_to_its_ip_header_arrives(
    pair: Pair, family: AddressFamily, way: str, layer: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    assert traffic.exchange([b"before"]) == [b"before"]
    handle = stack.create_handle(family, TRANSPORT)
    starts: list[bytes] = []

    def only(seen: Indication) -> bool:
        if by_port(seen) and seen.net_buffer_list is not None:
            starts.append(seen.net_buffer_list.octets)
        return by_port(seen) and seen.inbound

    callout = PutBack(stack, handle, only=only)
    at(stack, callout, layer, family=family)
    payloads = [b"datagram %d" % number for number in range(20)]
    assert traffic.exchange(payloads) == payloads
    assert sorted(starts) == sorted(payloads * 2), "the data began at the payload"
    assert callout.states == {"NOT_INJECTED": 20, "INJECTED_BY_SELF": 20}
    assert callout.done.names == ["SUCCESS"] * 20
    book = stack.books.injections
    assert (book.by_verdict, book.by_injector) == ((20, 0) if way == "verdict" else (0, 20))
    finish(pair, handle)
    assert traffic.exchange([b"after"]) == [b"after"]


@pytest.mark.rule("TR-2", "CF-2")
def test_a_clone_that_was_not_retreated_fails(pair: Pair, family: AddressFamily, way: str) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    handle, done = stack.create_handle(family, TRANSPORT), Completions(stack)

    def decide(seen: Indication, item: NetBufferList) -> None:
        handle.transport_receive(
            seen.clone(), done, family=family, interface=seen.interface, sub_interface=SUB_INTERFACE
        )
        seen.block(absorb=True)

    at(stack, Decide(decide), "INBOUND_TRANSPORT", family=family)
    assert traffic.exchange([b"payload only"]) == []
    assert done.names == ["INVALID_PARAMETER"]
    forgiven(stack, "TR-2")
    finish(pair, handle)


@pytest.mark.rule("TR-4", "GE-16", "NR-7", "CF-9")
def test_a_changed_payload_needs_its_checksum(pair: Pair, family: AddressFamily, way: str) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    handle = stack.create_handle(family, TRANSPORT)
    rebuild = [False]

    def change(seen: Indication, clone: NetBufferList) -> None:
        view = seen.view
        size = view.header_size
        clone.write(size + 8, clone.octets[size + 8 :].upper())
        if rebuild[0]:
            construct_ip_header(stack.core, clone, size, family, view.source, view.destination, 17)

    shown: list[str] = []
    inspect(stack, lambda seen: shown.append(seen.info.group) if by_port(seen) else None, "INBOUND_IPPACKET",
            "INBOUND_TRANSPORT", family=family)  # fmt: skip
    at(stack, PutBack(stack, handle, only=lambda seen: by_port(seen) and seen.inbound, edit=change), "DATAGRAM_DATA",
       family=family)  # fmt: skip
    assert traffic.exchange([b"stale"]) == []
    assert shown == ["INBOUND_IPPACKET", "INBOUND_TRANSPORT", "INBOUND_IPPACKET"], "the transport saw no bad packet"
    rebuild[0] = True
    assert traffic.exchange([b"rebuilt"]) == [b"REBUILT"]
    forgiven(stack, "GE-16")
    finish(pair, handle)


@pytest.mark.rule("TR-5", "NR-3", "NR-4")
def test_the_interface_is_the_one_it_arrives_on(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    receiver = pair.host.socket(family, port=PORT)
    level, option = (socket.IPPROTO_IP, 8) if family == V4 else (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
    receiver.setsockopt(level, option, 1)
    packet = between(pair.peer, pair.host, family, b"here")
    eth0 = pair.host.interface()
    for interface, sub in ((0, SUB_INTERFACE), (9999, SUB_INTERFACE), (eth0, 0)):
        assert put(stack, family, packet, interface, sub) == "INVALID_PARAMETER"
    assert put(stack, family, packet, eth0) == "SUCCESS"
    octets, control, _, _ = receiver.recvmsg(100, 256)
    assert octets == b"here"
    [(_, _, info)] = control
    index = info[:4] if family == V4 else info[16:20]
    assert int.from_bytes(index, "little") == eth0


@pytest.mark.rule("TR-1", "TR-12", "GE-6", "TS-6")
def test_reserved_arguments_are_refused(pair: Pair, family: AddressFamily) -> None:
    stack, done = pair.host.stack, Completions(pair.host.stack)
    item = stack.core.ownership.create_from(between(pair.peer, pair.host, family, b"x"))
    with stack.create_handle(family, TRANSPORT) as handle:
        good: dict[str, Any] = {"family": family, "interface": pair.host.interface(), "sub_interface": 1}
        for wrong, error in (
            ({"reserved": object()}, FwpReserved),
            ({"flags": 1}, FwpInvalidFlags),
            ({"family": 0}, FwpInvalidParameter),
        ):
            with pytest.raises(error):
                handle.transport_receive(item, done, **(good | wrong))
    stack.core.ownership.free_list(item)
    assert done.names == []


@pytest.mark.rule("TR-8", "MD-2")
def test_what_has_to_be_authorised_is_not_taken_at_transport(pair: Pair, family: AddressFamily, way: str) -> None:
    """The first datagram carries ALE_CLASSIFY_REQUIRED; taken all the same, that is reported, and it arrives."""
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    handle = stack.create_handle(family, TRANSPORT)
    required: list[bool] = []
    respect = [False]

    def decide(seen: Indication, item: NetBufferList) -> None:
        if handle.is_mine(item):
            return seen.permit()
        required.append(seen.metadata.has(M.ALE_CLASSIFY_REQUIRED))
        if required[-1] and respect[0]:
            return seen.permit()
        clone = seen.clone(seen.metadata.ip_header_size + seen.metadata.transport_header_size)
        handle.transport_receive(
            clone, done, family=family, interface=seen.interface, sub_interface=SUB_INTERFACE
        )
        return seen.block(absorb=True)

    done = Completions(stack)
    at(stack, Decide(decide), "INBOUND_TRANSPORT", family=family)
    inspect(stack, lambda seen: None, "ALE_AUTH_RECV_ACCEPT", family=family)
    assert traffic.exchange([b"one"]) == [b"one"]
    assert required == [True]
    expected_violations(stack, "TR-8")
    assert traffic.exchange([b"two"]) == [b"two"]
    assert required == [True, False]
    respect[0] = True
    traffic.sender = pair.peer.socket(family)
    assert traffic.exchange([b"three", b"four"]) == [b"three", b"four"]
    assert required == [True, False, True, False]
    finish(pair, handle)


@pytest.mark.rule("TR-11", "TR-13", "TR-14", "OR-1")
@pytest.mark.parametrize("inline", [False, True])
def test_tcp_is_received_out_of_band_or_reported(
    pair: Pair, family: AddressFamily, way: str, inline: bool
) -> None:
    stack = pair.host.stack
    handle = stack.create_handle(family, TRANSPORT)
    listener = pair.host.socket(family, socket.SOCK_STREAM, port=7000)
    listener.listen()
    octets = bytes(range(256)) * 256
    with Worker() as worker:
        callout = PutBack(
            stack, handle, only=lambda seen: seen.view.protocol == 6, worker=None if inline else worker
        )
        at(stack, callout, "INBOUND_TRANSPORT", family=family)
        client = pair.peer.socket(family, socket.SOCK_STREAM)
        client.connect((pair.host.address(family), 7000))
        server, _ = listener.accept()
        with server, client:
            server.settimeout(patient(10))
            client.sendall(octets)
            got = b""
            while len(got) < len(octets):
                got += server.recv(65536)
        assert got == octets
        stack.settle()
        finish(pair)
    handle.destroy()
    assert set(callout.done.names) == {"SUCCESS"}
    assert set(stack.core.violations.rules()) == ({"TR-11"} if inline else set())
    stack.core.violations.entries.clear()


@pytest.mark.rule("TR-14", "OR-1", "OR-2")
def test_held_datagrams_arrive_in_the_order_of_their_injection(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    handle, waiting = stack.create_handle(family, TRANSPORT), []
    shown: list[bytes] = []

    class Hold(PutBack):
        def classify(self, seen: Indication) -> None:
            if not by_port(seen) or self.handle.is_mine(seen.net_buffer_list):  # type: ignore[arg-type]
                return seen.permit()
            waiting.append(self.again(seen))
            shown.append(bytes(seen.payload))
            return seen.block(absorb=True)

    at(stack, Hold(stack, handle), "INBOUND_TRANSPORT", family=family)
    traffic.send(*[b"%d" % number for number in range(1000)])
    traffic._canary_out.sendto(b"all sent", (pair.host.address(family), traffic._canary_in.getsockname()[1]))
    assert traffic._canary_in.recv(64) == b"all sent"
    assert len(waiting) == 1000
    order = list(range(1, 1000)) + [0]
    for number in order:
        waiting[number]()
    assert traffic.arrived() == [shown[number] for number in order]
    finish(pair, handle)


@pytest.mark.rule("TR-3")
def test_an_original_that_was_kept_may_have_been_retreated_by_the_stack(beds: Strict, family: AddressFamily) -> None:
    """Who compares the data offset with the one of classify retreats by the rest, and finds the IP header."""
    pair = beds.make(Pair, HostOptions(schedule=Schedule(1)))
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    handle, done = stack.create_handle(family, TRANSPORT), Completions(stack)
    ownership, kept = stack.core.ownership, []

    def keep(seen: Indication, item: NetBufferList) -> None:
        if handle.is_mine(item):
            return seen.permit()
        ownership.reference(item)
        kept.append((item, item.data_offset, seen.metadata.ip_header_size + seen.metadata.transport_header_size))
        return seen.block(absorb=True)

    at(stack, Decide(keep), "INBOUND_TRANSPORT", family=family)
    payloads = [b"datagram %d" % number for number in range(20)]
    traffic.send(*payloads)
    traffic._canary_out.sendto(b"all sent", (pair.host.address(family), traffic._canary_in.getsockname()[1]))
    assert traffic._canary_in.recv(64) == b"all sent"
    assert len(kept) == len(payloads)
    moved = set()
    for item, offset, headers in kept:
        already = offset - item.data_offset
        moved.add(already)
        item.retreat(headers - already)
        clone = ownership.clone(item)
        item.advance(headers - already)
        ownership.dereference(item)
        handle.transport_receive(
            clone, done, family=family, interface=pair.host.interface(), sub_interface=SUB_INTERFACE
        )
    assert sorted(traffic.arrived()) == sorted(payloads)
    assert moved == {0, 8}, "some were retreated by their transport header, and some were not"
    assert done.names == ["SUCCESS"] * len(payloads)
    finish(pair, handle)


@pytest.mark.rule("GE-15", "TR-7")
def test_what_is_captured_on_its_way_through_may_be_received_here(routed: Routed, family: AddressFamily) -> None:
    """Transit UDP is redirected to a socket of the router; beyond it nothing is seen."""
    stack = routed.mid.stack
    handle, done = stack.create_handle(family, TRANSPORT), Completions(stack)
    receiver = routed.mid.socket(family, port=PORT)
    beyond = Datagrams(routed.left, routed.right, family)
    assert beyond.exchange([b"control"]) == [b"control"]

    def decide(seen: Indication, item: NetBufferList) -> None:
        if handle.is_mine(item):  # weak-host traffic by now: for an address of the other interface
            return seen.permit()
        octets = bytearray(item.octets)
        at_destination = 16 if family == V4 else 24
        octets[at_destination : at_destination + len(routed.mid.octets(family))] = routed.mid.octets(family)
        made = stack.core.ownership.create_from(octets)
        view = IpView(octets)
        construct_ip_header(
            stack.core, made, view.header_size, family, view.source, routed.mid.octets(family), 17
        )
        handle.transport_receive(
            made, done, family=family, interface=seen.value("SOURCE_INTERFACE_INDEX"), sub_interface=SUB_INTERFACE
        )
        return seen.block(absorb=True)

    at(stack, Decide(decide), "IPFORWARD", family=family)
    assert beyond.exchange([b"redirected"]) == []
    assert receiver.recv(100) == b"redirected"
    assert done.names == ["SUCCESS"]
    finish(routed, handle)
    assert beyond.exchange([b"after"]) == [b"after"]
