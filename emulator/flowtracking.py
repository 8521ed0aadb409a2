"""Which flow a packet belongs to, when a flow begins, when it is established, and when it ends.

Pure: whoever has a clock sets `now`.  A packet that is shown at a transport-like layer costs one look into a
dict, by the octets of its header as they lie there: addresses and ports together.
Source: FI-7, FL-7, FL-8, LA-10, LA-11, LA-14, LA-16.
"""

from __future__ import annotations

from emulator import spans
from emulator.flows import IDLE_LIMIT, Calendar, Flow, FlowKey, FlowTable
from emulator.octets import ICMP, ICMPV6, TCP, UDP, IpView

BEGINS, ESTABLISHES, ENDS = 1, 2, 4
"""What a packet is to its flow: the first one, the one that completes its opening, the last one."""
RECONNECTS, REACCEPTS = 8, 16
"""The first one since the filters changed that authorised its flow: at AUTH_CONNECT, at AUTH_RECV_ACCEPT."""

OPENING, ESTABLISHED, CLOSING = range(3)
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_ECHO = {(ICMP, 8): 0, (ICMP, 0): 8, (ICMPV6, 128): 129, (ICMPV6, 129): 128}
"""What answers an echo: a reply belongs to the flow of its request, and not to that of a request the other way."""

CLOSING_LIMIT = 5.0
"""Seconds after which a connection whose both ends have sent FIN counts as closed."""
OPENING_LIMIT = 130.0
"""Seconds after which an unanswered opening counts as given up; Linux tries for 127."""

WireKey = tuple[int, bytes]


class Conversation:
    """What is known about a flow beside what callouts see of it."""

    __slots__ = ("flow", "state", "fins", "last_fin", "keys")

    def __init__(self, flow: Flow, state: int, keys: tuple[WireKey, WireKey]) -> None:
        self.flow = flow
        self.state = state
        self.fins = 0
        self.last_fin = False
        """Whether the second FIN came in."""
        self.keys = keys
        """Inbound and outbound."""


class FlowTracker:
    """The flows of one host, found by packets.

    The flows themselves, their numbers and contexts are in `table`, which others may end flows in.
    """

    def __init__(self, table: FlowTable) -> None:
        self.table = table
        self.now = 0.0
        """Seconds of any clock that only goes forward; its owner keeps it right."""
        self._inbound: dict[WireKey, Conversation] = {}
        self._outbound: dict[WireKey, Conversation] = {}
        self._connections: dict[Conversation, None] = {}
        """Those of TCP."""
        self._others: Calendar[Conversation] = Calendar()

    def look(self, view: IpView, header: bytes, inbound: bool) -> tuple[Conversation | None, int]:
        """The conversation of a packet, and what the packet is to it: BEGINS, ESTABLISHES, …, or 0.

        `header` is the packet's first 44 octets.  A packet that BEGINS one has none yet: see `begin`.
        """
        return self.find(wire_key(view, header), view, header, inbound)

    def find(self, key: WireKey, view: IpView, header: bytes, inbound: bool) -> tuple[Conversation | None, int]:
        """The same, by the packet's key."""
        found = (self._inbound if inbound else self._outbound).get(key)
        if found is not None:
            flow = found.flow
            if not flow.ended:
                flow.last_seen = self.now
                if flow.stale:
                    return self._again(found, view.protocol, view, inbound)
                return (found, 0) if view.protocol != TCP else self._segment(found, view, inbound)
            self._forget(found)
        if view.protocol != TCP:
            return None, BEGINS | ESTABLISHES
        return self._first_segment(view, header, inbound)

    def begin(self, view: IpView, header: bytes, inbound: bool, *, state: int = OPENING) -> Conversation:
        """Begin the flow of a packet that BEGINS one: it is being authorised now (FL-8)."""
        key, back = wire_key(view, header), _back(view, header)
        ports = _ports(view)
        if inbound:
            named = FlowKey(key[0], view.destination, ports[1], view.source, ports[0])
        else:
            named = FlowKey(key[0], view.source, ports[0], view.destination, ports[1])
        flow = self.table.begin(named, outbound=not inbound, now=self.now)
        made = Conversation(flow, state, (key, back) if inbound else (back, key))
        self._inbound[made.keys[0]] = self._outbound[made.keys[1]] = made
        if key[0] == TCP:
            self._connections[made] = None
        else:
            self._others.add(made, self.now + IDLE_LIMIT)
        return made

    def passed(self, conversation: Conversation, due: int) -> None:
        """The packet, of which `look` said `due`, went through all layers."""
        if due & ENDS:
            self.end(conversation)
        elif due & ESTABLISHES and conversation.state == OPENING:
            conversation.state = ESTABLISHED

    def end(self, conversation: Conversation) -> None:
        """End a flow, unless somebody else keeps it; ending twice does nothing.  Source: FL-5."""
        if not conversation.flow.kept:
            self.table.end(conversation.flow)
            self._forget(conversation)

    def expire(self) -> None:
        """End what was idle for too long by `now`.  Source: FL-7."""
        now = self.now
        self.table.expire(now)
        for found in self._others.due(now):
            if found.flow.ended:
                self._forget(found)
            else:
                self._others.add(found, max(found.flow.last_seen, now - IDLE_LIMIT + 1) + IDLE_LIMIT)
        for found in list(self._connections):
            idle = now - found.flow.last_seen
            if found.flow.ended:
                self._forget(found)
            elif (found.state == CLOSING and idle >= CLOSING_LIMIT) or (
                found.state == OPENING and idle >= OPENING_LIMIT
            ):
                self.end(found)

    def quiet(self, seconds: float) -> list[Conversation]:
        """Connections without a packet for so long: whoever can may ask whether their sockets still exist."""
        return [
            found for found in self._connections if not found.flow.ended and self.now - found.flow.last_seen >= seconds
        ]

    def _again(
        self, found: Conversation, protocol: int, view: IpView, inbound: bool
    ) -> tuple[Conversation | None, int]:
        """What a packet is to a flow that has to be authorised again; a reset is let through."""
        same, due = (found, 0) if protocol != TCP else self._segment(found, view, inbound)
        if same is None or due & ENDS:
            return same, due
        return same, due | (RECONNECTS if found.flow.outbound else REACCEPTS)

    # -- TCP --------------------------------------------------------------------------------------------

    def _segment(self, found: Conversation, view: IpView, inbound: bool) -> tuple[Conversation | None, int]:
        flags = view.tcp_flags or 0
        state = found.state
        if not flags & (_FIN | _SYN | _RST):
            if state == ESTABLISHED:
                return found, 0
            if state == OPENING:
                return found, ESTABLISHES if flags & _ACK and inbound != found.flow.outbound else 0
            return found, ENDS if inbound != found.last_fin else 0
        if flags & _RST:
            return found, ENDS
        if flags & _SYN:
            if flags & _ACK or (state == OPENING and inbound != found.flow.outbound):
                return found, 0
            self.end(found)  # the ends are used anew
            return None, BEGINS
        found.fins |= 2 if inbound else 1
        if found.fins == 3 and state != CLOSING:
            found.last_fin = inbound
            found.state = CLOSING
        opener = state == OPENING and inbound != found.flow.outbound
        return found, ESTABLISHES if opener else 0

    def _first_segment(self, view: IpView, header: bytes, inbound: bool) -> tuple[Conversation | None, int]:
        flags = view.tcp_flags or 0
        if flags & (_SYN | _ACK) == _SYN:
            return None, BEGINS
        if flags & _SYN:  # its SYN was not seen
            return self._answered(view, header, inbound), 0
        if flags & _RST or view.payload_offset >= view.end:
            return None, 0  # the end of something that nobody watched, or a stray acknowledgement
        return self.begin(view, header, inbound, state=ESTABLISHED), 0

    def _answered(self, view: IpView, header: bytes, inbound: bool) -> Conversation:
        """A connection first met by its SYN-ACK was opened by the other side of that packet."""
        made = self.begin(view, header, inbound)
        made.flow.outbound = inbound
        return made

    # -- the books --------------------------------------------------------------------------------------

    def _forget(self, conversation: Conversation) -> None:
        inbound, outbound = conversation.keys
        if self._inbound.get(inbound) is conversation:
            del self._inbound[inbound]
        if self._outbound.get(outbound) is conversation:
            del self._outbound[outbound]
        self._connections.pop(conversation, None)

    def __len__(self) -> int:
        return len(self._inbound)


def wire_key(view: IpView, header: bytes) -> WireKey:
    """What the packets of one direction of a flow have in common: protocol, then octets of the header."""
    protocol = view.protocol
    if protocol in (UDP, TCP):
        if view.version == 4:
            if view.header_size == 20:
                return protocol, spans.span(header, 12, 24)
        elif view.header_size == 40:
            return protocol, spans.span(header, 8, 44)
        ports = view.ports or (0, 0)
        return protocol, view.source + view.destination + ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big")
    first, second = _ports(view)
    return protocol, view.source + view.destination + first.to_bytes(2, "big") + second.to_bytes(2, "big")


def _back(view: IpView, header: bytes) -> WireKey:
    """The key of the packets that answer this one."""
    protocol, octets = wire_key(view, header)
    size = 4 if view.version == 4 else 16
    ends = octets[size : size * 2] + octets[:size]
    ports = octets[size * 2 :]
    if view.is_icmp:
        kind = ports[0] << 8 | ports[1]
        return protocol, ends + _ECHO.get((protocol, kind), kind).to_bytes(2, "big") + ports[2:4]
    return protocol, ends + ports[2:4] + ports[:2]


def _ports(view: IpView) -> tuple[int, int]:
    """Source and destination port; for ICMP the type and, of an echo, the identifier."""
    if not view.is_icmp:
        return view.ports or (0, 0)
    kind = view.icmp_type or 0
    if (view.protocol, kind) not in _ECHO:
        return kind, 0
    at = view.transport_offset + 4
    return kind, int.from_bytes(view.buffer[at : at + 2], "big")
