"""Test beds: named hosts on veth pairs, some of them emulated Windows hosts.

    Pair         peer === host            `host` is emulated; 10.0.0.2, fd00::2 and 10.0.0.1, fd00::1
    Routed       left === mid === right   `mid` is emulated and forwards
    Alone        host                     only loopback
    Bridged      vm1 === host === vm2     `host` is emulated and has a bridge with both as ports
    TwoDrivers   a Pair with two drivers on `host`: `a` is asked before `b`
    Empty        nothing yet: `add_host` and `lab.link` make it

For a topology of one's own derive from `Bed` and write `build`.  A bed owns its lab, and leaves nothing behind.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from emulator.driver import Driver
from emulator.faults import Fault, Faults
from emulator.paths.faulty_queue import FaultyQueue
from emulator.paths.queue import QueueBackend, QueueLimits
from emulator.run.interrupts import shielded
from emulator.schedule import Schedule
from emulator.stack import Stack
from emulator.timing import Timing
from emulator.violations import Level, Reaction
from emulator.wfptypes import AddressFamily, WindowsVersion
from netns.buffers import widen
from netns.lab import Lab
from netns.namespace import Namespace
from netns.patience import patient
from netns.process import ORDINARY, Process
from netns.veth import Bridge

if TYPE_CHECKING:
    from emulator.traffic import Wire

LINUX_FAMILY = {AddressFamily.INET: socket.AF_INET, AddressFamily.INET6: socket.AF_INET6}
"""The one place where a Windows family number becomes Linux's."""


@dataclass(frozen=True)
class HostOptions:
    """How emulated hosts are made: what `wfplab run` was told, or a scenario asks for."""

    backend: QueueBackend = QueueBackend.NETLINK
    limits: QueueLimits | None = None
    profile: WindowsVersion = WindowsVersion.WINDOWS_8
    header_flags: bool = False
    level: Level = Level.FULL
    """How closely drivers are watched."""
    reaction: Reaction = Reaction.FAIL
    """What follows when a driver breaks a rule."""
    by_socket: bool = False
    """Whether everything is injected by sockets, also what could go on as the packet that is held."""
    checksum_offload: bool = False
    """Whether drivers are shown outgoing packets whose checksums are left to the network card (GE-17)."""
    faults: bool = False
    """Whether what can fail is counted, and `fault` made to."""
    fault: Fault | None = None
    schedule: Schedule | None = None
    """When injections are performed and completed; None is as soon as possible."""


@dataclass
class CanaryBook:
    """Packets sent only to see whether anything gets through, over all hosts of a bed."""

    sent: int = 0
    arrived: int = 0


@dataclass
class Host:
    """One host of a bed: a namespace with an address of each family and, when emulated, a stack."""

    name: str
    namespace: Namespace
    addresses: Mapping[AddressFamily, str]
    owned: ExitStack = field(repr=False)
    emulated: Stack | None = None
    canaries: CanaryBook = field(default_factory=CanaryBook, repr=False)
    inboxes: dict[AddressFamily, socket.socket] = field(default_factory=dict, repr=False)
    """Where canaries arrive: one socket for each family, whoever sends them."""

    @property
    def stack(self) -> Stack:
        """The emulated Windows stack; AssertionError on a plain host."""
        assert self.emulated is not None, f"{self.name} is not an emulated host"
        return self.emulated

    def driver(self, name: str = "driver", *, weight: int | None = None) -> Driver:
        """A new driver on this host; the caller unloads it, best by `with`.

        With a `weight` its filters are asked before those of lighter drivers.
        """
        return Driver(self.stack.core, name, weight=weight)

    def interface(self, name: str = "eth0") -> int:
        """The index of one of the host's interfaces; raises KernelRefused."""
        return self.namespace.index_of(name)

    def wire(self, interface: str = "eth0") -> Wire:
        """What passes an interface of this host from now on; the bed closes it.  Raises KernelRefused."""
        from emulator.traffic import Wire

        return self.owned.enter_context(Wire(self.namespace, interface))

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
                widen(made, receive_octets=4 << 20)
            made.bind((host, port))
            return made

        made = self.namespace.open_in(open_bound)
        self.owned.callback(made.close)
        made.settimeout(patient(DEADLINE))
        return made

    def run(self, *argv: str, user: str = ORDINARY, **options: Any) -> Any:
        """Run a program inside the host and wait for it; see `Namespace.run`.

        It is an ordinary user's; give `user="root"` to what has to set up the host.
        """
        return self.namespace.run(list(argv), user=user, **options)

    def start(self, *argv: str, user: str = ORDINARY, **options: Any) -> Process:
        """Start a program inside the host, an ordinary user's as by `run`; see `Namespace.start`."""
        return self.namespace.start(list(argv), user=user, **options)


DEADLINE = 10.0
"""Seconds after which something that should have arrived counts as missing."""

_V4, _V6 = AddressFamily.INET, AddressFamily.INET6


class Bed:
    """A lab with named hosts; the base of the topologies."""

    picture: ClassVar[str] = ""
    """The hosts, for whoever is told of them."""

    def __init__(
        self, options: HostOptions = HostOptions(), *, start: bool = True, label: str = ""  # noqa: B008
    ) -> None:
        """Build it; emulated hosts are started unless `start` is False.  `label` is for `wfplab shell`.

        Ctrl-C waits until it is built.  Raises LabError.
        """
        self.options = options
        self.label = label
        self.canaries = CanaryBook()
        self._owned = ExitStack()
        self._stacks: list[Stack] = []
        self.faults: list[Faults] = []
        """Those of the emulated hosts, where they are asked for."""
        self._start = False
        self.on_host: Callable[[Host], None] | None = None
        """Told of every host that is added, once it runs."""
        self.hosts: dict[str, Host] = {}
        self.drivers: list[Driver] = []
        """Those the bed itself has loaded, and unloads at the end."""
        try:
            with shielded():
                self.lab = self._owned.enter_context(Lab(label=label))
                self.build()
                self._start = start
                if start:
                    for stack in self._stacks:
                        self._start_stack(stack)
                self.load()
        except BaseException:  # also a signal that the shield held back
            self.close()
            raise

    def build(self) -> None:
        """Make the hosts and the links between them; a topology of one's own writes this."""
        raise NotImplementedError

    def load(self) -> None:
        """Load what has to be on the emulated hosts, which run now; appended to `drivers` it is unloaded."""

    def add_host(
        self,
        name: str,
        v4: str = "127.0.0.1",
        v6: str = "::1",
        *,
        namespace: Namespace | None = None,
        emulated: bool = False,
        forwarding: bool = False,
    ) -> Host:
        """Name a host of the lab, with its addresses (without prefix lengths); links are made by `lab.link`.

        An emulated host that is added to a bed that runs is started.  Raises LabError.
        """
        made = namespace or self.lab.namespace(name, forwarding=forwarding)
        host = Host(name, made, {_V4: v4, _V6: v6}, self._owned, canaries=self.canaries)
        if emulated:
            stack = host.emulated = self._owned.enter_context(_closing(self._stack(made)))
            if self._start:
                self._start_stack(stack)
        self.hosts[name] = host
        if self.on_host is not None:
            self.on_host(host)
        return host

    def _stack(self, namespace: Namespace) -> Stack:
        options = self.options
        stack = Stack(
            namespace,
            profile=options.profile,
            header_flags=options.header_flags,
            level=options.level,
            reaction=options.reaction,
            backend=options.backend,
            limits=options.limits,
            verdict_reinjection=not options.by_socket,
        )
        stack.packets.offload = options.checksum_offload
        if options.schedule is not None:
            Timing(stack, options.schedule, f"host {len(self._stacks)}")
        self._stacks.append(stack)
        return stack

    def _start_stack(self, stack: Stack) -> None:
        stack.start()
        if self.options.faults:
            faults = Faults(self.options.fault).attach(stack.core)
            assert stack.packets.queue is not None
            stack.packets.queue = FaultyQueue(stack.packets.queue, faults)
            self.faults.append(faults)

    @property
    def stacks(self) -> list[Stack]:
        """The emulated hosts' stacks."""
        return list(self._stacks)

    def unload_drivers(self) -> None:
        """Unload the drivers that the bed itself has loaded."""
        while self.drivers:
            self.drivers.pop().unload()

    def close_stacks(self) -> None:
        """Close the emulated hosts, so that their books can be closed; the namespaces stay.

        Every host is closed even if another fails; then the first failure is raised.
        """
        with ExitStack() as all_of_them:
            for stack in reversed(self._stacks):
                all_of_them.callback(stack.close)

    def close(self) -> None:
        """Remove everything; closing twice is allowed.  Ctrl-C waits until it is gone."""
        with shielded():
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

    def build(self) -> None:
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

    def build(self) -> None:
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

    def build(self) -> None:
        self.host = self.add_host("host", "127.0.0.1", "::1", emulated=True)


class Bridged(Bed):
    """Two guests on a bridge that is in the emulated host itself, as on a virtual switch (T4)."""

    picture = "vm1 (10.0.0.2, fd00::2) === br0 in host (10.0.0.1, fd00::1; emulated) === vm2 (10.0.0.3, fd00::3)"
    host: Host
    vm1: Host
    vm2: Host

    def build(self) -> None:
        host = self.lab.namespace("host")
        self.bridge = self.lab.owned.enter_context(Bridge(host))
        self.bridge.interface.add_addresses("10.0.0.1/24", "fd00::1/64")
        self.host = self.add_host("host", "10.0.0.1", "fd00::1", namespace=host, emulated=True)
        self.vm1 = self._guest("vm1", 2)
        self.vm2 = self._guest("vm2", 3)

    def _guest(self, name: str, number: int) -> Host:
        guest = self.lab.namespace(name)
        v4, v6 = f"10.0.0.{number}", f"fd00::{number}"
        cable = self.lab.link(
            guest, self.host.namespace, names=(None, f"port{number - 1}"), addresses=([f"{v4}/24", f"{v6}/64"], [])
        )
        self.bridge.add_ports([cable.b])
        return self.add_host(name, v4, v6, namespace=guest)


class TwoDrivers(Pair):
    """A Pair with two independent drivers on `host`, each in a sublayer of its own: `a` is asked first (T5)."""

    a: Driver
    b: Driver

    def load(self) -> None:
        self.a, self.b = (self.host.driver(name, weight=weight) for name, weight in (("a", 0x9000), ("b", 0x7000)))
        self.drivers += (self.a, self.b)


class Empty(Bed):
    """No hosts yet: `add_host` makes them and `lab.link` joins them."""

    def build(self) -> None:
        pass


BEDS: Mapping[str, type[Bed]] = {
    "pair": Pair, "routed": Routed, "alone": Alone, "bridged": Bridged, "two_drivers": TwoDrivers, "empty": Empty,
}  # fmt: skip
"""What an argument without annotation asks for, by its name."""
