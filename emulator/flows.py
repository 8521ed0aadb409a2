"""Flows and the contexts that callouts attach to them.

A flow is a conversation of one local and one remote end; contexts are kept per flow, layer and callout.
There is no clock here: whoever has one passes `now`, in seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
_TCP = 6

IDLE_LIMIT = 60.0
"""Seconds after which a flow that is not TCP ends for want of traffic (FL-7)."""


class Calendar(Generic[T]):
    """Things to look at when their time comes: what is not due costs nothing, however many there are."""

    __slots__ = ("_seconds", "_next")

    def __init__(self) -> None:
        self._seconds: dict[int, list[T]] = {}
        self._next: float = float("inf")

    def add(self, item: T, when: float) -> None:
        """Have `due` give it at the first call from `when` on, or up to a second earlier."""
        second = int(when // 1)
        self._seconds.setdefault(second, []).append(item)
        self._next = min(self._next, second)

    def due(self, now: float) -> list[T]:
        """What is to be looked at by `now`; each is given once."""
        if now < self._next:
            return []
        passed = sorted(second for second in self._seconds if second <= now)
        items = [item for second in passed for item in self._seconds.pop(second)]
        self._next = min(self._seconds, default=float("inf"))
        return items


class FlowKey(NamedTuple):
    """The two ends of a flow, as this host sees them; for ICMP the ports are type and identifier.

    Addresses are octets in network order.
    """

    protocol: int
    local_address: bytes
    local_port: int
    remote_address: bytes
    remote_port: int


class Flow:
    """One conversation, from its authorisation to its end.  `number` is what callouts see as flow handle."""

    __slots__ = (
        "number", "key", "outbound", "contexts", "last_seen", "ended", "kept", "stale", "classifying", "endpoint",
    )  # fmt: skip

    def __init__(self, number: int, key: FlowKey, outbound: bool, now: float) -> None:
        self.number = number
        self.key = key
        self.outbound = outbound
        """True when this host opened the conversation."""
        self.contexts: dict[tuple[int, int], Any] = {}
        """Context by (layer, callout id)."""
        self.last_seen = now
        self.ended = False
        self.kept = False
        """True while the stream path carries the connection: it alone knows when that is over."""
        self.stale = False
        """The filters that authorised it have changed since: its next packet asks them again (FI-7)."""
        self.classifying: defaultdict[int, int] = defaultdict(int)
        """Running classifies by callout id: a context is not deleted under one (FL-4, FL-10)."""
        self.endpoint: Any = None

    def __repr__(self) -> str:
        return f"<flow {self.number} protocol {self.key.protocol}>"


class FlowTable:
    """All live flows of one host, by key and by number.

    `on_end` is called with every flow that has ended and was taken from the table.
    """

    def __init__(self, on_end: Callable[[Flow], None]) -> None:
        self._by_key: dict[FlowKey, Flow] = {}
        self._by_number: dict[int, Flow] = {}
        self._idle: Calendar[Flow] = Calendar()
        self._next = 0
        self._on_end = on_end

    def find(self, key: FlowKey) -> Flow | None:
        """The live flow with these ends."""
        return self._by_key.get(key)

    def number(self, number: int) -> Flow | None:
        """The live flow with this number."""
        return self._by_number.get(number)

    def begin(self, key: FlowKey, *, outbound: bool, now: float) -> Flow:
        """A new flow; one with the same ends ends first.  Numbers are never used again."""
        old = self._by_key.get(key)
        if old is not None:
            self.end(old)
        self._next += 1
        flow = Flow(self._next, key, outbound, now)
        self._by_key[key] = flow
        self._by_number[flow.number] = flow
        if key.protocol != _TCP:
            self._idle.add(flow, now + IDLE_LIMIT)
        return flow

    def end(self, flow: Flow) -> None:
        """Take a flow from the table and tell `on_end`; nothing for one that is kept or has ended.  Source: FL-5."""
        if flow.ended or flow.kept:
            return
        flow.ended = True
        if self._by_key.get(flow.key) is flow:
            del self._by_key[flow.key]
        del self._by_number[flow.number]
        self._on_end(flow)

    def reauthorise(self, version: int, *, outbound: bool, asks: bool) -> None:
        """The filters of one authorising layer have changed; `asks` is False when none is left there.

        Flows of the IP version `version` that were opened in that direction are stale then.  Source: FI-7, LA-16.
        """
        for flow in self:
            if flow.outbound == outbound and (len(flow.key.local_address) == 4) == (version == 4):
                flow.stale = asks

    def expire(self, now: float) -> None:
        """End the flows other than TCP that were idle for too long.  Source: FL-7."""
        for flow in self._idle.due(now):
            when = flow.last_seen + IDLE_LIMIT
            if when <= now:
                self.end(flow)
            if not flow.ended:  # used meanwhile, or kept
                self._idle.add(flow, when if when > now else now + IDLE_LIMIT)

    def __iter__(self) -> Iterator[Flow]:
        return iter(list(self._by_number.values()))

    def __len__(self) -> int:
        return len(self._by_number)
