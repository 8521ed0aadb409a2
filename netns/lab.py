"""Lab: named hosts and the links between them, owned as one, gone as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from netns.errors import BadName, Closed, LabError, NameTaken
from netns.lease import STATE_DIRECTORY, Cleaned, Lease, reap
from netns.namespace import Namespace
from netns.veth import Bridge, VethPair

HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
SWITCH_PORT = "port{}"


class Lab:
    """Everything a test bed consists of, in one owner; `with Lab() as lab:` leaves nothing behind.

    Whatever ends the block (an error, Ctrl-C), all is removed in the reverse order of making. If the process
    is killed, its children die with it and the next Lab removes the rest.
    """

    def __init__(self, *, directory: str = STATE_DIRECTORY, label: str = "") -> None:
        """Remove what dead labs left, then take a run id; `label` says to others what the lab is for.

        Raises UnsafeState, NotPermitted, KernelRefused.
        """
        self.directory = directory
        """Where leases are."""
        self.cleaned: list[Cleaned] = reap(directory)
        """What dead owners had left, and is now removed."""
        self._hosts: dict[str, Namespace] = {}
        self._devices: dict[str, int] = {}
        self._links: list[VethPair] = []
        self._lease = Lease(directory)
        self._owned = ExitStack()
        self._closed = False
        self._owned.callback(self._lease.close)
        if label:
            self._lease.label(label)

    @property
    def run(self) -> str:
        """The run id that all names of this lab carry."""
        return self._lease.run

    @property
    def owned(self) -> ExitStack:
        """Where further things of the lab (rules, captures, engines) are put, to be closed before it."""
        return self._owned

    @property
    def namespaces(self) -> dict[str, Namespace]:
        """The namespaces there are now, by the host's name."""
        return dict(self._hosts)

    @property
    def links(self) -> list[VethPair]:
        """The cables that `link` has laid, in order; some may be gone."""
        return list(self._links)

    def namespace(self, host: str, *, forwarding: bool = False) -> Namespace:
        """Make the namespace `wfp-<run>-<host>`; with `forwarding` it is a router.

        Raises BadName (also for a host that exists), NotPermitted, KernelRefused, Closed.
        """
        if self._closed:
            raise Closed("the lab")
        if not HOST.fullmatch(host):
            raise BadName("host", host, "1 to 32 letters, digits, `_`, `-`, not starting with a sign")
        if host in self._hosts:
            raise BadName("host", host, "this lab has it already")
        # From the claim on, closing the lease removes it even if we are interrupted before the next line.
        name = self._lease.claim(host)
        try:
            namespace = Namespace(name, forwarding=forwarding)
        except NameTaken:
            self._lease.gone(name)  # else closing would take it for ours
            raise
        self._owned.callback(self._retire, host, namespace)
        self._hosts[host] = namespace
        self._lease.made(name, namespace.identity)
        return namespace

    def __getitem__(self, host: str) -> Namespace:
        """The namespace of a host; KeyError if this lab has none of that name."""
        return self._hosts[host]

    def link(
        self,
        a: str | Namespace,
        b: str | Namespace,
        *,
        names: tuple[str | None, str | None] = (None, None),
        addresses: tuple[Sequence[str], Sequence[str]] = ((), ()),
        mtu: int = 1500,
        macs: tuple[str | None, str | None] = (None, None),
        offloads: bool = True,
    ) -> VethPair:
        """Join two hosts; devices are called eth0, eth1, ... in each unless named.

        `addresses` are those of either end, with prefix lengths (`192.0.2.1/24`, `2001:db8::1/64`).
        Raises KeyError, ValueError, BadName, KernelRefused, Closed.
        """
        ends = (self._host(a), self._host(b))
        named = (names[0] or self._next_device(ends[0]), names[1] or self._next_device(ends[1]))
        pair = VethPair(*ends, names=named, mtu=mtu, macs=macs, offloads=offloads)
        # Removing a cable takes the kernel longer than all the rest: it goes with its namespaces, if both are ours.
        ours = all(end in self._hosts.values() for end in ends)
        self._owned.callback(pair.release if ours else pair.close)
        self._links.append(pair)
        for end, given in zip(pair.ends, addresses, strict=True):
            if given:
                end.add_addresses(*given)
        return pair

    def bridge(self, name: str, hosts: Sequence[str | Namespace], *, mtu: int = 1500) -> tuple[Bridge, list[VethPair]]:
        """Join any number of hosts by a switch that lives in a namespace of its own, called `name`.

        Returns it and the cables to it, in the order of `hosts`; end `a` of each is the host's.
        Raises KeyError, BadName, KernelRefused, Closed.
        """
        switch = Bridge(self.namespace(name))
        self._owned.callback(switch.release)
        cables = [
            self.link(host, name, names=(None, SWITCH_PORT.format(number)), mtu=mtu)
            for number, host in enumerate(hosts)
        ]
        switch.add_ports(cable.b for cable in cables)
        return switch, cables

    def close(self) -> None:
        """Remove everything, the last made first; closing twice is allowed.

        Every part is tried even if another fails; then the first failure is raised, as a LabError.
        """
        self._closed = True
        self._owned.close()

    def _host(self, host: str | Namespace) -> Namespace:
        if self._closed:
            raise Closed("the lab")
        return self._hosts[host] if isinstance(host, str) else host

    def _next_device(self, namespace: Namespace) -> str:
        number = self._devices.get(namespace.name, 0)
        self._devices[namespace.name] = number + 1
        return f"eth{number}"

    def _retire(self, host: str, namespace: Namespace) -> None:
        namespace.close()
        self._hosts.pop(host, None)
        self._lease.gone(namespace.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self.close()
        except LabError as second:
            if error is None:
                raise
            # The first error is the one to look at; what failed while clearing up is added to it.
            error.add_note(f"then, while removing the lab: {second}")

    def __repr__(self) -> str:
        return f"<Lab {self.run}: {', '.join(self._hosts) or 'no hosts'}>"
