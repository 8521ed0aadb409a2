"""Measuring the cells of S8 and S9: stream data is cloned, all of it blocked, and injected again unchanged."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

from emulator.callout import Callout
from emulator.callouts_stream import Injector, Where
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.matrix.cells import Cell
from emulator.matrix.injecting import Unlike, expect, loaded
from emulator.matrix.place import OUT, Place, Way
from emulator.matrix.triggers import Trigger
from emulator.stream import DISCONNECT, StreamData, clone_stream_data
from emulator.topology import DEADLINE
from emulator.wfptypes import AddressFamily, InjectionType
from netns.patience import patient

PORT = 8888
THERE, BACK = b"a question, octet by octet", b"and its answer"


class CloneStream(Callout):
    """Blocks every octet and every FIN, and injects clones of them; with `withhold` it injects nothing.

    Source: ST-14, ST-35, SD-2.
    """

    def __init__(self, handle: InjectionHandle, trigger: Trigger) -> None:
        self.handle = handle
        self.trigger = trigger
        self.injector = Injector(handle)
        self.withhold = False
        self.octets = {True: 0, False: 0}
        """Octets that were blocked, by whether they were incoming."""
        self.injections = 0
        self.seen = threading.Event()

    def classify(self, seen: Indication) -> None:
        data: StreamData = seen.stream.stream_data
        self.octets[data.inbound] += data.data_length
        if not self.withhold:
            where, length, mark = Where(seen), data.data_length, data.flags & DISCONNECT
            chain = clone_stream_data(self.handle.core.ownership, data)
            self.injections += sum(1 for _ in chain.lists())
            self.trigger(lambda: self.injector.chain(where, chain, length, flags=mark))
        seen.block()
        self.seen.set()


def measure_stream(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell: control, withheld, carried both ways, control; what was seen, in words.

    Raises Unlike, CanaryLost, LabError, TimeoutError.
    """
    way = place.way(OUT, family)
    with ExitStack() as owned:
        listener = owned.enter_context(way.receiver.socket(family, socket.SOCK_STREAM, port=PORT))
        listener.listen()
        expect("control before", talk(way, listener, family), (THERE, BACK))
        with loaded(place, cell.trigger) as (driver, trigger):
            callout = CloneStream(driver.create_handle(AddressFamily.UNSPEC, InjectionType.STREAM), trigger)
            driver.add(callout, "STREAM", family, where={"IP_REMOTE_PORT": PORT})
            _withheld(place, callout, way, listener, family)
            expect("said", talk(way, listener, family), (THERE, BACK))
            place.stack.stream.settle(timeout=patient(DEADLINE))
            expect("injected at", trigger.levels, {trigger.name})
            expect("blocked octets", callout.octets, {False: len(THERE), True: len(BACK)})
            expect("completions", callout.injector.completed, {0: callout.injections})
        expect("control after", talk(way, listener, family), (THERE, BACK))
    return f"both ways: {len(THERE) + len(BACK)} octets"


def _withheld(
    place: Place, callout: CloneStream, way: Way, listener: socket.socket, family: AddressFamily
) -> None:
    """What is blocked and not injected does not arrive: of the connection only what comes after it does."""
    callout.withhold = True
    with way.sender.socket(family, socket.SOCK_STREAM) as client:
        client.connect((way.to, PORT))
        accepted, _ = listener.accept()
        with accepted:
            client.sendall(b"withheld")
            if not callout.seen.wait(patient(DEADLINE)):
                raise Unlike("the callout was not shown the stream")
            expect("withheld octets", callout.octets[False], len(b"withheld"))
            callout.withhold = False
            client.sendall(b"|")  # the same connection, right behind it
            accepted.settimeout(patient(DEADLINE))
            expect("what arrived of the withheld", accepted.recv(100), b"|")
    place.stack.stream.settle(timeout=patient(DEADLINE))
    callout.octets = {True: 0, False: 0}


def talk(way: Way, listener: socket.socket, family: AddressFamily) -> tuple[bytes, bytes]:
    """What the far end, and then the near end, reads of one connection; raises TimeoutError."""
    with way.sender.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(patient(DEADLINE))
        client.connect((way.to, PORT))
        listener.settimeout(patient(DEADLINE))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(patient(DEADLINE))
            client.sendall(THERE)
            client.shutdown(socket.SHUT_WR)
            heard = b"".join(iter(lambda: accepted.recv(4096), b""))
            accepted.sendall(BACK)
            accepted.shutdown(socket.SHUT_WR)
            return heard, b"".join(iter(lambda: client.recv(4096), b""))
