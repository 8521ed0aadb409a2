"""How each classifiable field is read from an indication.

Fields that nothing on Linux corresponds to read as 0.  Source: LA-30..LA-37.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_info
from emulator.octets import IpView, Malformed
from emulator.wfptypes import DEFAULT_COMPARTMENT_ID

if TYPE_CHECKING:
    from emulator.indication import Indication

Reader = Callable[["Indication"], Any]
_ICMP_PROTOCOLS = (1, 58)


def address_value(address: bytes) -> int | bytes:
    """An address as classify shows it: IPv4 a host-order number, IPv6 its 16 octets.  Source: LA-34."""
    return int.from_bytes(address, "big") if len(address) == 4 else address


def local_octets(seen: Indication) -> bytes:
    """This host's address of the packet, network order: the destination of an incoming packet."""
    view = seen.view
    return view.destination if seen.inbound else view.source


def remote_octets(seen: Indication) -> bytes:
    """The other end's address of the packet, network order."""
    view = seen.view
    return view.source if seen.inbound else view.destination


def local_port(seen: Indication) -> int:
    """This host's port; for ICMP the message type (LA-34)."""
    view = seen.view
    if view.protocol in _ICMP_PROTOCOLS:
        return view.icmp_type or 0
    return (view.destination_port if seen.inbound else view.source_port) or 0


def remote_port(seen: Indication) -> int:
    """The other end's port; for ICMP the message code (LA-34)."""
    view = seen.view
    if view.protocol in _ICMP_PROTOCOLS:
        return view.icmp_code or 0
    return (view.source_port if seen.inbound else view.destination_port) or 0


def _embedded(seen: Indication) -> IpView | None:
    """The packet that an ICMP error is about, from behind the 8 octets of its ICMP header; None for garbage."""
    try:
        view = IpView(seen.memory, seen.view.transport_offset + 8, seen.ip_end)
    except Malformed:
        return None
    return view if view.version == seen.view.version else None


def _embedded_protocol(seen: Indication) -> int:
    view = _embedded(seen)
    return view.protocol if view is not None else 0


def _embedded_remote(seen: Indication) -> int | bytes:
    view = _embedded(seen)
    return address_value(view.destination if view is not None else bytes(len(seen.view.source)))


def _embedded_local_type(seen: Indication) -> int:
    view = _embedded(seen)
    return int(seen.interfaces.address_type(view.source)) if view is not None else 0


def _embedded_local_port(seen: Indication) -> int:
    """The port, or the ICMP type, that this host's packet came from."""
    view = _embedded(seen)
    if view is None:
        return 0
    return (view.icmp_type if view.is_icmp else view.source_port) or 0


def _embedded_remote_port(seen: Indication) -> int:
    view = _embedded(seen)
    if view is None:
        return 0
    return (view.icmp_code if view.is_icmp else view.destination_port) or 0


def _luid(index: Callable[[Indication], int]) -> Reader:
    def read(seen: Indication) -> int:
        found = seen.interfaces.get(index(seen))
        return found.luid if found is not None else 0

    return read


def _type(index: Callable[[Indication], int]) -> Reader:
    def read(seen: Indication) -> int:
        found = seen.interfaces.get(index(seen))
        return found.type if found is not None else 0

    return read


def _arrival(seen: Indication) -> int:
    return seen.interface


def _source(seen: Indication) -> int:
    return seen.source_interface


def _destination(seen: Indication) -> int:
    return seen.destination_interface


def _sub(seen: Indication) -> int:
    return SUB_INTERFACE


READERS: dict[str, Reader] = {
    "IP_PROTOCOL": lambda seen: seen.view.protocol,
    "IP_LOCAL_ADDRESS": lambda seen: address_value(local_octets(seen)),
    "IP_REMOTE_ADDRESS": lambda seen: address_value(remote_octets(seen)),
    "IP_LOCAL_ADDRESS_TYPE": lambda seen: int(seen.interfaces.address_type(local_octets(seen))),
    "IP_DESTINATION_ADDRESS_TYPE": lambda seen: int(seen.interfaces.address_type(seen.view.destination)),
    "DESTINATION_ADDRESS_TYPE": lambda seen: int(seen.interfaces.address_type(seen.view.destination)),
    "IP_SOURCE_ADDRESS": lambda seen: address_value(seen.view.source),
    "IP_DESTINATION_ADDRESS": lambda seen: address_value(seen.view.destination),
    "IP_LOCAL_PORT": local_port,
    "IP_REMOTE_PORT": remote_port,
    "ICMP_TYPE": lambda seen: seen.view.icmp_type or 0,
    "ICMP_CODE": lambda seen: seen.view.icmp_code or 0,
    "DIRECTION": lambda seen: int(seen.inbound),
    "FLAGS": lambda seen: seen.condition_flags,
    "INTERFACE_INDEX": _arrival,
    "SUB_INTERFACE_INDEX": _sub,
    "SOURCE_INTERFACE_INDEX": _source,
    "SOURCE_SUB_INTERFACE_INDEX": _sub,
    "DESTINATION_INTERFACE_INDEX": _destination,
    "DESTINATION_SUB_INTERFACE_INDEX": _sub,
    "ARRIVAL_INTERFACE_INDEX": _arrival,
    "NEXTHOP_INTERFACE_INDEX": _arrival,
    "NEXTHOP_SUB_INTERFACE_INDEX": _sub,
    "IP_LOCAL_INTERFACE": _luid(_arrival),
    "IP_FORWARD_INTERFACE": _luid(_destination),
    "IP_ARRIVAL_INTERFACE": _luid(_arrival),
    "IP_NEXTHOP_INTERFACE": _luid(_arrival),
    "IP_PHYSICAL_ARRIVAL_INTERFACE": _luid(_source),
    "IP_PHYSICAL_NEXTHOP_INTERFACE": _luid(_destination),
    "INTERFACE_TYPE": _type(_arrival),
    "ARRIVAL_INTERFACE_TYPE": _type(_arrival),
    "NEXTHOP_INTERFACE_TYPE": _type(_arrival),
    "COMPARTMENT_ID": lambda seen: DEFAULT_COMPARTMENT_ID,
    "EMBEDDED_PROTOCOL": _embedded_protocol,
    "EMBEDDED_REMOTE_ADDRESS": _embedded_remote,
    "EMBEDDED_LOCAL_ADDRESS_TYPE": _embedded_local_type,
    "EMBEDDED_LOCAL_PORT": _embedded_local_port,
    "EMBEDDED_REMOTE_PORT": _embedded_remote_port,
}
"""How to read a field, by its name without the layer's prefix; one that is missing reads as 0."""


def _nothing(seen: Indication) -> int:
    return 0


def reader(layer: int, name: str) -> Reader:
    """How to read one field at a layer; KeyError when the layer has no such field."""
    layer_info(layer).field_indexes[name]
    return READERS.get(name, _nothing)


def read_values(seen: Indication) -> tuple[Any, ...]:
    """All fields of the indication's layer in the order of their index in incomingValue."""
    return tuple(READERS.get(name, _nothing)(seen) for name in layer_info(seen.layer).fields)
