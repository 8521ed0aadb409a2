"""A port of Portmaster's blocking: what is blocked is answered at once, as a closed port would."""

from __future__ import annotations

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.handle import InjectionHandle
from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.octets import IpView

TCP, UDP = 6, 17
_RST_ACK = b"\x50\x14"
"""A header of five words; the flags RST and ACK."""


class AnsweringBlock(Callout):
    """Blocks outgoing packets to one port, and lets an answer to each be received on `interface`.

    It is for OUTBOUND_IPPACKET; `handle` makes answers and nothing else, so others can tell them by it.
    """

    def __init__(self, driver: Driver, handle: InjectionHandle, interface: int, port: int) -> None:
        self.driver = driver
        self.handle = handle
        self.interface = interface
        self.port = port
        self.blocked = 0

    def classify(self, seen: Indication) -> None:
        view = seen.view
        if view.destination_port != self.port:
            return seen.permit()
        self.blocked += 1
        answer = reset_for(view) if view.protocol == TCP else unreachable_for(view)
        self.handle.network_receive(
            self.driver.create(answer), self.driver.done, interface=self.interface, sub_interface=SUB_INTERFACE
        )
        return seen.block(absorb=True)


def reset_for(view: IpView) -> bytes:
    """The packet that a closed port answers a SYN with."""
    start = view.transport_offset
    source, destination = bytes(view.buffer[start : start + 2]), bytes(view.buffer[start + 2 : start + 4])
    acknowledged = (int.from_bytes(view.buffer[start + 4 : start + 8], "big") + 1) & 0xFFFFFFFF
    segment = destination + source + bytes(4) + acknowledged.to_bytes(4, "big") + _RST_ACK + bytes(6)
    return build_ip_header(view.version, view.destination, view.source, TCP, segment)


def unreachable_for(view: IpView) -> bytes:
    """The packet that a closed port answers a datagram with."""
    kind, protocol = (b"\x03\x03", 1) if view.version == 4 else (b"\x01\x04", 58)
    message = kind + bytes(6) + bytes(view.buffer[view.start : view.end])
    return build_ip_header(view.version, view.destination, view.source, protocol, message)
