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
from emulator.topology import Pair
from emulator.wfptypes import AddressFamily, InjectionType

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
        connection.settimeout(10)
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
        server.join(10)
        check("what the server saw", peers, [(pair.host.address(family), real)])
        client.close()
