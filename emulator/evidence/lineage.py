"""Which sights are of the same packet: over the hooks of one host, and over the wire to the next.

Inside an emulated host this is known: a queued packet, its clones and what is injected of them carry numbers.
Everywhere else it is inferred: a packet seen at a later place with the same addresses, protocol, fragment offset,
length and octets behind its IP header (transport checksum aside; of many only the first), and with the same IPv4
identification where both have one, is the same packet; among equal ones, the one that has waited longest.

What that cannot do: of equal packets of which one is lost without a word, the next one takes its number; a packet
that something other than a traced host rewrites, cuts (a large TCP segment) or sends round in circles gets a new
number; fragments and the whole packet are joined by identification, so of IPv6 only the fragments are.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from emulator.octets import ICMP, ICMPV6, TCP, UDP, IpView, Malformed

# How far a packet has come in a host: it only goes up, and starts again on the next host, or by loopback.
RECEIVED, WIRE_IN, PREROUTING, INPUT, SENT, OUTPUT, POSTROUTING, WIRE_OUT = range(8)
FORWARD = INPUT
FRESH_NANOSECONDS = 1_000_000_000
"""Equal packets are taken in order when they were last seen within this time; else the latest is taken."""
SPLICE_PORT = re.compile(r"wfs\d+[hw]\d*")
"""Interfaces between a host and the splice of its uplink, by name."""
KEYS_MOST = 65536
SAME_MOST = 256
"""Equal packets that may be on their way at one time."""
_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}

COMPARED_MOST = 1900
"""Octets behind the IP header that are compared, besides how many there are: frames may be cut behind them."""

Key = tuple[bytes, int, int, int, bytes]


@dataclass(slots=True, frozen=True)
class Identity:
    """What tells a packet from others."""

    key: Key
    ident: int
    """The IPv4 or fragment identification, 0 for none."""
    fragment: bool
    source: bytes
    destination: bytes


def identity_of(octets: bytes) -> Identity | None:
    """What an IP packet is known by; None for octets that are none."""
    try:
        view = IpView(octets)
    except Malformed:
        return None
    behind = bytearray(octets[view.transport_offset : min(view.end, view.transport_offset + COMPARED_MOST)])
    length = view.total_length - view.header_size
    at = _CHECKSUM_AT.get(view.protocol)
    if at is not None and not view.fragment_offset and len(behind) >= at + 2:
        behind[at : at + 2] = b"\0\0"
    digest = blake2b(behind, digest_size=12).digest()
    source, destination = view.source, view.destination
    key = (source + destination, view.protocol, view.fragment_offset, length, digest)
    return Identity(key, view.identification, view.is_fragment, source, destination)


@dataclass(slots=True, eq=False)
class Copy:
    """One packet on its way: the one that came, or one that was injected in its place."""

    packet: int
    number: int
    time: int
    destination: bytes = b""
    ident: int = 0
    key: Key | None = None
    host: int = -1
    rank: int = RECEIVED
    """How far it has come at `host`, where it was seen last."""
    place: str = ""
    """Which hook or interface that was."""
    passed: dict[int, int] = field(default_factory=dict)
    """Hosts it has been at, and how far it came."""
    places: set[tuple[int, str]] = field(default_factory=set)
    injection: tuple[int, int] | None = None
    """(host, serial) of the injection that made it."""
    cause: int = 0
    gone: str = ""
    """Why it is no more; empty while it may be anywhere."""
    absorbed: bool = False

    def may_come_to(self, host: int, rank: int, place: str, *, looped: bool) -> bool:
        """Whether this copy can be what is seen at a place now."""
        if self.gone or (host, place) in self.places:
            return False
        before = self.passed.get(host)
        if before is not None:
            wire = rank in (WIRE_IN, WIRE_OUT)
            return rank > before or (wire and rank == before) or (looped and before >= SENT)
        return rank <= INPUT and any(reached >= INPUT for reached in self.passed.values())

    def seen(self, time: int, host: int, rank: int, place: str) -> None:
        """It was seen at a place."""
        self.time, self.host, self.rank, self.place = time, host, rank, place
        self.passed[host] = rank
        self.places.add((host, place))


class Lineage:
    """Gives packets their numbers, and finds them again by what they hold."""

    def __init__(self) -> None:
        self.packets: dict[int, list[Copy]] = {}
        self._air: OrderedDict[Key, list[Copy]] = OrderedDict()
        self._datagrams: OrderedDict[tuple[bytes, bytes, int], int] = OrderedDict()
        self._last = 0

    def born(self, time: int, *, packet: int = 0, cause: int = 0) -> Copy:
        """A packet that was not there before, or with `packet` another copy of that one."""
        if not packet:
            self._last = packet = self._last + 1
        copies = self.packets.setdefault(packet, [])
        made = Copy(packet, len(copies), time, cause=cause)
        copies.append(made)
        return made

    def sighted(self, time: int, host: int, rank: int, place: str, octets: bytes, *, looped: bool = False) -> Copy:
        """The packet that is seen at a place: one that is on its way, or a new one."""
        found = identity_of(octets)
        copy = self._match(found, time, host, rank, place, looped) if found is not None else None
        if copy is None:
            copy = self.born(time, packet=self._part_of(found))
            self.hold(copy, found)
        elif found is not None and found.ident:
            copy.ident = found.ident
        copy.seen(time, host, rank, place)
        return copy

    def choose(self, copies: Iterable[Copy], host: int, place: str, octets: bytes) -> Copy | None:
        """Which of the copies of one injection is seen at a place."""
        found = identity_of(octets)
        waiting = [copy for copy in copies if not copy.gone and (host, place) not in copy.places]
        for copy in waiting:
            if found is not None and copy.key == found.key:
                return copy
        return waiting[0] if waiting else None

    def hold(self, copy: Copy, known: Identity | bytes | None) -> None:
        """Let a copy be found by these octets from now on, and by no others."""
        found = identity_of(known) if isinstance(known, bytes) else known
        if found is not None and copy.key == found.key:  # its turn among equal ones stays
            copy.ident = found.ident or copy.ident
            return
        self._drop_key(copy)
        if found is None:
            return
        copy.key, copy.ident, copy.destination = found.key, found.ident, found.destination
        same = self._air.setdefault(found.key, [])
        same.append(copy)
        if len(same) > SAME_MOST:
            same.pop(0).key = None
        while len(self._air) > KEYS_MOST:
            self._air.popitem(last=False)
        if found.ident:
            self._datagrams[found.source, found.destination, found.ident] = copy.packet
            while len(self._datagrams) > KEYS_MOST:
                self._datagrams.popitem(last=False)

    def end(self, copy: Copy, why: str) -> None:
        """A copy is no more."""
        copy.gone = why
        self._drop_key(copy)

    def _drop_key(self, copy: Copy) -> None:
        if copy.key is None:
            return
        others = self._air.get(copy.key)
        if others is not None and copy in others:
            others.remove(copy)
            if not others:
                del self._air[copy.key]
        copy.key = None

    def _match(
        self, found: Identity, time: int, host: int, rank: int, place: str, looped: bool
    ) -> Copy | None:
        latest = None
        for copy in self._air.get(found.key, ()):
            if found.ident and copy.ident and found.ident != copy.ident:
                continue
            if copy.may_come_to(host, rank, place, looped=looped):
                if time - copy.time <= FRESH_NANOSECONDS:
                    return copy
                latest = copy
        return latest

    def _part_of(self, found: Identity | None) -> int:
        """The packet that a fragment, or a packet put together from fragments, belongs to; 0 for a new one."""
        if found is None or not found.ident:
            return 0
        packet = self._datagrams.get((found.source, found.destination, found.ident), 0)
        if not packet or found.fragment:
            return packet
        return packet if any(copy.key is not None and copy.key[2] for copy in self.packets[packet]) else 0
