"""What the endpoint and the send parameters say of a transport send, on real packets."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.netbuffer import NetBufferList
from emulator.octets import IpView
from emulator.paths.endpoints import Endpoint
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily
from netns.patience import patient
from tests.lab.conftest import Completions, expected_violations
from tests.lab.network_packets import PORT, Decide, Watch, at
from tests.lab.putting_back import PutBack, inspect
from tests.lab.sending import (
    TRANSPORT,
    V4,
    V6,
    by_port,
    datagram,
    finish,
    made,
    send,
)


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


@pytest.mark.rule("TS-9", "MD-10")
def test_a_link_local_address_needs_its_scope(pair: Pair, way: str) -> None:
    stack = pair.host.stack
    index = pair.host.interface()
    mac = bytes.fromhex(pair.peer.namespace.mac_of("eth0").replace(":", ""))
    address = b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    text = str(ipaddress.IPv6Address(address))
    receiver = pair.peer.namespace.open_in(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    receiver.settimeout(patient(5))
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


@pytest.mark.case("C16")
@pytest.mark.rule("TS-7", "TS-10", "GE-3")
@pytest.mark.parametrize("name", ["remoteAddress", "controlData"])
def test_buffers_that_die_before_the_completion_are_reported_and_do_no_harm(
    pair: Pair, family: AddressFamily, way: str, name: str
) -> None:
    """The address or the control data is scribbled on right after the call."""
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


@pytest.mark.rule("TS-8", "LA-34")
def test_a_classified_address_is_a_number_and_a_remote_address_is_octets(pair: Pair) -> None:
    """The number 0x0A000002 written down the wrong way round is 2.0.0.10, and that is where the packet goes."""
    stack, wire = pair.host.stack, pair.peer.wire()
    pair.host.namespace.add_route("2.0.0.0/8", via=pair.peer.address(V4))
    traffic = Datagrams(pair.host, pair.peer, V4)
    values: list[int] = []
    inspect(stack, lambda seen: values.append(seen.value("IP_REMOTE_ADDRESS")) if by_port(seen) else None,
            "OUTBOUND_TRANSPORT", family=V4)  # fmt: skip
    assert traffic.exchange([b"x"]) == [b"x"]
    assert values == [0x0A000002]
    finish(pair)
    wire.packets()
    for order in ("little", "big"):
        params = SendParams(values[0].to_bytes(4, order))
        assert send(pair, V4, made(pair, datagram(b"where to?")), params) == "SUCCESS"
    assert traffic.arrived() == [b"where to?"]
    assert [IpView(octets).destination for octets in wire.packets(port=PORT)] == [b"\x02\0\0\x0a", b"\x0a\0\0\2"]
