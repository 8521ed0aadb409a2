"""A spliced connection between two loopback connections: copied, passed by the kernel, half closed, reset."""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from emulator.callouts_stream import StreamMonitor
from emulator.paths.poller import Poller
from emulator.paths.stream_connection import Connection
from emulator.paths.stream_legs import Pipe, is_closed
from emulator.paths.stream_memory import ReadMemory
from emulator.splice import Side, Splice
from emulator.stream_bench import StreamBench
from emulator.wfptypes import Action, CalloutFlag


class Rig:
    """The connection, and the two applications at its ends."""

    def __init__(self, owned: ExitStack) -> None:
        self.bench = StreamBench()
        self.poller = Poller()
        owned.callback(self.poller.close)
        self.ends: dict[Side, socket.socket] = {}
        legs = {}
        for side in Side:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self.ends[side] = owned.enter_context(socket.create_connection(listener.getsockname()))
                legs[side] = owned.enter_context(listener.accept()[0])
            legs[side].setblocking(False)
            self.ends[side].setblocking(False)
        self.posted: deque[Callable[[], None]] = deque()
        self.left: list[socket.socket] | None = None
        flow = self.bench.core.streams.begin(self.bench.key, outbound=True, now=0.0)
        assert flow is not None
        self.connection = Connection(
            Splice(flow), legs, self.poller, ReadMemory(), post=self.posted.append, over=self._over
        )

    def _over(self, connection: Connection, left: list[socket.socket]) -> None:
        self.left = left

    def turn(self, rounds: int = 8) -> None:
        for _ in range(rounds):
            while self.posted:
                self.posted.popleft()()
            if self.left is None:
                self.poller.turn(0.02)

    def read(self, side: Side, size: int) -> bytes:
        octets = bytearray()
        for _ in range(2000):
            self.turn(1)
            try:
                octets += self.ends[side].recv(1 << 20)
            except BlockingIOError:
                continue
            if len(octets) >= size:
                break
        return bytes(octets)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with ExitStack() as owned:
        yield Rig(owned)


def inspect(rig: Rig) -> StreamMonitor:
    monitor = StreamMonitor()
    monitor.flags = CalloutFlag.ALLOW_MID_STREAM_INSPECTION
    rig.bench.add(monitor, action=Action.CALLOUT_INSPECTION)
    return monitor


@pytest.mark.parametrize("inspected", [True, False])
def test_octets_cross_and_are_copied_only_for_those_who_look(rig: Rig, inspected: bool) -> None:
    monitor = inspect(rig) if inspected else None
    rig.connection.start()
    rig.ends[Side.HOST].sendall(b"question")
    assert rig.read(Side.REMOTE, 8) == b"question"
    rig.ends[Side.REMOTE].sendall(b"answer")
    assert rig.read(Side.HOST, 6) == b"answer"
    assert (rig.connection.copied, rig.connection.passed) == ((14, 0) if inspected else (0, 14))
    assert monitor is None or bytes(monitor.sent) == b"question"


@pytest.mark.parametrize("inspected", [True, False])
def test_a_half_close_is_carried_over_and_the_end_is_an_end(rig: Rig, inspected: bool) -> None:
    if inspected:
        inspect(rig)
    rig.connection.start()
    rig.ends[Side.HOST].sendall(b"last words")
    rig.ends[Side.HOST].shutdown(socket.SHUT_WR)
    assert rig.read(Side.REMOTE, 10) == b"last words"
    rig.turn()
    assert rig.ends[Side.REMOTE].recv(1) == b""
    assert rig.left is None
    rig.ends[Side.REMOTE].sendall(b"mine too")
    rig.ends[Side.REMOTE].shutdown(socket.SHUT_WR)
    assert rig.read(Side.HOST, 8) == b"mine too"
    rig.turn()
    assert rig.ends[Side.HOST].recv(1) == b""
    assert rig.left is not None
    assert len(rig.left) == 2
    for end in rig.ends.values():
        end.close()
    assert all(is_closed(sock) for sock in rig.left)


@pytest.mark.parametrize("inspected", [True, False])
@pytest.mark.parametrize("side", list(Side))
def test_a_reset_is_a_reset_on_the_other_side(rig: Rig, side: Side, inspected: bool) -> None:
    if inspected:
        inspect(rig)
    rig.connection.start()
    rig.turn()
    rig.ends[side].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    rig.ends[side].close()
    rig.turn()
    with pytest.raises(ConnectionResetError):
        rig.ends[side.other].recv(1)
    assert rig.left == []


@pytest.mark.parametrize("inspected", [True, False])
def test_a_stopped_reader_stops_the_sender_and_loses_nothing(rig: Rig, inspected: bool) -> None:
    if inspected:
        inspect(rig)
    rig.connection.start()
    octets = os.urandom(1 << 20) * 48
    sent = refused = 0
    while sent < len(octets) and refused < 5:
        try:
            sent += rig.ends[Side.HOST].send(octets[sent : sent + (1 << 18)])
            refused = 0
        except BlockingIOError:
            refused += 1
            rig.turn(1)
    assert sent < len(octets)
    arrived = rig.read(Side.REMOTE, sent)
    assert arrived == octets[:sent]


def test_who_begins_to_look_sees_what_comes_from_then_on_and_order_is_kept(rig: Rig) -> None:
    rig.connection.start()
    rig.ends[Side.HOST].sendall(b"unseen ")
    assert rig.read(Side.REMOTE, 7) == b"unseen "
    monitor = inspect(rig)
    rig.ends[Side.HOST].sendall(b"seen")
    assert rig.read(Side.REMOTE, 4) == b"seen"
    assert bytes(monitor.sent) == b"seen"


def test_an_abort_resets_both_ends(rig: Rig) -> None:
    rig.connection.start()
    rig.turn()
    rig.connection.abort()
    for end in rig.ends.values():
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_a_pipe_gives_back_its_descriptors_once() -> None:
    before = len(os.listdir("/proc/self/fd"))
    pipe = Pipe()
    assert len(os.listdir("/proc/self/fd")) == before + 2
    pipe.close()
    pipe.close()
    assert len(os.listdir("/proc/self/fd")) == before
