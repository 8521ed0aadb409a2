"""The stream path of one host: TCP connections that stream filters want are spliced by two real sockets.

A splice namespace stands beside every uplink as long as there are stream filters, or connections that
were lifted for them.  Source: ST-1..ST-45, ST-44 (order); design of the splice: `netns.uplink`.

Differs from Windows: the stream layer is met between the host and the wire, so outbound octets pass
OUTBOUND_TRANSPORT first, and inbound ones INBOUND_TRANSPORT last.  Connections over loopback are not seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from emulator.paths.stream_lifts import EVERYTHING, lifts_for
from emulator.paths.stream_uplink import COUNTED, UplinkPath
from emulator.stream_engine import STREAM_LAYERS

if TYPE_CHECKING:
    from emulator.core import Core
    from netns.namespace import Namespace

TIDY_SECONDS = 0.25
OWN_PORTS = "wfs"
"""How the names of our own devices begin."""


class Loop(Protocol):
    """What the path needs of the host's I/O loop."""

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call back when a descriptor is readable."""

    def remove(self, descriptor: int) -> None:
        """Stop watching it."""

    def every(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back about every so many seconds."""

    def post(self, work: Callable[[], None]) -> None:
        """Run work on the loop's thread."""

    def call(self, work: Callable[[], object]) -> None:
        """Run work on the loop's thread and wait for it."""


class StreamPath:
    """The stream path of one host; its owner calls `update` when filters changed, and closes it.

    `uplinks` names the devices to stand beside; None for every Ethernet device the host has.
    """

    def __init__(
        self, core: Core, namespace: Namespace, loop: Loop, *, uplinks: Sequence[str] | None = None
    ) -> None:
        """Nothing is done to the namespace before a stream filter is there."""
        self.core = core
        self.namespace = namespace
        self.paths: dict[str, UplinkPath] = {}
        self._past: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._loop = loop
        self._uplinks = uplinks
        self._chores: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.RLock()
        self._serial = 0
        """A new one for each insertion: the last one may still be on its way out."""
        self._lifted = False
        self._closed = False

    # -- filters ----------------------------------------------------------------------------------------

    def update(self) -> None:
        """Filters or callouts were added or deleted: on return new connections are lifted as they want.

        A callout that may join connections in their middle has all of them lifted, long before its filter comes.
        Raises LabError.  Source: FI-7, ST-42.
        """
        with self._guard:
            if self._closed:
                return
            layers = self.core.engine.at_layer
            anything = self.core.engine.callouts.mid_stream
            wanted = anything or any(layer in layers for layer in STREAM_LAYERS.values())
            if wanted:
                self._insert()
            if wanted or self._lifted:
                lifts = EVERYTHING if anything else lifts_for(layers)
                for path in self.paths.values():
                    path.splicing.lift(lifts)
                self._lifted = wanted
        self.core.streams.refresh()

    def _insert(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="wfplab-chores", daemon=True)
            self._thread.start()
            self._loop.every(TIDY_SECONDS, self._tidy)
        names = self._devices()
        for gone in [name for name in self.paths if name not in names]:
            if all(link.name != gone for link in self.namespace.links()):
                self._take_down(self.paths.pop(gone))
        for name in names:
            if name not in self.paths:
                self._serial = (self._serial + 1) % 10000
                path = UplinkPath(
                    self.core, self.namespace, name, serial=self._serial, post=self._loop.post, chore=self._chores.put
                )
                self.paths[name] = path
                self._loop.add(path.poller.fileno(), path.poller.turn)

    def _devices(self) -> list[str]:
        """Ethernet devices that are up; of a bridge the bridge itself, not its ports."""
        if self._uplinks is not None:
            return list(self._uplinks)
        return [
            link.name
            for link in self.namespace.links()
            if link.mac and link.up and link.name != "lo" and not link.name.startswith(OWN_PORTS) and not link.master
        ]

    def devices_changed(self) -> None:
        """Devices came or went, or have other addresses: stand beside those that are there.  Returns at once."""
        if self._lifted:
            self._chores.put(self.update)

    # -- on the I/O thread ------------------------------------------------------------------------------

    def _tidy(self) -> None:
        for path in list(self.paths.values()):
            path.tidy()
        if not self._lifted and self.paths and not any(path.busy for path in self.paths.values()):
            self._chores.put(self._withdraw)

    def _withdraw(self) -> None:
        """Remove the splice namespaces: no filter wants them, and no connection needs them."""
        with self._guard:
            if self._lifted or self._closed or any(path.busy for path in self.paths.values()):
                return
            paths, self.paths = self.paths, {}
        for path in paths.values():
            self._take_down(path)

    def _take_down(self, path: UplinkPath) -> None:
        try:
            self._stop(path)
        finally:
            path.splicing.close()

    def _stop(self, path: UplinkPath) -> None:
        def stop() -> None:
            self._loop.remove(path.poller.fileno())
            path.stop()

        try:
            self._loop.call(stop)
        finally:
            for name, count in path.counts().items():
                self._past[name] += count

    def _work(self) -> None:
        while (chore := self._chores.get()) is not None:
            chore()

    # -- looking on -------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many connections were established, refused and reset, and how many octets went which way."""
        total = dict(self._past)
        for path in list(self.paths.values()):
            for name, count in path.counts().items():
                total[name] = total.get(name, 0) + count
        return total

    def settle(self, *, timeout: float = 10.0) -> None:
        """Wait until every connection is over, as their ends have closed them; TimeoutError otherwise."""
        deadline = time.monotonic() + timeout
        while any(path.live for path in list(self.paths.values())):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.namespace.name}: connections are still open")
            time.sleep(0.005)

    def close(self) -> None:
        """Reset what lives and remove the splice namespaces; while the loop still runs. Twice is allowed."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            paths, self.paths = self.paths, {}
        with ExitStack() as last_first:
            for path in paths.values():
                last_first.callback(path.splicing.close)
            if self._thread is not None:
                # What is still to be done on the books of an uplink is done while there is one.
                last_first.callback(self._thread.join)
                last_first.callback(self._chores.put, None)
            for path in paths.values():
                last_first.callback(self._stop, path)
            last_first.callback(self._loop.call, self.core.streams.detach)
