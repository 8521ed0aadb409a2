"""How a namespace would route a packet: asked of the kernel for one destination at a time.

Addresses are octets in network order, 4 or 16.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from netns.errors import Closed, refused

if TYPE_CHECKING:
    from netns.namespace import Namespace

RTM_GETROUTE: Final = 26
NLMSG_ERROR: Final = 2
NLM_F_REQUEST: Final = 1
RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_METRICS, RTA_MARK = 1, 2, 4, 5, 7, 8, 16
RTAX_MTU: Final = 2
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST = 1, 2, 3, 5
SIZE_OF: Final = {4: socket.AF_INET, 16: socket.AF_INET6}
NO_ROUTE: Final = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ESRCH))
MESSAGE_AT: Final = 16
ATTRIBUTES_AT: Final = MESSAGE_AT + 12

_HEADER: Final = struct.Struct("=IHHII")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NATIVE: Final = struct.Struct("=I")
_ERROR: Final = struct.Struct("=i").unpack_from


class Route(NamedTuple):
    """Where a packet for one destination would go."""

    kind: int
    """RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST or RTN_MULTICAST."""
    interface: int
    """Index of the device it leaves by."""
    source: bytes
    """The address it would be sent from, if the sender does not say; empty when the kernel names none."""
    gateway: bytes
    """The next hop, or empty when the destination is on the link."""
    mtu: int
    """Of the route itself, or 0 where that of the device counts."""


class RouteLookup:
    """Asks one namespace for routes over one kept netlink socket; one thread at a time. Its maker closes it."""

    def __init__(self, namespace: Namespace) -> None:
        """Open it inside `namespace`. Raises KernelRefused, Closed."""
        self._name = namespace.name
        self._sequence = 0
        self._socket = namespace.open_in(_open_route)
        self._closed = False

    def find(self, destination: bytes, *, source: bytes = b"", interface: int = 0) -> Route | None:
        """The route to `destination`, from `source` and out of `interface` where those are given; None without one.

        Raises KernelRefused, Closed.
        """
        if self._closed:
            raise Closed(f"the route look-up of {self._name}")
        try:
            answer = self._ask(self._request(destination, source, interface))
        except OSError as error:
            raise refused(f"looking for a route in {self._name}", error) from error
        if _HEADER.unpack_from(answer)[1] != NLMSG_ERROR:
            return _read(answer)
        code = -_ERROR(answer, MESSAGE_AT)[0]
        if code in NO_ROUTE:
            return None
        refusal = OSError(code, os.strerror(code))
        raise refused(f"looking for a route in {self._name}", refusal) from refusal

    def close(self) -> None:
        """Close the socket; closing twice is allowed."""
        self._closed = True
        self._socket.close()

    def _request(self, destination: bytes, source: bytes, interface: int) -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        bits = len(destination) * 8
        attributes = _attribute(RTA_DST, destination)
        if source:
            attributes += _attribute(RTA_SRC, source)
        if interface:
            attributes += _attribute(RTA_OIF, _NATIVE.pack(interface))
        route = _ROUTE.pack(SIZE_OF[len(destination)], bits, bits if source else 0, 0, 0, 0, 0, 0, 0)
        size = MESSAGE_AT + len(route) + len(attributes)
        return _HEADER.pack(size, RTM_GETROUTE, NLM_F_REQUEST, self._sequence, 0) + route + attributes

    def _ask(self, request: bytes) -> bytes:
        self._socket.send(request)
        while True:
            answer = self._socket.recv(16384)
            if _HEADER.unpack_from(answer)[3] == self._sequence:
                return answer

    def __repr__(self) -> str:
        return f"<RouteLookup {self._name}>"


def _open_route() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    made.bind((0, 0))
    made.connect((0, 0))  # so that nobody but the kernel can answer
    return made


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(octets: bytes, at: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at + 4 <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = octets[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _read(answer: bytes) -> Route | None:
    kind = _ROUTE.unpack_from(answer, MESSAGE_AT)[7]
    if kind not in (RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST):
        return None
    found = _attributes(answer, ATTRIBUTES_AT)
    metrics = _attributes(found.get(RTA_METRICS, b""), 0)
    return Route(
        kind,
        _number(found.get(RTA_OIF)),
        found.get(RTA_PREFSRC, b""),
        found.get(RTA_GATEWAY, b""),
        _number(metrics.get(RTAX_MTU)),
    )


def _number(value: bytes | None) -> int:
    return int(_NATIVE.unpack(value)[0]) if value else 0
