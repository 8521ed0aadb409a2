"""Which socket of a namespace a packet belongs to: asked of the kernel, by the ends of the packet.

One kept netlink socket; no process is started and no table is walked but that of raw sockets, which is short.
Addresses are octets in network order, 4 or 16.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NamedTuple

from netns.errors import Closed, MissingFeature, refused

if TYPE_CHECKING:
    from netns.namespace import Namespace

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
SOCK_DESTROY: Final = 21
NLMSG_ERROR: Final = 2
NLM_F_REQUEST: Final = 1
NLM_F_ACK: Final = 4
EXTENSIONS: Final = 1 << 4 | 1 << 5
"""INET_DIAG_TOS and INET_DIAG_TCLASS; the kernel counts them from 1."""
INET_DIAG_TOS: Final = 5
INET_DIAG_TCLASS: Final = 6
ANY_COOKIE: Final = b"\xff" * 8
ANY_STATE: Final = 0xFFFFFFFF
TCP: Final = 6
UDP: Final = 17
LISTEN: Final = 10
FAMILY_OF_SIZE: Final = {4: socket.AF_INET, 16: socket.AF_INET6}
ANSWER_OCTETS: Final = 16384

_REQUEST: Final = struct.Struct("=IHHIIBBBBI").pack
_PORTS: Final = struct.Struct("!HH").pack
_ANSWER: Final = struct.Struct("!HH").unpack_from
_HEADER: Final = struct.Struct("=IHHII").unpack_from
_AFTER_PORTS: Final = struct.Struct("=I8s5I").unpack_from
_ATTRIBUTE: Final = struct.Struct("=HH").unpack_from
_NATIVE: Final = struct.Struct("=I")
_ERROR: Final = struct.Struct("=i").unpack_from
_LOOPBACK: Final = "127.0.0.1"
_REQUEST_OCTETS: Final = 72
_MESSAGE_AT: Final = 16
_ATTRIBUTES_AT: Final = _MESSAGE_AT + 72


class SocketFound(NamedTuple):
    """A socket as the kernel knows it."""

    cookie: bytes
    """8 octets that no other socket has while the machine runs."""
    inode: int
    """0 for one that no process holds any more."""
    protocol: int
    family: int
    """AF_INET or AF_INET6 of Linux; a socket of AF_INET6 may well receive IPv4."""
    state: int
    local: bytes
    """Where it is bound; all zero for any address."""
    local_port: int
    remote: bytes
    remote_port: int
    """0 when it is not connected."""
    interface: int
    """Index of the interface it is bound to, or 0."""
    traffic_class: int | None


class RawSocket(NamedTuple):
    """A raw socket."""

    inode: int
    protocol: int
    """255 is IPPROTO_RAW: it only sends, and with headers of its own."""
    local: bytes
    remote: bytes


class SocketLookup:
    """Asks one namespace about its TCP, UDP and raw sockets; one thread at a time. Its maker closes it."""

    def __init__(self, namespace: Namespace) -> None:
        """Open it inside `namespace`. Raises MissingFeature (sock_diag, tcp_diag, udp_diag), KernelRefused, Closed."""
        self._name = namespace.name
        self._sequence = 0
        self._closed = True
        with ExitStack() as undo:
            self._socket = namespace.open_in(_open_diag)
            undo.callback(self._socket.close)
            self._tables: dict[int, int] = {}
            for size, table in ((4, "raw"), (16, "raw6")):
                self._tables[size] = namespace.open_in(lambda table=table: _open_table(table))  # type: ignore[misc]
                if self._tables[size] >= 0:
                    undo.callback(os.close, self._tables[size])
            self._closed = False
            self._prove(namespace)
            self._undo = undo.pop_all()

    def find(
        self, protocol: int, local: bytes, local_port: int, remote: bytes, remote_port: int, interface: int = 0
    ) -> SocketFound | None:
        """The TCP or UDP socket that a packet between these ends belongs to, exact or by wildcard; else None.

        `interface` is where the packet came in, or 0: a socket bound to another device does not count.
        Raises KernelRefused, Closed.
        """
        near, far = (local, local_port), (remote, remote_port)
        # Source: udp_dump_one, which takes the ends the other way round than TCP does, and says that it does.
        first, second = (far, near) if protocol == UDP else (near, far)
        answer = self._ask(SOCK_DIAG_BY_FAMILY, protocol, first, second, interface, ANY_COOKIE)
        return None if answer is None else _read(answer, protocol, len(local))

    def destroy(self, protocol: int, local: bytes, local_port: int, remote: bytes, remote_port: int) -> bool:
        """End a connection as an administrator: its owner gets ECONNABORTED, its peer a reset.

        False when there is no such socket. Raises MissingFeature (no INET_DIAG_DESTROY), KernelRefused, Closed.
        """
        near, far = (local, local_port), (remote, remote_port)
        first, second = (far, near) if protocol == UDP else (near, far)
        return self._ask(SOCK_DESTROY, protocol, first, second, 0, ANY_COOKIE) is not None

    def raw(self, size: int) -> list[RawSocket]:
        """The raw sockets of one family: 4 or 16, the octets of its addresses. Raises Closed."""
        if self._closed:
            raise Closed(f"the socket look-up of {self._name}")
        table = self._tables[size]
        if table < 0:
            return []
        text = os.pread(table, 1 << 20, 0).decode("ascii", "replace")
        return [found for line in text.splitlines()[1:] if (found := _raw_line(line)) is not None]

    def close(self) -> None:
        """Close its descriptors; closing twice is allowed."""
        self._closed = True
        self._undo.close()

    def _ask(
        self,
        message: int,
        protocol: int,
        first: tuple[bytes, int],
        second: tuple[bytes, int],
        interface: int,
        cookie: bytes,
    ) -> bytes | None:
        """The kernel's answer; empty for a plain yes, None when there is no such socket."""
        if self._closed:
            raise Closed(f"the socket look-up of {self._name}")
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        flags = NLM_F_REQUEST | NLM_F_ACK if message == SOCK_DESTROY else NLM_F_REQUEST
        request = b"".join((
            _REQUEST(_REQUEST_OCTETS, message, flags, self._sequence, 0, FAMILY_OF_SIZE[len(first[0])], protocol,
                     EXTENSIONS, 0, ANY_STATE),
            _PORTS(first[1], second[1]), first[0].ljust(16, b"\0"), second[0].ljust(16, b"\0"),
            _NATIVE.pack(interface), cookie,
        ))  # fmt: skip
        try:
            self._socket.send(request)
            while True:
                answer = self._socket.recv(ANSWER_OCTETS)
                _, kind, _, sequence, _ = _HEADER(answer)
                if sequence == self._sequence:
                    break
        except OSError as error:
            raise refused(f"looking for a socket in {self._name}", error) from error
        if kind != NLMSG_ERROR:
            return answer
        return self._refusal(message, -_ERROR(answer, 16)[0])

    def _refusal(self, message: int, code: int) -> bytes | None:
        if code == 0:
            return b""
        if code in (errno.ENOENT, errno.ESTALE):
            return None
        if code == errno.EOPNOTSUPP:
            raise MissingFeature("INET_DIAG_DESTROY", needed_by=("flow abort",), fallback="nothing is reset")
        error = OSError(code, os.strerror(code))
        action = "ending" if message == SOCK_DESTROY else "finding"
        raise refused(f"{action} a socket in {self._name}", error) from error

    def _prove(self, namespace: Namespace) -> None:
        """Find sockets that are there: a missing module would look like a missing socket."""
        for protocol, kind, module in ((TCP, socket.SOCK_STREAM, "tcp_diag"), (UDP, socket.SOCK_DGRAM, "udp_diag")):
            with namespace.open_in(lambda kind=kind: socket.socket(socket.AF_INET, kind)) as known:  # type: ignore[misc]
                known.bind((_LOOPBACK, 0))
                if protocol == TCP:
                    known.listen(1)
                near = socket.inet_aton(_LOOPBACK)
                if self.find(protocol, near, known.getsockname()[1], near, 1) is None:
                    raise MissingFeature(module, needed_by=("transport",))

    def __repr__(self) -> str:
        return f"<SocketLookup {self._name}>"


def _open_diag() -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    except OSError as error:
        raise MissingFeature("sock_diag", needed_by=("transport",), detail=str(error)) from error
    made.bind((0, 0))
    made.connect((0, 0))  # so that nobody but the kernel can answer
    return made


def _open_table(name: str) -> int:
    """A descriptor of /proc/net/<name>, which stays that of the namespace it was opened in; -1 without one."""
    try:
        return os.open(f"/proc/thread-self/net/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _read(answer: bytes, protocol: int, size: int) -> SocketFound:
    family, state = answer[_MESSAGE_AT], answer[_MESSAGE_AT + 1]
    # UDP sockets are found the other way round but described like any other.
    local_port, remote_port = _ANSWER(answer, _MESSAGE_AT + 4)
    own = 4 if family == socket.AF_INET else 16
    local = answer[_MESSAGE_AT + 8 : _MESSAGE_AT + 8 + own]
    remote = answer[_MESSAGE_AT + 24 : _MESSAGE_AT + 24 + own]
    interface, cookie, _, _, _, _, inode = _AFTER_PORTS(answer, _MESSAGE_AT + 40)
    return SocketFound(
        cookie, inode, protocol, family, state, _sized(local, size), local_port, _sized(remote, size), remote_port,
        interface, _traffic_class(answer, size),
    )  # fmt: skip


def _sized(address: bytes, size: int) -> bytes:
    """An address in the size of the packet's: a dual-stack socket writes IPv4 addresses into IPv6."""
    if len(address) == size:
        return address
    return address[12:] if size == 4 else bytes(10) + b"\xff\xff" + address


def _traffic_class(answer: bytes, size: int) -> int | None:
    wanted = INET_DIAG_TOS if size == 4 else INET_DIAG_TCLASS
    at = _ATTRIBUTES_AT
    while at + 4 <= len(answer):
        length, kind = _ATTRIBUTE(answer, at)
        if length < 4:
            break
        if kind == wanted and length >= 5:
            return answer[at + 4]
        at += (length + 3) & ~3
    return None


def _raw_line(line: str) -> RawSocket | None:
    """One line of /proc/net/raw: slot, local address and protocol, remote address, ..., inode."""
    words = line.split()
    if len(words) < 10:
        return None
    (local, number), remote = words[1].split(":"), words[2].split(":")[0]
    return RawSocket(int(words[9]), int(number, 16), _address(local), _address(remote))


def _address(text: str) -> bytes:
    """An address as /proc writes it: words of 32 bits, each in the machine's order."""
    octets = bytes.fromhex(text)
    return b"".join(octets[at : at + 4][::-1] for at in range(0, len(octets), 4))
