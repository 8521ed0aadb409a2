"""What the tests of the packet layers share: a log of layers, connections, and the end of a test."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from emulator.callout import Callout
from emulator.indication import Indication
from emulator.layers import layer_of
from emulator.stack import Stack
from emulator.topology import Host
from emulator.wfptypes import Action, AddressFamily
from netns.patience import patient
from tests.lab.network_packets import PORT

V4, V6 = AddressFamily.INET, AddressFamily.INET6
LINUX = {V4: socket.AF_INET, V6: socket.AF_INET6}
ALE = ("ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED")
TRANSPORT = ("INBOUND_TRANSPORT", "OUTBOUND_TRANSPORT")
IP = ("INBOUND_IPPACKET", "OUTBOUND_IPPACKET")
TCP_PORT = 7000


def by_port(seen: Indication, *ports: int) -> bool:
    """Whether a packet goes to or comes from one of these ports; those of the tests when none is named."""
    wanted = ports or (PORT, TCP_PORT)
    return any(port in wanted for port in (seen.view.destination_port, seen.view.source_port))


class Log:
    """The layers that packets of some ports were shown at, in order; `look` adds something to each."""

    def __init__(
        self,
        stack: Stack,
        family: AddressFamily,
        *groups: str,
        look: Callable[[Indication], Any] | None = None,
        wanted: Callable[[Indication], bool] = by_port,
    ) -> None:
        self.entries: list[Any] = []

        def note(seen: Indication) -> None:
            if wanted(seen):
                self.entries.append(seen.info.layer.name if look is None else look(seen))

        for group in groups:
            discard = group.endswith("_DISCARD")
            layer = layer_of(group.removesuffix("_DISCARD"), family.version, discard=discard)
            registered = stack.register(Look(note))
            stack.add_filter(layer, registered, action=Action.CALLOUT_INSPECTION, weight=2**60)
        self.suffix = f"_V{family.version}"

    def take(self) -> list[Any]:
        taken, self.entries[:] = list(self.entries), []
        return [entry.replace(self.suffix, "") if isinstance(entry, str) else entry for entry in taken]


class Look(Callout):
    def __init__(self, look: Callable[[Indication], Any]) -> None:
        self.look = look

    def classify(self, seen: Indication) -> None:
        self.look(seen)


def finish(stack: Stack, *handles: Any) -> None:
    for number in list(stack.core.engine.filters):
        stack.core.engine.delete_filter(number)
    for handle in handles:
        handle.destroy()


def connected(client: Host, server: Host, family: AddressFamily) -> tuple[socket.socket, socket.socket]:
    """A TCP connection between two hosts: the client's and the server's socket."""
    listener = server.socket(family, socket.SOCK_STREAM, port=TCP_PORT)
    listener.listen()
    near = client.socket(family, socket.SOCK_STREAM)
    near.connect((server.address(family), TCP_PORT))
    far, _ = listener.accept()
    listener.close()
    far.settimeout(patient(10))
    return near, far


def tcp_flows(stack: Stack) -> list[Any]:
    return [flow for flow in stack.core.engine.flows.table if flow.key.protocol == 6]


def send_raw(host: Host, family: AddressFamily, to: str, *packets: bytes) -> None:
    raw = host.namespace.open_in(lambda: socket.socket(LINUX[family], socket.SOCK_RAW, 255))
    with raw:
        for packet in packets:
            raw.sendto(packet, (to, 0))
