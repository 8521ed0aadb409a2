"""Many datagrams by one call, over a pair of local sockets."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from emulator.paths.datagrams import DatagramBurst


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b:
        yield a, b


def contents(burst: DatagramBurst, lengths: list[int]) -> list[bytes]:
    return [bytes(burst.buffer[at : at + n]) for at, n in zip(burst.offsets, lengths, strict=False)]


def test_what_waits_is_read_slot_by_slot_and_no_more_than_there_are(ends: tuple[socket.socket, socket.socket]) -> None:
    a, b = ends
    burst = DatagramBurst(4, 100)
    sent = [b"%d" % n * n for n in range(1, 7)]
    for data in sent:
        a.send(data)
    assert contents(burst, burst.receive(b.fileno())) == sent[:4]
    assert contents(burst, burst.receive(b.fileno())) == sent[4:]
    assert burst.receive(b.fileno()) == []


def test_a_datagram_too_long_does_not_reach_the_next_slot(ends: tuple[socket.socket, socket.socket]) -> None:
    a, b = ends
    burst = DatagramBurst(2, 8)
    burst.buffer[:] = bytes(len(burst.buffer))
    a.send(b"x" * 1000)
    a.send(b"next")
    lengths = burst.receive(b.fileno())
    assert contents(burst, lengths) == [b"x" * 8, b"next"]
    assert set(burst.buffer[8 : burst.offsets[1]]) == {0}


def test_what_the_kernel_refuses_is_raised() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="not a socket|non-socket") as caught:
            DatagramBurst(1, 8).receive(fd)
    finally:
        os.close(fd)
    assert caught.value.errno == errno.ENOTSOCK
