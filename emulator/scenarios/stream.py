"""Editing, stopping and watching TCP connections between ordinary sockets."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from emulator.callouts_stream import InlineEdit, OutOfBandEdit, StreamMonitor, Worker
from emulator.callouts_stream_faults import SENT, Corrupt, Delay, Later, ResetAfter, Slice, Truncate
from emulator.driver import Driver
from emulator.handle import InjectionHandle
from emulator.scenario import Checks, scenario
from emulator.topology import Pair
from emulator.wfptypes import Action, AddressFamily, InjectionType
from netns.patience import patient

PORT = 8888
DEADLINE = 20.0


class Conversation:
    """One connection: the host's socket and the peer's."""

    def __init__(self, host: socket.socket, peer: socket.socket) -> None:
        self.host = host
        self.peer = peer
        for end in (host, peer):
            end.settimeout(patient(DEADLINE))


@contextmanager
def conversation(pair: Pair, family: AddressFamily, *, host_connects: bool = True) -> Iterator[Conversation]:
    """A connection that the host opened, or that was opened to it."""
    client, server = (pair.host, pair.peer) if host_connects else (pair.peer, pair.host)
    listener = server.socket(family, socket.SOCK_STREAM, port=PORT)
    listener.listen()
    dialled = client.socket(family, socket.SOCK_STREAM)
    with listener, dialled:
        dialled.connect((server.address(family), PORT))
        accepted, _ = listener.accept()
        with accepted:
            yield Conversation(*((dialled, accepted) if host_connects else (accepted, dialled)))


def everything(sock: socket.socket) -> bytes:
    """What comes up to the end of the stream."""
    return b"".join(iter(lambda: sock.recv(1 << 18), b""))


def said(sender: socket.socket, reader: socket.socket, *pieces: bytes) -> bytes:
    """What the reader gets of what the sender writes before it shuts its side."""
    for piece in pieces:
        sender.sendall(piece)
    sender.shutdown(socket.SHUT_WR)
    return everything(reader)


def stream_handle(driver: Driver) -> InjectionHandle:
    return driver.create_handle(AddressFamily.UNSPEC, InjectionType.STREAM)


@scenario(cases=("D01", "D02", "D07"), rules=("ST-1", "ST-16", "ST-25", "ST-26", "ST-28"))
def edit_a_stream_inline(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A word of another length is put in the place of one, wherever the data is cut, in both directions.

    host <--(STREAM: permit n, inject, block p, permit m)--> peer
    """
    text, edited = b"a cloudy day", b"a sunny day"
    with conversation(pair, family) as plain:
        check("control: nothing is edited before", said(plain.host, plain.peer, text), text)
    with pair.host.driver() as driver:
        edit = InlineEdit(stream_handle(driver), b"cloudy", b"sunny")
        driver.add(edit, "STREAM", family, where={"IP_REMOTE_PORT": PORT})
        for cut in range(1, len(text), 2):
            with conversation(pair, family) as ends:
                check(f"cut at {cut}", said(ends.host, ends.peer, text[:cut], text[cut:]), edited)
                check(f"cut at {cut}, the other way", said(ends.peer, ends.host, text[:cut], text[cut:]), edited)
        check("replaced", edit.replaced, len(range(1, len(text), 2)) * 2)
    with conversation(pair, family) as plain:
        check("control: nothing is edited after", said(plain.host, plain.peer, text), text)


@scenario(cases=("D03", "D10"), rules=("ST-10", "ST-14", "ST-15", "ST-35", "ST-40", "SD-2"))
def two_stream_drivers_in_a_row(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """What the upper driver injects, out of band, the lower one edits, inline; the FIN comes last.

    host <--(STREAM: rainy -> cloudy on a worker; below it cloudy -> sunny)--> peer
    """
    with (
        Worker() as worker,
        pair.host.driver("upper", weight=0x40) as upper,
        pair.host.driver("lower", weight=0x20) as lower,
    ):
        rainy = OutOfBandEdit(stream_handle(upper), b"rainy", b"cloudy", worker)
        cloudy = InlineEdit(stream_handle(lower), b"cloudy", b"sunny")
        upper.add(rainy, "STREAM", family)
        lower.add(cloudy, "STREAM", family)
        for host_connects in (True, False):
            with conversation(pair, family, host_connects=host_connects) as ends:
                who = "the host" if host_connects else "the peer"
                got = said(ends.host, ends.peer, b"it is rai", b"ny or cloudy, rai")
                check(f"{who} connected: what the peer reads", got, b"it is sunny or sunny, rai")
                got = said(ends.peer, ends.host, b"and rainy here")
                check(f"{who} connected: after the half-close, what the host reads", got, b"and sunny here")
        pair.host.stack.stream.settle()


@scenario(cases=("D13",), rules=("ST-17", "ST-32", "SD-7"))
def defer_a_fast_sender(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A worker that is too slow closes the sender's window, and nothing is lost.

    peer --(50 MB)--> (STREAM: deferred above 16 KB, continued below 4 KB) --> host
    """
    octets = hashlib.sha256(b"seed").digest() * (50 << 15)
    gate = threading.Event()
    with Worker() as worker, pair.host.driver() as driver:
        slow = OutOfBandEdit(stream_handle(driver), b"no such octets", b"", worker, limit=16 << 10)
        driver.add(slow, "STREAM", family)
        with conversation(pair, family) as ends:
            worker.post(lambda: gate.wait(patient(DEADLINE)))
            ends.peer.settimeout(0.5)
            sent = 0
            with suppress(TimeoutError):
                while sent < len(octets):
                    sent += ends.peer.send(octets[sent : sent + (1 << 16)])
            check("the window closed before all was sent", sent < len(octets), True)
            gate.set()
            ends.peer.settimeout(patient(DEADLINE))
            rest = threading.Thread(target=said, args=(ends.peer, ends.peer, octets[sent:]), daemon=True)
            rest.start()
            check("what arrived is what was sent", everything(ends.host) == octets, True)
            check("deferred", slow.deferrals > 0, True)
            ends.host.shutdown(socket.SHUT_WR)
            rest.join()
        pair.host.stack.stream.settle()


@scenario(cases=("D15",), rules=("ST-31", "ST-33"))
def drop_a_connection(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """One connection is reset at both ends when it carries too much; another one, allowed, lives on.

    host --(STREAM: drop after 10 octets)--> peer
    """
    with pair.host.driver() as driver:
        driver.add(ResetAfter(10), "STREAM", family)
        with conversation(pair, family) as ends:
            ends.host.sendall(b"0123456789")
            check("the first ten octets", ends.peer.recv(10, socket.MSG_WAITALL), b"0123456789")
            ends.host.sendall(b"x")
            for name, end in (("the peer", ends.peer), ("the host", ends.host)):
                with check.raises(f"{name} is reset", ConnectionResetError):
                    end.recv(1)
        with conversation(pair, family) as ends:
            check("a modest connection", said(ends.host, ends.peer, b"modest"), b"modest")


@scenario(rules=("CO-18", "ST-21"))
def watch_a_stream(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A monitor sees both directions of a connection that was opened to the host, and changes nothing.

    host <--(STREAM: look)--> peer
    """
    monitor = StreamMonitor()
    with pair.host.driver() as driver:
        driver.add(monitor, "STREAM", family, action=Action.CALLOUT_INSPECTION)
        with conversation(pair, family, host_connects=False) as ends:
            check("both ends see each other", ends.peer.getpeername(), ends.host.getsockname())
            check("what the host reads", said(ends.peer, ends.host, b"a question"), b"a question")
            check("what the peer reads", said(ends.host, ends.peer, b"an answer"), b"an answer")
        pair.host.stack.stream.settle()
    check("seen coming in", bytes(monitor.received), b"a question")
    check("seen going out", bytes(monitor.sent), b"an answer")


@scenario(rules=("ST-25",))
def disturb_a_stream(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Ready faults: sliced, truncated, corrupted and delayed streams.

    host --(STREAM: one fault after the other)--> peer
    """
    text = b"The quick brown fox"
    faults = (
        ("sliced", Slice(3, directions=SENT), text),
        ("truncated", Truncate(9, directions=SENT), text[:9]),
        ("corrupted", Corrupt(10, directions=SENT), text[:9] + bytes([text[9] ^ 0xFF]) + text[10:]),
    )
    for name, fault, expected in faults:
        with pair.host.driver() as driver:
            driver.add(fault, "STREAM", family)
            with conversation(pair, family) as ends:
                check(name, said(ends.host, ends.peer, text), expected)
                check(f"{name}: the other way is left alone", said(ends.peer, ends.host, text), text)
    with Later() as later, pair.host.driver() as driver:
        driver.add(Delay(stream_handle(driver), 0.2, later, directions=SENT), "STREAM", family)
        with conversation(pair, family) as ends:
            ends.peer.settimeout(0.1)
            ends.host.sendall(text)
            with check.raises("delayed: nothing comes at once", TimeoutError):
                ends.peer.recv(1)
            ends.peer.settimeout(patient(DEADLINE))
            check("delayed: then all of it", said(ends.host, ends.peer), text)
        pair.host.stack.stream.settle()
