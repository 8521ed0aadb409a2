"""Ending connections from outside: a callout aborted the flow, or blocked where it is established.

Source: CO-20, FL-6; docs/decisions.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emulator.flows import Flow
from emulator.flowtracking import FlowTracker
from emulator.headers import build_ip_header
from emulator.octets import TCP, IpView
from emulator.paths.endpoints import Endpoints
from emulator.paths.network import NetworkInjector

if TYPE_CHECKING:
    from emulator.paths.held import Held

QUIET_SECONDS: Final = 5.0
ASKED_AT_ONCE: Final = 64
"""Most sockets looked for in one second."""
_RST: Final = 0x04
_HOP_LIMIT: Final = 64


class Resets:
    """Ends connections of one host at both ends."""

    def __init__(self, endpoints: Endpoints, sockets: NetworkInjector) -> None:
        self._endpoints = endpoints
        self._sockets = sockets

    def of_packet(self, held: Held, view: IpView, inbound: bool) -> None:
        """Close the connection that a blocked TCP segment belongs to.

        The kernel ends its own side, and resets the other one unless that was still waiting to be accepted.
        """
        source, destination = view.ports or (0, 0)
        if inbound:
            self._endpoints.end(TCP, (view.destination, destination, view.source, source))
            self._sockets.send(reset_for(view), 0)
        else:
            self._endpoints.end(TCP, (view.source, source, view.destination, destination))

    def of_flow(self, flow: Flow) -> None:
        """End the connection of a flow; a flow that is not TCP has nothing to end but its state."""
        key = flow.key
        if key.protocol == TCP:
            ends = (key.local_address, key.local_port, key.remote_address, key.remote_port)
            self._endpoints.end(TCP, ends)

    def end_gone(self, tracker: FlowTracker) -> None:
        """End the flows of quiet connections whose socket is there no longer."""
        for found in tracker.quiet(QUIET_SECONDS)[:ASKED_AT_ONCE]:
            key = found.flow.key
            ends = (key.local_address, key.local_port, key.remote_address, key.remote_port)
            if self._endpoints.exists(key.protocol, ends):
                found.flow.last_seen = tracker.now
            else:
                tracker.end(found)


def reset_for(view: IpView) -> bytes:
    """The RST that closes the sender's side of a connection, as its receiver would send it."""
    at = view.transport_offset
    source, destination = view.ports or (0, 0)
    segment = bytearray(20)
    segment[0:2], segment[2:4] = destination.to_bytes(2, "big"), source.to_bytes(2, "big")
    segment[4:8] = view.buffer[at + 8 : at + 12]
    segment[12], segment[13] = 5 << 4, _RST
    return build_ip_header(view.version, view.destination, view.source, TCP, segment, hop_limit=_HOP_LIMIT)
