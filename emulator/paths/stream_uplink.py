"""The stream path on one uplink: its splice namespace, the connections in it, and their books."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from emulator.flows import FlowKey
from emulator.paths.poller import READ, Poller
from emulator.paths.stream_connection import Connection
from emulator.paths.stream_frames import Opening, read_opening
from emulator.paths.stream_legs import is_closed, reset_socket
from emulator.paths.stream_memory import ReadMemory
from emulator.paths.stream_openings import FAMILY, Ends, Openings, Pending
from emulator.splice import Side, Splice
from netns.errors import LabError
from netns.uplink import SpliceUplink
from netns.uplinkrules import Ends as EndNames

if TYPE_CHECKING:
    from emulator.core import Core
    from netns.namespace import Namespace

FRAMES_PER_TURN = 64
LINGER_SECONDS = 900.0
"""How long an ended connection may take to bring what it still holds to a peer that does not read."""
COUNTED = ("live", "established", "refused", "expired", "failed", "reset", "octets_copied", "octets_passed")
"""Connections, then octets through user space and octets that the kernel alone moved."""


class UplinkPath:
    """Splices the lifted connections of one uplink.

    `post` runs work on the I/O thread, `chore` on a thread where it may take its time.  All other calls
    come from the I/O thread.
    """

    def __init__(
        self,
        core: Core,
        host: Namespace,
        uplink: str,
        *,
        serial: int,
        post: Callable[[Callable[[], None]], None],
        chore: Callable[[Callable[[], None]], None],
    ) -> None:
        """Insert the splice namespace; raises LabError."""
        self.core = core
        self.splicing = SpliceUplink(host, uplink, serial=serial)
        self.poller = Poller()
        self.live: dict[Ends, Connection] = {}
        self.established = 0
        self.resets = 0
        self.copied = 0
        self.passed = 0
        self._post = post
        self._chore = chore
        self._memory = ReadMemory()
        self._lingering: list[tuple[Ends, bool, list[socket.socket], float]] = []
        self._ended: list[tuple[Ends, bool]] = []
        self._forgetting: set[Ends] = set()
        self._delayed: list[tuple[Opening, bool]] = []
        self._wire = f"{self.splicing.wire_port}i"
        try:
            self._tap = self.splicing.tap()
            self.openings = Openings(self.splicing, self.poller, time.monotonic, self._accepted)
            self.poller.add(self._tap.fileno(), READ, self._tapped)
        except BaseException:
            self.splicing.close()
            self.poller.close()
            raise

    @property
    def busy(self) -> bool:
        """True while connections live, are on their way, or still send what they hold."""
        return bool(self.live or self.openings.pending or self._lingering)

    def counts(self) -> dict[str, int]:
        """The books, by the names of `COUNTED`."""
        live = list(self.live.values())
        counts = (
            len(live), self.established, self.openings.refused, self.openings.expired, self.openings.failed,
            self.resets,
            self.copied + sum(connection.copied for connection in live),
            self.passed + sum(connection.passed for connection in live),
        )  # fmt: skip
        return dict(zip(COUNTED, counts, strict=True))

    @property
    def forgetting(self) -> bool:
        """True while ended connections are still on the books of the uplink."""
        return bool(self._ended or self._forgetting)

    # -- beginnings -------------------------------------------------------------------------------------

    def _tapped(self, events: int) -> None:
        for _ in range(FRAMES_PER_TURN):
            try:
                frame, origin = self._tap.recvfrom(2048)
            except OSError:  # no more, or the device went down
                return
            opening = read_opening(frame)
            if opening is None:
                continue
            if opening.answers:
                self.openings.heard(opening)
            else:
                self._opened(opening, origin[0] == self._wire)

    def _opened(self, opening: Opening, from_wire: bool) -> None:
        ends = opening.ends
        if ends in self._forgetting:
            self._delayed.append((opening, from_wire))
            return
        if (ends, from_wire) in self._ended:
            self._ended.remove((ends, from_wire))
        self.openings.begin(opening, from_wire)

    def _accepted(self, pending: Pending, near: socket.socket) -> None:
        opening, far = pending.opening, pending.far
        client = (opening.source, opening.source_port)
        server = (opening.destination, opening.destination_port)
        local, remote = (server, client) if pending.from_wire else (client, server)
        key = FlowKey(socket.IPPROTO_TCP, *local, *remote)
        flow = self.core.streams.begin(key, outbound=not pending.from_wire, now=time.monotonic())
        if flow is None:
            reset_socket(near)
            reset_socket(far)
            self.resets += 1
            self._ended.append((opening.ends, pending.from_wire))
            return
        host, wire = (far, near) if pending.from_wire else (near, far)
        ends, from_wire = opening.ends, pending.from_wire
        connection = Connection(
            Splice(flow), {Side.HOST: host, Side.REMOTE: wire}, self.poller, self._memory, post=self._post,
            over=lambda connection, left: self._over(ends, from_wire, connection, left),
        )  # fmt: skip
        self.live[ends] = connection
        self.established += 1
        connection.start()

    # -- ends -------------------------------------------------------------------------------------------

    def _over(self, ends: Ends, from_wire: bool, connection: Connection, left: list[socket.socket]) -> None:
        if self.live.get(ends) is connection:
            del self.live[ends]
        self.copied += connection.copied
        self.passed += connection.passed
        if left:
            self._lingering.append((ends, from_wire, left, time.monotonic() + LINGER_SECONDS))
        else:
            self.resets += 1
            self._ended.append((ends, from_wire))

    def tidy(self) -> None:
        """Look after what ended: close sockets that have sent all, and take connections off the sets.

        Called a few times a second.
        """
        self.openings.expire()
        if self._lingering:
            now = time.monotonic()
            still = []
            for item in self._lingering:
                ends, from_wire, socks, until = item
                if all(is_closed(sock) for sock in socks):
                    for sock in socks:
                        sock.close()
                    self._ended.append((ends, from_wire))
                elif now > until:
                    for sock in socks:
                        reset_socket(sock)
                    self._ended.append((ends, from_wire))
                else:
                    still.append(item)
            self._lingering = still
        if self._ended and not self._forgetting:
            self._forget()

    def _forget(self) -> None:
        batch, self._ended = self._ended, []
        batch = [item for item in batch if item[0] not in self.live and item[0] not in self.openings.pending]
        self._forgetting = {ends for ends, _ in batch}
        names = [_names(ends, from_wire) for ends, from_wire in batch]

        def forget() -> None:
            with suppress(LabError):  # the host's namespace is going away
                self.splicing.forget(names)
            self._post(self._forgotten)

        self._chore(forget)

    def _forgotten(self) -> None:
        """Connections that began again meanwhile are put back into the sets before they go on."""
        self._forgetting = set()
        delayed, self._delayed = self._delayed, []
        if not delayed:
            return
        names = [_names(opening.ends, from_wire) for opening, from_wire in delayed]

        def remember() -> None:
            with suppress(LabError):
                self.splicing.remember(names)
            self._post(go_on)

        def go_on() -> None:
            for opening, from_wire in delayed:
                self._opened(opening, from_wire)

        self._chore(remember)

    def stop(self) -> None:
        """Reset every connection and close all sockets; the splice namespace is closed by the caller."""
        for connection in list(self.live.values()):
            connection.abort()
        self.openings.close()
        for _, _, socks, _ in self._lingering:
            for sock in socks:
                reset_socket(sock)
        self._lingering = []
        self.poller.remove(self._tap.fileno())
        self._tap.close()
        self.poller.close()


def _names(ends: Ends, from_wire: bool) -> EndNames:
    source, source_port, destination, destination_port = ends
    family = FAMILY[4 if len(source) == 4 else 6]
    client = (socket.inet_ntop(family, source), source_port)
    server = (socket.inet_ntop(family, destination), destination_port)
    local, remote = (server, client) if from_wire else (client, server)
    return (*local, *remote)
