"""STREAM_PACKET: TCP segments of both directions, held and injected again by the transport functions."""

from __future__ import annotations

import hashlib
import queue
import socket
import threading
from collections.abc import Callable

import pytest

from emulator.callout import Callout
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_of
from emulator.stack import Stack
from emulator.topology import Pair
from emulator.wfptypes import AddressFamily, InjectionType
from netns.patience import patient
from tests.lab.conftest import Completions

PORT = 8123
OCTETS = 400_000


class HoldSegments(Callout):
    """Blocks every segment, and has its clone injected by a worker: never inline (TS-16)."""

    def __init__(self, stack: Stack, handle: InjectionHandle, family: AddressFamily) -> None:
        self.handle, self.family, self.done = handle, family, Completions(stack)
        self.work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.shown = {True: 0, False: 0}
        self.again = {True: 0, False: 0}
        self.worker = threading.Thread(target=self._run)
        self.worker.start()

    def _run(self) -> None:
        while (job := self.work.get()) is not None:
            job()

    def classify(self, seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        if self.handle.is_mine(item):
            self.again[seen.inbound] += 1
            return seen.permit()
        self.shown[seen.inbound] += 1
        if seen.inbound:
            clone = seen.clone(seen.metadata.ip_header_size + seen.metadata.transport_header_size)
            interface = seen.interface
            self.work.put(
                lambda: self.handle.transport_receive(
                    clone, self.done, family=self.family, interface=interface, sub_interface=SUB_INTERFACE
                )
            )
        else:
            clone, remote = seen.clone(), SendParams(seen.view.destination)
            self.work.put(
                lambda: self.handle.transport_send(clone, self.done, family=self.family, send_params=remote)
            )
        return seen.block(absorb=True)

    def close(self) -> None:
        self.work.put(None)
        self.worker.join(patient(10))


@pytest.mark.rule("LA-1", "LA-12")
def test_segments_of_both_directions_are_shown_held_and_injected_again(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    listener = pair.peer.socket(family, socket.SOCK_STREAM, port=PORT)
    listener.listen(1)
    payload = bytes(range(256)) * (OCTETS // 256)
    with stack.create_handle(family, InjectionType.TRANSPORT) as handle:
        callout = HoldSegments(stack, handle, family)
        registered = stack.register(callout)
        added = stack.add_filter(layer_of("STREAM_PACKET", family.version), registered)
        client = pair.host.socket(family, socket.SOCK_STREAM)
        client.connect((pair.peer.address(family), PORT))
        server, _ = listener.accept()
        server.settimeout(patient(10))

        def say() -> None:
            client.sendall(payload)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=say)
        sender.start()
        received = hashlib.sha256()
        while chunk := server.recv(65536):
            received.update(chunk)
        server.sendall(b"thanks")
        assert client.recv(100) == b"thanks"
        sender.join(patient(10))
        for end in (server, client):
            end.close()
        stack.settle()
        stack.delete_filter(added)
        stack.unregister(registered)
        callout.close()
    assert received.digest() == hashlib.sha256(payload).digest()
    assert callout.shown[True] > 10
    assert callout.shown[False] > 10
    assert callout.again == callout.shown
    assert set(callout.done.names) == {"SUCCESS"}
