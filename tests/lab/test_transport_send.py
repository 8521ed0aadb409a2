"""Transport send on real packets: by the verdict of the held packet, and by a socket."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from emulator.checksums import fix_checksums, transport_checksum_ok
from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.octets import IpView
from emulator.paths.endpoints import Endpoint
from emulator.topology import Empty, Host, Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionType
from emulator.wfptypes import MetadataField as M
from tests.lab.conftest import Completions, Strict, expected_violations
from tests.lab.network_packets import PORT, Decide, Watch, at, between, udp
from tests.lab.putting_back import PutBack, Worker, forgiven, inspect

TRANSPORT = InjectionType.TRANSPORT
V4, V6 = AddressFamily.INET, AddressFamily.INET6
LINUX = {V4: socket.AF_INET, V6: socket.AF_INET6}
UP_LAYERS = ("ALE_AUTH_CONNECT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET")


@pytest.fixture(params=["verdict", "socket"])
def way(request: pytest.FixtureRequest, pair: Pair) -> str:
    """Each way of injecting: no test may tell the difference."""
    pair.host.stack.injector.verdicts = request.param == "verdict"
    return str(request.param)


def by_port(seen: Indication, port: int = PORT) -> bool:
    return port in (seen.view.destination_port, seen.view.source_port)


def finish(bed: Pair, *handles: Any) -> None:
    engine = bed.host.stack.core.engine
    for number in list(engine.filters):
        engine.delete_filter(number)
    for handle in handles:
        handle.destroy()


def used(pair: Pair, way: str) -> None:
    """Assert that the injections went the way that was asked for."""
    book = pair.host.stack.books.injections
    assert book.accepted > 0
    assert (book.by_verdict if way == "verdict" else book.by_injector) == book.accepted


def upper(seen: Indication, clone: NetBufferList) -> None:
    """Make the payload of a clone at the transport header upper case, its checksum 0: the stack's to fill in."""
    clone.write(8, clone.octets[8:].upper())
    clone.write(6, b"\0\0")


@pytest.mark.rule("TS-1", "TS-2", "LA-1", "GE-12", "CF-2")
def test_what_begins_at_the_transport_header_gets_the_stacks_ip_header(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    assert traffic.exchange([b"before"]) == [b"before"]
    handle = stack.create_handle(family, TRANSPORT)
    callout = PutBack(stack, handle, only=by_port, edit=upper)
    at(stack, callout, "OUTBOUND_TRANSPORT", family=family)
    wire = pair.peer.wire()
    assert traffic.exchange([b"one", b"two", b"three"]) == [b"ONE", b"TWO", b"THREE"]
    packets = wire.packets(port=PORT)
    assert [transport_checksum_ok(IpView(packet)) for packet in packets] == [True] * 3
    assert {IpView(packet).source for packet in packets} == {pair.host.octets(family)}
    assert callout.states == {"NOT_INJECTED": 3, "INJECTED_BY_SELF": 3}
    assert callout.done.names == ["SUCCESS"] * 3
    used(pair, way)
    finish(pair, handle)
    assert traffic.exchange([b"after"]) == [b"after"]


@pytest.mark.rule("TS-22", "GE-10", "GE-11", "LA-14", "QS-3")
def test_it_re_enters_at_the_top_of_the_send_path(pair: Pair, family: AddressFamily, way: str) -> None:
    """C23: the captured datagram, then the injected one, which is authorised already."""
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle = stack.create_handle(family, TRANSPORT)
    log: list[tuple[str, str]] = []

    def note(seen: Indication) -> None:
        if by_port(seen):
            item = seen.net_buffer_list
            log.append((seen.info.group, handle.state(item)[0].name if item is not None else "NO_DATA"))

    inspect(stack, note, *UP_LAYERS, family=family)
    at(stack, PutBack(stack, handle, only=by_port), "OUTBOUND_TRANSPORT", family=family)
    assert traffic.exchange([b"first"]) == [b"first"]
    fresh = [(layer, "NOT_INJECTED") for layer in UP_LAYERS[:4]]
    again = [(layer, "INJECTED_BY_SELF") for layer in UP_LAYERS[2:]]
    assert log == fresh + again
    log.clear()
    assert traffic.exchange([b"second"]) == [b"second"]
    assert log == fresh[2:] + again
    used(pair, way)
    finish(pair, handle)


def send(
    pair: Pair, family: AddressFamily, item: NetBufferList, params: SendParams | None, *, endpoint: Any = 0
) -> str:
    """Transport-send one list; the name of its completion's status."""
    stack, done = pair.host.stack, Completions(pair.host.stack)
    with stack.create_handle(family, TRANSPORT) as handle:
        handle.transport_send(item, done, family=family, send_params=params, endpoint=endpoint)
        stack.settle()
    return done.names[0]


def datagram(payload: bytes, *, port: int = PORT, source_port: int = 4999) -> bytes:
    """A UDP header with checksum 0, and a payload."""
    ports = source_port.to_bytes(2, "big") + port.to_bytes(2, "big")
    return ports + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload


def made(pair: Pair, octets: bytes, protocol: int = 17) -> NetBufferList:
    """A list of the driver's own."""
    item = pair.host.stack.core.ownership.create_from(octets)
    item.protocol = protocol
    return item


@pytest.mark.rule("TS-3", "TS-14")
def test_without_send_arguments_the_data_begins_at_the_ip_header(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    assert send(pair, family, made(pair, datagram(b"no header")), None) == "INVALID_PARAMETER"
    assert traffic.arrived() == []
    whole = between(pair.host, pair.peer, family, b"whole packet")
    assert send(pair, family, made(pair, whole), None) == "SUCCESS"
    assert traffic.arrived() == [b"whole packet"]
    two = pair.host.stack.core.ownership.create(Mdl(bytearray(whole)), 0, len(whole))
    two.first_net_buffer.next = NetBuffer(Mdl(bytearray(whole)), 0, len(whole))
    assert send(pair, family, two, None) == "INVALID_PARAMETER"
    assert traffic.arrived() == []
    forgiven(pair.host.stack, "TS-3")


@pytest.mark.rule("TS-2")
def test_an_ip_header_beside_send_arguments_makes_no_good_packet(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    wire = pair.peer.wire()
    whole = between(pair.host, pair.peer, family, b"twice")
    send(pair, family, made(pair, whole), SendParams(pair.peer.octets(family)))
    assert traffic.arrived() == []
    [packet] = [octets for octets in wire.packets() if b"twice" in octets]
    view = IpView(packet)
    assert packet[view.transport_offset :] == whole, "the caller's header became payload"
    forgiven(pair.host.stack, "TS-2")


class Sockets:
    """A UDP socket on the host with options, and what the callout is told of it."""

    def __init__(self, pair: Pair, family: AddressFamily) -> None:
        self.socket = pair.host.socket(family)
        self.where = (pair.peer.address(family), PORT)

    def options(self, family: AddressFamily, *, hop_limit: int, traffic_class: int) -> None:
        if family == V4:
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hop_limit)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, traffic_class)
        else:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hop_limit)
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, traffic_class)


@pytest.mark.rule("TS-5", "NB-23")
@pytest.mark.parametrize("passes_endpoint", [True, False])
def test_the_endpoint_supplies_hop_limit_and_traffic_class(
    pair: Pair, family: AddressFamily, way: str, passes_endpoint: bool
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle = stack.create_handle(family, TRANSPORT)
    callout = PutBack(stack, handle, only=by_port)
    if not passes_endpoint:
        callout.endpoint = lambda seen: 0  # type: ignore[method-assign]
    at(stack, callout, "OUTBOUND_TRANSPORT", family=family)
    sender, wire = Sockets(pair, family), pair.peer.wire()
    sender.options(family, hop_limit=9, traffic_class=0x20)
    sender.socket.sendto(b"marked", sender.where)
    assert traffic.arrived() == [b"marked"]
    view = IpView(wire.packets(port=PORT)[0])
    assert (view.hop_limit, view.traffic_class) == ((9, 0x20) if passes_endpoint else (64, 0))
    finish(pair, handle)


@pytest.mark.rule("TS-4", "MD-7", "TS-15")
def test_an_endpoint_is_its_sockets_for_as_long_as_that_is_open(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    endpoints: list[Any] = []
    at(stack, Watch(lambda seen: endpoints.append(seen.metadata.transport_endpoint_handle)), "DATAGRAM_DATA",
       "OUTBOUND_TRANSPORT", "INBOUND_TRANSPORT", family=family)  # fmt: skip
    first, second = pair.host.socket(family), pair.host.socket(family)
    for sender in (first, second, first):
        sender.sendto(b"x", (pair.peer.address(family), PORT))
    back = pair.peer.socket(family)
    traffic.canary()
    back.sendto(b"answer", first.getsockname()[:2])
    assert first.recv(10) == b"answer"
    stack.settle()
    one, other = endpoints[0], endpoints[2]
    assert isinstance(one, Endpoint)
    assert endpoints == [one, one, other, other, one, one]
    assert one is not other
    params = SendParams(pair.peer.octets(family))
    assert len(traffic.arrived()) == 3
    assert send(pair, family, made(pair, datagram(b"open")), params, endpoint=one) == "SUCCESS"
    first.close()
    assert send(pair, family, made(pair, datagram(b"closed")), params, endpoint=one) == "INVALID_PARAMETER"
    assert send(pair, family, made(pair, datagram(b"none")), params) == "SUCCESS"
    assert send(pair, family, made(pair, datagram(b"junk")), params, endpoint=4711) == "INVALID_PARAMETER"
    assert traffic.arrived() == [b"open", b"none"]
    finish(pair)


@pytest.mark.rule("TS-7", "TS-11", "TS-18")
def test_another_remote_address_redirects_the_packet(pair: Pair, family: AddressFamily, way: str) -> None:
    """C12 without flows: a proxy for outgoing datagrams and their answers, by addresses, ports and checksum 0."""
    stack = pair.host.stack
    other = "10.0.0.9" if family == V4 else "fd00::9"
    pair.link.ends[1].add_address(f"{other}/{24 if family == V4 else 64}")
    proxy = pair.peer.socket(family, port=5353, address=other)
    handle = stack.create_handle(family, TRANSPORT)

    class Redirect(PutBack):
        def send_params(self, seen: Indication) -> SendParams:
            params = SendParams(ipaddress.ip_address(other).packed)
            self.kept = params
            return params

    def to_proxy(seen: Indication, clone: NetBufferList) -> None:
        clone.write(2, (5353).to_bytes(2, "big"))
        clone.write(6, b"\0\0")

    out = Redirect(stack, handle, only=lambda seen: seen.view.destination_port == PORT, edit=to_proxy)
    at(stack, out, "OUTBOUND_TRANSPORT", family=family)
    sender = pair.host.socket(family)
    sender.sendto(b"question", (pair.peer.address(family), PORT))
    question, source = proxy.recvfrom(100)
    assert (question, source[:2]) == (b"question", sender.getsockname()[:2])
    out.kept.remote_address = b"changed"
    stack.settle()
    assert out.done.names == ["SUCCESS"]
    finish(pair, handle)


@pytest.fixture
def forked(beds: Strict) -> tuple[Host, Host, Host]:
    """near === host === far: two links, each a subnet of its own."""
    bed = beds.make(Empty)
    host = bed.add_host("host", "10.1.0.1", "fd01::1", emulated=True)
    near = bed.add_host("near", "10.1.0.2", "fd01::2")
    far = bed.add_host("far", "10.2.0.2", "fd02::2")
    for number, other in ((1, near), (2, far)):
        prefix = (f"10.{number}.0.", f"fd0{number}::")
        bed.lab.link(
            host.namespace, other.namespace,
            addresses=([f"{prefix[0]}1/24", f"{prefix[1]}1/64"], [f"{prefix[0]}2/24", f"{prefix[1]}2/64"]),
        )  # fmt: skip
    return host, near, far


@pytest.mark.rule("TS-5", "TS-7")
def test_a_remote_address_elsewhere_is_routed_anew(
    forked: tuple[Host, Host, Host], family: AddressFamily
) -> None:
    """C17: out by the other link, from the address of that link."""
    host, near, far = forked
    stack = host.stack
    receiver = far.socket(family, port=PORT)
    handle = stack.create_handle(family, TRANSPORT)

    class Elsewhere(PutBack):
        def send_params(self, seen: Indication) -> SendParams:
            return SendParams(far.octets(family))

    callout = Elsewhere(stack, handle, only=by_port, edit=upper)
    at(stack, callout, "OUTBOUND_TRANSPORT", family=family)
    unbound = host.namespace.open_in(lambda: socket.socket(LINUX[family], socket.SOCK_DGRAM))
    with unbound:
        unbound.sendto(b"hello", (near.address(family), PORT))
        octets, source = receiver.recvfrom(100)
    assert (octets, source[0]) == (b"HELLO", "10.2.0.1" if family == V4 else "fd02::1")
    handle_filters = list(stack.core.engine.filters)
    for number in handle_filters:
        stack.core.engine.delete_filter(number)
    handle.destroy()


@pytest.mark.rule("TS-9", "MD-10")
def test_a_link_local_address_needs_its_scope(pair: Pair, way: str) -> None:
    stack = pair.host.stack
    index = pair.host.interface()
    mac = bytes.fromhex(pair.peer.namespace.mac_of("eth0").replace(":", ""))
    address = b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    text = str(ipaddress.IPv6Address(address))
    receiver = pair.peer.namespace.open_in(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    receiver.settimeout(5)
    with receiver:
        receiver.bind(("::", PORT))
        handle = stack.create_handle(V6, TRANSPORT)
        callout = PutBack(stack, handle, only=by_port)
        at(stack, callout, "OUTBOUND_TRANSPORT", family=V6)
        sender = pair.host.namespace.open_in(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        with sender:
            callout.send_params = lambda seen: SendParams(seen.view.destination)  # type: ignore[method-assign]
            sender.sendto(b"no scope", (text, PORT, 0, index))
            stack.settle()
            assert callout.done.names == ["INVALID_PARAMETER"]
            callout.send_params = PutBack.send_params.__get__(callout)  # type: ignore[method-assign]
            sender.sendto(b"scoped", (text, PORT, 0, index))
            assert receiver.recv(100) == b"scoped"
        stack.settle()
        finish(pair, handle)


@pytest.mark.rule("TS-7", "TS-10", "GE-3")
@pytest.mark.parametrize("name", ["remoteAddress", "controlData"])
def test_buffers_that_die_before_the_completion_are_reported_and_do_no_harm(
    pair: Pair, family: AddressFamily, way: str, name: str
) -> None:
    """C16: the address or the control data is scribbled on right after the call."""
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle, done = stack.create_handle(family, TRANSPORT), Completions(stack)
    address, control = bytearray(pair.peer.octets(family)), bytearray(24)
    control[0:8] = (20).to_bytes(8, "little")

    def decide(seen: Indication, item: NetBufferList) -> None:
        if handle.is_mine(item):
            return seen.permit()
        params = SendParams(address, control_data=control)
        handle.transport_send(seen.clone(), done, family=family, send_params=params)
        if name == "remoteAddress":
            address[-1] = 77
        else:
            control[-1] ^= 0xFF
        return seen.block(absorb=True)

    at(stack, Decide(decide), "OUTBOUND_TRANSPORT", family=family)
    wire = pair.peer.wire()
    assert traffic.exchange([b"x"]) == []
    assert wire.packets(port=PORT) == []
    assert done.names == ["INVALID_PARAMETER"]
    expected_violations(stack, "TS-7" if name == "remoteAddress" else "TS-10")
    finish(pair, handle)


@pytest.mark.rule("TS-17", "OR-7")
def test_a_list_of_several_packets_sends_each_and_completes_once(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    item = pair.host.stack.core.ownership.create(Mdl(bytearray(datagram(b"0"))), 0, 9)
    item.protocol = 17
    buffer = item.first_net_buffer
    for number in (b"1", b"2"):
        buffer.next = NetBuffer(Mdl(bytearray(datagram(number))), 0, 9)
        buffer = buffer.next
    assert send(pair, family, item, SendParams(pair.peer.octets(family))) == "SUCCESS"
    assert traffic.arrived() == [b"0", b"1", b"2"]


@pytest.mark.rule("TS-18")
def test_ports_may_be_changed_and_the_answer_comes_back_to_the_sender(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack = pair.host.stack
    server = pair.peer.socket(family, port=6000)
    handle = stack.create_handle(family, TRANSPORT)

    def to_6000(seen: Indication, clone: NetBufferList) -> None:
        clone.write(2, (6000).to_bytes(2, "big"))
        clone.write(6, b"\0\0")

    at(stack, PutBack(stack, handle, only=by_port, edit=to_6000), "DATAGRAM_DATA", family=family)
    sender = pair.host.socket(family)
    sender.sendto(b"to 5000", (pair.peer.address(family), PORT))
    octets, source = server.recvfrom(100)
    assert (octets, source[:2]) == (b"to 5000", sender.getsockname()[:2])
    server.sendto(b"back", source)
    assert sender.recv(100) == b"back"
    finish(pair, handle)


@pytest.mark.rule("TS-19", "NS-13")
def test_a_datagram_larger_than_the_path_is_cut_after_all_layers(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle = stack.create_handle(family, TRANSPORT)
    callout = PutBack(stack, handle, only=by_port)
    at(stack, callout, "OUTBOUND_TRANSPORT", family=family)
    payload = bytes(range(250)) * 16
    lengths: list[int] = []
    at(stack, Watch(lambda seen: lengths.append(seen.ip_end)), "OUTBOUND_IPPACKET", family=family)
    wire = pair.peer.wire()
    assert traffic.exchange([payload]) == [payload]
    fragments = [packet for packet in wire.packets() if IpView(packet).is_fragment]
    assert len(fragments) == 3
    assert lengths == [len(payload) + (28 if family == V4 else 48)], "one packet, before it was cut"
    assert callout.done.names == ["SUCCESS"]
    finish(pair, handle)


@pytest.mark.rule("TS-20", "GE-16")
def test_a_wrong_checksum_stays_wrong_and_a_missing_one_is_filled_in(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle = stack.create_handle(family, TRANSPORT)
    checksum = [b"\x12\x34"]

    def with_checksum(seen: Indication, clone: NetBufferList) -> None:
        clone.write(6, checksum[0])

    at(stack, PutBack(stack, handle, only=by_port, edit=with_checksum), "OUTBOUND_TRANSPORT", family=family)
    wire = pair.peer.wire()
    assert traffic.exchange([b"wrong"]) == []
    [packet] = wire.packets(port=PORT)
    at_checksum = IpView(packet).transport_offset + 6
    assert packet[at_checksum : at_checksum + 2] == b"\x12\x34"
    checksum[0] = b"\0\0"
    assert traffic.exchange([b"none"]) == [b"none"]
    [packet] = wire.packets(port=PORT)
    assert transport_checksum_ok(IpView(packet)) is True
    assert packet[at_checksum : at_checksum + 2] != b"\0\0"
    forgiven(stack, "GE-16")
    finish(pair, handle)


@pytest.mark.rule("TS-1", "NB-22")
def test_a_protocol_that_nobody_knows_cannot_be_sent(pair: Pair, family: AddressFamily) -> None:
    params = SendParams(pair.peer.octets(family))
    assert send(pair, family, made(pair, datagram(b"x"), protocol=0), params) == "INVALID_PARAMETER"


@pytest.mark.rule("TS-12", "TS-13", "MD-9", "LA-37")
def test_the_senders_own_ip_header_goes_with_the_packet(pair: Pair, family: AddressFamily) -> None:
    """A raw sender's datagram at DATAGRAM_DATA, put back by both versions of the call: identical packets."""
    from emulator.wfptypes import ConditionFlag

    stack = pair.host.stack
    traffic = Datagrams(pair.host, pair.peer, family)
    handle, done = stack.create_handle(family, TRANSPORT), Completions(stack)
    versions, flags = iter((0, 1)), []

    def decide(seen: Indication, item: NetBufferList) -> None:
        if handle.is_mine(item):
            return seen.permit()
        metadata = seen.metadata
        flags.append(bool(seen.flags & ConditionFlag.IS_RAW_ENDPOINT))
        assert metadata.has(M.IP_HEADER_SIZE)
        assert metadata.ip_header_size > 0
        header = metadata.header_include_header
        assert len(header) == metadata.header_include_header_length == metadata.ip_header_size
        clone = seen.clone()
        if next(versions) == 0:
            clone.retreat(len(header))
            clone.write(0, header)
            handle.transport_send(clone, done, family=family, send_params=None)
        else:
            params = SendParams(seen.view.destination, header_include_header=header)
            handle.transport_send(clone, done, family=family, send_params=params)
        return seen.block(absorb=True)

    raw = pair.host.namespace.open_in(lambda: socket.socket(LINUX[family], socket.SOCK_RAW, 255))
    wire = pair.peer.wire()
    at(stack, Decide(decide), "DATAGRAM_DATA", family=family)
    packet = udp(pair.host.octets(family), pair.peer.octets(family), b"raw", hop_limit=33, identification=0x4711)
    where = (pair.peer.address(family), 0)
    with raw:
        for _ in range(2):
            raw.sendto(packet, where)
            assert traffic.arrived() == [b"raw"]
    assert flags == [True, True]
    assert wire.packets(port=PORT) == [packet, packet]
    assert done.names == ["SUCCESS", "SUCCESS"]
    finish(pair, handle)


def tcp_talk(pair: Pair, family: AddressFamily, octets: bytes) -> bytes:
    """Send octets from the host to a server on the peer, and read them back."""
    listener = pair.peer.socket(family, socket.SOCK_STREAM, port=7000)
    listener.listen()
    client = pair.host.socket(family, socket.SOCK_STREAM)
    client.connect((pair.peer.address(family), 7000))
    server, _ = listener.accept()
    with server, client, listener:
        server.settimeout(10)
        client.sendall(octets)
        got = b""
        while len(got) < len(octets):
            got += server.recv(65536)
        server.sendall(got)
        back = b""
        while len(back) < len(octets):
            back += client.recv(65536)
    return back


@pytest.mark.rule("TS-16", "OR-1")
@pytest.mark.parametrize("inline", [False, True])
def test_tcp_is_injected_out_of_band_or_reported(
    pair: Pair, family: AddressFamily, way: str, inline: bool
) -> None:
    """C19: either way the connection works on."""
    stack = pair.host.stack
    handle = stack.create_handle(family, TRANSPORT)
    with Worker() as worker:
        callout = PutBack(
            stack, handle, only=lambda seen: seen.view.protocol == 6, worker=None if inline else worker
        )
        at(stack, callout, "OUTBOUND_TRANSPORT", family=family)
        octets = bytes(range(256)) * 512
        assert tcp_talk(pair, family, octets) == octets
        stack.settle()
        finish(pair)
    handle.destroy()
    assert set(callout.done.names) == {"SUCCESS"}
    assert callout.states["NOT_INJECTED"] == len(callout.done.names) > 50
    rules = set(stack.core.violations.rules())
    assert rules == ({"TS-16"} if inline else set())
    stack.core.violations.entries.clear()


@pytest.mark.rule("GE-16")
def test_a_checksum_of_the_drivers_own_is_sent_as_given(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    whole = bytearray(
        build_ip_header(
            family.version or 4, pair.host.octets(family), pair.peer.octets(family), 17, datagram(b"sum")
        )
    )
    fix_checksums(whole)
    offset = IpView(whole).transport_offset
    item = made(pair, bytes(whole[offset:]))
    assert send(pair, family, item, SendParams(pair.peer.octets(family))) == "SUCCESS"
    assert traffic.arrived() == [b"sum"]
