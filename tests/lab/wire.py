"""A client, a router and a server, UDP across them, and rules that take it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from netns.lab import Lab
from netns.namespace import Namespace
from netns.patience import patient
from netns.rules import Hook, QueueRule

Version = Literal[4, 6]
CLIENT = {4: "192.0.2.1", 6: "2001:db8::1"}
SERVER = {4: "198.51.100.1", 6: "2001:db8:1::1"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PORT = 4000


@contextmanager
def client_router_server() -> Iterator[Lab]:
    """client -- router -- server; the lab ends with the block."""
    with Lab() as made:
        client, server = made.namespace("client"), made.namespace("server")
        router = made.namespace("router", forwarding=True)
        made.link(client, router, addresses=(["192.0.2.1/24", "2001:db8::1/64"], ["192.0.2.2/24", "2001:db8::2/64"]))
        made.link(
            server,
            router,
            addresses=(["198.51.100.1/24", "2001:db8:1::1/64"], ["198.51.100.2/24", "2001:db8:1::2/64"]),
        )
        for host, via in ((client, ("192.0.2.2", "2001:db8::2")), (server, ("198.51.100.2", "2001:db8:1::2"))):
            host.add_route("0.0.0.0/0", via=via[0])
            host.add_route("::/0", via=via[1])
        yield made


class Wire:
    """A UDP sender in the client and a receiver in the server."""

    def __init__(self, lab: Lab, version: Version) -> None:
        self.version = version
        self.inbox = self._socket(lab["server"])
        self.inbox.bind((SERVER[version], PORT))
        self.outbox = self._socket(lab["client"])

    def _socket(self, host: Namespace) -> socket.socket:
        made = host.open_in(lambda: socket.socket(FAMILY[self.version], socket.SOCK_DGRAM))
        made.settimeout(patient(5))
        return made

    def send(self, octets: bytes, *, mark: int = 0, port: int = PORT) -> None:
        self.outbox.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        self.outbox.sendto(octets, (SERVER[self.version], port))

    def receive(self) -> bytes:
        return self.inbox.recv(65536)

    def close(self) -> None:
        self.inbox.close()
        self.outbox.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def udp_rule(version: Version, hook: Hook, queue: int = 7, **fields: Any) -> QueueRule:
    ports: dict[str, Any] = {"protocol": "udp", "destination_ports": (PORT, PORT)}
    return QueueRule(family=version, hook=hook, queue=queue, **(ports | fields))
