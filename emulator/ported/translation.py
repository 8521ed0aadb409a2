"""A source NAT at the IP layer: hosts behind a router appear with its address outside, and do not know."""

from __future__ import annotations

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.octets import IpView
from emulator.rewrite import with_ends
from emulator.wfptypes import AddressFamily, InjectionType

TCP, UDP = 6, 17
_FIRST_PORT = 40000
_ECHO_TYPES = (8, 0, 128, 129)


class SourceTranslation(Callout):
    """Rewrites what leaves by one interface at IPFORWARD, and the answers to it at INBOUND_IPPACKET.

    TCP and UDP get another port where theirs is taken; echo requests keep their identifier.  Anything else that
    is on its way out, such as a fragment, is blocked: it would show an inner address.
    """

    def __init__(self, driver: Driver, family: AddressFamily, outside: int, address: str) -> None:
        self.driver = driver
        self.family = family
        self.outside = outside
        """The index of the interface."""
        self.address = address
        """What everybody inside appears as."""
        self.handle = driver.create_handle(family, InjectionType.NETWORK | InjectionType.FORWARD)
        self._inner: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._outer: dict[tuple[int, bytes, int], int] = {}
        for layer in ("IPFORWARD", "INBOUND_IPPACKET"):
            driver.add(self, layer, family)

    def classify(self, seen: Indication) -> None:
        if seen.injected_by(self.handle):
            return seen.permit()
        if seen.info.group == "INBOUND_IPPACKET":
            return self._inward(seen)
        if seen.value("DESTINATION_INTERFACE_INDEX") == self.outside:
            return self._outward(seen)
        return seen.permit()

    def _outward(self, seen: Indication) -> None:
        view = seen.view
        local = _local_number(view, outward=True)
        if local is not None:
            number = self._number_outside(view.protocol, bytes(view.source), local)
            port = number if view.ports else None
            packet = with_ends(seen.copy(), source=self.address, source_port=port)
            self.handle.forward(
                self.driver.create(packet), self.driver.done, family=self.family, interface=self.outside
            )
        return seen.block(absorb=True)

    def _inward(self, seen: Indication) -> None:
        view = seen.view
        number = _local_number(view, outward=False) if seen.interface == self.outside else None
        found = None if number is None else self._inner.get((view.protocol, number))
        if found is None:
            return seen.permit()
        address, local = found
        packet = with_ends(
            seen.copy(seen.metadata.ip_header_size),
            destination=_text(address),
            destination_port=local if view.ports else None,
        )
        self.handle.network_receive(
            self.driver.create(packet), self.driver.done, interface=self.outside, sub_interface=SUB_INTERFACE
        )
        return seen.block(absorb=True)

    def _number_outside(self, protocol: int, address: bytes, local: int) -> int:
        key = (protocol, address, local)
        if key not in self._outer:
            number = local
            while protocol in (TCP, UDP) and (protocol, number) in self._inner:
                number = number + 1 if number >= _FIRST_PORT else _FIRST_PORT
            self._outer[key] = number
            self._inner[protocol, number] = (address, local)
        return self._outer[key]


def _local_number(view: IpView, *, outward: bool) -> int | None:
    """The port, or the identifier of an echo, that tells whose packet it is; None where there is none."""
    if view.is_fragment:
        return None
    if view.ports:
        return view.ports[0 if outward else 1]
    if view.is_icmp and view.icmp_type in _ECHO_TYPES:
        start = view.transport_offset + 4
        return int.from_bytes(view.buffer[start : start + 2], "big")
    return None


def _text(address: bytes) -> str:
    from ipaddress import ip_address

    return str(ip_address(address))
