"""Sockets that put whole IP packets on the send path, or let them arrive on an interface.

Sending uses raw sockets with the header included; arriving uses frames on the loopback device that traffic
control turns round into the receive path of the interface they name.  Source: NS, NR; docs/decisions.md.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from struct import Struct
from typing import TYPE_CHECKING

from emulator.interfaces import Interface
from emulator.ledger import MAGIC, MAGIC_MASK

if TYPE_CHECKING:
    from netns.namespace import Namespace

_MARK = Struct("I").pack
_PKTINFO4 = Struct("=I4s4s").pack
_PKTINFO6 = Struct("=16sI").pack
_SO_MARK = 36
_IP_PKTINFO = 8
_ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
_INJECTOR_MAC = bytes.fromhex("0a5747500001")
"""Locally administered: the sender of frames that never crossed a wire."""
_SEND_BUFFER = 4 << 20


class NetworkInjector:
    """The raw sockets of one host, opened when first needed; whoever makes it closes it."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self.raw4: socket.socket | None = None
        self.raw6: socket.socket | None = None
        """What `raw` has opened."""
        self._frames: socket.socket | None = None
        self._turned: set[int] = set()
        self._texts: dict[bytes, str] = {}
        self.on_send: Callable[[bytes | bytearray | memoryview, int, str], None] | None = None
        """Told of octets, mark and way before they are sent: for the trace."""

    def send(self, octets: bytes | bytearray | memoryview, mark: int, *, interface: int = 0) -> None:
        """Send one whole packet by its destination address, or out of `interface` when that is not 0.

        The kernel writes total length and header checksum of IPv4, and an identification that is 0.
        Raises OSError: EMSGSIZE above the MTU, ENETUNREACH without a route.
        """
        if self.on_send is not None:
            self.on_send(octets, mark, "raw socket")
        control: list[tuple[int, int, bytes]] = [(socket.SOL_SOCKET, _SO_MARK, _MARK(mark))]
        raw = self.raw(octets[0] >> 4)
        if octets[0] >> 4 == 4:
            if interface:
                control.append((socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO4(interface, b"", b"")))
            raw.sendmsg((octets,), control, 0, (self._text(bytes(octets[16:20])), 0))
            return
        if interface:
            control.append((socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6(b"", interface)))
        destination = bytes(octets[24:40])
        raw.sendmsg((octets,), control, 0, (self._text(destination), 0, 0, interface))

    def raw(self, version: int) -> socket.socket:
        """The socket that sends whole packets of an IP version; it stays ours.  Raises OSError, LabError."""
        if version == 4:
            if self.raw4 is None:
                self.raw4 = self._open(socket.AF_INET)
            return self.raw4
        if self.raw6 is None:
            self.raw6 = self._open(socket.AF_INET6)
        return self.raw6

    def arrive(self, octets: bytes | bytearray | memoryview, mark: int, interface: Interface) -> None:
        """Let one whole packet arrive on an interface, as if it had come in from its wire.

        Raises OSError, LabError (traffic control refused).
        """
        if self._frames is None:
            self._frames = self._open_frames()
        if interface.index not in self._turned:
            self._turn(interface)
        if self.on_send is not None:
            self.on_send(octets, mark, f"into {interface.name}")
        frame = b"".join((interface.mac, _INJECTOR_MAC, _ETHERTYPE[octets[0] >> 4], octets))
        control = [(socket.SOL_SOCKET, _SO_MARK, _MARK(mark))]
        self._frames.sendmsg((frame,), control)

    def _text(self, address: bytes) -> str:
        text = self._texts.get(address)
        if text is None:
            if len(self._texts) > 4096:
                self._texts.clear()
            family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
            text = self._texts[address] = socket.inet_ntop(family, address)
        return text

    def _open(self, family: int) -> socket.socket:
        def open_raw() -> socket.socket:
            made = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            return made

        return self._namespace.open_in(open_raw)

    def _open_frames(self) -> socket.socket:
        def open_packet() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: it receives nothing
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            made.bind(("lo", 0))
            return made

        return self._namespace.open_in(open_packet)

    def _turn(self, interface: Interface) -> None:
        """Let marked frames for this interface's address leave the loopback device into its receive path."""
        if not self._turned:
            self._namespace.run(["tc", "qdisc", "replace", "dev", "lo", "clsact"])
        mark = f"{MAGIC << 24:#x}"
        mac = ":".join(f"{octet:02x}" for octet in interface.mac)
        argv = ["tc", "filter", "add", "dev", "lo", "egress", "protocol", "all", "u32"]
        argv += ["match", "mark", mark, f"{MAGIC_MASK:#x}", "match", "ether", "dst", mac]
        argv += ["action", "mirred", "ingress", "redirect", "dev", interface.name]
        self._namespace.run(argv)
        self._turned.add(interface.index)

    def inodes(self) -> Iterator[int]:
        """What the kernel's tables know our sockets by."""
        for item in (self.raw4, self.raw6):
            if item is not None:
                yield os.fstat(item.fileno()).st_ino

    def close(self) -> None:
        """Close the sockets; closing twice is allowed.  The rules of traffic control go with the namespace."""
        for item in (self.raw4, self.raw6, self._frames):
            if item is not None:
                item.close()
        self.raw4 = self.raw6 = self._frames = None
