"""Measuring the cells of S4 to S6 with TCP: always out of band, as the sample does (TS-16, TR-11)."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack

from emulator.driver import Driver
from emulator.indication import Indication
from emulator.matrix.again import Again, Edit
from emulator.matrix.cells import Cell
from emulator.matrix.injecting import expect, finished, loaded, ways_of
from emulator.matrix.place import IN, Place, Way
from emulator.matrix.rows import EDITED, PORTLESS_TCP
from emulator.octets import TCP, IpView
from emulator.rewrite import with_ends
from emulator.topology import DEADLINE
from emulator.wfptypes import AddressFamily
from netns.patience import patient

PORT, OTHER_PORT = 7000, 7001
TEXT = b"a conversation by segments"

_OF_A_HANDSHAKE = 3
"""Segments: each follows when the one before has arrived."""


def measure_segments(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell by TCP, in every direction that connections are opened in; what was seen, in words.

    Raises Unlike, CanaryLost, LabError, TimeoutError.
    """
    if cell.source == EDITED and cell.layer in PORTLESS_TCP:
        return ""
    told = []
    for name in ways_of(cell.layer):
        way = place.way(name, family)
        with ExitStack() as owned:
            plain = _listening(owned, way, family, way.to, PORT)
            other = _listening(owned, way, family, way.other_to, OTHER_PORT)
            told.append(_one_way(place, cell, way, family, plain, other))
    return ", ".join(told)


def _listening(owned: ExitStack, way: Way, family: AddressFamily, address: str, port: int) -> socket.socket:
    made = owned.enter_context(way.receiver.socket(family, socket.SOCK_STREAM, port=port, address=address))
    made.listen()
    return made


def _one_way(
    place: Place, cell: Cell, way: Way, family: AddressFamily, plain: socket.socket, other: socket.socket
) -> str:
    with _dialling(place, way, family) as client:
        expect("control before", talk(client, plain, patient(DEADLINE)), TEXT)
    edit = _edit_of(way)
    edited = cell.source == EDITED
    with loaded(place, cell.trigger) as (driver, trigger):
        callout = Again(driver, family, trigger, cell.source, wanted=_is_ours, edit=edit)
        if edited:
            _lead_back(place, callout, driver, way, family)
        driver.add(callout, cell.layer, family)
        trigger.holding = True
        with _dialling(place, way, family) as client:
            _shown(place, way, family)
            for listener in (plain, other):
                expect("connected while the injections wait", _waits(listener), False)
            expect("blocked", sum(callout.taken.values()) > 0, True)
            trigger.release()
            expect("said", talk(client, other if edited else plain, patient(DEADLINE)), TEXT)
        driver.remove(*driver.filters)  # the last segments may still be on their way
        finished(place, callout, driver, trigger)
        expect("connected past the callout", _waits(plain), False)
    with _dialling(place, way, family) as client:
        expect("control after", talk(client, plain, patient(DEADLINE)), TEXT)
    return f"{way.name}: {callout.injected} segments"


def _dialling(place: Place, way: Way, family: AddressFamily) -> socket.socket:
    """A socket of the sender that has begun to connect."""
    made = way.sender.socket(family, socket.SOCK_STREAM, port=place.new_port())
    made.setblocking(False)
    made.connect_ex((way.to, PORT))
    return made


def talk(client: socket.socket, listener: socket.socket, seconds: float) -> bytes:
    """What the far end reads, and the near end then gets back, of one connection; raises TimeoutError."""
    listener.settimeout(seconds)
    accepted, _ = listener.accept()
    with accepted:
        accepted.settimeout(seconds)
        client.settimeout(seconds)
        client.sendall(TEXT)
        client.shutdown(socket.SHUT_WR)
        heard = b"".join(iter(lambda: accepted.recv(4096), b""))
        accepted.sendall(heard)
        accepted.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(4096), b""))


def _shown(place: Place, way: Way, family: AddressFamily) -> None:
    """Return when every segment of a handshake has been shown that nobody withholds."""
    for _ in range(_OF_A_HANDSHAKE):
        place.canary(way.name, family).come()  # what was sent before has come to the queue
        place.stack.loop.call(place.stack.packets.drain)


def _waits(listener: socket.socket) -> bool:
    """Whether somebody has connected who was not accepted yet."""
    return bool(select.select([listener], [], [], 0)[0])


def _edit_of(way: Way) -> Edit:
    """Another port, and where another host is meant another address."""
    return Edit(destination=None if way.name == IN else way.other_to, destination_port=OTHER_PORT)


def _is_ours(view: IpView) -> bool:
    return view.protocol == TCP and PORT in (view.source_port, view.destination_port)


def _lead_back(place: Place, callout: Again, driver: Driver, way: Way, family: AddressFamily) -> None:
    """Change the answers back, below the layer where they are matched with sockets: else no connection stands."""
    answers_come_in = way.name != IN

    def back(seen: Indication) -> None:
        item, view = seen.net_buffer_list, seen.view
        if item is None or view.protocol != TCP or view.source_port != OTHER_PORT or callout.handle.is_mine(item):
            return seen.permit()
        retreat = seen.metadata.ip_header_size if seen.inbound else 0
        made = driver.create(with_ends(seen.copy(retreat), source=way.to, source_port=PORT))
        if seen.inbound:
            callout.handle.network_receive(
                made,
                driver.done,
                interface=seen.value("INTERFACE_INDEX"),
                sub_interface=seen.value("SUB_INTERFACE_INDEX"),
            )
        else:
            callout.handle.network_send(made, driver.done)
        callout.injected += 1
        return seen.block(absorb=True)

    driver.add(back, "INBOUND_IPPACKET" if answers_come_in else "OUTBOUND_IPPACKET", family)
