"""Endpoints: the sockets of a host, as the stack knows them by the packets they send and receive.

Windows finds the endpoint before its INBOUND_TRANSPORT layer; netfilter shows a packet before that.  So the
look-up is made here, once for all packets of the same ends in one burst from the queue: what a socket was a
moment ago does not count, since it may have been closed meanwhile.
Source: LA-13, LA-15, MD-7, TS-4, TS-5.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from emulator.flowtracking import WireKey, wire_key
from emulator.octets import ICMP, ICMPV6, TCP, UDP, IpView
from netns.errors import LabError
from netns.sockets import RawSocket, SocketFound, SocketLookup

if TYPE_CHECKING:
    from netns.namespace import Namespace

IPPROTO_RAW: Final = 255
KEPT: Final = 4096
"""Endpoints remembered so that a socket keeps its handle (MD-7); beyond, those unseen for as many bursts go."""
_NOT_ASKED: Final = object()
_LOOKED_UP: Final = (TCP, UDP)
_ANY: Final = (bytes(4), bytes(16))


class Endpoint:
    """One socket.  The object itself is the endpoint handle that callouts see; it is equal only to itself."""

    __slots__ = (
        "key", "protocol", "local", "local_port", "remote", "remote_port", "interface", "bound_class",
        "is_raw", "header_included", "header", "round", "closed", "ends",
    )  # fmt: skip

    def __init__(self, key: Any, protocol: int) -> None:
        self.key = key
        self.protocol = protocol
        self.local = b""
        """The address it is bound to; empty when that is any."""
        self.local_port = 0
        self.remote = b""
        """The address it is connected to; empty when it is not."""
        self.remote_port = 0
        self.interface = 0
        """The interface it is bound to, or 0."""
        self.bound_class: int | None = None
        self.is_raw = False
        self.header_included = False
        """It sends packets with an IP header of its own (MD-9)."""
        self.header: bytes = b""
        """The IP header of the last packet seen from it, up to 44 octets: it shows TTL and the like (TS-5)."""
        self.round = 0
        self.closed = False
        self.ends: tuple[bytes, int, bytes, int] | None = None
        """The ends of the packet it was last found by."""

    @property
    def hop_limit(self) -> int | None:
        """TTL or hop limit of what it sends; None while nothing was seen from it."""
        header = self.header
        if not header:
            return None
        return header[8] if header[0] >> 4 == 4 else header[7]

    @property
    def traffic_class(self) -> int | None:
        """TOS octet or traffic class of what it sends; None for the default."""
        header = self.header
        if not header:
            return self.bound_class
        return header[1] if header[0] >> 4 == 4 else (header[0] & 0x0F) << 4 | header[1] >> 4

    def __repr__(self) -> str:
        kind = "raw" if self.is_raw else {TCP: "TCP", UDP: "UDP"}.get(self.protocol, str(self.protocol))
        return f"<endpoint {kind} port {self.local_port}{' closed' if self.closed else ''}>"


class Endpoints:
    """The endpoints of one host.  Used on its I/O thread only; its owner closes it."""

    def __init__(self, namespace: Namespace, refused: Callable[[str, LabError], None]) -> None:
        """`refused` is told what Linux refused; the packet then counts as having an endpoint that nobody knows."""
        self._namespace = namespace
        self._refused = refused
        self._lookup: SocketLookup | None = None
        self._found: dict[Any, Endpoint] = {}
        self._cache: dict[Any, Any] = {}
        self._raw: dict[int, list[RawSocket]] = {}
        self._round = 1
        self.own_inodes: Callable[[], set[int]] = set
        """The inodes of the emulator's own sockets, which are nobody's endpoint."""

    def next_round(self) -> None:
        """A new burst of packets begins: what was looked up for the last one no longer counts."""
        self._round += 1
        if self._cache:
            self._cache.clear()
        if self._raw:
            self._raw.clear()

    def of_packet(self, view: IpView, header: bytes, inbound: bool, interface: int) -> Endpoint | None:
        """The endpoint a packet belongs to; for ICMP and the like a raw socket that takes it, or None.

        `header` is the packet's first 44 octets, `interface` where it came in or goes out.
        """
        return self.find(wire_key(view, header), view, inbound, interface)

    def find(self, key: WireKey, view: IpView, inbound: bool, interface: int) -> Endpoint | None:
        """The same, by the packet's key."""
        asked = (inbound, interface, key)
        found = self._cache.get(asked, _NOT_ASKED)
        if found is _NOT_ASKED:
            found = self._cache[asked] = self._find(view, inbound, interface)
        return found  # type: ignore[no-any-return]

    def _find(self, view: IpView, inbound: bool, interface: int) -> Endpoint | None:
        protocol = view.protocol
        if protocol not in _LOOKED_UP:
            return self._raw_endpoint(view, inbound)
        source, destination = view.ports or (0, 0)
        if inbound:
            return self._ask(protocol, (view.destination, destination, view.source, source), interface)
        found = self._ask(protocol, (view.source, source, view.destination, destination), 0)
        return found if found is not None else self._raw_endpoint(view, inbound)

    def alive(self, endpoint: Endpoint) -> bool:
        """Whether its socket is still open (TS-4); a raw one counts while its number is there."""
        if endpoint.closed or endpoint.round == self._round:
            return not endpoint.closed
        return self._still_there(endpoint)

    def _still_there(self, endpoint: Endpoint) -> bool:
        if endpoint.is_raw:
            size = 4 if endpoint.protocol != ICMPV6 else 16
            gone = all(item.inode != endpoint.key for size in (size, 20 - size) for item in self._raw_sockets(size))
        elif endpoint.ends is None:
            gone = False  # nobody could be asked
        else:
            gone = self._ask(endpoint.protocol, endpoint.ends, 0) is not endpoint
        if gone:
            endpoint.closed = True
            self._found.pop(endpoint.key, None)
        endpoint.round = self._round
        return not gone

    def exists(self, protocol: int, ends: tuple[bytes, int, bytes, int]) -> bool:
        """Whether there is a socket between two ends, or one that listens there."""
        return self._ask(protocol, ends, 0) is not None

    def end(self, protocol: int, ends: tuple[bytes, int, bytes, int]) -> bool:
        """End a connection: its owner gets an error, its peer a reset.  False when there is none (FL-6, CO-20)."""
        try:
            return self._kernel().destroy(protocol, *ends)
        except LabError as error:
            self._refused("ending a connection", error)
            return False

    def close(self) -> None:
        """Close the look-up; closing twice is allowed."""
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None

    # -- asking the kernel ------------------------------------------------------------------------------

    def _kernel(self) -> SocketLookup:
        if self._lookup is None:
            self._lookup = SocketLookup(self._namespace)
        return self._lookup

    def _ask(self, protocol: int, ends: tuple[bytes, int, bytes, int], interface: int) -> Endpoint | None:
        try:
            found = self._kernel().find(protocol, *ends, interface)
        except LabError as error:
            self._refused("looking for an endpoint", error)
            return self._unknown(protocol)
        return None if found is None else self._remember(found, ends)

    def _unknown(self, protocol: int) -> Endpoint:
        endpoint = Endpoint(("unknown", protocol), protocol)
        return self._found.setdefault(endpoint.key, endpoint)

    def _remember(self, found: SocketFound, ends: tuple[bytes, int, bytes, int]) -> Endpoint:
        endpoint = self._found.get(found.cookie)
        if endpoint is None:
            self._make_room()
            endpoint = self._found[found.cookie] = Endpoint(found.cookie, found.protocol)
        endpoint.local = b"" if found.local in _ANY else found.local
        endpoint.local_port = found.local_port
        endpoint.remote, endpoint.remote_port = found.remote if found.remote_port else b"", found.remote_port
        endpoint.interface = found.interface
        endpoint.bound_class = found.traffic_class
        endpoint.round = self._round
        endpoint.ends = ends
        return endpoint

    def _make_room(self) -> None:
        if len(self._found) < KEPT:
            return
        recent = {key: item for key, item in self._found.items() if item.round > self._round - KEPT}
        self._found = recent if len(recent) < KEPT else {}

    def _raw_sockets(self, size: int) -> list[RawSocket]:
        found = self._raw.get(size)
        if found is None:
            own = self.own_inodes()
            try:
                found = [item for item in self._kernel().raw(size) if item.inode not in own]
            except LabError as error:
                self._refused("looking for raw sockets", error)
                found = []
            self._raw[size] = found
        return found

    def _raw_endpoint(self, view: IpView, inbound: bool) -> Endpoint | None:
        """The raw socket that sent, or would receive, a packet; one with a header of its own only sends."""
        size = 4 if view.version == 4 else 16
        sockets = self._raw_sockets(size)
        if not sockets:
            return None
        local, remote = (view.destination, view.source) if inbound else (view.source, view.destination)
        wanted = (view.protocol,) if inbound else (view.protocol, IPPROTO_RAW)
        for protocol in wanted:
            for item in sockets:
                if item.protocol == protocol and item.local in (*_ANY, local) and item.remote in (*_ANY, remote):
                    return self._remember_raw(item)
        return None

    def _remember_raw(self, item: RawSocket) -> Endpoint:
        endpoint = self._found.get(item.inode)
        if endpoint is None:
            endpoint = self._found[item.inode] = Endpoint(item.inode, item.protocol)
            endpoint.is_raw = True
            endpoint.header_included = item.protocol == IPPROTO_RAW
        endpoint.local = b"" if item.local in _ANY else item.local
        endpoint.round = self._round
        return endpoint


def inode_of(descriptor: int) -> int:
    """The inode of a socket's descriptor."""
    return os.fstat(descriptor).st_ino


def has_handler(view: IpView) -> bool:
    """Whether the kernel itself takes packets of this protocol without any socket: ICMP."""
    return view.protocol == (ICMP if view.version == 4 else ICMPV6)
