"""Completion functions that do what every one has to: give the list back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from emulator.netbuffer import CLONE, DEEP_CLONE, STREAM_CLONE, NetBufferList
from emulator.ntstatus import NtStatus

if TYPE_CHECKING:
    from emulator.ownership import Ownership

_CLONES = (CLONE, DEEP_CLONE, STREAM_CLONE)


class Completions:
    """A completion function that frees each list as its making demands, and remembers the statuses.

    Pass the object itself to an injection call.  Source: CF-1, CF-4, NB-5, NB-8, NB-9.
    """

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self.statuses: list[NtStatus] = []
        """Of the lists completed so far, in that order."""

    def __call__(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        """Free the list; a failing status changes nothing about that duty (CF-4)."""
        self.statuses.append(item.status)
        self.free(item)

    def free(self, item: NetBufferList) -> None:
        """Give a list back that was never injected, or whose injection was refused (GE-2)."""
        if item.kind in _CLONES:
            self._ownership.free_clone(item)
        else:
            self._ownership.free_list(item)

    def counted(self) -> dict[str, int]:
        """How often each status came, by name."""
        return dict(Counter(status.name for status in self.statuses))
