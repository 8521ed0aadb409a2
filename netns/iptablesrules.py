"""Queue rules by iptables-restore: chains of our own, one exchange for each table and family."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from netns.errors import ProgramFailed
from netns.namespace import Namespace
from netns.ruletext import Hook, QueueRule, hooks_of, prefix

FAMILIES = (4, 6)
PROGRAM = {4: "iptables", 6: "ip6tables"}
LOCK_WAIT_SECONDS = "10"
COUNTED = re.compile(r"\[(\d+):\d+\] -A (\S+) ")
TABLE_OF = {Hook.PREROUTING.value: "raw"}
"""The table of a hook, else mangle. Table raw stands behind reassembly wherever a namespace has reassembly ahead
of routing: if something in it uses connection tracking or TPROXY, or if an IPv6 INPUT rule of ours is there."""

GATHER = "GATHER"
"""A chain that nothing leads to. That it holds a TPROXY rule makes the kernel put IPv6 fragments together ahead
of routing; otherwise it does so behind INPUT (unlike IPv4), and INPUT would see fragments."""


class IptablesRules:
    """What stands by iptables in one namespace under one tag."""

    def __init__(self, namespace: Namespace, tag: str) -> None:
        self._namespace = namespace
        self._tag = tag
        self._present: dict[int, frozenset[str]] = {4: frozenset(), 6: frozenset()}

    def replace(self, rules: Sequence[QueueRule]) -> None:
        """Make `rules` what stands; after a failure each table is old or new. Raises ProgramFailed, Closed."""
        for family in FAMILIES:
            wanted = chains_wanted(rules, family)
            text = iptables_text(rules, family, self._tag, self._present[family])
            if text:
                try:
                    self._restore(family, text)
                except ProgramFailed:
                    self._present[family] = self._look(family)
                    raise
            self._present[family] = wanted

    def clear(self) -> None:
        """Remove everything. Raises ProgramFailed, Closed."""
        self.replace(())

    def counts(self, family: int) -> dict[Hook, list[int]]:
        """How many packets each rule took, in order. Raises ProgramFailed, Closed."""
        found: dict[Hook, list[int]] = {hook: [] for hook in Hook}
        hook_of = {chain_of(self._tag, hook): hook for hook in Hook}
        for line in self._save(family):
            counted = COUNTED.match(line)
            if counted and counted[2] in hook_of:
                found[hook_of[counted[2]]].append(int(counted[1]))
        return found

    def _restore(self, family: int, text: str) -> None:
        program = f"{PROGRAM[family]}-restore"
        self._namespace.run([program, "--noflush", "--wait", LOCK_WAIT_SECONDS], input=text)

    def _look(self, family: int) -> frozenset[str]:
        """Which of our chains stand."""
        declared = {line.split()[0] for line in self._save(family) if line.startswith(":")}
        return frozenset(name for name in (*Hook, GATHER) if f":{chain_of(self._tag, name)}" in declared)

    def _save(self, family: int) -> list[str]:
        return self._namespace.run([f"{PROGRAM[family]}-save", "-c"]).stdout.splitlines()


def chain_of(tag: str, name: str) -> str:
    """The chain of ours for a hook."""
    return f"WFPLAB-{tag}-{name}"


def iptables_rule(rule: QueueRule) -> str:
    """The match and target part of one rule, as iptables-restore reads it."""
    words: list[str] = []
    if rule.in_interface:
        words += ["-i", rule.in_interface]
    if rule.out_interface:
        words += ["-o", rule.out_interface]
    if rule.source:
        words += ["-s", prefix(rule.source)]
    if rule.destination:
        words += ["-d", prefix(rule.destination)]
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


def chains_wanted(rules: Sequence[QueueRule], family: int) -> frozenset[str]:
    """The names of the chains that `rules` need for one family, without what makes them ours."""
    hooks = hooks_of(rules, family)
    gather = {GATHER} if family == 6 and Hook.INPUT in hooks else set()
    return frozenset(hook.value for hook in hooks) | gather


def iptables_text(rules: Sequence[QueueRule], family: int, tag: str, present: frozenset[str]) -> str:
    """The input of one `iptables-restore --noflush` that makes `rules` what stands in our chains.

    `present` names those that stand already. Every table is exchanged in one step.
    """
    wanted = chains_wanted(rules, family)
    by_table: dict[str, list[str]] = {}
    for name in (*Hook, GATHER):
        if name not in wanted | present:
            continue
        lines = by_table.setdefault(TABLE_OF.get(name, "mangle"), [])
        lines.append(f":{chain_of(tag, name)} - [0:0]\n")  # makes the chain, or empties it
        if name not in wanted:
            lines.extend(_removal(chain_of(tag, name), name))
        elif name == GATHER:
            lines.append(f"-A {chain_of(tag, name)} -p tcp -j TPROXY --on-port 1\n")
        else:
            ours = [rule for rule in rules if rule.family == family and rule.hook == name]
            lines.extend(_filling(chain_of(tag, name), name, ours, is_present=name in present))
    return "".join(f"*{table}\n" + "".join(_declared_first(lines)) + "COMMIT\n" for table, lines in by_table.items())


def _filling(chain: str, hook: str, rules: Sequence[QueueRule], *, is_present: bool) -> Iterator[str]:
    if not is_present:
        yield f"-I {hook} -j {chain}\n"
    for rule in rules:
        yield f"-A {chain} {iptables_rule(rule)}\n"


def _removal(chain: str, name: str) -> Iterator[str]:
    if name != GATHER:
        yield f"-D {name} -j {chain}\n"
    yield f"-X {chain}\n"


def _declared_first(lines: list[str]) -> list[str]:
    return sorted(lines, key=lambda line: not line.startswith(":"))
