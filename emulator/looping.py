"""Loops of injections: drivers that inject each other's packets for ever are noticed and stopped.

A clone carries its history, so its length tells.  A packet built anew has none (QS-8), which is just how two
copying drivers loop: so what was injected and then blocked is remembered by its octets, and a fresh packet with
the same octets continues its chain.  TTL and IP header are left out: lowering the TTL does not hide a loop.
Source: GE-13, GE-14.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emulator.ledger import History
from emulator.octets import IpView

Chain = tuple[object, ...]
"""The handles that injected a packet or what it was copied from, oldest first."""

KEPT = 1024
SAME_KEPT = 64
"""Packets of the same octets that are remembered at one time."""


class LoopGuard:
    """Counts how often packets of one host went round; `limit` injections of one packet are too many."""

    __slots__ = ("limit", "_chains", "_blocked")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._chains: dict[int, Chain] = {}
        self._blocked: dict[bytes, list[Chain]] = {}

    @property
    def idle(self) -> bool:
        """True while nothing was injected and then blocked: there is no chain that could go on."""
        return not self._blocked

    def sent(self, record: int, chain: Chain) -> None:
        """A fresh packet with this record's id was sent, at the end of this chain."""
        if len(self._chains) >= KEPT:
            del self._chains[next(iter(self._chains))]
        self._chains[record] = chain

    def blocked(self, view: IpView, history: History, record: int = 0) -> None:
        """An injected packet was blocked: whoever did that may be about to inject a copy."""
        chain = self._chains.get(record) or handles_of(history)
        _keep(self._blocked.setdefault(_octets(view), []), chain)
        if len(self._blocked) > KEPT:
            del self._blocked[next(iter(self._blocked))]

    def blocked_first(self, view: IpView) -> None:
        """A packet that nobody injected was blocked: a copy of it continues no chain."""
        kept = self._blocked.get(_octets(view))
        if kept is not None:
            _keep(kept, ())

    def continued(self, view: IpView, handle: object) -> Chain:
        """The chain that a fresh packet injected by `handle` continues, with that handle at its end."""
        octets = _octets(view)
        kept = self._blocked.get(octets)
        if not kept:
            return (handle,)
        chain = kept.pop()
        if not kept:
            del self._blocked[octets]
        return (*chain, handle)


def _keep(kept: list[Chain], chain: Chain) -> None:
    """Remember the newest: what was blocked last is what will be copied next."""
    if len(kept) >= SAME_KEPT:
        del kept[0]
    kept.append(chain)


def handles_of(history: History) -> Chain:
    """The handles of a history, oldest first."""
    return tuple(entry.handle for entry in history)


def told(chain: Sequence[object]) -> str:
    """A chain in words, such as `handle 1 → handle 2 → handle 1 → … (32 times)`."""
    names = [_name(handle) for handle in chain[:6]]
    more = " → …" if len(chain) > len(names) else ""
    return f"{' → '.join(names)}{more} ({len(chain)} times)"


def _name(handle: object) -> str:
    number = getattr(handle, "number", None)
    return f"handle {number}" if number is not None else repr(handle)


def _octets(view: IpView) -> bytes:
    parts: Iterable[bytes] = (
        view.source, view.destination, bytes((view.protocol,)), bytes(view.buffer[view.transport_offset : view.end])
    )  # fmt: skip
    return b"".join(parts)
