"""What the tests of transport sends share."""

from __future__ import annotations

import socket
from typing import Any

from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.netbuffer import NetBufferList
from emulator.topology import Pair
from emulator.wfptypes import AddressFamily, InjectionType
from tests.lab.conftest import Completions
from tests.lab.network_packets import PORT

TRANSPORT = InjectionType.TRANSPORT
V4, V6 = AddressFamily.INET, AddressFamily.INET6
LINUX = {V4: socket.AF_INET, V6: socket.AF_INET6}
UP_LAYERS = ("ALE_AUTH_CONNECT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET")


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
