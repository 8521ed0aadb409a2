"""Ports of real drivers: the ladder of WinDivert, answers in the reverse direction, the datagram proxy."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

import pytest

from emulator.callout import Callout
from emulator.checksums import fix_checksums
from emulator.construct import construct_ip_header
from emulator.driver import Driver
from emulator.filters import Condition, MatchType
from emulator.handle import InjectionHandle
from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_of
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.octets import IpView
from emulator.topology import Pair, TwoDrivers
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, CalloutFlag, InjectionState, InjectionType
from tests.lab.conftest import Strict
from tests.lab.network_packets import PORT, between

V4, V6 = AddressFamily.INET, AddressFamily.INET6
LINUX = {V4: socket.AF_INET, V6: socket.AF_INET6}
NETWORK, TRANSPORT = InjectionType.NETWORK, InjectionType.TRANSPORT
MINE = (InjectionState.INJECTED_BY_SELF, InjectionState.PREVIOUSLY_INJECTED_BY_SELF)


@pytest.fixture(params=["verdict", "socket"])
def two(request: pytest.FixtureRequest, beds: Strict) -> TwoDrivers:
    """A pair whose host has two drivers; each way of injecting."""
    bed = beds.make(TwoDrivers)
    bed.host.stack.injector.verdicts = request.param == "verdict"
    return bed


def unload(bed: TwoDrivers) -> None:
    for driver in (bed.a, bed.b):
        driver.unload()
    bed.drivers.clear()


# -- the ladder of WinDivert ------------------------------------------------------------------------------------


class Rung(Callout):
    """One handle of a port of WinDivert: what was injected at its priority or above passes it by."""

    def __init__(self, driver: Driver, handle: InjectionHandle, priority: int) -> None:
        self.driver = driver
        self.handle = handle
        self.priority = priority
        self.taken: list[tuple[bytes, bool]] = []
        self.reinject = False
        self.statuses: list[str] = []

    def classify(self, seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        if seen.view.destination_port != PORT or not seen.may_decide:
            return seen.continue_()
        state, context = self.handle.state(item)
        if state in MINE and context <= self.priority:
            return seen.continue_()
        self.taken.append((item.octets[seen.view.payload_offset :], state == InjectionState.INJECTED_BY_OTHER))
        if self.reinject:
            self.send_on(item, impostor=state == InjectionState.INJECTED_BY_OTHER)
        return seen.block(absorb=True)

    def send_on(self, item: NetBufferList, *, impostor: bool) -> None:
        """An impostor's TTL is lowered; at 0 it goes no further."""
        octets = bytearray(item.octets)
        if impostor:
            at_ttl = 8 if octets[0] >> 4 == 4 else 7
            octets[at_ttl] -= 1
            if octets[at_ttl] == 0:
                self.statuses.append("HOPLIMIT_EXCEEDED")
                return
            fix_checksums(octets)
        self.handle.network_send(self.driver.create(octets), self.driver.done, context=self.priority)


@pytest.mark.rule("QS-6", "QS-7", "HC-16", "FI-1")
def test_a_ladder_of_priorities_is_made_of_injection_contexts(two: TwoDrivers, family: AddressFamily) -> None:
    """B16: injected with context 5, a packet is seen by the rung at 1 only."""
    traffic = Datagrams(two.host, two.peer, family)
    handle = two.a.create_handle(family, NETWORK)
    # In WinDivert's numbers a packet injected by a *higher* handle is still seen by the lower ones.
    rungs = {priority: Rung(two.a, handle, priority) for priority in (9, 5, 1)}
    for priority, rung in rungs.items():
        two.a.add(rung, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN, weight=priority << 16)
    packet = between(two.host, two.peer, family, b"from five")
    handle.network_send(two.a.create(packet), two.a.done, context=5)
    assert traffic.arrived() == []
    assert {priority: len(rung.taken) for priority, rung in rungs.items()} == {9: 0, 5: 0, 1: 1}
    unload(two)


@pytest.mark.rule("GE-14", "QS-3")
def test_an_impostor_is_sent_on_with_a_lower_ttl_until_none_is_left(two: TwoDrivers, family: AddressFamily) -> None:
    """B17."""
    traffic = Datagrams(two.host, two.peer, family)
    handle, foreign = two.a.create_handle(family, NETWORK), two.b.create_handle(family, NETWORK)
    rung = Rung(two.a, handle, 0)
    rung.reinject = True
    two.a.add(rung, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
    wire = two.peer.wire()
    for hop_limit in (1, 2):
        packet = between(two.host, two.peer, family, b"ttl %d" % hop_limit, hop_limit=hop_limit)
        foreign.network_send(two.b.create(packet), two.b.done)
    assert traffic.arrived() == [b"ttl 2"]
    assert [IpView(octets).hop_limit for octets in wire.packets(port=PORT)] == [1]
    assert rung.taken == [(b"ttl 1", True), (b"ttl 2", True)]
    assert rung.statuses == ["HOPLIMIT_EXCEEDED"]
    unload(two)


# -- answering in the reverse direction -------------------------------------------------------------------------


def reset_answer(view: IpView) -> bytes:
    """The RST that a closed port answers a SYN with."""
    source, destination = view.ports or (0, 0)
    start = view.transport_offset
    acknowledged = (int.from_bytes(view.buffer[start + 4 : start + 8], "big") + 1) & 0xFFFFFFFF
    segment = destination.to_bytes(2, "big") + source.to_bytes(2, "big") + bytes(4) + acknowledged.to_bytes(4, "big")
    return build_ip_header(view.version, view.destination, view.source, 6, segment + b"\x50\x14" + bytes(6))


def unreachable_answer(view: IpView) -> bytes:
    """The ICMP error that a closed port answers a datagram with."""
    kind, protocol = (b"\x03\x03", 1) if view.version == 4 else (b"\x01\x04", 58)
    message = kind + bytes(6) + bytes(view.buffer[view.start : view.end])
    return build_ip_header(view.version, view.destination, view.source, protocol, message)


@pytest.mark.rule("QS-3", "NR-1", "NR-3", "HC-16")
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_block_is_answered_in_the_reverse_direction(
    two: TwoDrivers, family: AddressFamily, protocol: str
) -> None:
    """B18: the application hears at once; the answer is SELF to the handle that made it, OTHER to the rest."""
    answers, packets = two.a.create_handle(family, NETWORK), two.a.create_handle(family, NETWORK)
    eth0 = two.host.interface()
    states: list[tuple[str, str]] = []

    def block(seen: Indication) -> None:
        view = seen.view
        if view.destination_port != PORT:
            return seen.permit()
        made = reset_answer(view) if protocol == "tcp" else unreachable_answer(view)
        answers.network_receive(two.a.create(made), two.a.done, interface=eth0, sub_interface=SUB_INTERFACE)
        return seen.block(absorb=True)

    def look(seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        if item.history:
            states.append((answers.state(item)[0].name, packets.state(item)[0].name))
        seen.continue_()

    two.a.add(block, "OUTBOUND_IPPACKET", family)
    two.a.add(look, "INBOUND_IPPACKET", family, action=Action.CALLOUT_INSPECTION)
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    client = two.host.socket(family, kind)
    client.settimeout(5)
    where = (two.peer.address(family), PORT)

    def talk() -> None:
        client.connect(where)
        client.send(b"hello?")
        client.recv(1)

    with pytest.raises(ConnectionRefusedError):
        talk()
    two.host.stack.settle()
    assert states == [("INJECTED_BY_SELF", "INJECTED_BY_OTHER")]
    unload(two)


# -- a datagram proxy --------------------------------------------------------------------------------------------


class Proxy(Callout):
    """A port of the datagram proxy sample: rewrites at DATAGRAM_DATA, for flows that carry its context."""

    flags = CalloutFlag.CONDITIONAL_ON_FLOW

    def __init__(self, bed: Pair, driver: Driver, family: AddressFamily, other: bytes) -> None:
        self.driver = driver
        self.core = bed.host.stack.core
        self.family = family
        self.handle = driver.create_handle(AddressFamily.UNSPEC, TRANSPORT)
        self.original, self.other = bed.peer.octets(family), other
        self.deleted: list[Any] = []
        self.seen: list[str] = []

    def flow_delete(self, layer: int, callout_id: int, context: Any) -> None:
        self.deleted.append(context)

    def classify(self, seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        if self.handle.is_mine(item):
            return seen.permit()
        self.seen.append(seen.direction.name)
        inject = self.answer if seen.inbound else self.question
        inject(seen)
        return seen.block(absorb=True)

    def question(self, seen: Indication) -> None:
        clone = seen.clone()
        for buffer in clone.net_buffers():
            buffer.write(2, (5353).to_bytes(2, "big"))
            buffer.write(6, b"\0\0")
        endpoint = seen.metadata.transport_endpoint_handle
        self.handle.transport_send(
            clone, self.driver.done, family=self.family, send_params=SendParams(self.other), endpoint=endpoint
        )

    def answer(self, seen: Indication) -> None:
        metadata, view = seen.metadata, seen.view
        size = metadata.ip_header_size
        clone = seen.clone(size + metadata.transport_header_size)
        clone.write(size, PORT.to_bytes(2, "big"))
        construct_ip_header(self.core, clone, size, self.family, self.original, view.destination, 17)
        self.handle.transport_receive(
            clone, self.driver.done, family=self.family, interface=seen.interface, sub_interface=SUB_INTERFACE
        )


@pytest.fixture
def proxied(two: TwoDrivers, family: AddressFamily) -> tuple[TwoDrivers, Proxy, socket.socket]:
    """The peer's port 5000 by way of port 5353 of another address; the socket there."""
    other = "10.0.0.9" if family == V4 else "fd00::9"
    two.link.ends[1].add_address(f"{other}/{24 if family == V4 else 64}")
    proxy = Proxy(two, two.a, family, socket.inet_pton(LINUX[family], other))
    contexts = two.host.stack.core.engine.flows
    registered = two.host.stack.register(proxy)

    def attach(seen: Indication) -> None:
        if seen.value("IP_REMOTE_PORT") in (PORT, 5353):
            layer = layer_of("DATAGRAM_DATA", family.version)
            contexts.associate(seen.metadata.flow_handle, int(layer), registered.callout_id, seen.metadata.flow_handle)
        seen.permit()

    two.a.add(attach, "ALE_FLOW_ESTABLISHED", family)
    for port in (PORT, 5353):
        two.a.filters.append(
            two.host.stack.add_filter(
                layer_of("DATAGRAM_DATA", family.version), registered,
                conditions=[Condition("IP_REMOTE_PORT", MatchType.EQUAL, port)],
            )
        )  # fmt: skip
    two.a._callouts.append((proxy, registered))
    return two, proxy, two.peer.socket(family, port=5353, address=other)


def stop(two: TwoDrivers, proxy: Proxy) -> None:
    flows = two.host.stack.core.engine.flows
    for flow in list(flows.table):
        two.host.stack.loop.call(lambda flow=flow: flows.table.end(flow))  # type: ignore[misc]
    assert len(set(proxy.deleted)) == len(proxy.deleted) > 0
    unload(two)


@pytest.mark.rule("TS-7", "TS-18", "TS-20", "TR-4", "FL-3", "FL-9", "CO-11")
def test_a_datagram_proxy_keeps_its_secret(
    proxied: tuple[TwoDrivers, Proxy, socket.socket], family: AddressFamily
) -> None:
    """C12: an unconnected socket asks one address, another answers, and the answer seems to be the first one's."""
    two, proxy, server = proxied
    client = two.host.socket(family)
    for number in range(3):
        client.sendto(b"question %d" % number, (two.peer.address(family), PORT))
        question, source = server.recvfrom(100)
        assert (question, source[:2]) == (b"question %d" % number, client.getsockname()[:2])
        server.sendto(b"answer %d" % number, source)
        answer, origin = client.recvfrom(100)
        assert (answer, origin[:2]) == (b"answer %d" % number, (two.peer.address(family), PORT))
    assert Counter(proxy.seen) == {"OUTBOUND": 3, "INBOUND": 3}
    two.host.stack.settle()
    stop(two, proxy)


@pytest.mark.rule("LA-15")
def test_a_connected_socket_does_not_get_the_answer_of_another_address(
    proxied: tuple[TwoDrivers, Proxy, socket.socket], family: AddressFamily
) -> None:
    """C13: the stack looks for the endpoint before DATAGRAM_DATA, and finds none."""
    two, proxy, server = proxied
    client = two.host.socket(family)
    client.connect((two.peer.address(family), PORT))
    client.send(b"question")
    question, source = server.recvfrom(100)
    assert question == b"question"
    server.sendto(b"answer", source)
    Datagrams(two.peer, two.host, family, port=PORT + 1).canary()
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(100)
    assert proxy.seen == ["OUTBOUND"]
    stop(two, proxy)


@pytest.mark.rule("TS-17", "TS-18")
def test_every_datagram_of_a_list_is_rewritten(
    proxied: tuple[TwoDrivers, Proxy, socket.socket], family: AddressFamily
) -> None:
    """C14: a list of three, sent by another driver, keeps its number of packets through the proxy's clone."""
    two, proxy, server = proxied
    parts = [b"\x13\x88\x13\x88\x00\x09\0\0%d" % number for number in range(3)]
    item = two.a.core.ownership.create(Mdl(bytearray(parts[0])), 0, 9)
    item.protocol = 17
    buffer = item.first_net_buffer
    for part in parts[1:]:
        buffer.next = NetBuffer(Mdl(bytearray(part)), 0, 9)
        buffer = buffer.next
    clone = two.a.core.ownership.clone(item)
    for each in clone.net_buffers():
        each.write(2, (5353).to_bytes(2, "big"))
    proxy.handle.transport_send(clone, two.a.done, family=family, send_params=SendParams(proxy.other))
    assert [server.recv(10) for _ in range(3)] == [b"0", b"1", b"2"]
    two.host.stack.settle()
    two.a.free(item)
    assert two.a.done.counted() == {"SUCCESS": 1}
    stop(two, proxy)
