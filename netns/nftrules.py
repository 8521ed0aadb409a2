"""Queue rules by nft: tables of our own, everything exchanged in one transaction."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

from netns.errors import KernelRefused, MissingFeature, ProgramFailed
from netns.namespace import Namespace
from netns.nftcompat import QueueChain, add_queue_chains, chain_name
from netns.ruletext import Among, Hook, QueueRule, hooks_of, merged_ports, merged_prefixes, prefix

FAMILIES = (4, 6)
FAMILY = {4: "ip", 6: "ip6"}
PRIORITY_OF = {Hook.PREROUTING: -450}
"""The priority of a hook, else -150: -450 is ahead of reassembly (-400)."""

OTHER_PRIORITY = -150

# Linux puts IPv4 fragments together ahead of INPUT, but IPv6 ones behind it. That a rule holds `tproxy`, though
# nothing leads to it, makes it do so ahead of routing (priority -400). What is not for us, and what we send, is
# kept out of that by `notrack`: forwarded fragments stay as they came.
GATHER = {
    "gather": "  meta l4proto tcp tproxy to :1\n",
    "passing": (
        "  type filter hook prerouting priority -449; policy accept;\n"
        "  fib daddr type != { local, anycast, multicast } notrack\n"
    ),
    "leaving": "  type filter hook output priority -449; policy accept;\n  notrack\n",
}

Chains = Mapping[str, str]
"""The body of each chain by its name."""


class NftRules:
    """What stands by nft in one namespace under one tag.

    With `by_xtables`, packets are queued by the xtables target, for kernels whose nftables cannot.
    """

    def __init__(self, namespace: Namespace, tag: str, *, by_xtables: bool) -> None:
        self._namespace = namespace
        self._tag = tag
        self._by_xtables = by_xtables
        self._standing: dict[int, Chains] = {4: {}, 6: {}}
        self._queues: dict[int, set[QueueChain]] = {4: set(), 6: set()}
        self._gathers: bool | None = None

    def replace(self, rules: Sequence[QueueRule]) -> None:
        """Make `rules` what stands; after a failure the old ones do. Raises ProgramFailed, KernelRefused, Closed."""
        untried = self._gathers is None
        try:
            self._exchange(rules)
        except ProgramFailed:
            if not untried or self._gathers is None:
                raise
            self._gathers = False
            self._exchange(rules)

    def _exchange(self, rules: Sequence[QueueRule]) -> None:
        wanted = {family: self._wanted(rules, family) for family in FAMILIES}
        if self._by_xtables:
            for family in FAMILIES:
                self._add_queues(family, rules)
        text = "".join(
            exchange_text(self._table(family), self._standing[family], wanted[family]) for family in FAMILIES
        )
        if text:
            self._namespace.run(["nft", "-f", "-"], input=text)
        # Chains that are needed no longer stay, empty: see `exchange_text`.
        emptied = {family: dict.fromkeys(self._standing[family], "") for family in FAMILIES}
        self._standing = {family: {**emptied[family], **wanted[family]} for family in FAMILIES}

    def clear(self) -> None:
        """Remove everything. Raises ProgramFailed, Closed."""
        made = [family for family in FAMILIES if self._standing[family] or self._queues[family]]
        if made:
            # Named first, so that deleting works even if it was never made.
            text = "".join(f"table {self._table(family)}\ndelete table {self._table(family)}\n" for family in made)
            self._namespace.run(["nft", "-f", "-"], input=text)
        self._standing = {4: {}, 6: {}}
        self._queues = {4: set(), 6: set()}
        self._gathers = None

    def counts(self, family: int) -> dict[Hook, list[int]]:
        """How many packets each rule took, in order. Raises ProgramFailed, Closed."""
        found: dict[Hook, list[int]] = {hook: [] for hook in Hook}
        listed = self._namespace.run(["nft", "-j", "list", "table", *self._table(family).split()])
        for item in json.loads(listed.stdout)["nftables"]:
            rule = item.get("rule")
            if rule and rule["chain"] in found:
                counters = [part["counter"] for part in rule["expr"] if "counter" in part]
                taken, counts = counters[0]["packets"], found[Hook(rule["chain"])]
                if int(rule.get("comment", -1)) == len(counts) - 1 >= 0:  # one more of those that belong together
                    counts[-1] += taken
                else:
                    counts.append(taken)
        return found

    def _table(self, family: int) -> str:
        return f"{FAMILY[family]} wfplab-{self._tag}"

    def _wanted(self, rules: Sequence[QueueRule], family: int) -> Chains:
        hooks = hooks_of(rules, family)
        chains = {hook.value: chain_body(rules, family, hook, self._by_xtables) for hook in Hook if hook in hooks}
        if family == 6 and Hook.INPUT in hooks and self._gathers is None:
            self._gathers = True  # tried, and not probed: a probe that goes away empties the queues, too
        if family == 6 and self._gathers:
            chains |= GATHER  # for good: see `exchange_text`
        return chains

    def _add_queues(self, family: int, rules: Sequence[QueueRule]) -> None:
        wanted = {(rule.queue, rule.bypass) for rule in rules if rule.family == family} - self._queues[family]
        if wanted:
            add_queue_chains(self._namespace, family, f"wfplab-{self._tag}", sorted(wanted))
            self._queues[family] |= wanted


HASHED_PORTS = 1024
FRAGMENT = {4: "ip frag-off & 0x1fff != 0", 6: "exthdr frag exists"}


def nft_among(among: Among, family: int) -> list[str]:
    """What each of the rules has to test that together take the packets somebody may want.

    Packets that nobody wants meet all of them: each test begins with what fails soonest, and looks values up by
    hash, which is three times as fast as by range; addresses by the shortest of their prefixes first.
    """
    tests = [f"meta mark and {mark.mask:#x} == {mark.value:#x}" for mark in among.marks]
    for side, prefixes in (("saddr", among.sources), ("daddr", among.destinations)):
        tests += _address_tests(f"{FAMILY[family]} {side}", merged_prefixes(prefixes))
    for side, ports in (("sport", among.source_ports), ("dport", among.destination_ports)):
        if ports:
            tests.append(f"th {side} {{ {_ports_text(merged_ports(ports))} }} meta l4proto {{ tcp, udp }}")
    if among.source_ports or among.destination_ports:
        tests += ["meta l4proto != udp meta l4proto != tcp", FRAGMENT[family]]
    if among.protocols:
        tests.append(f"meta l4proto {{ {', '.join(map(str, sorted(set(among.protocols))))} }}")
    return tests


def _address_tests(side: str, prefixes: Sequence[str]) -> list[str]:
    if not prefixes:
        return []
    networks = [ipaddress.ip_network(text) for text in prefixes]
    shortest = min(network.prefixlen for network in networks)
    outer = dict.fromkeys(str(network.supernet(new_prefix=shortest).network_address) for network in networks)
    test = f"{side}{_masked(prefixes[0], shortest)} {{ {', '.join(outer)} }}"
    if any(network.prefixlen != shortest for network in networks):
        test += f" {side} {{ {', '.join(prefixes)} }}"
    return [test]


def _masked(like: str, length: int) -> str:
    network = ipaddress.ip_network(f"{like.partition('/')[0]}/{length}", strict=False)
    return "" if length == network.max_prefixlen else f" & {network.netmask}"


def _ports_text(ranges: Sequence[tuple[int, int]]) -> str:
    if sum(last - first + 1 for first, last in ranges) <= HASHED_PORTS:
        return ", ".join(str(port) for first, last in ranges for port in range(first, last + 1))
    return ", ".join(f"{first}-{last}" for first, last in ranges)


def nft_rules(rule: QueueRule, number: int, *, by_xtables: bool) -> list[str]:
    """The rules of nft that stand for one; several are told to belong together by a comment, its number."""
    if rule.among is None:
        return [nft_rule(rule, by_xtables=by_xtables)]
    belongs = f' comment "{number}"'
    return [nft_rule(rule, by_xtables=by_xtables, first=test) + belongs for test in nft_among(rule.among, rule.family)]


def nft_rule(rule: QueueRule, *, by_xtables: bool, first: str = "") -> str:
    """One rule as nft reads it, with what it has to test first; by xtables it leads to a chain that queues."""
    address = FAMILY[rule.family]
    words: list[str] = [first] if first else []
    # Addresses first: they are compared sooner than names, and nearly every packet fails here.
    if rule.source:
        words.append(f"{address} saddr {prefix(rule.source)}")
    if rule.destination:
        words.append(f"{address} daddr {prefix(rule.destination)}")
    if rule.in_interface:
        words.append(f'iifname "{rule.in_interface}"')
    if rule.out_interface:
        words.append(f'oifname "{rule.out_interface}"')
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
    words.append("counter")
    if by_xtables:
        words.append(f"goto {chain_name((rule.queue, rule.bypass))}")
    else:
        words.append(f"queue {'flags bypass ' if rule.bypass else ''}num {rule.queue}")
    return " ".join(words)


def chain_body(rules: Sequence[QueueRule], family: int, hook: Hook, by_xtables: bool) -> str:
    """The lines of the chain of one hook."""
    priority = PRIORITY_OF.get(hook, OTHER_PRIORITY)
    head = f"  type filter hook {hook.lower()} priority {priority}; policy accept;\n"
    ours = (rule for rule in rules if rule.family == family and rule.hook is hook)
    lines = (line for number, rule in enumerate(ours) for line in nft_rules(rule, number, by_xtables=by_xtables))
    return head + "".join(f"  {line}\n" for line in lines)


def exchange_text(table: str, standing: Chains, wanted: Chains) -> str:
    """The input of nft that turns the chains that stand in `table` into those wanted; empty if they are the same.

    No chain is deleted, only emptied: when a hook goes away, be it one of reassembly, the kernel drops every
    packet that waits in any queue of the namespace.  Source: nf_queue_nf_hook_drop.
    """
    if {name: body for name, body in standing.items() if body} == wanted:
        return ""
    gone = "".join(f"flush chain {table} {name}\n" for name in standing)
    block = "".join(f" chain {name} {{\n{body} }}\n" for name, body in wanted.items())
    return f"{gone}table {table} {{\n{block}}}\n"


def nft_has_queue(namespace: Namespace) -> bool:
    """Whether nft and the kernel take a `queue` rule. Raises Closed."""
    return _takes(namespace, "inet", " chain c {\n  counter queue num 0\n }\n")


def nft_has_xtables_queue(namespace: Namespace) -> bool:
    """Whether nft is there and the kernel takes the xtables target in an nft chain. Raises NotPermitted, Closed."""
    probe = NftRules(namespace, "probe", by_xtables=True)
    rules = [QueueRule(family=4, hook=Hook.INPUT, queue=0, protocol="254", bypass=True)]  # met by no packet
    try:
        probe.replace(rules)
    except (ProgramFailed, MissingFeature, KernelRefused):
        return False
    finally:
        with suppress(ProgramFailed, MissingFeature):
            probe.clear()
    return True


def can_gather(namespace: Namespace) -> bool:
    """Whether IPv6 fragments can be put together ahead of INPUT. Raises Closed."""
    return _takes(namespace, "ip6", "".join(f" chain {name} {{\n{body} }}\n" for name, body in GATHER.items()))


def _takes(namespace: Namespace, family: str, chains: str) -> bool:
    text = f"table {family} wfplab-probe {{\n{chains}}}\ndelete table {family} wfplab-probe\n"
    try:
        namespace.run(["nft", "-f", "-"], input=text)
    except (ProgramFailed, MissingFeature):
        return False
    return True
