"""What the engine looks at in a filter for every packet: the part of `emulator.filters.Filter` that it sets itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emulator.defaults import set_defaults

if TYPE_CHECKING:
    from emulator.callout import RegisteredCallout

Predicate = Callable[[Any], bool]


class FilterParts:
    """What `Filter.compile` and the engine make of what was given."""

    filter_id: int
    """Given by the engine."""
    effective_weight: int
    """The UINT64 weight in force: the given one, or the engine's choice."""
    callout: RegisteredCallout | None
    clears_right: bool
    kind: int
    """`action` as a plain number: it is compared for every packet."""
    groups: tuple[tuple[Predicate, ...], ...] | None
    """Of all, one predicate each must be true; None or empty for a filter without conditions."""


set_defaults(FilterParts, filter_id=0, effective_weight=0, callout=None, clears_right=False, kind=0, groups=None)
