"""One TCP connection from the sender to the receiver: through the splice of the sender, through relays, and directly.

What counts is the clock: sender, relay and receiver share the processors, as they do on a real host.  The receiver
compares every octet with what it should be; our own counts tell whether the octets went the way that is measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from emulator.bench.drivers import PermitAll
from emulator.bench.place import GATEWAY, TARGET, Place
from emulator.bench.row import Reading, Row, Skipped
from emulator.callout import Callout
from emulator.callouts_stream import InlineEdit
from emulator.filters import Condition, MatchType
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.layerids import Layer
from emulator.splice import MOST_WAITING
from emulator.stack import Stack
from netns.errors import MissingFeature, ProgramFailed
from netns.process import Process, find_program

PACKAGES: Final = ("haproxy", "socat")
"""Debian packages of the peers."""
PORT: Final = 9001
UNWANTED_PORT: Final = PORT + 1
LISTENING: Final = 9999
MARK: Final = 1
FILLER: Final = 262139
"""Octets of a block, beside its word: a prime, so that none lost, doubled or moved goes unseen."""
DENSE: Final = 65521
"""The same where words are as near to each other as one in every segment that the sender's card would cut."""
BEFORE: Final = "cloudy"
AFTER: Final = "sunny"

_HAPROXY: Final = f"""
global
  nbthread 1
  maxconn 100
defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
frontend near
  bind 0.0.0.0:{LISTENING} transparent
  default_backend far
backend far
  source 0.0.0.0 usesrc clientip
  server any 0.0.0.0:0
"""
_LIFTING: Final = f"""
table ip bench {{
chain divert {{ type filter hook prerouting priority -150
socket transparent 1 meta mark set {MARK} accept
tcp dport {PORT} tproxy to :{LISTENING} meta mark set {MARK} accept
}}
}}
"""


class AllowConnection(Callout):
    """Has seen enough with the first octets of a connection."""

    def classify(self, seen: Indication) -> None:
        """Let the rest pass unseen."""
        seen.stream.allow_connection()


@dataclass(frozen=True, slots=True)
class Way:
    """One way of ours: the callout, which connections its filter wants, and what then happens to the octets."""

    callout: Callable[[InjectionHandle], Callout]
    wanted: int = PORT
    counted: str = "octets_copied"
    """Which of the host's counts they end in; "" when they do not meet the splice at all."""
    words: tuple[str, str] = (BEFORE, BEFORE)
    """What the sender sends and what the receiver should get."""
    filler: int = FILLER


UNMATCHED: Final = Way(lambda handle: PermitAll(), wanted=UNWANTED_PORT, counted="")
PASSED: Final = Way(lambda handle: AllowConnection(), counted="octets_passed")
PERMITTED: Final = Way(lambda handle: PermitAll())
REPLACED: Final = Way(lambda handle: InlineEdit(handle, BEFORE.encode(), AFTER.encode()), words=(BEFORE, AFTER))
DENSELY: Final = replace(REPLACED, filler=DENSE)


def carried(
    place: Place, blocks: int, words: tuple[str, str] = (BEFORE, BEFORE), *, to: str = TARGET, filler: int = FILLER
) -> Reading:
    """One connection to an address, to its end: what the receiver read in a second, and whether it was right."""
    program = place.programs.path("tcpblast")
    receiver = _started(place.receiver.start([program, "receive", TARGET, str(PORT), str(filler), words[1]], stdout=-1))
    sender: Process | None = None
    try:
        sender = place.sender.start([program, "send", to, str(PORT), str(filler), words[0], str(blocks)], stdout=-1)
        assert receiver.stdout is not None
        octets, wrong, seconds = receiver.stdout.readline().split()[:3]
        receiver.wait(10)
        sender.wait(10)
    finally:
        for process in (sender, receiver):
            if process is not None:
                process.stop()
    right = blocks * (filler + len(words[1]))
    lost = 1.0 if int(wrong) else 1 - int(octets) / right
    return Reading(int(octets) / float(seconds) / 1e6, loss=lost)


def _started(process: Process) -> Process:
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        process.stop()
        raise RuntimeError("tcpblast did not start")
    return process


def ours(place: Place, way: Way, blocks: int) -> Reading:
    """One run through the stream layer of the sending host."""
    with Stack(place.sender) as stack, ExitStack() as owned:
        handle = owned.enter_context(stack.create_handle(0, 1))
        wanted = Condition("IP_REMOTE_PORT", MatchType.EQUAL, way.wanted)
        registered = stack.register(way.callout(handle))
        owned.callback(stack.unregister, registered)
        added = stack.add_filter(Layer.STREAM_V4, registered, conditions=[wanted])
        owned.callback(stack.delete_filter, added)
        stack.loop.call(place.work_here)
        stack.loop.call(lambda: os.sched_setaffinity(0, {place.load_cpu, place.work_cpu}))
        reading = carried(place, blocks, way.words, filler=way.filler)
        stack.stream.settle()
        counts = stack.stream.counts()
    sent = blocks * (way.filler + len(way.words[0]))
    took = {name: count for name, count in counts.items() if name.startswith("octets") and count}
    # What is passed in the end is shown once, in one read, before its callout lets it go.
    as_claimed = not took if not way.counted else took.get(way.counted, 0) >= sent - MOST_WAITING
    return replace(reading, closed=as_claimed and counts["reset"] == counts["failed"] == 0)


@contextmanager
def haproxy(place: Place) -> Iterator[None]:
    """HAProxy on the router takes the connections that pass it, and makes its own with the client's address."""
    find_program("haproxy")
    router = place.router
    with tempfile.TemporaryDirectory(prefix="wfplab-bench-") as folder, ExitStack() as owned:
        settings = Path(folder, "haproxy.cfg")
        settings.write_text(_HAPROXY)
        try:
            router.run(["nft", "-f", "-"], input=_LIFTING)
        except ProgramFailed as error:
            raise MissingFeature("TPROXY by nft", detail=str(error)) from error
        owned.callback(router.run, ["nft", "delete", "table", "ip", "bench"])
        for rule in (["rule", "{}", "fwmark", str(MARK), "lookup", "100"],
                     ["route", "{}", "local", "default", "dev", "lo", "table", "100"]):  # fmt: skip
            router.run(["ip", *(word.format("add") for word in rule)])
            owned.callback(router.run, ["ip", *(word.format("del") for word in rule)])
        process = router.start(["haproxy", "-db", "-f", str(settings)])
        owned.callback(process.stop)
        process.wait_ready(port=LISTENING)
        yield


@contextmanager
def socat(place: Place) -> Iterator[None]:
    """socat on the router, to which the sender has to connect: the receiver sees the router's address."""
    between = [f"TCP-LISTEN:{PORT},reuseaddr,fork", f"TCP:{TARGET}:{PORT}"]
    process = place.router.start(["socat", "-b", str(1 << 18), *between])
    try:
        process.wait_ready(port=PORT)
        yield
    finally:
        process.stop()


def through_haproxy(place: Place, blocks: int) -> Reading:
    """One run through HAProxy."""
    with haproxy(place):
        return carried(place, blocks)


def through_socat(place: Place, blocks: int) -> Reading:
    """One run through socat."""
    with socat(place):
        return carried(place, blocks, to=GATEWAY)


def rows(place: Place, *, quick: bool) -> list[Row | Skipped]:
    """The rows of streams."""
    blocks, rounds = (800, 5) if quick else (2000, 11)

    def direct() -> Reading:
        return carried(place, blocks)

    def row(name: str, peer: str, goal: float, way: Way, theirs: Callable[[], Reading]) -> Row:
        count = blocks * FILLER // way.filler
        return Row(name, peer, "MB/s", goal, lambda: ours(place, way, count), theirs, rounds=rounds)

    by_haproxy, by_socat = (lambda: through_haproxy(place, blocks)), (lambda: through_socat(place, blocks))
    return [
        row("stream-unmatched", "the same connection, no emulator", 0.75, UNMATCHED, direct),
        row("stream-passed", "the same connection, no emulator", 0.75, PASSED, direct),
        row("stream-permit", "HAProxy, transparent", 0.7, PERMITTED, by_haproxy),
        row("stream-permit-socat", "socat, with its own address", 0.7, PERMITTED, by_socat),
        row("stream-replace", "the same connection, nothing replaced", 0.4, REPLACED, direct),
        row("stream-replace-dense", "the same connection, nothing replaced", 0.4, DENSELY, direct),
    ]


__all__ = ["DENSELY", "PACKAGES", "PASSED", "PERMITTED", "REPLACED", "UNMATCHED", "Way", "carried", "ours", "rows"]
