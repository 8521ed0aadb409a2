"""One network device in one namespace: its link state, addresses and neighbours."""

from __future__ import annotations

import errno
import ipaddress
import re
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netns import offloads
from netns.errors import BadName, KernelRefused
from netns.patience import patient
from netns.routelookup import RTN_LOCAL, RouteLookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netns.namespace import Namespace

IFF_UP = 1
IFF_LOWER_UP = 0x10000
"""Its other end is up, too: what is sent gets somewhere."""
IFA_F_NODAD = 2
NUD_PERMANENT = 0x80
USABLE_SECONDS = 2.0
"""How long the kernel may take to receive what is for a new address of IPv6: it sees to that later, by itself."""
DEVICE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_device_name(name: str) -> str:
    """Return `name` if a device can have it, else raise BadName."""
    if not DEVICE_NAME.fullmatch(name) or name in (".", ".."):
        raise BadName("device", name, "1 to 15 of letters, digits, `.`, `_`, `-`")
    return name


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """A network device, as it was when asked."""

    index: int
    name: str
    mac: str
    mtu: int
    """In octets, without the Ethernet header."""
    up: bool
    kind: str
    """As `ip -d link` says it: veth, bridge, ...; empty for loopback."""
    master: int = 0
    """Index of the bridge it is a port of; 0 for none."""

    @classmethod
    def read(cls, answer: Any) -> Link:
        """From one pyroute2 link message."""
        info = answer.get("linkinfo")
        return cls(
            index=answer["index"],
            name=answer.get("ifname"),
            mac=answer.get("address") or "",
            mtu=answer.get("mtu"),
            up=bool(answer["flags"] & IFF_UP),
            kind=(info.get("kind") or "") if info else "",
            master=answer.get("master") or 0,
        )


class Interface:
    """A device, known by its index. It does not own the device: whoever made that removes it."""

    __slots__ = ("_namespace", "index", "name")

    def __init__(self, namespace: Namespace, name: str) -> None:
        """Look the device up. Raises BadName, KernelRefused (ENODEV), Closed."""
        self._namespace = namespace
        self.name = check_device_name(name)
        self.index = namespace.index_of(name)

    @property
    def namespace(self) -> Namespace:
        return self._namespace

    @property
    def mac(self) -> str:
        """Its hardware address, as aa:bb:cc:dd:ee:ff."""
        return self._namespace.mac_of(self.name)

    def link(self) -> Link:
        """Its present state. Raises KernelRefused, Closed."""
        return self._namespace.netlink(lambda ipr: Link.read(ipr.get_links(self.index)[0]))

    def up(self) -> None:
        """Set it up. Raises KernelRefused, Closed."""
        self._namespace.netlink(lambda ipr: ipr.link("set", index=self.index, state="up"))

    def down(self) -> None:
        """Set it down; IPv6 addresses and routes through it go. Raises KernelRefused, Closed."""
        self._namespace.netlink(lambda ipr: ipr.link("set", index=self.index, state="down"))

    def set_mtu(self, octets: int) -> None:
        """Set the MTU, without the Ethernet header. Raises KernelRefused, Closed."""
        self._namespace.netlink(lambda ipr: ipr.link("set", index=self.index, mtu=octets))

    def set_mac(self, mac: str) -> None:
        """Set the hardware address. Raises KernelRefused, Closed."""
        self._namespace.netlink(lambda ipr: ipr.link("set", index=self.index, address=mac))

    def add_address(self, address: str) -> None:
        """Add an IPv4 or IPv6 address with prefix length (`192.0.2.1/24`), usable at once.

        Raises ValueError, KernelRefused, Closed.
        """
        self.add_addresses(address)

    def add_addresses(self, *addresses: str) -> None:
        """Add several addresses in one visit, usable at once if the device runs; see `add_address` for the rest."""
        parsed = [ipaddress.ip_interface(address) for address in addresses]

        def add(ipr: Any) -> None:
            for one in parsed:
                nodad = {"flags": IFA_F_NODAD} if one.version == 6 else {}
                ipr.addr("add", index=self.index, address=str(one.ip), prefixlen=one.network.prefixlen, **nodad)

        self._namespace.netlink(add)
        later = [one for one in parsed if one.version == 6]
        if later:
            with closing(RouteLookup(self._namespace)) as routes:
                self._await_local(routes, later)

    def _await_local(self, routes: RouteLookup, addresses: Sequence[Any]) -> None:
        """Return when the host receives what is sent to these addresses, or the device does not run."""
        until = time.monotonic() + patient(USABLE_SECONDS)
        for one in addresses:
            while (route := routes.find(one.packed, interface=self.index)) is None or route.kind != RTN_LOCAL:
                if not self._runs():
                    return
                if time.monotonic() > until:
                    raise KernelRefused(
                        f"receiving for {one} at {self.name} in {self._namespace.name}", errno.ETIMEDOUT
                    )
                time.sleep(0.0005)

    def _runs(self) -> bool:
        flags = self._namespace.netlink(lambda ipr: ipr.get_links(self.index)[0]["flags"])
        return bool(flags & IFF_UP and flags & IFF_LOWER_UP)

    def remove_address(self, address: str) -> None:
        """Remove an address. Raises ValueError, KernelRefused (EADDRNOTAVAIL), Closed."""
        one = ipaddress.ip_interface(address)
        self._namespace.netlink(
            lambda ipr: ipr.addr("del", index=self.index, address=str(one.ip), prefixlen=one.network.prefixlen)
        )

    def addresses(self) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
        """All addresses with prefix lengths, link-local ones too. Raises KernelRefused, Closed."""

        def read(ipr: Any) -> list[str]:
            found = ipr.get_addr(index=self.index)
            return [f"{one.get('address')}/{one['prefixlen']}" for one in found]

        return [ipaddress.ip_interface(text) for text in self._namespace.netlink(read)]

    def add_neighbour(self, address: str, mac: str) -> None:
        """Fix the hardware address of a neighbour, so that ARP or ND never ask.

        Raises KernelRefused, Closed.
        """
        self._namespace.netlink(
            lambda ipr: ipr.neigh("replace", dst=address, lladdr=mac, ifindex=self.index, state=NUD_PERMANENT)
        )

    def set_offloads(self, on: bool) -> None:
        """Switch transmit checksum, scatter-gather, TSO and GSO on or off.

        Off means that every packet leaves with its checksum filled in and within the MTU.
        Raises KernelRefused, Closed.
        """
        offloads.switch(self._namespace, self.name, on=on)

    def __repr__(self) -> str:
        return f"<Interface {self.name} in {self._namespace.name}>"
