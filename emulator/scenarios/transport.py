"""Transport injection: where it goes in again, by which way it leaves, and headers that are made anew."""

from __future__ import annotations

import socket
from dataclasses import replace

from emulator.construct import construct_ip_header
from emulator.driver import Driver
from emulator.errors import InvalidParameter
from emulator.expect import Like
from emulator.handle import InjectionHandle
from emulator.headers import ip_header
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.octets import IpView
from emulator.ported.reinject import Reinject
from emulator.scenario import Checks, scenario
from emulator.topology import LINUX_FAMILY, Empty, Host, Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, InjectionType

PORT = 5000
TRANSPORT = InjectionType.TRANSPORT
ALE = ("ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED")
INWARD = ("INBOUND_IPPACKET", "INBOUND_TRANSPORT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA")
OUTWARD = ("ALE_AUTH_CONNECT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET")


def of_port(seen: Indication) -> bool:
    """Whether a packet goes to PORT, or comes from it."""
    return PORT in (seen.view.destination_port, seen.view.source_port)


def logged(
    driver: Driver, family: AddressFamily, handle: InjectionHandle, layers: tuple[str, ...]
) -> list[tuple[str, str]]:
    """A list that grows by (layer, state of the packet) with each indication of PORT, before others are asked."""
    log: list[tuple[str, str]] = []

    def note(seen: Indication) -> None:
        if of_port(seen):
            log.append((seen.info.group, handle.state(seen.net_buffer_list)[0].name))

    for layer in layers:
        driver.add(note, layer, family, action=Action.CALLOUT_INSPECTION, weight=2**60)
    return log


def in_states(layers: tuple[str, ...], state: str) -> list[tuple[str, str]]:
    """What a log holds after one packet in one state."""
    return [(layer, state) for layer in layers]


@scenario(cases=("C22",), rules=("TR-7", "GE-10", "GE-11", "LA-14", "FL-8"))
def received_again_from_the_bottom(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A datagram taken at DATAGRAM_DATA and received again passes every inbound layer anew, as its driver's own.

    peer --> (INBOUND_IPPACKET, INBOUND_TRANSPORT, authorisation, DATAGRAM_DATA: block, clone, receive) host
    """
    traffic = Datagrams(pair.peer, pair.host, family, port=PORT)
    check("control before", traffic.exchange([b"before"]), [b"before"])
    traffic.sender = pair.peer.socket(family)  # a flow that is not known yet
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, TRANSPORT)
        log = logged(driver, family, handle, INWARD)
        flows: list[tuple[str, bool]] = []

        def first_flow(seen: Indication) -> None:
            if of_port(seen) and len(flows) < 2:
                flows.append((seen.info.group, seen.flow_handle > 0))

        for layer in ("INBOUND_TRANSPORT", "DATAGRAM_DATA"):
            driver.add(first_flow, layer, family, action=Action.CALLOUT_INSPECTION, weight=2**60)
        driver.add(Reinject(handle, driver.done, only=of_port), "DATAGRAM_DATA", family)
        known = tuple(layer for layer in INWARD if layer not in ALE)
        check("the first arrives", traffic.exchange([b"first"]), [b"first"])
        fresh, again = in_states(INWARD, "NOT_INJECTED"), in_states(known, "INJECTED_BY_SELF")
        check("what was shown", log, fresh + again)
        check("in a flow from its authorisation on", flows, [("INBOUND_TRANSPORT", False), ("DATAGRAM_DATA", True)])
        log.clear()
        check("the second arrives", traffic.exchange([b"second"]), [b"second"])
        check("it is authorised already", log, in_states(known, "NOT_INJECTED") + again)
        check("completions", driver.done.counted(), {"SUCCESS": 2})
    check("control after", traffic.exchange([b"after"]), [b"after"])


@scenario(cases=("C23",), rules=("TS-22", "GE-10", "GE-11", "LA-14", "QS-3"))
def sent_again_from_the_top(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A datagram taken at OUTBOUND_TRANSPORT and sent again passes every outbound layer anew, as its driver's own.

    host (authorisation, DATAGRAM_DATA, OUTBOUND_TRANSPORT: block, clone, send, OUTBOUND_IPPACKET) --> peer
    """
    traffic = Datagrams(pair.host, pair.peer, family, port=PORT)
    check("control before", traffic.exchange([b"before"]), [b"before"])
    traffic.sender = pair.host.socket(family)  # a flow that is not known yet
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, TRANSPORT)
        log = logged(driver, family, handle, OUTWARD)
        driver.add(Reinject(handle, driver.done, only=of_port), "OUTBOUND_TRANSPORT", family)
        check("the first arrives", traffic.exchange([b"first"]), [b"first"])
        again = in_states(OUTWARD[2:], "INJECTED_BY_SELF")
        check("what was shown", log, in_states(OUTWARD[:4], "NOT_INJECTED") + again)
        log.clear()
        check("the second arrives", traffic.exchange([b"second"]), [b"second"])
        check("it is authorised already", log, in_states(OUTWARD[2:4], "NOT_INJECTED") + again)
        check("completions", driver.done.counted(), {"SUCCESS": 2})
    check("control after", traffic.exchange([b"after"]), [b"after"])


def fork(empty: Empty) -> tuple[Host, Host, Host]:
    """near === host === far: two links, each a subnet of its own."""
    host = empty.add_host("host", "10.1.0.1", "fd01::1", emulated=True)
    near = empty.add_host("near", "10.1.0.2", "fd01::2")
    far = empty.add_host("far", "10.2.0.2", "fd02::2")
    for number, other in ((1, near), (2, far)):
        v4, v6 = f"10.{number}.0.", f"fd0{number}::"
        ends = ([f"{v4}1/24", f"{v6}1/64"], [f"{v4}2/24", f"{v6}2/64"])
        empty.lab.link(host.namespace, other.namespace, addresses=ends)
    return host, near, far


@scenario(cases=("C17",), rules=("TS-5", "TS-7"))
def another_subnet(empty: Empty, family: AddressFamily, check: Checks) -> None:
    """A datagram that is sent again to a remote address elsewhere leaves by the other link, from that link's address.

    near === host (OUTBOUND_TRANSPORT: transport send to far) ==> far
    """
    host, near, far = fork(empty)
    traffic = Datagrams(host, near, family, port=PORT)
    check("control before", traffic.exchange([b"plain"]), [b"plain"])
    receiver = far.socket(family, port=PORT)
    unbound = host.namespace.open_in(lambda: socket.socket(LINUX_FAMILY[family], socket.SOCK_DGRAM))

    class Elsewhere(Reinject):
        """Sends what it takes to `far`."""

        def send_params(self, seen: Indication) -> SendParams:
            return SendParams(far.octets(family))

    with unbound, host.driver() as driver:
        callout = Elsewhere(driver.create_handle(family, TRANSPORT), driver.done, only=of_port, edit=no_checksum)
        driver.add(callout, "OUTBOUND_TRANSPORT", family)
        unbound.sendto(b"elsewhere", (near.address(family), PORT))
        octets, source = receiver.recvfrom(100)
        beyond = "10.2.0.1" if family == AddressFamily.INET else "fd02::1"
        check("what arrives elsewhere, and from where", (octets, source[0]), (b"elsewhere", beyond))
        check("where it was sent to", traffic.arrived(), [])
        check("completions", driver.done.counted(), {"SUCCESS": 1})
    check("control after", traffic.exchange([b"plain"]), [b"plain"])


def no_checksum(seen: Indication, clone: NetBufferList) -> None:
    """Zero the checksum of a datagram, which covers the addresses: the stack's to fill in."""
    clone.write(6, b"\0\0")


ELSEWHERE = {AddressFamily.INET: ("192.0.2.1", "192.0.2.2"), AddressFamily.INET6: ("2001:db8::1", "2001:db8::2")}
ROUTER_ALERT = b"\x94\x04\0\0"
_ODD = b"an odd number of octets"
_PORTS = (4999).to_bytes(2, "big") + (1).to_bytes(2, "big")


def messages(family: AddressFamily) -> dict[int, bytes]:
    """Transport packets by protocol, their checksums 0 and their payload odd: UDP, TCP, an echo request."""
    echo, kind = (1, b"\x08") if family == AddressFamily.INET else (58, b"\x80")
    return {
        17: _PORTS + (8 + len(_ODD)).to_bytes(2, "big") + b"\0\0" + _ODD,
        6: _PORTS + bytes(8) + b"\x50\x10\x10\0" + bytes(4) + _ODD,
        echo: kind + bytes(3) + b"\0\x01\0\x01" + _ODD,
    }


def with_extras(family: AddressFamily, protocol: int, message: bytes) -> tuple[bytes, int]:
    """A packet between hosts elsewhere, with an IPv4 option or an IPv6 extension header; and how long its header is."""
    source, destination = (socket.inet_pton(LINUX_FAMILY[family], address) for address in ELSEWHERE[family])
    if family == AddressFamily.INET:
        return ip_header(4, source, destination, protocol, len(message), options=ROUTER_ALERT) + message, 24
    message = bytes([protocol, 0, 1, 4, 0, 0, 0, 0]) + message
    return ip_header(6, source, destination, 60, len(message)) + message, 48


@scenario(cases=("C24",), rules=("NB-20", "NB-21", "NB-22", "NB-23"))
def rebuilt_headers(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A rebuilt header has the addresses asked for and right checksums, keeps options, and drops extension headers.

    host --(clone: other port, other addresses, header rebuilt; network send)--> peer
    """
    host, peer = pair.host, pair.peer
    core, wire = host.stack.core, peer.wire()
    receiver = peer.socket(family, port=PORT)
    with host.driver() as driver:
        handle = driver.create_handle(family, InjectionType.NETWORK)
        for protocol, message in messages(family).items():
            packet, size = with_extras(family, protocol, message)
            item = driver.create(packet)
            clone = core.ownership.clone(item)
            if protocol in (6, 17):
                clone.write(size + 2, PORT.to_bytes(2, "big"))
            construct_ip_header(core, clone, size, family, host.octets(family), peer.octets(family), protocol)
            handle.network_send(clone, driver.done)
            host.stack.settle()
            driver.free(item)
        check("the application got the datagram", receiver.recv(100), _ODD)
        ours = Like(source=host.address(family), destination=peer.address(family), payload=_ODD, checksums=True)
        source = host.octets(family)
        sent = [packet for packet in wire.packets() if _ODD in packet and IpView(packet).source == source]
        expected = [replace(ours, protocol=protocol) for protocol in messages(family)]
        check.packets("what was on the wire", sent, expected)
        v4 = family == AddressFamily.INET
        between = [packet[20 if v4 else 40 : IpView(packet).transport_offset] for packet in sent]
        what = "IPv4 options, kept" if v4 else "between IPv6 header and message, nothing"
        check(what, between, [ROUTER_ALERT if v4 else b""] * 3)
        two = driver.create(packet)
        two.first_net_buffer.next = NetBuffer(Mdl(bytearray(packet)), 0, len(packet))
        with check.raises("with two packets in the list", InvalidParameter):
            construct_ip_header(core, two, size, family, host.octets(family), peer.octets(family), protocol)
        driver.free(two)
        check("completions", driver.done.counted(), {"SUCCESS": 3})
