"""Connections on their way: a SYN is held until the far end has answered, and refused as the far end refuses.

The far socket connects with the client's own address and port.  Only when it is connected may the SYN go on
to the listener; when it was refused, the client is told in the same way, and otherwise hears nothing, as it
would without us.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from typing import Final

from emulator.paths.poller import READ, WRITE, Poller
from emulator.paths.stream_frames import Opening, error_frame, released_frame, reset_frame
from emulator.paths.stream_legs import reset_socket
from netns.errors import LabError
from netns.uplink import SpliceUplink
from netns.uplinkrules import HOST_SIDE_MAC

FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
LEVEL: Final = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
TTL: Final = {4: socket.IP_TTL, 6: socket.IPV6_UNICAST_HOPS}
RECVERR: Final = {4: 11, 6: 25}
MSG_ERRQUEUE: Final = 0x2000
ORIGIN_ICMP: Final = {4: 2, 6: 3}
ADDRESS_AT: Final = {4: (20, 24), 6: (24, 40)}
"""Where the offender's address lies behind struct sock_extended_err, which is 16 octets."""
ESTABLISH_SECONDS: Final = 150.0
"""How long a far end may take: longer than a kernel tries."""
ACCEPT_SECONDS: Final = 75.0
"""How long the client may take to acknowledge, once it was answered."""
SPARE_SOCKETS: Final = 32
MOST_PENDING: Final = 4096
"""Connections on their way at one time: further SYNs go unanswered, as on a host that is flooded."""
DEFAULT_HOPS: Final = 64

_HOST_SIDE: Final = bytes.fromhex(HOST_SIDE_MAC.replace(":", ""))

Ends = tuple[bytes, int, bytes, int]
Name = tuple[str, int] | tuple[str, int, int, int]


class Pending:
    """A connection that is not there yet: the SYN, and the socket towards its destination."""

    __slots__ = ("opening", "from_wire", "far", "established", "since", "hops")

    def __init__(self, opening: Opening, from_wire: bool, far: socket.socket, since: float) -> None:
        self.opening = opening
        self.from_wire = from_wire
        self.far = far
        self.established = False
        self.since = since
        self.hops = DEFAULT_HOPS
        """TTL of the far end's answer, as it came in here."""


class Openings:
    """The held SYNs of one uplink.

    `established` is called for a pending connection when the client's side was accepted, and then owns both
    sockets.
    """

    def __init__(
        self,
        uplink: SpliceUplink,
        poller: Poller,
        clock: Callable[[], float],
        established: Callable[[Pending, socket.socket], None],
    ) -> None:
        """Raises LabError."""
        self._uplink = uplink
        self._poller = poller
        self._clock = clock
        self._established = established
        self.pending: dict[Ends, Pending] = {}
        self.refused = 0
        self.expired = 0
        self.failed = 0
        """Could not be tried: no socket, or the address is in use."""
        self._spare: dict[int, list[socket.socket]] = {4: [], 6: []}
        self._listeners = {version: uplink.listener(version) for version in (4, 6)}
        self._hops = {4: DEFAULT_HOPS, 6: DEFAULT_HOPS}
        self._release = {wire: uplink.release_port(wire=wire) for wire in (False, True)}
        self._answer = {wire: uplink.answer_port(wire=wire) for wire in (False, True)}
        self._index = {wire: uplink.inner_index(wire=wire) for wire in (False, True)}
        for version, listener in self._listeners.items():
            poller.add(
                listener.fileno(), READ, lambda _, version=version: self._accept(version)  # type: ignore[misc]
            )

    def begin(self, opening: Opening, from_wire: bool) -> None:
        """A SYN came in: connect to where it wants to go."""
        pending = self.pending.get(opening.ends)
        if pending is not None:
            if pending.established:
                self._let_go(pending)  # it was lost on the way to the listener
            return
        if len(self.pending) >= MOST_PENDING:
            self.failed += 1
            return
        version = opening.version
        try:
            self._learn(opening, from_wire)
            far = self._socket(version)
        except (OSError, LabError):
            self.failed += 1
            return
        pending = Pending(opening, from_wire, far, self._clock())
        try:
            far.setsockopt(LEVEL[version], TTL[version], opening.hops)
            far.setsockopt(LEVEL[version], RECVERR[version], 1)
            far.bind(self._name(version, opening.source, opening.source_port, not from_wire))
            code = far.connect_ex(self._name(version, opening.destination, opening.destination_port, not from_wire))
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS):
            self.failed += 1
            far.close()
            return
        self.pending[opening.ends] = pending
        self._poller.add(far.fileno(), WRITE, lambda _: self._answered(pending))

    def heard(self, opening: Opening) -> None:
        """The far end's answer came in: its hop count is the one the client shall see."""
        pending = self.pending.get((*opening.ends[2:], *opening.ends[:2]))
        if pending is not None:
            pending.hops = opening.hops

    def expire(self) -> None:
        """Give up what took too long."""
        now = self._clock()
        for pending in list(self.pending.values()):
            if now - pending.since > (ACCEPT_SECONDS if pending.established else ESTABLISH_SECONDS):
                self.expired += 1
                self._drop(pending)

    def close(self) -> None:
        """Give up everything, and close what was opened."""
        for pending in list(self.pending.values()):
            self._drop(pending)
        for listener in self._listeners.values():
            self._poller.remove(listener.fileno())
        for sock in (
            *self._listeners.values(), *self._release.values(), *self._answer.values(), *self._spare[4], *self._spare[6]
        ):  # fmt: skip
            sock.close()

    # -- the far end ------------------------------------------------------------------------------------

    def _answered(self, pending: Pending) -> None:
        far = pending.far
        self._poller.remove(far.fileno())
        code = far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        version = pending.opening.version
        if code:
            self._refuse(pending, code)
            return
        far.setsockopt(LEVEL[version], RECVERR[version], 0)
        pending.established = True
        pending.since = self._clock()
        self._let_go(pending)

    def _let_go(self, pending: Pending) -> None:
        """Send the SYN on to the listener, which then answers with the far end's hop count."""
        version = pending.opening.version
        if self._hops[version] != pending.hops:
            self._listeners[version].setsockopt(LEVEL[version], TTL[version], pending.hops)
            self._hops[version] = pending.hops
        self._send(self._release[pending.from_wire], released_frame(pending.opening))

    def _refuse(self, pending: Pending, code: int) -> None:
        """Tell the client what the far end said; nothing, when it said nothing."""
        opening = pending.opening
        error = self._icmp_error(pending)
        del self.pending[opening.ends]
        pending.far.close()
        self.refused += 1
        if error is not None:
            frame = error_frame(opening, *error)
        elif code == errno.ECONNREFUSED:
            frame = reset_frame(opening)
        else:
            return
        if not pending.from_wire:
            frame[6:12] = _HOST_SIDE  # else it would be lifted again
        self._send(self._answer[pending.from_wire], frame)

    def _icmp_error(self, pending: Pending) -> tuple[bytes, int, int, int] | None:
        """Offender, type, code and further word of the error that ended the attempt; None when it was none."""
        version = pending.opening.version
        try:
            _, ancillary, _, _ = pending.far.recvmsg(512, 512, MSG_ERRQUEUE)
        except OSError:
            return None
        for level, kind, data in ancillary:
            if (level, kind) == (LEVEL[version], RECVERR[version]) and len(data) >= ADDRESS_AT[version][1]:
                _, origin, icmp_type, icmp_code, info = struct.unpack_from("=IBBBxI", data)
                if origin == ORIGIN_ICMP[version]:
                    first, last = ADDRESS_AT[version]
                    return bytes(data[first:last]), icmp_type, icmp_code, info if icmp_code == 4 else 0
        return None

    def _drop(self, pending: Pending) -> None:
        self.pending.pop(pending.opening.ends, None)
        self._poller.remove(pending.far.fileno())
        reset_socket(pending.far)

    # -- the client's end -------------------------------------------------------------------------------

    def _accept(self, version: int) -> None:
        listener = self._listeners[version]
        for _ in range(64):
            try:
                near, client = listener.accept()
            except OSError:  # nobody more, or gone again
                return
            near.setblocking(False)
            server = near.getsockname()
            ends = (
                _packed(version, client[0]), int(client[1]), _packed(version, server[0]), int(server[1])
            )  # fmt: skip
            pending = self.pending.pop(ends, None)
            if pending is None or not pending.established:
                reset_socket(near)
                continue
            near.setsockopt(LEVEL[version], TTL[version], pending.hops)
            self._established(pending, near)

    # -- means ------------------------------------------------------------------------------------------

    def _learn(self, opening: Opening, from_wire: bool) -> None:
        family = FAMILY[opening.version]
        source = socket.inet_ntop(family, opening.source)
        destination = socket.inet_ntop(family, opening.destination)
        self._uplink.learn(source, opening.source_mac, wire=from_wire)
        self._uplink.learn(destination, opening.destination_mac, wire=not from_wire)

    def _socket(self, version: int) -> socket.socket:
        spare = self._spare[version]
        if not spare:
            spare += self._uplink.clients(version, SPARE_SOCKETS)
        return spare.pop()

    def _name(self, version: int, address: bytes, port: int, to_wire: bool) -> Name:
        text = socket.inet_ntop(FAMILY[version], address)
        if version == 4:
            return text, port
        is_link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
        return text, port, 0, self._index[to_wire] if is_link_local else 0

    @staticmethod
    def _send(port: socket.socket, frame: bytearray) -> None:
        try:
            port.send(frame)
        except OSError:
            return  # no room, or the port is going away: the client sends its SYN again


def _packed(version: int, address: str) -> bytes:
    return socket.inet_pton(FAMILY[version], address.partition("%")[0])
