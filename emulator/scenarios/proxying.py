"""A datagram proxy: what is asked of one server is answered by another, and nobody notices."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from emulator.driver import Driver
from emulator.expect import Like
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.interfaces import SUB_INTERFACE
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.octets import IpView
from emulator.ported.datagram_proxy import DatagramProxy, Server
from emulator.rewrite import with_ends
from emulator.scenario import Checks, scenario
from emulator.scenarios.programs import dig, name_server
from emulator.scenarios.redirection import OTHER, PREFIX
from emulator.topology import LINUX_FAMILY, Host, Pair, TwoDrivers
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionType

ASKED, ANSWERING = 53, 5353
NAME, ADDRESS = "host.test", "192.0.2.7"
LOOPBACK = {AddressFamily.INET: "127.0.0.1", AddressFamily.INET6: "::1"}


def question(number: int) -> bytes:
    """A DNS question for the address of NAME."""
    name = b"".join(len(label).to_bytes(1, "big") + label for label in NAME.encode().split(b".")) + b"\0"
    return number.to_bytes(2, "big") + b"\x01\0\0\x01" + bytes(6) + name + b"\0\x01\0\x01"


def servers(peer: Host, family: AddressFamily) -> tuple[Server, Server]:
    """The one that is asked, where nobody listens, and the one that answers; the peer gets its address."""
    other = OTHER[family]
    peer.namespace.interface("eth0").add_addresses(f"{other}/{PREFIX[family]}")
    original = Server(peer.octets(family), peer.address(family), ASKED)
    return original, Server(socket.inet_pton(LINUX_FAMILY[family], other), other, ANSWERING)


def has_a_checksum(packet: bytes) -> bool:
    """Whether the sender of a UDP packet has summed it up."""
    start = IpView(packet).transport_offset + 6
    return packet[start : start + 2] != b"\0\0"


@contextmanager
def proxy_on(driver: Driver, peer: Host, family: AddressFamily) -> Iterator[DatagramProxy]:
    """A proxy in force; at its end its contexts are given back."""
    made = DatagramProxy(driver, family, *servers(peer, family))
    made.load()
    yield made
    made.unload()


def nobody_answers(host: Host, server: Server, family: AddressFamily) -> bool:
    """Whether a datagram to the server is refused."""
    asking = host.socket(family)
    asking.connect((server.address, server.port))
    asking.send(b"anybody?")
    try:
        asking.recv(1)
    except ConnectionRefusedError:
        return True
    return False


@scenario(
    cases=("C12",),
    rules=("TS-7", "TS-18", "TS-20", "TR-4", "FL-3", "FL-9", "CO-11"),
    programs=("dig", "dnsmasq"),
)
def datagram_proxy(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A name server's questions go to another server, whose answers seem to come from the one that was asked.

    dig - dnsmasq in host --(DATAGRAM_DATA: .2:53 -> .9:5353)--> dnsmasq in peer (.9:5353)
    host <--(DATAGRAM_DATA: .9:5353 -> .2:53)-- peer
    """
    host, peer = pair.host, pair.peer
    wire = peer.wire()
    with host.driver() as driver:
        with proxy_on(driver, peer, family) as proxy:
            name_server(peer, family, f"host-record={NAME},{ADDRESS}", address=proxy.other.address, port=ANSWERING)
            # It asks from sockets that are not connected, and believes answers from this address alone.
            name_server(host, family, f"server={proxy.original.address}", address=LOOPBACK[family])
            check("the name", dig(host, LOOPBACK[family], NAME, "A"), ADDRESS)
            asking = host.socket(family)
            answers = []
            for number in range(3):
                asking.sendto(question(number), (proxy.original.address, ASKED))
                octets, source = asking.recvfrom(512)
                answers.append((octets[:2], source[:2]))
            expected = [(number.to_bytes(2, "big"), (proxy.original.address, ASKED)) for number in range(3)]
            check("questions of our own are answered by whom they asked", answers, expected)
            host.stack.settle()
            check("taken, each way", (proxy.seen.count("OUTBOUND"), proxy.seen.count("INBOUND")), (4, 4))
            check("completions", driver.done.counted(), {"SUCCESS": 8})
        check("contexts given back, each once", sorted(proxy.deleted), sorted(set(proxy.attached)))
        ours = Like(destination=proxy.other.address, destination_port=ANSWERING, checksums=True)
        asked = [packet for packet in wire.packets(port=ANSWERING) if not ours.differences(packet)]
        check("on the wire they go to the other server, with right checksums", len(asked), 4)
        check("and with a checksum at all", sum(map(has_a_checksum, asked)), 4)
    check("control after: without the proxy nobody answers", nobody_answers(host, proxy.original, family), True)


@scenario(cases=("C13",), rules=("LA-15",), programs=("dig", "dnsmasq"))
def datagram_proxy_and_a_connected_socket(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A connected socket gets no answer from another address, unless that is changed back at the IP layer already.

    dig in host, whose socket is connected --(DATAGRAM_DATA: .2:53 -> .9:5353)--> dnsmasq in peer
    host <--(INBOUND_IPPACKET: .9:5353 -> .2:53)-- peer
    """
    host, peer = pair.host, pair.peer
    with host.driver() as driver, proxy_on(driver, peer, family) as proxy:
        name_server(peer, family, f"host-record={NAME},{ADDRESS}", address=proxy.other.address, port=ANSWERING)
        asked, other = proxy.original, proxy.other
        check("dig has no answer", dig(host, asked.address, NAME, "A", patience=1), "")
        Datagrams(peer, host, family).canary()
        check("the question was taken, the answer was never shown", proxy.seen, ["OUTBOUND"])
        network = driver.create_handle(family, InjectionType.NETWORK)

        def back(seen: Indication) -> None:
            if seen.view.source_port != ANSWERING or seen.injected_by(network):
                return seen.permit()
            octets = seen.copy(seen.metadata.ip_header_size)
            packet = with_ends(octets, source=asked.address, source_port=ASKED)
            network.network_receive(
                driver.create(packet), driver.done, interface=seen.interface, sub_interface=SUB_INTERFACE
            )
            return seen.block(absorb=True)

        driver.add(back, "INBOUND_IPPACKET", family, where={"IP_REMOTE_ADDRESS": other.address})
        check("with the change below the transport it has", dig(host, asked.address, NAME, "A"), ADDRESS)
        check("and the proxy has seen the questions alone", set(proxy.seen), {"OUTBOUND"})


@scenario(cases=("C14",), rules=("TS-17", "TS-18"))
def datagram_proxy_and_a_list_of_several(two_drivers: TwoDrivers, family: AddressFamily, check: Checks) -> None:
    """Three datagrams in one list are all rewritten: those another driver sends, and those of one clone.

    host (b: one list of three --> a: DATAGRAM_DATA: .2:53 -> .9:5353) --> peer (.9:5353)
    """
    bed = two_drivers
    with proxy_on(bed.a, bed.peer, family) as proxy:
        server = bed.peer.socket(family, port=ANSWERING, address=proxy.other.address)
        handle = bed.b.create_handle(family, InjectionType.TRANSPORT)
        params = SendParams(proxy.original.octets)
        handle.transport_send(list_of_three(bed.b), bed.b.done, family=family, send_params=params)
        check("what the other server got", [server.recv(10) for _ in range(3)], [b"0", b"1", b"2"])
        bed.host.stack.settle()
        check("completions of who sent them", bed.b.done.counted(), {"SUCCESS": 1})
        shown = len(bed.a.done.statuses)
        item = list_of_three(bed.a)
        proxy.send_question(item, 0)
        check("what it got of a clone", [server.recv(10) for _ in range(3)], [b"0", b"1", b"2"])
        bed.host.stack.settle()
        check("completions of the clone", len(bed.a.done.statuses) - shown, 1)
        bed.a.free(item)


def list_of_three(driver: Driver) -> NetBufferList:
    """A list of three datagrams to the port that is asked; the caller owns it."""
    ports = (4999).to_bytes(2, "big") + ASKED.to_bytes(2, "big")
    parts = [NetBuffer(Mdl(bytearray(ports + b"\0\x09\0\0%d" % number)), 0, 9) for number in range(3)]
    parts[0].next, parts[1].next = parts[1], parts[2]
    item = driver.create(b"")
    item.first_net_buffer, item.protocol = parts[0], 17
    return item


@scenario(cases=("C15",), rules=("FL-3", "FL-5", "NB-11", "NB-12"))
def datagram_proxy_and_a_flow_that_ends(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Datagrams of a flow that ends while they wait in the proxy are dropped, and its context is freed once.

    host --(DATAGRAM_DATA: held; the flow ends)--x  peer (.9:5353)
    """
    host, peer = pair.host, pair.peer
    with host.driver() as driver, proxy_on(driver, peer, family) as proxy:
        proxy.inline = False
        server = peer.socket(family, port=ANSWERING, address=proxy.other.address)
        ending, staying = host.socket(family), host.socket(family)
        for asking in (ending, staying):
            for number in range(3):
                asking.sendto(b"%d" % number, (proxy.original.address, ASKED))
        behind = peer.socket(family, port=5001)
        host.socket(family).sendto(b"behind", (peer.address(family), 5001))
        check("all are taken when what was sent behind them arrives", behind.recv(10), b"behind")
        check("flows with a context", len(proxy.attached), 2)
        ended = proxy.attached[0]
        host.stack.core.engine.flows.abort(ended)
        check("the context of the flow that ended came back", proxy.deleted, [ended])
        proxy.work()
        host.stack.settle()
        check("dropped", proxy.dropped, 3)
        arrived = [server.recvfrom(10) for _ in range(3)]
        check("those of the other flow arrive", [octets for octets, _ in arrived], [b"0", b"1", b"2"])
        check("from its socket", {source[1] for _, source in arrived}, {staying.getsockname()[1]})
    check("contexts given back, each once", sorted(proxy.deleted), sorted(set(proxy.attached)))
