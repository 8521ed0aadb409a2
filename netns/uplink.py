"""A splice namespace beside an uplink: chosen TCP connections are lifted off the wire into it, and only they.

       host's namespace                     splice namespace
    application - eth0 ======================================== wire
                    | lifted, from the host ->  host port  [sockets]
                    | lifted, from the wire ->  wire port  [sockets]

What the sockets send to the host arrives on the uplink as if it came from the wire; what they send to the
wire leaves by the uplink with the host's hardware address. Everything else passes by untouched.
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Self

from netns.errors import Closed, KernelRefused, LabError, MissingFeature, ProgramFailed
from netns.interface import NUD_PERMANENT
from netns.namespace import Namespace
from netns.nftset import SetElements
from netns.redirect import ETH_P_ALL, EVERY_FRAME, UNCLASSED
from netns.unlisted import UnlistedNamespace
from netns.uplinkrules import (
    DIVERTED,
    HOST_SIDE_MAC,
    LISTENING_PORT,
    Ends,
    Lift,
    chosen_text,
    host_text,
    key_of,
    splice_text,
)
from netns.uplinktap import open_tap

BACKLOG = 4096
CLSACT_INGRESS = 0xFFFFFFF2
TRANSPARENT = {4: (socket.IPPROTO_IP, 19), 6: (socket.IPPROTO_IPV6, 75)}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY = {4: "0.0.0.0", 6: "::"}
EVERYTHING = ("0.0.0.0/0", "::/0")
LINK_LOCAL = "fe80::/10"
DIVERTING_TABLE = 100
ADDRESSES_MADE_BY_NOBODY = 1
SETTINGS = {
    "net.ipv4.tcp_max_tw_buckets": "0",  # the ends keep TIME_WAIT; ours would only get in their way
    "net.ipv4.tcp_max_syn_backlog": "16384",
    "net.core.somaxconn": "16384",
    "net.ipv4.ip_nonlocal_bind": "1",
    "net.ipv6.ip_nonlocal_bind": "1",
    "net.ipv4.tcp_tw_reuse": "1",
}


class SpliceUplink:
    """The splice namespace of one uplink; whoever makes it closes it, and live connections then end."""

    def __init__(self, host: Namespace, uplink: str, *, serial: int = 0) -> None:
        """Insert it; nothing is lifted yet. Two beside one uplink differ by their `serial`, below 10000.

        Raises KernelRefused, NotPermitted, MissingFeature (no nft, or a kernel that cannot), Closed.
        """
        self.host = host
        self.uplink = uplink
        self._closed = True  # until all of it exists
        number = host.index_of(uplink)
        self.host_port, self.wire_port = f"wfs{number}h{serial}", f"wfs{number}w{serial}"
        self.table = f"wfplab-splice-{number}-{serial}"
        self._addresses: set[str] = set()
        self._neighbours: dict[str, tuple[str, bool]] = {}
        with ExitStack() as undo:
            self.namespace = UnlistedNamespace(f"splice-{uplink}"[:60])
            undo.callback(self.namespace.close)
            self._make_ports()
            undo.callback(self._remove_ports)
            self._turn_round()
            undo.callback(self._remove_table)
            self._install()
            self._elements = SetElements(host, self.table)
            undo.callback(self._elements.close)
            self._undo = undo.pop_all()
        self._closed = False

    # -- what is lifted ---------------------------------------------------------------------------------

    def lift(self, lifts: Iterable[Lift]) -> None:
        """Choose connections of the host's addresses of now, opened from now on; those lifted before stay so.

        Raises ProgramFailed, KernelRefused, Closed.
        """

        def own(ipr: Any) -> list[str]:
            return [one.get("address") for one in ipr.get_addr()]

        addresses = [one.partition("%")[0] for one in self.host.netlink(own) if one]
        self._nft(chosen_text(self.table, lifts, dict.fromkeys(addresses)))

    def forget(self, connections: Sequence[Ends]) -> None:
        """Take ended connections off the books. Raises KernelRefused."""
        for name, keys in _by_set(connections).items():
            self._elements.delete(name, keys)

    def remember(self, connections: Sequence[Ends]) -> None:
        """Put connections back that were forgotten while their ends were being used again. Raises KernelRefused."""
        for name, keys in _by_set(connections).items():
            self._elements.add(name, keys)

    def _nft(self, text: str) -> None:
        self.host.run(["nft", "-f", "-"], input=text)

    # -- sockets in the splice namespace -----------------------------------------------------------------

    def listener(self, version: int) -> socket.socket:
        """Where released SYNs end: accepted sockets bear the server's address and port. The caller closes it."""

        def open_socket() -> socket.socket:
            made = transparent_socket(version)
            made.bind((ANY[version], LISTENING_PORT))
            made.listen(BACKLOG)
            return made

        return self._open(open_socket)

    def clients(self, version: int, count: int) -> list[socket.socket]:
        """Sockets that may take any address, not bound yet. The caller closes them. Raises OSError."""
        return self.namespace.open_in(lambda: [transparent_socket(version) for _ in range(count)])

    def tap(self) -> socket.socket:
        """A packet socket that shows the SYNs, and the answers to SYNs, that come in. The caller closes it."""
        return self._open(open_tap)

    def release_port(self, *, wire: bool) -> socket.socket:
        """A packet socket in the host's namespace: what it sends arrives in the splice namespace."""
        return self.host.open_in(lambda: _packet_socket(self.wire_port if wire else self.host_port))

    def answer_port(self, *, wire: bool) -> socket.socket:
        """A packet socket in the splice namespace: what it sends goes to the host, or out to the wire."""
        return self._open(lambda: _packet_socket(_inner(self.wire_port if wire else self.host_port)))

    def inner_index(self, *, wire: bool) -> int:
        """The index, in the splice namespace, of the device towards the host or towards the wire."""
        return self.namespace.index_of(_inner(self.wire_port if wire else self.host_port))

    def _open(self, opener: Callable[[], socket.socket]) -> socket.socket:
        return self.namespace.open_in(opener)

    # -- who is where -----------------------------------------------------------------------------------

    def learn(self, address: str, mac: str, *, wire: bool) -> None:
        """Send what is for `address` to the wire or to the host, with this hardware address.

        Raises KernelRefused.
        """
        if self._neighbours.get(address) == (mac, wire):
            return
        version = 6 if ":" in address else 4
        device = self._wire_index if wire else self._host_index

        def tell(ipr: Any) -> None:
            if not wire and address not in self._addresses:
                bits = 128 if version == 6 else 32
                ipr.route("replace", dst=f"{address}/{bits}", family=int(FAMILY[version]), oif=device)
            ipr.neigh(
                "replace", dst=address, lladdr=mac, ifindex=device, state=NUD_PERMANENT, family=int(FAMILY[version])
            )

        self.namespace.netlink(tell)
        if not wire:
            self._addresses.add(address)
        self._neighbours[address] = (mac, wire)

    # -- making and removing ----------------------------------------------------------------------------

    def _make_ports(self) -> None:
        mtu = self.host.interface(self.uplink).link().mtu
        mac = self.host.mac_of(self.uplink)
        pairs = ((self.host_port, mac, HOST_SIDE_MAC), (self.wire_port, None, mac))
        for outer, outer_mac, inner_mac in pairs:
            inner = _inner(outer)
            peer = {"ifname": inner, "mtu": mtu, "net_ns_fd": self.namespace.fd, "address": inner_mac}
            ours: dict[str, Any] = {"ifname": outer, "mtu": mtu}
            if outer_mac is not None:
                ours["address"] = outer_mac
            self._add_pair(ours, peer)
            # No address, no neighbour discovery, no multicast: nobody shall hear of these devices.
            for namespace, device in ((self.host, outer), (self.namespace, inner)):
                self._silence(namespace, device)
            self.namespace.interface(inner).up()
            self.host.interface(outer).up()

    def _add_pair(self, ours: dict[str, Any], peer: dict[str, Any]) -> None:
        self.host.netlink(lambda ipr: ipr.link("add", kind="veth", peer=peer, **ours))

    def _silence(self, namespace: Namespace, device: str) -> None:
        with suppress(KernelRefused):  # no IPv6
            namespace.sysctl(f"net/ipv6/conf/{device}/addr_gen_mode", ADDRESSES_MADE_BY_NOBODY)
            namespace.sysctl(f"net/ipv6/conf/{device}/accept_ra", 0)
            if namespace is self.host:
                namespace.sysctl(f"net/ipv6/conf/{device}/disable_ipv6", 1)

    def _turn_round(self) -> None:
        """What comes out of the host port is received on the uplink."""
        outer, target = self.host.index_of(self.host_port), self.host.index_of(self.uplink)

        def install(ipr: Any) -> None:
            ipr.tc("add", "clsact", outer)
            ipr.tc(
                "add-filter",
                "u32",
                outer,
                parent=CLSACT_INGRESS,
                protocol=ETH_P_ALL,
                prio=1,
                keys=EVERY_FRAME,
                action={"kind": "mirred", "direction": "ingress", "action": "redirect", "ifindex": target},
                target=UNCLASSED,
            )

        self.host.netlink(install)

    def _install(self) -> None:
        inner = [_inner(self.host_port), _inner(self.wire_port)]
        for key, value in SETTINGS.items():
            with suppress(KernelRefused):
                self.namespace.sysctl(key, value)
        self._host_index, self._wire_index = (self.namespace.index_of(name) for name in inner)
        self.namespace.divert_marked(DIVERTED, table=DIVERTING_TABLE)
        self._divert_link_local()
        for everything in EVERYTHING:
            self.namespace.add_route(everything, interface=inner[1])
        try:
            self.namespace.run(["nft", "-f", "-"], input=splice_text(inner))
            self._nft(host_text(self.table, self.uplink, self.host_port, self.wire_port))
        except ProgramFailed as error:
            name = "nft netdev tables with fwd and dup"
            raise MissingFeature(name, needed_by=("stream",), detail=str(error)) from error

    def _divert_link_local(self) -> None:
        """Link-local addresses are looked up by device: loopback does not do for them."""

        def divert(ipr: Any) -> None:
            for index in (self._host_index, self._wire_index):
                ipr.route(
                    "add", dst=LINK_LOCAL, family=int(socket.AF_INET6), oif=index, table=DIVERTING_TABLE, type="local",
                    priority=index,
                )  # fmt: skip

        with suppress(KernelRefused):  # no IPv6
            self.namespace.netlink(divert)

    def _remove_ports(self) -> None:
        for device in (self.host_port, self.wire_port):
            with suppress(LabError):  # they go with either namespace
                self._delete(self.host.index_of(device))

    def _delete(self, index: int) -> None:
        self.host.netlink(lambda ipr: ipr.link("del", index=index))

    def _remove_table(self) -> None:
        with suppress(Closed):
            self._nft(f"table netdev {self.table}\ndelete table netdev {self.table}\n")

    def close(self) -> None:
        """Remove it; closing twice, or after the host's namespace, is allowed."""
        if not self._closed:
            self._closed = True
            self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SpliceUplink {self.uplink} of {self.host.name}{' closed' if self._closed else ''}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)


def _by_set(connections: Sequence[Ends]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for connection in connections:
        name, key = key_of(connection)
        found.setdefault(name, []).append(key)
    return found


def transparent_socket(version: int) -> socket.socket:
    """A TCP socket of the calling thread's namespace that may take any address. Raises OSError."""
    made = socket.socket(FAMILY[version], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(*TRANSPARENT[version], 1)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    except BaseException:
        made.close()
        raise
    return made


def _packet_socket(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    made.bind((device, 0))
    return made


def _inner(outer: str) -> str:
    return f"{outer}i"
