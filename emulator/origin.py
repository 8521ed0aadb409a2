"""Where the octets of a list come from: told who keeps them, and when they may have been changed."""

from __future__ import annotations

from emulator.defaults import set_defaults


class Origin:
    """What holds a packet whose octets lists share."""

    claims: int
    """Clones and references that keep it from being given up."""
    edited: bool
    """True once octets of the memory may differ from what arrived."""
    modified_later: bool
    """A callout referenced it to modify it later (NB-11)."""

    def release(self) -> None:
        """The last claim is gone."""
        raise NotImplementedError


set_defaults(Origin, claims=0, edited=False, modified_later=False)
