"""What the tests of forward injection share."""

from __future__ import annotations

from typing import Any

from emulator.indication import Indication
from emulator.stack import Stack
from emulator.wfptypes import AddressFamily, InjectionType
from tests.lab.conftest import Completions
from tests.lab.network_packets import PORT

FORWARD = InjectionType.FORWARD
V4, V6 = AddressFamily.INET, AddressFamily.INET6
EVERY_IP_LAYER = ("INBOUND_IPPACKET", "IPFORWARD", "OUTBOUND_IPPACKET", "OUTBOUND_TRANSPORT", "INBOUND_TRANSPORT")


def by_port(seen: Indication) -> bool:
    return PORT in (seen.view.destination_port, seen.view.source_port)


def finish(stack: Stack, *handles: Any) -> None:
    for number in list(stack.core.engine.filters):
        stack.core.engine.delete_filter(number)
    for handle in handles:
        handle.destroy()


def destination_field(family: AddressFamily) -> slice:
    return slice(16, 20) if family == V4 else slice(24, 40)


def inject(stack: Stack, family: AddressFamily, octets: bytes, interface: int) -> str:
    """Forward one made packet; the name of its completion's status."""
    done = Completions(stack)
    with stack.create_handle(family, FORWARD) as handle:
        handle.forward(stack.core.ownership.create_from(octets), done, family=family, interface=interface)
        stack.settle()
    return done.names[0]
