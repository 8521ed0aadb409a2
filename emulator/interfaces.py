"""What a host's interfaces are, for the fields of an indication: index, kind, addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

SUB_INTERFACE = 1
"""The one sub-interface index: constant and not zero.  Differs from Windows: sub-interfaces do not exist."""


_LOOPBACK6 = bytes(15) + b"\x01"


class AddressType(IntEnum):
    """NL_ADDRESS_TYPE of an address as this host sees it."""

    UNSPECIFIED = 0
    UNICAST = 1
    ANYCAST = 2
    MULTICAST = 3
    BROADCAST = 4
    INVALID = 5


@dataclass(frozen=True)
class Interface:
    """One network interface.  Addresses are octets in network order."""

    index: int
    name: str
    loopback: bool = False
    mac: bytes = b""
    mtu: int = 1500
    addresses: frozenset[bytes] = frozenset()
    broadcasts: frozenset[bytes] = frozenset()

    @property
    def type(self) -> int:
        """IF_TYPE: 24 for loopback, 6 for anything like Ethernet."""
        return 24 if self.loopback else 6

    @property
    def luid(self) -> int:
        """NET_LUID: interface type in the top 16 bits, index in the 24 below."""
        return self.type << 48 | self.index << 24


class InterfaceTable:
    """The interfaces of one host, by index, and which addresses are its own."""

    __slots__ = ("_by_index", "_local", "_broadcasts")

    def __init__(self, interfaces: tuple[Interface, ...] = ()) -> None:
        self._by_index = {item.index: item for item in interfaces}
        self._local: frozenset[bytes] = frozenset().union(*(item.addresses for item in interfaces))
        self._broadcasts: frozenset[bytes] = frozenset().union(*(item.broadcasts for item in interfaces))

    def get(self, index: int) -> Interface | None:
        """The interface with this index."""
        return self._by_index.get(index)

    def is_local(self, address: bytes) -> bool:
        """True for an address of this host and for any loopback address."""
        return address in self._local or (address[0] == 127 if len(address) == 4 else address == _LOOPBACK6)

    def owner(self, address: bytes) -> Interface | None:
        """The interface that has this address."""
        for item in self._by_index.values():
            if address in item.addresses:
                return item
        return None

    def address_type(self, address: bytes) -> AddressType:
        """What kind of address this is, as seen from this host."""
        if not any(address):
            return AddressType.UNSPECIFIED
        if len(address) == 4:
            if address == b"\xff\xff\xff\xff" or address in self._broadcasts:
                return AddressType.BROADCAST
            return AddressType.MULTICAST if 224 <= address[0] < 240 else AddressType.UNICAST
        return AddressType.MULTICAST if address[0] == 0xFF else AddressType.UNICAST

    def __iter__(self) -> Iterator[Interface]:
        return iter(self._by_index.values())
