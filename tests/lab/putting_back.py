"""The callout that takes every packet and injects it again, as tests use it; and looking on beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulator.callout import Callout
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.layers import layer_of
from emulator.ported.reinject import ALL_TYPES, OutOfBand, Reinject
from emulator.stack import Stack
from emulator.wfptypes import Action, AddressFamily
from tests.lab.conftest import Completions


class Worker(OutOfBand):
    """Works out of band; at its end nothing may have gone wrong."""

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        assert self.failures == []


class PutBack(Reinject):
    """A `Reinject` whose completions a test can read."""

    done: Completions

    def __init__(self, stack: Stack, handle: InjectionHandle, **how: Any) -> None:
        super().__init__(handle, Completions(stack), **how)


def inspect(stack: Stack, look: Callable[[Indication], Any], *groups: str, family: AddressFamily) -> None:
    """Have a function look at all that is shown at layers of one family, before others are asked."""

    class Look(Callout):
        def classify(self, seen: Indication) -> None:
            look(seen)

    registered = stack.register(Look())
    for group in groups:
        stack.add_filter(
            layer_of(group, family.version), registered, action=Action.CALLOUT_INSPECTION, weight=2**60
        )


def forgiven(stack: Stack, *rules: str) -> None:
    """Forget violations of these rules, which a test breaks on purpose; assert that there are no others."""
    assert set(stack.core.violations.rules()) <= set(rules)
    stack.core.violations.entries.clear()


__all__ = ["ALL_TYPES", "PutBack", "Worker", "forgiven", "inspect"]
