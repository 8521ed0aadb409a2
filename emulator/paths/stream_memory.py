"""Memory that sockets are read into: used again as soon as nobody holds it any more."""

from __future__ import annotations

from sys import getrefcount
from typing import Final

from emulator.splice import MOST_WAITING

RECEIVE_OCTETS: Final = MOST_WAITING
LEAD: Final = b"\xdd" * 16
"""Octets in front of every window's memory: a callout that forgets the offset sees them (ST-22)."""
KEPT_MOST: Final = 8
"""How many pieces are kept for use again; when all are held, others are made and given up."""


class ReadMemory:
    """Pieces of memory with LEAD in front of room for RECEIVE_OCTETS.

    Making one anew for each read costs as much as copying its octets.  Who looks at octets, or clones them, holds
    their memory as Python objects do; that nobody does is seen by the count of its holders.
    """

    def __init__(self) -> None:
        self._kept = [_made()]
        self._alone = self._holders(0)

    def take(self) -> bytearray:
        """A piece that nobody else holds; its octets behind LEAD are of no meaning."""
        for place in range(len(self._kept)):
            if self._holders(place) == self._alone:
                memory = self._kept[place]
                memory[: len(LEAD)] = LEAD
                return memory
        memory = _made()
        if len(self._kept) < KEPT_MOST:
            self._kept.append(memory)
        return memory

    def _holders(self, place: int) -> int:
        return getrefcount(self._kept[place])


def _made() -> bytearray:
    return bytearray(LEAD) + bytes(RECEIVE_OCTETS)
