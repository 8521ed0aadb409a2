"""Where cells are measured: beds with a second address on the far side, and canaries between their hosts."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from emulator.stack import Stack
from emulator.topology import Bed, Host, HostOptions, Pair, Routed
from emulator.traffic import CANARY_PORT, DEADLINE, CanaryLost, drain
from emulator.wfptypes import AddressFamily
from netns.patience import patient

OUT, IN, THROUGH = "out", "in", "through"
PORT, OTHER_PORT = 5000, 5001
"""What is sent goes to PORT; what a callout has redirected arrives at OTHER_PORT."""
_GLANCE_SECONDS = 1.0
_SECOND = {
    Pair: {AddressFamily.INET: ("10.0.0.9", 24), AddressFamily.INET6: ("fd00::9", 64)},
    Routed: {AddressFamily.INET: ("10.2.0.9", 24), AddressFamily.INET6: ("fd02::9", 64)},
}


@dataclass(frozen=True)
class Way:
    """One direction on a bed: who sends, who receives, and where."""

    name: str
    sender: Host
    receiver: Host
    to: str
    """The address that is sent to."""
    other_to: str
    """Where a redirected packet arrives; the same address where a host redirects what comes to itself."""
    other_from: str | None
    """A second address of the sender, if it has one."""


_FIRST_PORT = 20000


class Canary:
    """Datagrams that no callout takes and no filter blocks: what was sent before one has come when it has.

    They go to or from the second address, so that filters on the first one do not meet them.
    """

    def __init__(self, way: Way, family: AddressFamily) -> None:
        self.way = way
        self.family = family
        sender, receiver = way.sender, way.receiver
        self._to = (way.other_to, CANARY_PORT)
        self._out = sender.socket(family, address=way.other_from)
        self._in = receiver.socket(family, port=CANARY_PORT, address=way.other_to)

    def come(self) -> None:
        """Send one and wait for it; raises CanaryLost."""
        book = self.way.sender.canaries
        book.sent += 1
        mark = b"canary %d" % book.sent
        self._out.sendto(mark, self._to)
        self._in.settimeout(_GLANCE_SECONDS)
        until = time.monotonic() + patient(DEADLINE)
        while time.monotonic() < until:
            with suppress(TimeoutError):
                while self._in.recv(64) != mark:
                    pass
                book.arrived += 1
                return
        raise CanaryLost(f"a canary from {self.way.sender.name} to {self.way.receiver.name} did not arrive")

    def forget(self) -> None:
        """Drop what came too late."""
        drain(self._in)


class Place:
    """A bed, its ways and its canaries; `with` removes it."""

    def __init__(self, kind: type[Pair] | type[Routed], options: HostOptions) -> None:
        """Raises LabError."""
        self._owned = ExitStack()
        self.bed: Bed = self._owned.enter_context(kind(options, label="matrix"))
        try:
            self._prepare(kind)
        except BaseException:
            self.close()
            raise
        self._canaries: dict[tuple[str, AddressFamily], Canary] = {}
        self._ports = itertools.count(_FIRST_PORT)

    def new_port(self) -> int:
        """A port that nothing on this bed has had yet: a flow with it is new, and no old one lives on."""
        return next(self._ports)

    def _prepare(self, kind: type[Pair] | type[Routed]) -> None:
        second = _SECOND[kind]
        hosts = self.bed.hosts
        self.near, self.far = (
            (hosts["host"], hosts["peer"]) if kind is Pair else (hosts["left"], hosts["right"])
        )
        self.emulated = hosts["host"] if kind is Pair else hosts["mid"]
        self.far.namespace.interface("eth0").add_addresses(*(f"{a}/{size}" for a, size in second.values()))
        self._second = {family: address for family, (address, _) in second.items()}
        for host in (self.near, self.far):  # every error is one of ours, and wanted
            host.namespace.sysctl("net.ipv4.icmp_ratelimit", 0)
            host.namespace.sysctl("net.ipv6.icmp.ratelimit", 0)

    @property
    def stack(self) -> Stack:
        """The emulated host's."""
        return self.emulated.stack

    def second(self, family: AddressFamily) -> str:
        """The far host's second address."""
        return self._second[family]

    def way(self, name: str, family: AddressFamily) -> Way:
        """One of OUT, IN and THROUGH."""
        second = self._second[family]
        if name == IN:
            here = self.near.address(family)
            return Way(name, self.far, self.near, here, here, second)
        return Way(name, self.near, self.far, self.far.address(family), second, None)

    def canary(self, name: str, family: AddressFamily) -> Canary:
        """The canaries of a way; its sockets stay open for the next cell."""
        found = self._canaries.get((name, family))
        if found is None:
            found = self._canaries[name, family] = Canary(self.way(name, family), family)
        found.forget()
        return found

    def close(self) -> None:
        """Remove the bed; closing twice is allowed."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
