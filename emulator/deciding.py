"""The decision on one indication, as callouts make it.

Source: CO-10..CO-19, FI-2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.defaults import set_defaults
from emulator.wfptypes import Action, ClassifyOutFlag

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.filters import Filter
    from emulator.flows import Flow

# Plain numbers: they are compared for every packet.
BLOCK, PERMIT, CONTINUE, NONE = (int(a) for a in (Action.BLOCK, Action.PERMIT, Action.CONTINUE, Action.NONE))
ABSORB = int(ClassifyOutFlag.ABSORB)


class Deciding:
    """What the engine and the callouts of a layer tell each other about one indication.

    It is valid until classify returns.
    """

    core: Core
    layer: int
    inbound: bool
    interface: int
    flow: Flow | None
    filter: Filter | None
    flow_context: Any
    action: int
    rights: int
    out_flags: int
    blocked_by: int
    ended: bool

    @property
    def may_decide(self) -> bool:
        """True while the callout may set any action; otherwise only a veto BLOCK counts (CO-14)."""
        return bool(self.rights)

    def permit(self) -> None:
        """Let the data pass; final when the filter says CLEAR_ACTION_RIGHT.  Source: CO-15."""
        if self.ended:
            self._late("the decision")
            return
        self.action = PERMIT
        if self.filter is not None and self.filter.clears_right:
            self.rights = 0

    def hard_permit(self) -> None:
        """Let the data pass; only a callout's veto can still stop it.  Source: CO-15, FI-2."""
        if self.ended:
            self._late("the decision")
            return
        self.action = PERMIT
        self.rights = 0

    def block(self, *, absorb: bool = False, hard: bool = True) -> None:
        """Stop the data; with `absorb` silently, as before an injection.  `hard` False lets others override.

        Source: CO-15, CO-17, CO-19.
        """
        if self.ended:
            self._late("the decision")
            return
        self.action = BLOCK
        if absorb:
            self.out_flags |= 1
        if hard:
            self.rights = 0

    def continue_(self) -> None:
        """Leave the decision to the next filter.  Source: CO-16, CO-18."""
        if self.ended:
            self._late("the decision")
            return
        self.action = CONTINUE

    @property
    def absorbed(self) -> bool:
        """True when the data was blocked silently (CO-17)."""
        return bool(self.out_flags & ABSORB)

    def _late(self, what: str) -> None:
        self.core.violate(
            "CO-12", "classifyFn", f"{what} of an indication was used after its classify had returned: copy it"
        )


set_defaults(Deciding, flow=None, filter=None, out_flags=0, blocked_by=0, ended=False)
