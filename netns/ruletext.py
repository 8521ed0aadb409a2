"""Divert rules as values: what is queued, where in a packet's way, and what is let pass."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from netns.interface import check_device_name

QUEUE_LAST = 65535
PORT_LAST = 65535
MARK_LAST = 0xFFFFFFFF
PROTOCOL = re.compile(r"[a-z][a-z0-9-]{0,15}")
PORTED = ("tcp", "udp", "sctp", "dccp", "udplite")
TAG = re.compile(r"[a-z0-9]{1,8}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Ports = tuple[int, int]


class Hook(StrEnum):
    """Where in a packet's way through a namespace a rule stands."""

    PREROUTING = "PREROUTING"
    INPUT = "INPUT"
    FORWARD = "FORWARD"
    OUTPUT = "OUTPUT"
    POSTROUTING = "POSTROUTING"


NO_ENTRY_HOOKS = (Hook.OUTPUT, Hook.POSTROUTING)
NO_EXIT_HOOKS = (Hook.PREROUTING, Hook.INPUT)


@dataclass(frozen=True, slots=True)
class Mark:
    """Packets for which `mark & mask == value`."""

    value: int
    mask: int = MARK_LAST

    def __post_init__(self) -> None:
        if not (0 <= self.mask <= MARK_LAST and self.value & self.mask == self.value):
            raise ValueError(f"mark {self.value:#x}/{self.mask:#x}: the value has bits outside of the mask")

    def __str__(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Among:
    """Packets that somebody may want: those of one of these addresses, ports or protocols; ports are TCP's and UDP's.

    Where ports are named, whatever has none belongs to it: other protocols, and fragments.
    """

    sources: tuple[str, ...] = ()
    """Addresses or prefixes of the rule's family."""
    destinations: tuple[str, ...] = ()
    source_ports: tuple[Ports, ...] = ()
    destination_ports: tuple[Ports, ...] = ()
    protocols: tuple[int, ...] = ()
    marks: tuple[Mark, ...] = ()
    """Packets with one of these marks, whatever else they are."""

    def __post_init__(self) -> None:
        if not any((self.sources, self.destinations, self.source_ports, self.destination_ports, self.protocols,
                    self.marks)):  # fmt: skip
            raise ValueError("nothing is wanted: leave the rule out")
        for first, last in (*self.source_ports, *self.destination_ports):
            if not 0 <= first <= last <= PORT_LAST:
                raise ValueError(f"ports {first} to {last} are not first and last of a range")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRule:
    """Hands matching packets to a netfilter queue; with several rules the first that matches has it.

    A field that is None (or empty) matches everything. Every rule without `bypass` fails closed: where
    nobody listens on the queue, the packet is dropped.
    """

    family: Literal[4, 6]
    hook: Hook
    queue: int
    exempt: Mark | None = None
    """Packets that pass by unqueued, whatever else they match."""
    marked: Mark | None = None
    """Only packets that carry this mark."""
    protocol: str | None = None
    """A name the kernel's tables know (`tcp`, `udp`, `icmp`, `ipv6-icmp`) or a decimal number."""
    source: str | None = None
    """An address or prefix of `family`."""
    destination: str | None = None
    source_ports: Ports | None = None
    """First and last, both included; needs a protocol with ports, and misses all but the first fragment."""
    destination_ports: Ports | None = None
    in_interface: str | None = None
    out_interface: str | None = None
    bypass: bool = False
    """Let packets pass when nobody listens."""
    among: Among | None = None
    """Nobody wants other packets: they are not queued where that can be told; by iptables they are."""

    def __post_init__(self) -> None:
        if self.family not in (4, 6):
            raise ValueError(f"family is {self.family!r}, not 4 or 6")
        if not 0 <= self.queue <= QUEUE_LAST:
            raise ValueError(f"queue {self.queue} is not within 0 to {QUEUE_LAST}")
        if self.protocol is not None and not (self.protocol.isdecimal() or PROTOCOL.fullmatch(self.protocol)):
            raise ValueError(f"{self.protocol!r} is no protocol")
        for prefix in (self.source, self.destination):
            if prefix is not None and ipaddress.ip_network(prefix, strict=False).version != self.family:
                raise ValueError(f"{prefix} is not IPv{self.family}")
        self._check_ports()
        self._check_interfaces()

    def _check_ports(self) -> None:
        for ports in (self.source_ports, self.destination_ports):
            if ports is None:
                continue
            if self.protocol not in PORTED:
                raise ValueError(f"ports {ports} need a protocol that has them, one of {', '.join(PORTED)}")
            if not 0 <= ports[0] <= ports[1] <= PORT_LAST:
                raise ValueError(f"ports {ports} are not first and last of a range")

    def _check_interfaces(self) -> None:
        for name, without in ((self.in_interface, NO_ENTRY_HOOKS), (self.out_interface, NO_EXIT_HOOKS)):
            if name is not None:
                check_device_name(name)
                if self.hook in without:
                    raise ValueError(f"{self.hook} has no interface {name} to match: wrong direction")


def check_tag(tag: str) -> str:
    """Return `tag` if a set of rules can have it, else raise ValueError."""
    if not TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is no tag: 1 to 8 small letters and digits")
    return tag


def hooks_of(rules: Iterable[QueueRule], family: int) -> frozenset[Hook]:
    """The hooks at which `rules` stand for one family."""
    return frozenset(rule.hook for rule in rules if rule.family == family)


def merged_prefixes(prefixes: Iterable[str]) -> list[str]:
    """The same addresses in the fewest prefixes, in order; all of one family."""
    networks: list[Any] = [ipaddress.ip_network(text, strict=False) for text in prefixes]
    return [str(network) for network in ipaddress.collapse_addresses(networks)]


def merged_ports(ranges: Iterable[Ports]) -> list[Ports]:
    """The same ports in the fewest ranges, in order."""
    merged: list[Ports] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def prefix(text: str) -> str:
    """An address or prefix as a prefix, host bits cleared."""
    return str(ipaddress.ip_network(text, strict=False))
