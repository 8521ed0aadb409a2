"""A bed for the tests of both queue backends: sender, host, a queue in the host, and a sink behind it."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal

import pytest

from emulator.checksums import fix_checksums
from emulator.paths.queue import PacketQueue, QueueBackend, QueuedPacket, QueueLimits, open_queue
from emulator.wfptypes import AddressFamily
from netns.lab import Lab
from netns.patience import patient
from netns.rules import Hook, InstalledRules, Mark, QueueRule

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
SENDER = {4: "192.0.2.1", 6: "2001:db8::1"}
HOST = {4: "192.0.2.2", 6: "2001:db8::2"}
HEADERS = {4: 28, 6: 48}
PORT = 4000
PATIENCE_SECONDS = patient(10.0)
NUMBER = 5
SO_RCVBUFFORCE = 33
MTU = 9216


class Bed:
    """sender -- host; what crosses to the host's UDP port is queued in its INPUT, then meets the sink."""

    def __init__(self, lab: Lab, version: Literal[4, 6], backend: QueueBackend, undo: ExitStack) -> None:
        self.version = version
        self.headers = HEADERS[version]
        """Octets before the UDP data."""
        self.address = HOST[version]
        """The sink's, at PORT."""
        self.backend = backend
        self.lab = lab
        self.host = lab["host"]
        self.undo = undo
        self.sink = self.udp("host")
        self.sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.sink.bind((HOST[version], PORT))
        self.sink.settimeout(PATIENCE_SECONDS)
        self.source = self.udp("sender")
        self.source.connect((HOST[version], PORT))

    def udp(self, host: str) -> socket.socket:
        """A UDP socket of a namespace, closed with the bed."""
        made = self.lab[host].open_in(lambda: socket.socket(FAMILY[self.version], socket.SOCK_DGRAM))
        return self.undo.enter_context(made)

    def queue(self, *numbers: int, limits: QueueLimits | None = None) -> PacketQueue:
        """A queue of the host, closed with the bed."""
        opened = self.host.open_in(lambda: open_queue(numbers or [NUMBER], limits, self.backend))
        return self.undo.enter_context(opened)

    def divert(self, *hooks: Hook, protocol: str = "udp", exempt: Mark | None = None) -> InstalledRules:
        """Queue at each hook, INPUT if none is named, the first to NUMBER, the next to NUMBER + 1."""
        rules = [
            QueueRule(family=self.version, hook=hook, queue=NUMBER + n, protocol=protocol, exempt=exempt)
            for n, hook in enumerate(hooks or [Hook.INPUT])
        ]
        return self.undo.enter_context(InstalledRules(self.host, rules))

    def send(self, *datagrams: bytes) -> None:
        """From the sender to the sink."""
        for data in datagrams:
            self.source.send(data)

    def arrived(self, count: int) -> list[bytes]:
        """The next datagrams that reach the sink."""
        return [self.sink.recv(65536) for _ in range(count)]

    def rewritten(self, packet: QueuedPacket, data: bytes) -> bytearray:
        """The packet with other UDP data."""
        octets = packet.payload[: self.headers] + data
        if self.version == 4:
            struct.pack_into(">H", octets, 2, len(octets))
        else:
            struct.pack_into(">H", octets, 4, len(octets) - 40)
        struct.pack_into(">H", octets, self.headers - 4, 8 + len(data))
        fix_checksums(octets)
        return octets

    @staticmethod
    def received(queue: PacketQueue, count: int) -> list[QueuedPacket]:
        """The next packets of the queue; fails if they do not come in time."""
        packets: list[QueuedPacket] = []
        until = time.monotonic() + PATIENCE_SECONDS
        while len(packets) < count:
            left = until - time.monotonic()
            assert left > 0, f"{len(packets)} of {count} packets came"
            select.select([queue], [], [], left)
            packets += queue.receive()
        assert len(packets) == count
        return packets

    def said(self, packet: QueuedPacket) -> bytes:
        """The UDP data of a packet."""
        return bytes(packet.payload[self.headers :])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        sender, host = made.namespace("sender"), made.namespace("host")
        prefixes = {4: 24, 6: 64}
        ends = [[f"{at[version]}/{prefixes[version]}" for version in (4, 6)] for at in (SENDER, HOST)]
        made.link(sender, host, addresses=(ends[0], ends[1]), mtu=MTU)
        yield made


@pytest.fixture(params=list(QueueBackend))
def backend(request: pytest.FixtureRequest) -> QueueBackend:
    return QueueBackend(request.param)


@pytest.fixture
def bed(lab: Lab, family: AddressFamily, backend: QueueBackend) -> Iterator[Bed]:
    with ExitStack() as undo:
        yield Bed(lab, 4 if family is AddressFamily.INET else 6, backend, undo)
