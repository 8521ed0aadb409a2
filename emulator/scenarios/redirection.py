"""Connections led to another address by rewriting whole packets both ways."""

from __future__ import annotations

import ipaddress
import socket
import threading
from typing import Any

from emulator.callout import Callout
from emulator.checksums import fix_checksums
from emulator.filters import Condition, MatchType
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_of
from emulator.scenario import Checks, scenario
from emulator.scenarios.network import NETWORK, Completions
from emulator.stack import Stack
from emulator.topology import Pair
from emulator.wfptypes import AddressFamily

OTHER = {AddressFamily.INET: "10.0.0.9", AddressFamily.INET6: "fd00::9"}
PREFIX = {AddressFamily.INET: 24, AddressFamily.INET6: 64}


class Rewrite(Callout):
    """Replaces one address of every packet it is shown by another, and injects the result."""

    def __init__(self, stack: Stack, handle: InjectionHandle, new: str, *, inbound: bool) -> None:
        self.stack = stack
        self.handle = handle
        self.new = ipaddress.ip_address(new).packed
        self.inbound = inbound
        self.completions = Completions(stack)

    def classify(self, seen: Indication) -> None:
        octets = bytearray(seen.memory[seen.ip_start : seen.ip_end])
        size = len(self.new)
        at = (12 if size == 4 else 8) if self.inbound else (16 if size == 4 else 24)
        octets[at : at + size] = self.new
        fix_checksums(octets)
        item = self.stack.core.ownership.create_from(octets)
        if self.inbound:
            self.handle.network_receive(
                item, self.completions, interface=seen.interface, sub_interface=SUB_INTERFACE
            )
        else:
            self.handle.network_send(item, self.completions)
        seen.block(absorb=True)


def serve_once(listener: socket.socket, peers: list[Any]) -> None:
    """Accept one connection, answer what it says in capitals, note who it came from and where it went."""
    connection, source = listener.accept()
    with connection:
        peers.append((source[0], connection.getsockname()[0]))
        connection.settimeout(10)
        connection.sendall(connection.recv(1024).upper())


@scenario(cases=("B09",))
def redirect_a_connection(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A connection to an address nobody has is led to another one, and its answers back.

    host --(dst .2 -> .9 at OUTBOUND_IPPACKET)--> peer (.9)
    host <--(src .9 -> .2 at INBOUND_IPPACKET)--- peer (.9)
    """
    stack, target, real = pair.host.stack, pair.peer.address(family), OTHER[family]
    eth0 = pair.peer.namespace.interface("eth0")
    eth0.add_addresses(f"{real}/{PREFIX[family]}")
    listener = pair.peer.socket(family, socket.SOCK_STREAM, port=8080, address=real)
    listener.listen(4)
    client = pair.host.socket(family, socket.SOCK_STREAM)
    with check.raises("control: nobody listens at the address itself", ConnectionRefusedError):
        client.connect((target, 8080))
    handle = stack.create_handle(family, NETWORK)
    for inbound, group, remote, new in (
        (False, "OUTBOUND_IPPACKET", target, real),
        (True, "INBOUND_IPPACKET", real, target),
    ):
        registered = stack.register(Rewrite(stack, handle, new, inbound=inbound))
        condition = Condition("IP_REMOTE_ADDRESS", MatchType.EQUAL, remote)
        stack.add_filter(layer_of(group, family.version), registered, conditions=[condition])
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
    for number in list(stack.core.engine.filters):
        stack.core.engine.delete_filter(number)
    stack.settle()
    handle.destroy()
