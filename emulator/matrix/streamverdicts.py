"""Measuring the cells of S1 to S3 on TCP: at STREAM by octets, at STREAM_PACKET by segments."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.matrix.cells import BY_FILTER, Cell
from emulator.matrix.injecting import Unlike, expect, loaded
from emulator.matrix.place import OUT, Place, Way
from emulator.matrix.rows import INLINE
from emulator.matrix.streams import BACK, PORT, THERE, talk
from emulator.matrix.verdicts import DECISIONS
from emulator.stream import StreamData
from emulator.topology import DEADLINE
from emulator.wfptypes import Action, AddressFamily
from netns.patience import patient

_END = b"|"
_TOKENS = [b"first,", b"second,", b"third,", b"fourth,", b"fifth,", b"sixth,"]
_SEED = 3
_LOST_MOST = 2
"""Segments that a verdict by chance may lose in a row: the next one is a quarter of a second later each time."""


class Octets(Callout):
    """Decides about what a program on the host sends, by its octets; all else may pass."""

    def __init__(self, decide: Callable[[bytes], str]) -> None:
        self.decide = decide
        self.shown: list[bytes] = []
        self.decided: list[str] = []
        """What was decided about each."""
        self._changed = threading.Condition()

    def classify(self, seen: Indication) -> None:
        octets = _sent(seen)
        if not octets:
            return seen.permit()
        what = self.decide(octets)
        DECISIONS[what](seen)
        with self._changed:
            self.shown.append(octets)
            self.decided.append(what)
            self._changed.notify_all()
        return None

    def wait(self, count: int) -> None:
        """Wait until so many were shown; raises Unlike."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.shown) >= count, patient(DEADLINE)):
                raise Unlike(f"shown: expected {count}, seen {self.shown!r}")


def _sent(seen: Indication) -> bytes:
    """The octets, of a stream or of a segment, that are on their way out to the port."""
    if seen.stream is not None:
        data: StreamData = seen.stream.stream_data
        return b"" if data.inbound else data.octets
    return b"" if seen.inbound or seen.view.destination_port != PORT else seen.payload


@contextmanager
def _connection(way: Way, family: AddressFamily) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from the host: its socket, and the far end's."""
    with way.receiver.socket(family, socket.SOCK_STREAM, port=PORT) as listener:
        listener.listen()
        with way.sender.socket(family, socket.SOCK_STREAM) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.connect((way.to, PORT))
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(patient(DEADLINE))
                yield client, accepted


def _control(what: str, way: Way, family: AddressFamily) -> None:
    with way.receiver.socket(family, socket.SOCK_STREAM, port=PORT) as listener:
        listener.listen()
        expect(what, talk(way, listener, family), (THERE, BACK))


def measure_stream_verdict(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell of S1, S2 or S3 at STREAM or STREAM_PACKET; what was seen, in words.

    Raises Unlike, CanaryLost, LabError, TimeoutError.
    """
    way = place.way(OUT, family)
    _control("control before", way, family)
    with loaded(place, INLINE) as (driver, _):
        measure = _of_octets if cell.layer == "STREAM" else _of_segments
        told = measure(place, cell, driver, way, family)
        driver.remove(*driver.filters)
        place.stack.stream.settle(timeout=patient(DEADLINE))
    _control("control after", way, family)
    return told


def _add(driver: Driver, cell: Cell, callout: Octets, family: AddressFamily) -> None:
    """Put the cell's filter in force; a plain one has the callout look on, above it."""
    where = {"IP_REMOTE_PORT": PORT}
    inspect = Action.CALLOUT_INSPECTION
    if cell.scenario == "S3":
        driver.add(callout, cell.layer, family, where=where, action=inspect)
    elif cell.trigger == BY_FILTER:
        driver.add(callout, cell.layer, family, where=where, action=inspect, weight=2**60)
        action = Action.BLOCK if cell.source == "block" else Action.PERMIT
        driver.add(None, cell.layer, family, where=where, action=action)
    else:
        driver.add(callout, cell.layer, family, where=where, action=Action.CALLOUT_UNKNOWN)


def _decider(cell: Cell, *, lost_most: int = len(_TOKENS)) -> Callable[[bytes], str]:
    """What becomes of octets; the end mark always passes."""
    drawn, lost = Random(_SEED), 0

    def by_chance() -> str:
        nonlocal lost
        what = drawn.choices(("block", "permit", "continue"), weights=(50, 25, 25))[0]
        lost = lost + 1 if what == "block" else 0
        if lost > lost_most:
            lost, what = 0, "permit"
        return what

    def decide(octets: bytes) -> str:
        if cell.trigger == BY_FILTER or cell.source == "examined":
            return "continue"
        if octets == _END:
            return "permit"
        return by_chance() if cell.source == "random" else cell.source

    return decide


def _of_octets(place: Place, cell: Cell, driver: Driver, way: Way, family: AddressFamily) -> str:
    """Tokens are sent one by one, each when the last one was decided, and then the end mark."""
    callout = Octets(_decider(cell))
    _add(driver, cell, callout, family)
    with _connection(way, family) as (client, accepted):
        for number, token in enumerate(_TOKENS):
            client.sendall(token)
            callout.wait(number + 1)
        shown = list(callout.shown)
        expect("shown", shown, _TOKENS)
        plain_block = cell.trigger == BY_FILTER and cell.source == "block"
        if plain_block:  # what was shown last may still be at its filter, and is not counted
            driver.remove(*driver.filters)
        client.sendall(_END)
        heard = b""
        while not heard.endswith(_END):
            more = accepted.recv(4096)
            if not more:
                break
            heard += more
        if plain_block:
            expect("arrived of what was blocked", [token for token in _TOKENS[:-1] if token in heard], [])
        else:
            wanted = [token for token, what in zip(_TOKENS, callout.decided, strict=False) if what != "block"]
            expect("arrived", heard, b"".join(wanted) + _END)
    return f"{way.name}: {len(heard) - len(_END)} of {sum(map(len, _TOKENS))} octets"


def _of_segments(place: Place, cell: Cell, driver: Driver, way: Way, family: AddressFamily) -> str:
    """Segments that are blocked come again, as TCP sends them again, and pass when nobody blocks them."""
    callout = Octets(_decider(cell, lost_most=_LOST_MOST))
    with _connection(way, family) as (client, accepted):
        _add(driver, cell, callout, family)
        client.sendall(_TOKENS[0])
        callout.wait(1)
        if cell.source == "block":
            place.canary(OUT, family).come()
            expect("arrived of what was blocked", _readable(accepted), False)
            driver.remove(*driver.filters)
        expect("arrived", accepted.recv(4096), _TOKENS[0])
        if cell.source == "random":
            for token in _TOKENS[1:3]:
                client.sendall(token)
                expect("arrived", accepted.recv(4096), token)
    return f"{way.name}: {len(callout.shown)} segments"


def _readable(item: socket.socket) -> bool:
    return bool(select.select([item], [], [], 0)[0])
