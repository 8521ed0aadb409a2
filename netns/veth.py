"""Ethernet between namespaces: veth pairs and bridges."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Self

from netns.errors import BadName, Closed, KernelRefused, LabError
from netns.interface import Interface, check_device_name
from netns.namespace import Namespace

ENODEV = 19


class VethPair:
    """An Ethernet cable between two namespaces (or two ends in one), both ends up.

    Whoever makes it closes it; it also goes when either namespace does. Offloads are as the kernel sets
    them: packets cross with partial checksums and larger than the MTU, as they do from real local senders.
    """

    def __init__(
        self,
        a: Namespace,
        b: Namespace,
        *,
        names: tuple[str, str] = ("eth0", "eth0"),
        mtu: int = 1500,
        macs: tuple[str | None, str | None] = (None, None),
        offloads: bool = True,
    ) -> None:
        """Make it; `mtu` in octets without the Ethernet header. No device appears outside of `a` and `b`.

        Raises BadName, KernelRefused (EEXIST: a device name is in use), NotPermitted, Closed.
        """
        self._closed = True  # until it exists
        for name in names:
            check_device_name(name)
        if a is b and names[0] == names[1]:
            raise BadName("device", names[0], "both ends are in one namespace and need two names")
        peer: dict[str, Any] = {"ifname": names[1], "mtu": mtu, "net_ns_fd": b.fd}
        ours: dict[str, Any] = {"ifname": names[0], "mtu": mtu}
        for end, mac in ((ours, macs[0]), (peer, macs[1])):
            if mac is not None:
                end["address"] = mac
        a.netlink(lambda ipr: ipr.link("add", kind="veth", peer=peer, **ours))
        try:
            self.a = Interface(a, names[0])
            self.b = Interface(b, names[1])
            if not offloads:
                self.set_offloads(False)
            self.up()
        except BaseException:
            _delete(a, names[0])
            raise
        self._closed = False

    @property
    def ends(self) -> tuple[Interface, Interface]:
        return (self.a, self.b)

    def up(self) -> None:
        """Set both ends up. Raises KernelRefused, Closed."""
        for end in self.ends:
            end.up()

    def down(self) -> None:
        """Pull the cable: both ends down; IPv6 addresses and routes through them go.

        Raises KernelRefused, Closed.
        """
        for end in self.ends:
            end.down()

    def set_offloads(self, on: bool) -> None:
        """Switch checksum and segmentation offloads of both ends; off shows packets as on a real wire.

        Raises KernelRefused, Closed.
        """
        for end in self.ends:
            end.set_offloads(on)

    def release(self) -> None:
        """Leave it to its namespaces, which are about to go, and it with them."""
        self._closed = True

    def close(self) -> None:
        """Remove both ends; closing twice, or after its namespace, is allowed. Raises KernelRefused."""
        if not self._closed:
            self._closed = True
            _delete(self.a.namespace, self.a.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<VethPair {self.a!r} -- {self.b!r}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn("a VethPair was not closed", ResourceWarning, source=self, stacklevel=2)


class Bridge:
    """A learning switch in one namespace: no spanning tree, no multicast snooping, no packet filter.

    Whoever makes it closes it; ports are released, not removed.
    """

    def __init__(self, namespace: Namespace, *, name: str = "br0", mac: str | None = None) -> None:
        """Make it and set it up. Raises BadName, KernelRefused, NotPermitted, Closed."""
        self._closed = True  # until it exists
        check_device_name(name)
        settings: dict[str, Any] = {"br_forward_delay": 0, "br_stp_state": 0, "br_mcast_snooping": 0}
        if mac is not None:
            settings["address"] = mac
        namespace.netlink(lambda ipr: ipr.link("add", kind="bridge", ifname=name, **settings))
        try:
            self.interface = Interface(namespace, name)
            # Where bridged packets pass through iptables, TPROXY loses its socket and the peer gets a reset.
            for tables in ("iptables", "ip6tables", "arptables"):
                with suppress(KernelRefused):  # no such key: no br_netfilter, which is just as well
                    namespace.sysctl(f"net.bridge.bridge-nf-call-{tables}", 0)
            self.interface.up()
        except BaseException:
            _delete(namespace, name)
            raise
        self._closed = False

    @property
    def namespace(self) -> Namespace:
        return self.interface.namespace

    def add_ports(self, ports: Iterable[Interface]) -> None:
        """Plug devices of the same namespace in. Raises KernelRefused, Closed."""
        indices = [port.index for port in ports]
        master = self.interface.index

        def plug(ipr: Any) -> None:
            for index in indices:
                ipr.link("set", index=index, master=master)

        self.namespace.netlink(plug)

    def release(self) -> None:
        """Leave it to its namespace, which is about to go, and it with that."""
        self._closed = True

    def close(self) -> None:
        """Remove it; closing twice, or after its namespace, is allowed. Raises KernelRefused."""
        if not self._closed:
            self._closed = True
            _delete(self.namespace, self.interface.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Bridge {self.interface.name} in {self.namespace.name}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn("a Bridge was not closed", ResourceWarning, source=self, stacklevel=2)


def _delete(namespace: Namespace, device: str | int) -> None:
    try:
        index = namespace.index_of(device) if isinstance(device, str) else device
        namespace.netlink(lambda ipr: ipr.link("del", index=index))
    except Closed:
        return  # the device went with its namespace
    except LabError as error:
        if not isinstance(error, KernelRefused) or error.code != ENODEV:
            raise
