"""Drivers that bear everything: whatever call fails, they give back what they hold, and drop the packet.

Each blocks the datagrams of one port and injects them again, in one of the ways that drivers do it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.callout import Callout
from emulator.checksums import fix_checksums
from emulator.errors import WfpError
from emulator.injection import SendParams
from emulator.interfaces import SUB_INTERFACE
from emulator.wfptypes import AddressFamily, InjectionType

if TYPE_CHECKING:
    from emulator.driver import Driver
    from emulator.indication import Indication
    from emulator.netbuffer import NetBufferList

PORT = 5000
TYPES = InjectionType.NETWORK | InjectionType.TRANSPORT | InjectionType.FORWARD | InjectionType.STREAM


class PutBack(Callout):
    """Takes every datagram of the port out, and puts it back by `way`; a failure drops that one."""

    def __init__(self, driver: Driver, family: AddressFamily, way: Way) -> None:
        self.driver = driver
        self.family = family
        self.way = way
        self.handle = driver.create_handle(family, TYPES)
        self.dropped = 0
        """Datagrams dropped because a call failed."""

    def classify(self, seen: Indication) -> None:
        if PORT not in (seen.view.destination_port, seen.view.source_port) or seen.injected_by(self.handle):
            return seen.permit()
        item: NetBufferList | None = None
        try:
            item = self.way.take(self, seen)
            self.way.inject(self, seen, item)
        except WfpError:
            self.dropped += 1
            if item is not None:
                self.driver.free(item)
        return seen.block(absorb=True)


class Way:
    """One way of putting back: where, what is made of the packet, and which call injects it."""

    def __init__(
        self,
        name: str,
        layer: str,
        take: Callable[[PutBack, Indication], NetBufferList],
        inject: Callable[[PutBack, Indication, NetBufferList], None],
        *,
        inbound: bool = False,
        routed: bool = False,
    ) -> None:
        self.name = name
        self.layer = layer
        self.take = take
        self.inject = inject
        self.inbound = inbound
        self.routed = routed
        """Its packets are forwarded by the host."""

    def __repr__(self) -> str:
        return f"<way {self.name}>"


def _clone(callout: PutBack, seen: Indication) -> NetBufferList:
    return seen.clone()


def _retreated_clone(callout: PutBack, seen: Indication) -> NetBufferList:
    return seen.clone(seen.metadata.ip_header_size)


def _whole_clone(callout: PutBack, seen: Indication) -> NetBufferList:
    return seen.clone(seen.metadata.ip_header_size + seen.metadata.transport_header_size)


def _copy(callout: PutBack, seen: Indication) -> NetBufferList:
    octets = bytearray(seen.copy())
    fix_checksums(octets)
    return callout.driver.create(octets)


def _network_send(callout: PutBack, seen: Indication, item: NetBufferList) -> None:
    callout.handle.network_send(item, callout.driver.done)


def _network_receive(callout: PutBack, seen: Indication, item: NetBufferList) -> None:
    callout.handle.network_receive(
        item, callout.driver.done, interface=seen.value("INTERFACE_INDEX"), sub_interface=SUB_INTERFACE
    )


def _transport_send(callout: PutBack, seen: Indication, item: NetBufferList) -> None:
    params = SendParams(seen.view.destination)
    callout.handle.transport_send(item, callout.driver.done, family=callout.family, send_params=params)


def _transport_receive(callout: PutBack, seen: Indication, item: NetBufferList) -> None:
    callout.handle.transport_receive(
        item,
        callout.driver.done,
        family=callout.family,
        interface=seen.value("INTERFACE_INDEX"),
        sub_interface=SUB_INTERFACE,
    )


def _forward(callout: PutBack, seen: Indication, item: NetBufferList) -> None:
    callout.handle.forward(
        item, callout.driver.done, family=callout.family, interface=seen.value("DESTINATION_INTERFACE_INDEX")
    )


WAYS = (
    Way("clone, network send", "OUTBOUND_IPPACKET", _clone, _network_send),
    Way("copy, network send", "OUTBOUND_IPPACKET", _copy, _network_send),
    Way("clone, transport send", "OUTBOUND_TRANSPORT", _clone, _transport_send),
    Way("clone, network receive", "INBOUND_IPPACKET", _retreated_clone, _network_receive, inbound=True),
    Way("clone, forward", "IPFORWARD", _clone, _forward, routed=True),
    Way("clone, transport receive", "INBOUND_TRANSPORT", _whole_clone, _transport_receive, inbound=True),
)
