"""Divert rules in a namespace, installed in one step, owned, and removed in one step.

They live in the namespace and go with it. Our own chains and tables only: whatever else stands there is left.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from enum import Enum
from typing import Self

from netns.errors import Closed, MissingFeature, ProgramFailed
from netns.namespace import Namespace
from netns.process import find_program
from netns.redirect import Redirect, redirect_egress_to_ingress
from netns.ruletext import Hook, Mark, QueueRule, chain_of, hooks_of, iptables_text, nft_table, nft_text

__all__ = [
    "Backend",
    "Hook",
    "InstalledRules",
    "Mark",
    "QueueRule",
    "Redirect",
    "nft_has_queue",
    "redirect_egress_to_ingress",
]

FAMILIES = (4, 6)
PROGRAM = {4: "iptables", 6: "ip6tables"}
LOCK_WAIT_SECONDS = "10"
COUNTED = re.compile(r"\[(\d+):\d+\] -A (\S+) ")
NEEDED_BY = ("transport", "forward", "network")


class Backend(Enum):
    """By which program the rules are set."""

    NFT = "nft"
    """One transaction for everything; ahead of reassembly in any case."""
    IPTABLES = "iptables"
    """One step for each table and family; for kernels without nft `queue`."""


class InstalledRules:
    """Queue rules that stand in a namespace until closed; owned by whoever installed them.

    Remove them before the queue is unbound: a rule that points at a dead queue drops traffic.
    """

    def __init__(
        self,
        namespace: Namespace,
        rules: Sequence[QueueRule] = (),
        *,
        backend: Backend | None = None,
        tag: str = "main",
    ) -> None:
        """Install `rules`; two sets in one namespace need two `tag`s.

        Without `backend`, nft is tried first and iptables taken where the kernel has no nft `queue`.
        Raises ValueError (tag), MissingFeature, ProgramFailed, Closed.
        """
        chain_of(tag, Hook.INPUT)  # refuses a bad tag before anything is done
        self._namespace = namespace
        self._tag = tag
        self._rules: tuple[QueueRule, ...] = ()
        self._closed = True
        self.backend = backend or choose_backend(namespace)
        """By which program they were set."""
        self._closed = False
        try:
            self.replace(rules)
        except BaseException:
            self.close()
            raise

    @property
    def rules(self) -> tuple[QueueRule, ...]:
        """Those that stand now, in order."""
        return self._rules

    def replace(self, rules: Sequence[QueueRule]) -> None:
        """Make `rules` the ones that stand; no packet sees a mixture within a table, or an empty moment.

        Raises ProgramFailed (by nft the old ones then stand; by iptables each table is old or new), Closed.
        """
        if self._closed:
            raise Closed("the installed rules")
        wanted = tuple(rules)
        if self.backend is Backend.NFT:
            if wanted or self._rules:
                self._namespace.run(["nft", "-f", "-"], input=nft_text(wanted, self._tag))
            self._rules = wanted
        else:
            for family in FAMILIES:
                self._restore(family, wanted)

    def matched(self) -> list[int]:
        """How many packets each rule has taken so far, in the order of `rules`. Raises ProgramFailed, Closed."""
        counts = {family: self._counts(family) for family in FAMILIES if hooks_of(self._rules, family)}
        return [counts[rule.family][rule.hook].pop(0) for rule in self._rules]

    def close(self) -> None:
        """Remove them; closing twice, or after the namespace, is allowed. Raises ProgramFailed."""
        if self._closed:
            return
        try:
            self.replace(())
        except Closed:
            pass  # they went with the namespace
        finally:
            self._closed = True

    def _restore(self, family: int, wanted: tuple[QueueRule, ...]) -> None:
        present = hooks_of(self._rules, family)
        text = iptables_text(wanted, family, self._tag, present)
        if text:
            program = f"{PROGRAM[family]}-restore"
            self._namespace.run([program, "--noflush", "--wait", LOCK_WAIT_SECONDS], input=text)
        # Family by family, so that after a failure `close` removes just what stands.
        self._rules = (
            *(rule for rule in self._rules if rule.family != family),
            *(rule for rule in wanted if rule.family == family),
        )
        if family == FAMILIES[-1]:
            self._rules = wanted

    def _counts(self, family: int) -> dict[Hook, list[int]]:
        found: dict[Hook, list[int]] = {hook: [] for hook in Hook}
        if self.backend is Backend.NFT:
            listed = self._namespace.run(["nft", "-j", "list", "table", *nft_table(family, self._tag).split()])
            for item in json.loads(listed.stdout)["nftables"]:
                if "rule" in item:
                    counters = [part["counter"] for part in item["rule"]["expr"] if "counter" in part]
                    found[Hook(item["rule"]["chain"])].append(counters[0]["packets"])
            return found
        hook_of = {chain_of(self._tag, hook): hook for hook in Hook}
        for line in self._namespace.run([f"{PROGRAM[family]}-save", "-c"]).stdout.splitlines():
            counted = COUNTED.match(line)
            if counted and counted[2] in hook_of:
                found[hook_of[counted[2]]].append(int(counted[1]))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<InstalledRules {len(self._rules)} by {self.backend.value} in {self._namespace.name}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} were not closed", ResourceWarning, source=self, stacklevel=2)


def nft_has_queue(namespace: Namespace) -> bool:
    """Whether nft and the kernel take a `queue` rule, found by setting one in a table that no packet meets."""
    text = (
        "table inet wfplab-probe {\nchain c {\ncounter queue num 0\n}\n}\n"  # no hook: nothing passes through it
        "delete table inet wfplab-probe\n"
    )
    try:
        namespace.run(["nft", "-f", "-"], input=text)
    except (ProgramFailed, MissingFeature):
        return False
    return True


def choose_backend(namespace: Namespace) -> Backend:
    """nft where it can queue, else iptables. Raises MissingFeature if neither is there, Closed."""
    if nft_has_queue(namespace):
        return Backend.NFT
    try:
        for program in PROGRAM.values():
            find_program(f"{program}-restore")
    except MissingFeature as error:
        raise MissingFeature("nft queue, and iptables", needed_by=NEEDED_BY, detail=str(error)) from error
    return Backend.IPTABLES
