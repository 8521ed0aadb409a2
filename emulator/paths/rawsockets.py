"""Raw sockets for what the plain ones cannot: headers that the kernel builds, and one interface to leave by.

Opened when first needed; whoever makes them closes them.
"""

from __future__ import annotations

import ctypes
import os
import socket
from struct import Struct
from typing import TYPE_CHECKING, Final

from emulator.octets import IpView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from netns.namespace import Namespace

_MARK: Final = Struct("I").pack
_NUMBER: Final = Struct("i").pack
_PKTINFO4: Final = Struct("=I4s4s").pack
_PKTINFO6: Final = Struct("=16sI").pack
_INSTRUCTION: Final = Struct("=HBBI").pack
_PROGRAM: Final = Struct("HP").pack
_RETURN: Final = 0x06
_SO_MARK: Final = 36
_SO_ATTACH_FILTER: Final = 26
_SO_BINDTOIFINDEX: Final = 62
_IP_PKTINFO: Final = 8
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_SEND_BUFFER: Final = 4 << 20


class RawSockets:
    """The additional raw sockets of one host."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._built: dict[tuple[int, int], socket.socket] = {}
        self._bound: dict[tuple[int, int], socket.socket] = {}
        self.on_send: Callable[[bytes | bytearray | memoryview, int, str], None] | None = None
        """Told of octets, mark and way before they are sent: for the trace."""

    def send_headerless(self, view: IpView, mark: int, *, interface: int = 0) -> None:
        """Send what a packet carries, from and to its addresses, with an IP header of the kernel's.

        TTL and traffic class are the packet's; the kernel cuts it where that is needed, and fills in an
        identification.  An ICMPv6 checksum is always computed by the kernel.  Raises OSError.
        """
        family = socket.AF_INET if view.version == 4 else socket.AF_INET6
        made = self._built.get((family, view.protocol))
        if made is None:
            made = self._built[family, view.protocol] = self._namespace.open_in(
                lambda: _open_built(family, view.protocol)
            )
        octets = bytes(view.buffer[view.transport_offset : view.end])
        if self.on_send is not None:
            self.on_send(view.buffer[view.start : view.end], mark, "raw socket, header of the kernel's")
        control = [(socket.SOL_SOCKET, _SO_MARK, _MARK(mark))]
        remote = socket.inet_ntop(family, view.destination)
        if view.version == 4:
            control.append((socket.IPPROTO_IP, socket.IP_TTL, _NUMBER(view.hop_limit)))
            control.append((socket.IPPROTO_IP, socket.IP_TOS, bytes((view.traffic_class,))))
            control.append((socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4(interface, view.source, b"")))
            made.sendmsg((octets,), control, 0, (remote, 0))
            return
        control.append((socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, _NUMBER(view.hop_limit)))
        control.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _NUMBER(view.traffic_class)))
        control.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6(view.source, interface)))
        made.sendmsg((octets,), control, 0, (remote, 0, 0, interface))

    def send_by(self, octets: bytes, mark: int, interface: int) -> None:
        """Send a whole packet out of one interface and no other, whatever its source.

        Raises OSError: ENETUNREACH when that interface leads nowhere, EMSGSIZE above its MTU.
        """
        version = octets[0] >> 4
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        made = self._bound.get((family, interface))
        if made is None:
            made = self._bound[family, interface] = self._namespace.open_in(lambda: _open_bound(family, interface))
        if self.on_send is not None:
            self.on_send(octets, mark, "raw socket, one interface")
        control = [(socket.SOL_SOCKET, _SO_MARK, _MARK(mark))]
        remote = octets[16:20] if version == 4 else octets[24:40]
        where = socket.inet_ntop(family, remote)
        made.sendmsg((octets,), control, 0, (where, 0) if version == 4 else (where, 0, 0, interface))

    def inodes(self) -> Iterator[int]:
        """What the kernel's tables know our sockets by."""
        for made in (*self._built.values(), *self._bound.values()):
            yield os.fstat(made.fileno()).st_ino

    def close(self) -> None:
        """Close the sockets; closing twice is allowed."""
        for made in (*self._built.values(), *self._bound.values()):
            made.close()
        self._built.clear()
        self._bound.clear()


def _open_built(family: int, protocol: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    _take_nothing(made)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    # So that it may send from an address that is not this host's.
    if family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    return made


def _open_bound(family: int, interface: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
    made.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, interface)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return made


def _take_nothing(made: socket.socket) -> None:
    """Have the kernel drop what a raw socket would receive: copies of every packet of its protocol."""
    nothing = ctypes.create_string_buffer(_INSTRUCTION(_RETURN, 0, 0, 0), 8)
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM(1, ctypes.addressof(nothing)))
