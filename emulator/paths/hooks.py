"""Which hooks of a host are watched: those that the layers with filters need, no others.

Source: design of the hooks: docs/decisions.md; FW-5, FW-7, LA-20, NS-19.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

from emulator.ledger import EXEMPT_MAGIC, FRAGMENT_BIT, MAGIC, MAGIC_MASK
from emulator.paths.plans import FORWARD, INPUT, OUTPUT, POSTROUTING, PREROUTING, hooks_for
from emulator.paths.queue import HookNumber
from emulator.paths.wanted import wanted_at

if TYPE_CHECKING:
    from emulator.interfaces import InterfaceTable
    from emulator.paths.packets import PacketPath
    from netns.namespace import Namespace
    from netns.rules import InstalledRules
    from netns.ruletext import Among, Mark, QueueRule

HookSet = set[tuple[int, int]]
"""(hook, IP version) pairs."""
_FORWARDING: Final = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


class Hooks:
    """The divert rules of one host, kept to what its filters need.  Its owner closes it."""

    def __init__(self, namespace: Namespace, packets: PacketPath, queue: int) -> None:
        self._namespace = namespace
        self._packets = packets
        self._queue = queue
        self._rules: InstalledRules | None = None
        self._standing: list[QueueRule] = []
        self._gathered: HookSet = set()
        """Hooks at which only what was put together from fragments is taken."""
        self._exact: HookSet = set()
        """Hooks that packets which must leave octet for octet have to pass."""
        self._exact_only: HookSet = set()
        """Of those, the ones at which nothing but packets with a mark of ours is taken."""
        self._guard = threading.RLock()
        self.shows_all: Callable[[], bool] = lambda: False
        """Whether also packets that no filter wants have to come here."""

    def follow(self) -> HookSet:
        """Watch what the filters in force need; returns the hooks that are watched no longer.

        Raises MissingFeature, ProgramFailed, Closed.
        """
        packets = self._packets
        with self._guard:
            layers = packets.core.engine.layers()
            wanted = hooks_for(layers)
            # What was reassembled is told by its mark, and shown where it comes by next (LA-20).
            self._gathered = {(INPUT, version) for hook, version in wanted if hook == PREROUTING} - wanted
            self._exact_only = self._exact - wanted
            before = set(packets.hooks)
            packets.hooks |= wanted | self._exact_only
            packets.course.replan(wanted)
            routed = (version for hook, version in wanted if hook == FORWARD)
            forwards = frozenset(v for v in routed if self._namespace.sysctl(_FORWARDING[v]) != "0")
            packets.course.forwards = forwards
            packets.course.passes_at_output = frozenset(
                v for v in forwards if not {(OUTPUT, v), (POSTROUTING, v)} & wanted
            )
            self._install(wanted)
            packets.hooks = wanted | self._exact_only
            return before - packets.hooks

    def _among(self, where: tuple[int, int], wanted: HookSet) -> Among | None:
        """What of a hook's packets the filters in force may want; None for all."""
        if where not in wanted or self._packets.groups is not None or self.shows_all():
            return None
        if where[0] in (INPUT, POSTROUTING) and where[1] in self._packets.course.forwards:
            return None
        return wanted_at(*where, list(self._packets.core.engine.filters.values()), wanted)

    def refresh(self) -> None:
        """Interfaces or addresses have changed: the rules that name them follow."""
        with self._guard:
            if self._rules is not None and self._packets.course.forwards:
                self._install(self._packets.hooks - self._exact_only)

    def need_exact(self, version: int) -> None:
        """Have marked packets pass the last hook, where their octets are put back as they were given (NS-19)."""
        with self._guard:
            if (POSTROUTING, version) not in self._packets.hooks:
                self._exact.add((POSTROUTING, version))
                self.follow()

    def close(self) -> None:
        """Remove all rules; closing twice is allowed.  Raises ProgramFailed."""
        if self._rules is not None:
            self._rules.close()

    def _install(self, wanted: HookSet) -> None:
        from netns.rules import InstalledRules

        rules = self._plain(wanted) + self._passing_through(wanted)
        if rules == self._standing:
            return
        if self._rules is None:
            self._rules = InstalledRules(self._namespace, rules)
        else:
            self._rules.replace(rules)
        self._standing = rules

    def _plain(self, wanted: HookSet) -> list[QueueRule]:
        from netns.ruletext import Hook, Mark, QueueRule

        return [
            QueueRule(
                family=4 if version == 4 else 6,
                hook=Hook[HookNumber(hook).name],
                queue=self._queue,
                exempt=Mark(EXEMPT_MAGIC << 24, MAGIC_MASK),
                marked=self._marked((hook, version)),
                among=self._among((hook, version), wanted),
            )
            for hook, version in sorted(wanted | self._gathered | self._exact_only)
        ]

    def _marked(self, where: tuple[int, int]) -> Mark | None:
        """The mark that packets must have to be taken at a hook; None where all are taken."""
        from netns.ruletext import Mark

        if where in self._gathered:
            return Mark(MAGIC << 24 | FRAGMENT_BIT, MAGIC_MASK | FRAGMENT_BIT)
        return Mark(MAGIC << 24, MAGIC_MASK) if where in self._exact_only else None

    def _passing_through(self, wanted: HookSet) -> list[QueueRule]:
        """Rules for the packets that IPFORWARD is shown although they begin or end here, no others (FW-7)."""
        from netns.ruletext import Hook, Mark, QueueRule

        rules: list[QueueRule] = []
        exempt = Mark(EXEMPT_MAGIC << 24, MAGIC_MASK)
        for version in sorted(self._packets.course.forwards):
            for name, address in foreign(self._packets.interfaces, version):
                family: Literal[4, 6] = 4 if version == 4 else 6
                if (INPUT, version) not in wanted:
                    rules.append(
                        QueueRule(family=family, hook=Hook.INPUT, queue=self._queue, exempt=exempt, in_interface=name,
                                  destination=address)
                    )  # fmt: skip
                if (POSTROUTING, version) not in wanted:
                    # Best where nothing that is routed comes by.
                    hook = Hook.OUTPUT if version in self._packets.course.passes_at_output else Hook.POSTROUTING
                    rules.append(
                        QueueRule(family=family, hook=hook, queue=self._queue, exempt=exempt, out_interface=name,
                                  source=address)
                    )  # fmt: skip
        return rules


def foreign(interfaces: InterfaceTable, version: int) -> list[tuple[str, str]]:
    """Every (interface, address) where the address is this host's, but another interface's.

    Loopback is left out, and so are link-local addresses, which mean nothing on another interface.
    """
    size = 4 if version == 4 else 16
    real = [item for item in interfaces if not item.loopback]
    return sorted(
        (item.name, str(ip_address(address)))
        for item in real
        for other in real
        for address in other.addresses
        if other is not item and len(address) == size and not (size == 16 and address[0] == 0xFE)
    )
