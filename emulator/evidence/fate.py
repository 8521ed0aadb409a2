"""What became of every packet of a bed, and why: the answer to "where was it lost?".

A packet is *delivered* when one of its copies reached the host that has its destination address and was not
stopped there; what the kernel did with it afterwards, nobody saw.  *dropped*: stopped by a filter, a callout or
an injection that failed, or still held at the end.  *replaced*: taken out silently, and another packet was
injected because of it; or taken in by a stream splice, which passes its octets on in packets of its own.
*left*: it was on its way and not seen again; the kernel tells nobody why.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from emulator.evidence.lineage import INPUT, OUTPUT, RECEIVED, SENT, SPLICE_PORT, WIRE_IN, WIRE_OUT, Copy
from emulator.evidence.tracebuild import Builder
from emulator.evidence.traceevents import Fate

DELIVERED, DROPPED, REPLACED, LEFT = "delivered", "dropped", "replaced", "left"
OTHERS_MOST = 16


class Fates:
    """Judges the packets of one bed, after its builder has gone over everything."""

    def __init__(self, builder: Builder, *, complete: bool = True) -> None:
        """`complete` is False when not everything was recorded: then a packet may only seem to have left."""
        self._builder = builder
        self._doubt = "" if complete else "; but not everything was recorded"
        self._names = [host.name for host in builder.hosts]
        self._owners = {
            ip_address(address).packed: number
            for number, host in enumerate(builder.hosts)
            for address in host.addresses
        }
        self._replacing: dict[int, list[int]] = {}
        for packet, copies in builder.lineage.packets.items():
            for copy in copies:
                if copy.cause:
                    self._replacing.setdefault(copy.cause, []).append(packet)

    def events(self, time: int) -> Iterator[Fate]:
        """One event for each packet, at the moment of judging."""
        for packet in self._builder.lineage.packets:
            outcome, reason, host = self.of(packet)
            others = self._replacing.get(packet, [])[:OTHERS_MOST]
            yield Fate(time=time, packet=packet, host=host, outcome=outcome, reason=reason, others=others)

    def of(self, packet: int) -> tuple[str, str, str]:
        """Outcome, reason and the host where it ended.  Raises KeyError for a packet that there is not."""
        copies = self._builder.lineage.packets[packet]
        for copy in copies:
            target = self._owners.get(copy.destination, -1)
            if self._arrived(copy, target):
                return DELIVERED, self._delivered(copy), self._names[copy.host]
        last = max(copies, key=lambda copy: (copy.time, copy.number))
        gone = [copy for copy in copies if copy.gone]
        open_ends = [copy for copy in copies if not copy.gone]
        if open_ends:
            last = max(open_ends, key=lambda copy: copy.time)
            if last.rank == WIRE_OUT and SPLICE_PORT.match(last.place):
                return REPLACED, f"taken in by the stream splice of {self._names[last.host]}", self._names[last.host]
            return LEFT, self._lost_sight_of(last) + self._doubt, self._names[last.host]
        if packet in self._replacing and any(copy.absorbed for copy in gone):
            return REPLACED, f"{last.gone}, and something else was injected", self._names[last.host]
        reason = last.gone
        if last.absorbed and not any(copy.injection for copy in copies):
            reason += ", and nothing was injected in its place"
        return DROPPED, reason, self._names[last.host]

    def _arrived(self, copy: Copy, target: int) -> bool:
        if copy.gone:
            return False
        inside = WIRE_IN <= copy.rank <= INPUT
        if target >= 0:
            return copy.host == target and inside
        # To many, or to an address of nobody: somebody else than its sender has it.
        return inside and _is_group(copy.destination) and copy.host >= 0

    def _delivered(self, copy: Copy) -> str:
        text = f"reached {self._names[copy.host]}"
        lost = self._builder.losses(copy.host)
        if lost and copy.rank == WIRE_IN:
            text += f"; whether it was among what {self._names[copy.host]} then lost is not known: {_listed(lost)}"
        return text

    def _lost_sight_of(self, copy: Copy) -> str:
        name = self._names[copy.host]
        lost = self._builder.losses(copy.host)
        if copy.rank in (RECEIVED, SENT):
            return f"injected at {name} (injection {copy.injection[1] if copy.injection else 0}) and not seen again"
        if copy.rank == WIRE_OUT:
            nobody = copy.destination not in self._owners and not _is_group(copy.destination)
            return f"left {name}, for an address that no host has" if nobody else f"left {name} and arrived nowhere"
        if lost:
            return f"came to {name}, which lost packets: {_listed(lost)}"
        if copy.rank >= OUTPUT:
            return f"passed the last hook of {name} and was not seen again: the kernel dropped it, or no one looked"
        return f"came to {name} and went no further: the kernel dropped it (no route, TTL, a full socket, a bad sum)"


def _listed(lost: dict[str, int]) -> str:
    return ", ".join(f"{count} by {cause}" for cause, count in lost.items())


def _is_group(address: bytes) -> bool:
    if len(address) == 4:
        return address[0] >= 224 or address[3] == 255
    return bool(address) and address[0] == 0xFF
