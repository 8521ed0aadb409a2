"""Divert rules in a namespace, installed in one step, owned, and removed in one step.

They live in the namespace and go with it. Our own chains and tables only: whatever else stands there is left.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from typing import Self

from netns.errors import Closed, MissingFeature
from netns.iptablesrules import PROGRAM, IptablesRules
from netns.namespace import Namespace
from netns.nftrules import NftRules, nft_has_queue, nft_has_xtables_queue
from netns.process import find_program
from netns.redirect import Redirect, redirect_egress_to_ingress
from netns.ruletext import Hook, Mark, QueueRule, check_tag

__all__ = [
    "Backend",
    "Hook",
    "InstalledRules",
    "Mark",
    "QueueRule",
    "Redirect",
    "choose_backend",
    "redirect_egress_to_ingress",
]

NEEDED_BY = ("network", "transport", "forward", "stream")


class Backend(Enum):
    """By which means the rules are set, best first.

    The first two exchange all rules in one transaction, put PREROUTING ahead of reassembly and INPUT behind it.
    """

    NFT = "nft"
    NFT_XTABLES = "nft with the xtables NFQUEUE target"
    """For kernels whose nftables have no `queue`."""
    IPTABLES = "iptables"
    """One step for each table and family. IPv6 PREROUTING rules see whole packets while IPv6 INPUT rules stand."""


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

        Without `backend` the first one that works here is taken.
        Raises ValueError (tag), MissingFeature, ProgramFailed, KernelRefused, NotPermitted, Closed.
        """
        check_tag(tag)
        self._namespace = namespace
        self._rules: tuple[QueueRule, ...] = ()
        self._closed = True
        self.backend = backend or choose_backend(namespace)
        """By which means they are set."""
        self._standing = _standing(self.backend, namespace, tag)
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
        """Make `rules` the ones that stand; no packet meets a mixture of old and new, or neither.

        (By iptables that holds for each table.) Counts begin anew, except where nothing changed.
        Raises MissingFeature, ProgramFailed, KernelRefused, Closed.
        """
        if self._closed:
            raise Closed("the set of installed rules")
        self._standing.replace(rules)
        self._rules = tuple(rules)

    def matched(self) -> list[int]:
        """How many packets each rule has taken so far, in the order of `rules`. Raises ProgramFailed, Closed."""
        counts = {family: self._standing.counts(family) for family in {rule.family for rule in self._rules}}
        return [counts[rule.family][rule.hook].pop(0) for rule in self._rules]

    def close(self) -> None:
        """Remove them; closing twice, or after the namespace, is allowed. Raises ProgramFailed."""
        if self._closed:
            return
        self._closed = True
        with suppress(Closed):  # they went with the namespace
            self._standing.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<InstalledRules {len(self._rules)} by {self.backend.value} in {self._namespace.name}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} were not closed", ResourceWarning, source=self, stacklevel=2)


def choose_backend(namespace: Namespace) -> Backend:
    """The best means that works, found by trying. Raises MissingFeature if none does, NotPermitted, Closed."""
    if nft_has_queue(namespace):
        return Backend.NFT
    if nft_has_xtables_queue(namespace):
        return Backend.NFT_XTABLES
    try:
        for program in PROGRAM.values():
            find_program(f"{program}-restore")
    except MissingFeature as error:
        raise MissingFeature("nft queue, and iptables", needed_by=NEEDED_BY, detail=str(error)) from error
    return Backend.IPTABLES


def _standing(backend: Backend, namespace: Namespace, tag: str) -> NftRules | IptablesRules:
    if backend is Backend.IPTABLES:
        return IptablesRules(namespace, tag)
    return NftRules(namespace, tag, by_xtables=backend is Backend.NFT_XTABLES)
