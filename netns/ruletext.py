"""Divert rules as values, and as the text that iptables-restore and nft read. Pure: nothing is run here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

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


TABLE_OF = {Hook.PREROUTING: "raw"}
"""The iptables table of a hook, else mangle. Table raw stands after reassembly if the namespace reassembles,
which it does only once something in it uses connection tracking, TPROXY or socket matches: so keep those out of
a namespace where fragments are to be seen."""

PRIORITY_OF = {Hook.PREROUTING: -450}
"""The nft priority of a hook, else -150: -450 is ahead of reassembly (-400) in any case."""

MANGLE_PRIORITY = -150
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

    @property
    def table(self) -> str:
        """The iptables table it stands in."""
        return TABLE_OF.get(self.hook, "mangle")


def chain_of(tag: str, hook: Hook) -> str:
    """The iptables chain of ours for a hook. Raises ValueError."""
    if not TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is no tag: 1 to 8 small letters and digits")
    return f"WFPLAB-{tag}-{hook}"


def hooks_of(rules: Iterable[QueueRule], family: int) -> frozenset[Hook]:
    """The hooks at which `rules` stand for one family."""
    return frozenset(rule.hook for rule in rules if rule.family == family)


def iptables_rule(rule: QueueRule) -> str:
    """The match and target part of one rule, as iptables-restore reads it."""
    words: list[str] = []
    if rule.in_interface:
        words += ["-i", rule.in_interface]
    if rule.out_interface:
        words += ["-o", rule.out_interface]
    if rule.source:
        words += ["-s", _prefix(rule.source)]
    if rule.destination:
        words += ["-d", _prefix(rule.destination)]
    if rule.protocol:
        words += ["-p", rule.protocol]
    if rule.source_ports:
        words += ["--sport", "{}:{}".format(*rule.source_ports)]
    if rule.destination_ports:
        words += ["--dport", "{}:{}".format(*rule.destination_ports)]
    if rule.exempt:
        words += ["-m", "mark", "!", "--mark", str(rule.exempt)]
    if rule.marked:
        words += ["-m", "mark", "--mark", str(rule.marked)]
    words += ["-j", "NFQUEUE", "--queue-num", str(rule.queue)]
    if rule.bypass:
        words.append("--queue-bypass")
    return " ".join(words)


def iptables_text(rules: Sequence[QueueRule], family: int, tag: str, present: frozenset[Hook]) -> str:
    """The input of one `iptables-restore --noflush` that makes `rules` what stands in our chains.

    `present` are the hooks at which our chains stand already. Every table is exchanged in one step.
    """
    wanted = hooks_of(rules, family)
    by_table: dict[str, list[str]] = {}
    for hook in Hook:
        if hook in wanted | present:
            lines = _iptables_chain(rules, family, tag, hook, is_present=hook in present)
            by_table.setdefault(TABLE_OF.get(hook, "mangle"), []).extend(lines)
    return "".join(f"*{table}\n" + "".join(_declared_first(lines)) + "COMMIT\n" for table, lines in by_table.items())


def _iptables_chain(
    rules: Sequence[QueueRule], family: int, tag: str, hook: Hook, *, is_present: bool
) -> Iterator[str]:
    chain = chain_of(tag, hook)
    ours = [rule for rule in rules if rule.family == family and rule.hook is hook]
    yield f":{chain} - [0:0]\n"  # makes the chain, or empties it
    if ours and not is_present:
        yield f"-I {hook} -j {chain}\n"
    for rule in ours:
        yield f"-A {chain} {iptables_rule(rule)}\n"
    if not ours:
        yield f"-D {hook} -j {chain}\n"
        yield f"-X {chain}\n"


def _declared_first(lines: list[str]) -> list[str]:
    return sorted(lines, key=lambda line: not line.startswith(":"))


def nft_rule(rule: QueueRule) -> str:
    """One rule as nft reads it."""
    address = "ip" if rule.family == 4 else "ip6"
    words: list[str] = []
    if rule.in_interface:
        words.append(f'iifname "{rule.in_interface}"')
    if rule.out_interface:
        words.append(f'oifname "{rule.out_interface}"')
    if rule.source:
        words.append(f"{address} saddr {_prefix(rule.source)}")
    if rule.destination:
        words.append(f"{address} daddr {_prefix(rule.destination)}")
    if rule.protocol:
        words.append(f"meta l4proto {rule.protocol}")
    if rule.source_ports:
        words.append("th sport {}-{}".format(*rule.source_ports))
    if rule.destination_ports:
        words.append("th dport {}-{}".format(*rule.destination_ports))
    if rule.exempt:
        words.append(f"meta mark and {rule.exempt.mask:#x} != {rule.exempt.value:#x}")
    if rule.marked:
        words.append(f"meta mark and {rule.marked.mask:#x} == {rule.marked.value:#x}")
    flags = "flags bypass " if rule.bypass else ""
    return " ".join([*words, f"counter queue {flags}num {rule.queue}"])


def nft_table(family: int, tag: str) -> str:
    """The family and name of our table."""
    return f"{'ip' if family == 4 else 'ip6'} wfplab-{tag}"


def nft_text(rules: Sequence[QueueRule], tag: str) -> str:
    """The input of one `nft -f -` that makes `rules` what stands in our tables, in one step for both families."""
    parts = []
    for family in (4, 6):
        table = nft_table(family, tag)
        # Made first, so that deleting it works also the first time.
        parts.append(f"table {table}\ndelete table {table}\n")
        hooks = hooks_of(rules, family)
        if hooks:
            chains = "".join(_nft_chain(rules, family, hook) for hook in Hook if hook in hooks)
            parts.append(f"table {table} {{\n{chains}}}\n")
    return "".join(parts)


def _nft_chain(rules: Sequence[QueueRule], family: int, hook: Hook) -> str:
    priority = PRIORITY_OF.get(hook, MANGLE_PRIORITY)
    body = "".join(f"  {nft_rule(rule)}\n" for rule in rules if rule.family == family and rule.hook is hook)
    head = f"type filter hook {hook.lower()} priority {priority}; policy accept;"
    return f" chain {hook} {{\n  {head}\n{body} }}\n"


def _prefix(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))
