"""Routes of a host as its injectors need them, remembered until something changes or a second has passed."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from emulator.interfaces import Interface, InterfaceTable
from netns.errors import LabError
from netns.routelookup import Route, RouteLookup

if TYPE_CHECKING:
    from netns.namespace import Namespace

KEPT: Final = 1024
_NOT_ASKED: Final[Any] = object()


class Routing:
    """The routes of one host.  Used on its I/O thread only; its owner closes it."""

    def __init__(self, namespace: Namespace, refused: Callable[[str, LabError], None]) -> None:
        """`refused` is told what Linux refused; there is then no route."""
        self._namespace = namespace
        self._refused = refused
        self._lookup: RouteLookup | None = None
        self._routes: dict[tuple[bytes, int], Route | None] = {}

    def find(self, destination: bytes, interface: int = 0) -> Route | None:
        """The route to an address (network order), out of `interface` when that is not 0; None without one."""
        key = (destination, interface)
        found = self._routes.get(key, _NOT_ASKED)
        if found is _NOT_ASKED:
            if len(self._routes) >= KEPT:
                self._routes.clear()
            found = self._routes[key] = self._ask(destination, interface)
        return found  # type: ignore[no-any-return]

    def mtu(self, destination: bytes, interface: Interface | None) -> int:
        """The largest packet that leaves whole for an address, octets: the route's, else the device's."""
        route = self.find(destination)
        if route is not None and route.mtu:
            return route.mtu
        return interface.mtu if interface is not None else 1500

    def source(self, destination: bytes, interface: int = 0) -> bytes | None:
        """The address that packets for `destination` are sent from; None without a route."""
        route = self.find(destination, interface)
        return route.source or None if route is not None else None

    def forget(self) -> None:
        """Ask anew from now on."""
        if self._routes:
            self._routes.clear()

    def _ask(self, destination: bytes, interface: int) -> Route | None:
        try:
            if self._lookup is None:
                self._lookup = RouteLookup(self._namespace)
            return self._lookup.find(destination, interface=interface)
        except LabError as error:
            self._refused("looking for a route", error)
            return None

    def close(self) -> None:
        """Close the look-up; closing twice is allowed."""
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None


def interfaces_of(namespace: Namespace) -> InterfaceTable:
    """The interfaces of a namespace with their addresses, as they are now.  Raises KernelRefused, Closed."""

    def dump(ipr: Any) -> tuple[list[Any], list[Any]]:
        return list(ipr.get_links()), list(ipr.get_addr())

    links, addresses = namespace.netlink(dump)
    return InterfaceTable(tuple(_interface(link, addresses) for link in links))


def _interface(link: Any, addresses: list[Any]) -> Interface:
    index = link["index"]
    mine = [item for item in addresses if item["index"] == index]
    local = {_octets(item.get("local") or item.get("address")) for item in mine}
    broadcast = {_octets(item.get("broadcast")) for item in mine if item.get("broadcast")}
    mac = link.get("address") or ""
    return Interface(
        index=index,
        name=link.get("ifname"),
        loopback=bool(link["flags"] & 0x8),
        mac=bytes.fromhex(mac.replace(":", "")),
        mtu=link.get("mtu"),
        addresses=frozenset(local),
        broadcasts=frozenset(broadcast),
    )


def _octets(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


