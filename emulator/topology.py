"""Test beds: named hosts on veth pairs, some of them emulated Windows hosts.

    Pair      peer === host            `host` is emulated; 10.0.0.2, fd00::2 and 10.0.0.1, fd00::1
    Routed    left === mid === right   `mid` is emulated and forwards
    Alone     host                     only loopback

A bed owns its lab; `with Pair(...) as bed:` leaves nothing behind.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from emulator.paths.queue import QueueBackend, QueueLimits
from emulator.stack import Stack
from emulator.wfptypes import AddressFamily, WindowsVersion
from netns.lab import Lab
from netns.namespace import Namespace

LINUX_FAMILY = {AddressFamily.INET: socket.AF_INET, AddressFamily.INET6: socket.AF_INET6}
"""The one place where a Windows family number becomes Linux's."""


@dataclass(frozen=True)
class HostOptions:
    """How emulated hosts are made: what `wfplab run` was told, or a scenario asks for."""

    backend: QueueBackend = QueueBackend.NETLINK
    limits: QueueLimits | None = None
    profile: WindowsVersion = WindowsVersion.WINDOWS_8
    header_flags: bool = False
    stacks: bool = True


@dataclass
class Host:
    """One host of a bed: a namespace with an address of each family and, when emulated, a stack."""

    name: str
    namespace: Namespace
    addresses: Mapping[AddressFamily, str]
    owned: ExitStack = field(repr=False)
    emulated: Stack | None = None

    @property
    def stack(self) -> Stack:
        """The emulated Windows stack; AssertionError on a plain host."""
        assert self.emulated is not None, f"{self.name} is not an emulated host"
        return self.emulated

    def address(self, family: AddressFamily) -> str:
        """The host's address, as text."""
        return self.addresses[family]

    def octets(self, family: AddressFamily) -> bytes:
        """The host's address in network order, 4 or 16 octets."""
        return socket.inet_pton(LINUX_FAMILY[family], self.addresses[family])

    def socket(
        self, family: AddressFamily, kind: int = socket.SOCK_DGRAM, *, port: int = 0, address: str | None = None
    ) -> socket.socket:
        """A socket inside the host, bound to its address and `port`; the bed closes it."""
        host = self.addresses[family] if address is None else address

        def open_bound() -> socket.socket:
            made = socket.socket(LINUX_FAMILY[family], kind | socket.SOCK_CLOEXEC)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind == socket.SOCK_DGRAM:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            made.bind((host, port))
            return made

        made = self.namespace.open_in(open_bound)
        self.owned.callback(made.close)
        made.settimeout(DEADLINE)
        return made

    def run(self, *argv: str, **options: Any) -> Any:
        """Run a program inside the host and wait for it; see `Namespace.run`."""
        return self.namespace.run(list(argv), **options)


DEADLINE = 10.0
"""Seconds after which something that should have arrived counts as missing."""

_V4, _V6 = AddressFamily.INET, AddressFamily.INET6


class Bed:
    """A lab with named hosts; the base of the topologies."""

    picture: ClassVar[str] = ""

    def __init__(self, options: HostOptions = HostOptions(), *, start: bool = True) -> None:  # noqa: B008
        """Build it; emulated hosts are started unless `start` is False.  Raises LabError."""
        self.options = options
        self._owned = ExitStack()
        self._stacks: list[Stack] = []
        self.hosts: dict[str, Host] = {}
        try:
            self.lab = self._owned.enter_context(Lab())
            self._build()
            if start:
                for stack in self._stacks:
                    stack.start()
        except BaseException:
            self._owned.close()
            raise

    def _build(self) -> None:
        raise NotImplementedError

    def add_host(
        self, name: str, v4: str, v6: str, *, namespace: Namespace | None = None, emulated: bool = False
    ) -> Host:
        """Name a host of the lab, with its addresses."""
        made = namespace or self.lab.namespace(name)
        host = Host(name, made, {_V4: v4, _V6: v6}, self._owned)
        if emulated:
            host.emulated = self._owned.enter_context(_closing(self._stack(made)))
        self.hosts[name] = host
        return host

    def _stack(self, namespace: Namespace) -> Stack:
        options = self.options
        stack = Stack(
            namespace,
            profile=options.profile,
            header_flags=options.header_flags,
            stacks=options.stacks,
            backend=options.backend,
            limits=options.limits,
        )
        self._stacks.append(stack)
        return stack

    @property
    def stacks(self) -> list[Stack]:
        """The emulated hosts' stacks."""
        return list(self._stacks)

    def close_stacks(self) -> None:
        """Close the emulated hosts, so that their books can be closed; the namespaces stay."""
        for stack in self._stacks:
            stack.close()

    def close(self) -> None:
        """Remove everything; closing twice is allowed."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())


class _closing:  # noqa: N801  like contextlib.closing, for a stack that may never be started
    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def __enter__(self) -> Stack:
        return self.stack

    def __exit__(self, *_: object) -> None:
        self.stack.close()


class Pair(Bed):
    """Two hosts on one cable; `host` is emulated (T1)."""

    picture = "peer (10.0.0.2, fd00::2) === host (10.0.0.1, fd00::1; emulated)"
    host: Host
    peer: Host

    def _build(self) -> None:
        host, peer = self.lab.namespace("host"), self.lab.namespace("peer")
        self.link = self.lab.link(
            host, peer, addresses=(["10.0.0.1/24", "fd00::1/64"], ["10.0.0.2/24", "fd00::2/64"])
        )
        self.host = self.add_host("host", "10.0.0.1", "fd00::1", namespace=host, emulated=True)
        self.peer = self.add_host("peer", "10.0.0.2", "fd00::2", namespace=peer)


class Routed(Bed):
    """Two hosts and the router between them; `mid` is emulated and forwards (T2)."""

    picture = (
        "left (10.1.0.2, fd01::2) === (10.1.0.1, fd01::1) mid (10.2.0.1, fd02::1; emulated) "
        "=== right (10.2.0.2, fd02::2)"
    )
    left: Host
    mid: Host
    right: Host

    def _build(self) -> None:
        left, right = self.lab.namespace("left"), self.lab.namespace("right")
        mid = self.lab.namespace("mid", forwarding=True)
        self.near = self.lab.link(
            left, mid, addresses=(["10.1.0.2/24", "fd01::2/64"], ["10.1.0.1/24", "fd01::1/64"])
        )
        self.far = self.lab.link(
            right, mid, addresses=(["10.2.0.2/24", "fd02::2/64"], ["10.2.0.1/24", "fd02::1/64"])
        )
        for end, v4, v6 in ((left, "10.1.0.1", "fd01::1"), (right, "10.2.0.1", "fd02::1")):
            end.add_route("0.0.0.0/0", via=v4)
            end.add_route("::/0", via=v6)
        self.left = self.add_host("left", "10.1.0.2", "fd01::2", namespace=left)
        self.mid = self.add_host("mid", "10.2.0.1", "fd02::1", namespace=mid, emulated=True)
        self.right = self.add_host("right", "10.2.0.2", "fd02::2", namespace=right)


class Alone(Bed):
    """One emulated host with nothing but loopback (T3)."""

    picture = "host (127.0.0.1, ::1; emulated)"
    host: Host

    def _build(self) -> None:
        self.host = self.add_host("host", "127.0.0.1", "::1", emulated=True)
