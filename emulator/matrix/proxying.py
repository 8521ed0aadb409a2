"""Measuring the cells of S13, the proxy by injection, and S12, contexts of flows."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.matrix.again import ALL_TYPES
from emulator.matrix.cells import Cell
from emulator.matrix.injecting import exchanged, expect, loaded
from emulator.matrix.lines import Arrival, Datagrams
from emulator.matrix.place import IN, OUT, PORT, Place
from emulator.matrix.triggers import Trigger
from emulator.rewrite import with_ends
from emulator.topology import DEADLINE
from emulator.traffic import Responder
from emulator.wfptypes import Action, AddressFamily
from netns.patience import patient

ASKED, REAL = 5300, 5353


class Proxy(Callout):
    """Leads datagrams to another address and port, by transport send, and the answers back, by network receive.

    Each direction has its trigger; `taken` counts what was blocked, by whether it was incoming.
    """

    def __init__(
        self, driver: Driver, family: AddressFamily, triggers: dict[bool, Trigger], asked: str, real: str
    ) -> None:
        self.driver = driver
        self.family = family
        self.triggers = triggers
        self.asked = asked
        self.real = socket.inet_pton(socket.AF_INET if family == AddressFamily.INET else socket.AF_INET6, real)
        self.handle = driver.create_handle(family, ALL_TYPES)
        self.taken = {True: 0, False: 0}
        self.blocked = {True: threading.Event(), False: threading.Event()}

    def classify(self, seen: Indication) -> None:
        item, view = seen.net_buffer_list, seen.view
        port = view.source_port if seen.inbound else view.destination_port
        if item is None or port != (REAL if seen.inbound else ASKED) or self.handle.is_mine(item):
            return seen.permit()
        self.taken[seen.inbound] += 1
        if seen.inbound:
            self._back(seen)
        else:
            self._out(seen)
        seen.block(absorb=True)
        return self.blocked[seen.inbound].set()

    def _out(self, seen: Indication) -> None:
        datagram = bytearray(seen.copy())
        datagram[2:4] = REAL.to_bytes(2, "big")
        datagram[6:8] = bytes(2)  # the stack fills it in
        made, endpoint = self.driver.create(datagram), seen.metadata.transport_endpoint_handle
        self.triggers[False](
            lambda: self.handle.transport_send(
                made, self.driver.done, family=self.family, endpoint=endpoint, send_params=SendParams(self.real)
            )
        )

    def _back(self, seen: Indication) -> None:
        packet = seen.copy(seen.metadata.ip_header_size)
        made = self.driver.create(with_ends(packet, source=self.asked, source_port=ASKED))
        interface, sub_interface = seen.value("INTERFACE_INDEX"), seen.value("SUB_INTERFACE_INDEX")
        self.triggers[True](
            lambda: self.handle.network_receive(
                made, self.driver.done, interface=interface, sub_interface=sub_interface
            )
        )


@contextmanager
def _responding(place: Place, family: AddressFamily, address: str, port: int) -> Iterator[Responder]:
    server = Responder(place.far, family, port, bytes.upper, address=address)
    try:
        yield server
    finally:
        server.close()


def measure_proxy(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell: the row's direction by the cell's trigger, the other one inline; what was seen, in words.

    Raises Unlike, CanaryLost, LabError, TimeoutError.
    """
    inbound = cell.layer == "INBOUND_IPPACKET"
    asked, real = place.far.address(family), place.second(family)
    client = place.near.socket(family)
    client.settimeout(patient(DEADLINE))
    with client, _responding(place, family, asked, ASKED) as plain, _responding(place, family, real, REAL) as server:
        expect("control before", _ask(client, asked, b"before"), (b"BEFORE", asked, ASKED))
        with loaded(place, cell.trigger) as (driver, trigger):
            other = Trigger("inline", place.stack)
            proxy = Proxy(driver, family, {inbound: trigger, not inbound: other}, asked, real)
            for group in ("OUTBOUND_TRANSPORT", "INBOUND_IPPACKET"):
                driver.add(proxy, group, family)
            trigger.holding = not trigger.inline
            client.sendto(b"hello", (asked, ASKED))
            if not trigger.inline:
                expect("shown", proxy.blocked[inbound].wait(patient(DEADLINE)), True)
                place.canary(IN if inbound else OUT, family).come()
                if inbound:
                    expect("answered while it waits", select.select([client], [], [], 0)[0], [])
                else:
                    expect("asked while it waits", server.asked, [])
                trigger.release()
            answer, source = client.recvfrom(512)
            expect("answer", (answer, *source[:2]), (b"HELLO", asked, ASKED))
            expect("who was asked", (plain.asked, server.asked), ([b"before"], [b"hello"]))
            expect("blocked", proxy.taken, {True: 1, False: 1})
            trigger.drain()
            place.stack.settle()
            expect("injected at", trigger.levels, {trigger.name})
            expect("completions", driver.done.counted(), {"SUCCESS": 2})
        expect("control after", _ask(client, asked, b"after"), (b"AFTER", asked, ASKED))
    return "1 question, 1 answer"


def _ask(client: socket.socket, address: str, question: bytes) -> tuple[Any, ...]:
    client.sendto(question, (address, ASKED))
    answer, source = client.recvfrom(512)
    return answer, *source[:2]


class Associate(Callout):
    """Attaches a context at ALE_FLOW_ESTABLISHED for another callout's layer, which then finds it."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.deleted: list[Any] = []
        self.flows: list[int] = []
        self.where = (0, 0)
        """Layer and callout id that the context is for."""

    def classify(self, seen: Indication) -> None:
        if PORT not in (seen.view.destination_port, seen.view.source_port):
            return seen.continue_()
        if seen.info.group == "ALE_FLOW_ESTABLISHED":
            self.flows.append(seen.flow_handle)
            seen.core.engine.flows.associate(seen.flow_handle, *self.where, f"flow {len(self.flows)}")
        else:
            self.found.append(seen.flow_context)
        return seen.continue_()

    def flow_delete(self, layer: int, callout_id: int, context: Any) -> None:
        self.deleted.append(context)


def measure_contexts(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell: two flows, each with a context that its later packets carry, and that is given back once.

    Raises Unlike, CanaryLost, LabError, TimeoutError.
    """
    way = place.way(OUT, family)
    lines = [Datagrams(place, OUT, family, fresh=True)]
    line, here = lines[0], place.near.address(family)
    try:
        expect("control before", exchanged(place, line, [b"before"]), [Arrival(b"before", here)])
        with loaded(place, cell.trigger) as (driver, _):
            callout = Associate()
            inspect = Action.CALLOUT_INSPECTION
            (added,) = driver.add(callout, "DATAGRAM_DATA", family, action=inspect)
            assert added.callout is not None
            callout.where = (added.layer, added.callout.callout_id)
            driver.add(callout, cell.layer, family, action=inspect)
            expect("arrived", exchanged(place, line, [b"one", b"two"]), [Arrival(b"one", here), Arrival(b"two", here)])
            line.again(b"two again")
            line.canary()
            expect("arrived again", line.taken(), [Arrival(b"two again", here)])
            expect("contexts seen", callout.found, ["flow 1", "flow 2", "flow 2"])
            for number in callout.flows:
                place.stack.core.engine.flows.remove(number, *callout.where)
            expect("given back", sorted(callout.deleted), ["flow 1", "flow 2"])
        expect("control after", exchanged(place, line, [b"after"]), [Arrival(b"after", here)])
    finally:
        line.close()
    return f"{way.name}: 2 flows, 3 udp"
