"""Connections led to another address by rewriting whole packets both ways."""

from __future__ import annotations

import socket
import threading
from typing import Any

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.rewrite import with_ends
from emulator.scenario import Checks, scenario
from emulator.topology import Host, Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionType
from netns.patience import patient

OTHER = {AddressFamily.INET: "10.0.0.9", AddressFamily.INET6: "fd00::9"}
PREFIX = {AddressFamily.INET: 24, AddressFamily.INET6: 64}


class Rewrite(Callout):
    """Replaces one address of every packet it is shown by another, and injects the result."""

    def __init__(self, driver: Driver, handle: InjectionHandle, new: str, *, inbound: bool) -> None:
        self.driver = driver
        self.handle = handle
        self.new = new
        self.inbound = inbound

    def classify(self, seen: Indication) -> None:
        if self.inbound:
            packet = with_ends(seen.copy(seen.metadata.ip_header_size), source=self.new)
            self.handle.network_receive(
                self.driver.create(packet),
                self.driver.done,
                interface=seen.value("INTERFACE_INDEX"),
                sub_interface=seen.value("SUB_INTERFACE_INDEX"),
            )
        else:
            packet = with_ends(seen.copy(), destination=self.new)
            self.handle.network_send(self.driver.create(packet), self.driver.done)
        seen.block(absorb=True)


def serve_once(listener: socket.socket, peers: list[Any]) -> None:
    """Accept one connection, answer what it says in capitals, note who it came from and where it went."""
    connection, source = listener.accept()
    with connection:
        peers.append((source[0], connection.getsockname()[0]))
        connection.settimeout(patient(10))
        connection.sendall(connection.recv(1024).upper())


@scenario(cases=("B09",), rules=("GE-12",))
def redirect_a_connection(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A connection to an address nobody has is led to another one, and its answers back.

    host --(dst .2 -> .9 at OUTBOUND_IPPACKET)--> peer (.9)
    host <--(src .9 -> .2 at INBOUND_IPPACKET)--- peer (.9)
    """
    target, real = pair.peer.address(family), OTHER[family]
    pair.peer.namespace.interface("eth0").add_addresses(f"{real}/{PREFIX[family]}")
    listener = pair.peer.socket(family, socket.SOCK_STREAM, port=8080, address=real)
    listener.listen(4)
    client = pair.host.socket(family, socket.SOCK_STREAM)
    with check.raises("control: nobody listens at the address itself", ConnectionRefusedError):
        client.connect((target, 8080))
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, InjectionType.NETWORK)
        for inbound, group, remote, new in (
            (False, "OUTBOUND_IPPACKET", target, real),
            (True, "INBOUND_IPPACKET", real, target),
        ):
            callout = Rewrite(driver, handle, new, inbound=inbound)
            driver.add(callout, group, family, where={"IP_REMOTE_ADDRESS": remote})
        peers: list[Any] = []
        server = threading.Thread(target=serve_once, args=(listener, peers), daemon=True)
        server.start()
        client = pair.host.socket(family, socket.SOCK_STREAM)
        client.connect((target, 8080))
        client.sendall(b"hello")
        check("the answer", client.recv(1024), b"HELLO")
        check("whom the application talks to", client.getpeername()[0], target)
        server.join(patient(10))
        check("what the server saw", peers, [(pair.host.address(family), real)])
        client.close()


@scenario(cases=("B10",), rules=("LA-13", "TR-7"))
def reversed_above_the_ip_layer(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """The answers to a redirected connection match no socket where INBOUND_TRANSPORT could change them back.

    host --(dst .2 -> .9 at OUTBOUND_IPPACKET)--> peer (.9)
    host <--(INBOUND_TRANSPORT is not shown what .9 answers; its discard layer is)--- peer (.9)
    """
    target, real = pair.peer.address(family), OTHER[family]
    pair.peer.namespace.interface("eth0").add_addresses(f"{real}/{PREFIX[family]}")
    listener = pair.peer.socket(family, socket.SOCK_STREAM, port=8080, address=real)
    listener.listen(4)
    check("control: the address itself can be connected to", connected(pair.host, family, real), True)
    traffic = Datagrams(pair.peer, pair.host, family)
    shown: list[str] = []
    discarded = threading.Event()

    def back(seen: Indication) -> None:
        """What would change the answers back, if it were asked."""
        shown.append(seen.info.layer.name)
        seen.permit()

    def discard(seen: Indication) -> None:
        discarded.set()
        seen.permit()

    with pair.host.driver() as driver:
        handle = driver.create_handle(family, InjectionType.NETWORK)
        out = Rewrite(driver, handle, real, inbound=False)
        driver.add(out, "OUTBOUND_IPPACKET", family, where={"IP_REMOTE_ADDRESS": target})
        from_real = {"IP_REMOTE_ADDRESS": real}
        driver.add(back, "INBOUND_TRANSPORT", family, where=from_real)
        driver.add(discard, f"INBOUND_TRANSPORT_V{family.version}_DISCARD", where=from_real)
        client = pair.host.socket(family, socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect_ex((target, 8080))
        check("the answer is discarded", discarded.wait(patient(10)), True)
        traffic.canary()
        check("and was not shown at INBOUND_TRANSPORT", shown, [])
        check("the connection is not there", client.connect_ex((target, 8080)) != 0, True)
        client.close()


def connected(host: Host, family: AddressFamily, address: str) -> bool:
    """Whether port 8080 of an address can be connected to."""
    with host.socket(family, socket.SOCK_STREAM) as client:
        return client.connect_ex((address, 8080)) == 0
