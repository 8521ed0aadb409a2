"""A traced host tells everything that happens, in order; one that is not traced tells nothing and listens nowhere."""

from __future__ import annotations

import threading
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulator.evidence.trace import Tracer
from emulator.evidence.traceevents import Classify, Inject, Loss, Place, Violation
from emulator.evidence.traceevents import Verdict as VerdictEvent
from emulator.indication import Indication
from emulator.netbuffer import NetBufferList
from emulator.paths.queue import Arrival, HookNumber, PacketQueue, QueuedPacket, Verdict
from emulator.stack import Stack
from tests.unit.fakehost import FakeHost, layer, udp
from tests.unit.tracing import kinds

VERSIONS = pytest.mark.parametrize("version", [4, 6])


class FakeQueue:
    """Packets that wait, and verdicts that were given."""

    backend, numbers, limits = "fake", (1,), None

    def __init__(self) -> None:
        self.waiting: list[QueuedPacket] = []
        self.verdicts: list[tuple[Any, ...]] = []
        self.closed = False

    def receive(self) -> list[QueuedPacket]:
        taken, self.waiting = self.waiting, []
        return taken

    def settle(self, packet: QueuedPacket, verdict: int, payload: Any = None, mark: int | None = None) -> None:
        self.verdicts.append((packet, verdict, payload, mark))

    def flush(self) -> None:
        self.verdicts.append(("flush",))

    def fileno(self) -> int:
        return 42

    def counts(self) -> str:
        return "counts"

    def close(self) -> None:
        self.closed = True


class TracedHost:
    """A core without I/O between a fake queue and a trace."""

    def __init__(self, host: FakeHost | None = None) -> None:
        self.host = host or FakeHost()
        self.inner = FakeQueue()
        self.sockets, self.raw = SimpleNamespace(on_send=None), SimpleNamespace(on_send=None)
        self.stack: Any = SimpleNamespace(
            core=self.host.core,
            packets=SimpleNamespace(queue=self.inner),
            sockets=self.sockets,
            raw=self.raw,
            loop=SimpleNamespace(thread_id=threading.get_ident()),
            books=SimpleNamespace(lost={}),
            hooks=SimpleNamespace(follow=lambda: followed.append(self.stack.trace)),
            trace=None,
        )
        followed: list[object] = []
        ticks = count(1)
        self.tracer = Tracer(lambda: next(ticks))
        place = Place(name="host", emulated=True, interfaces={"2": "eth0"})
        self.trace = self.tracer.attach(place, cast(Stack, self.stack))
        assert followed == [self.trace], "once it is traced, the host is shown all packets"
        self.queue = cast(PacketQueue, self.stack.packets.queue)

    def arrives(self, octets: bytes, hook: HookNumber = HookNumber.POSTROUTING) -> QueuedPacket:
        """A packet waits in the queue, and is taken."""
        packet = QueuedPacket()
        packet.payload, packet.mark, packet.token = bytearray(octets), 0, 1
        packet.arrival = Arrival(1, int(hook), 0x0800, out_device=2)
        self.inner.waiting.append(packet)
        (taken,) = self.queue.receive()
        return taken

    def shown(self, packet: QueuedPacket, at: int) -> Indication:
        """The packet as a layer shows it, over its own memory."""
        seen = self.host.indication(at, packet.payload, inbound=False)
        seen.memory = packet.payload
        item = cast(NetBufferList, seen.net_buffer_list)
        item.memory = packet.payload
        return seen


@pytest.fixture
def traced() -> TracedHost:
    return TracedHost()


def test_a_host_without_trace_has_nobody_who_listens() -> None:
    core = FakeHost().core
    listeners = (core.engine.on_indicate, core.engine.on_decided, core.on_accept, core.on_complete)
    assert listeners == (None, None, None, None)
    assert core.ownership.on_made is None
    assert core.ownership.on_freed is None


@VERSIONS
def test_clone_block_inject_complete_is_told_step_by_step(traced: TracedHost, version: int) -> None:
    host, octets = traced.host, udp(version, inbound=False)
    handle = host.handle(2 if version == 4 else 23)

    def classify(seen: Indication) -> None:
        handle.network_send(seen.clone(), host.done, context="why")
        seen.block(absorb=True)

    at = layer("OUTBOUND_IPPACKET", version)
    host.filter(at, classify, name="clone it")
    packet = traced.arrives(octets)
    assert not host.show(traced.shown(packet, at))
    traced.queue.settle(packet, Verdict.DROP)
    host.complete()
    events = list(traced.tracer.events())
    assert kinds(events) == [
        "arrive", "clone", "inject", "filter", "classify", "right", "decide", "verdict", "complete", "free",
    ]  # fmt: skip
    assert {event.packet for event in events if kinds([event]) != ["filter"]} == {1}
    injected = next(event for event in events if isinstance(event, Inject))
    assert (injected.handle, injected.path, injected.packets, injected.context) == (1, "network", [octets], "'why'")
    asked = next(event for event in events if isinstance(event, Classify))
    assert (asked.action, asked.absorb, asked.right, asked.state) == ("BLOCK", True, False, "NOT_INJECTED")
    verdict = next(event for event in events if isinstance(event, VerdictEvent))
    assert (verdict.outcome, verdict.layer, verdict.filter) == ("absorbed", at.name, 1)


@VERSIONS
def test_a_packet_made_while_another_is_shown_names_that_one_as_its_cause(traced: TracedHost, version: int) -> None:
    host = traced.host
    handle = host.handle(2 if version == 4 else 23)

    def classify(seen: Indication) -> None:
        handle.network_send(host.created(udp(version, b"answer")), host.done)
        seen.block(absorb=True)

    at = layer("OUTBOUND_IPPACKET", version)
    host.filter(at, classify)
    host.show(traced.shown(traced.arrives(udp(version, inbound=False)), at))
    injected = next(event for event in traced.tracer.events() if isinstance(event, Inject))
    assert (injected.packet, injected.cause) == (2, 1)


def test_a_violation_is_tied_to_the_packet_that_was_shown(traced: TracedHost) -> None:
    host = traced.host
    at = layer("OUTBOUND_IPPACKET", 4)
    host.filter(at, lambda seen: host.core.violate("GE-9", "classifyFn", "it did wrong"))
    host.show(traced.shown(traced.arrives(udp(4, inbound=False)), at))
    (broken,) = [event for event in traced.tracer.events() if isinstance(event, Violation)]
    assert (broken.packet, broken.rule, broken.message) == (1, "GE-9", "it did wrong")


def test_listeners_that_were_there_before_are_still_told() -> None:
    heard: list[str] = []
    host = FakeHost()
    host.core.violations.on_record = lambda violation: heard.append(violation.rule)
    host.core.engine.on_classify = lambda seen, item, decided: heard.append(item.name)
    traced = TracedHost(host)
    host.filter(layer("OUTBOUND_IPPACKET", 4), lambda seen: seen.permit(), name="mine")
    host.show(host.indication(layer("OUTBOUND_IPPACKET", 4)))
    host.core.violate("NB-9", "somewhere", "something")
    assert heard == ["mine", "NB-9"]
    assert kinds(traced.tracer.events()) == ["filter", "classify", "decide", "violation"]


def test_the_queue_does_what_the_one_inside_does(traced: TracedHost) -> None:
    packet = traced.arrives(udp(4))
    traced.queue.settle(packet, Verdict.ACCEPT, b"new", 7)
    traced.queue.flush()
    assert traced.inner.verdicts == [(packet, Verdict.ACCEPT, b"new", 7), ("flush",)]
    assert traced.queue.fileno() == 42
    assert str(traced.queue.counts()) == "counts"
    traced.queue.close()
    assert traced.inner.closed


def test_a_verdict_that_is_refused_is_not_told(traced: TracedHost) -> None:
    packet = traced.arrives(udp(4))

    def refuse(*_: Any) -> None:
        raise ValueError("refused")

    setattr(traced.inner, "settle", refuse)  # noqa: B010  a method's place
    with pytest.raises(ValueError, match="refused"):
        traced.queue.settle(packet, Verdict.ACCEPT)
    assert kinds(traced.tracer.events()) == ["arrive"]


def test_what_is_sent_by_a_socket_and_what_a_host_lost_is_told(traced: TracedHost) -> None:
    host = traced.host
    host.handle().network_send(host.created(udp(4)), host.done)
    (injection,) = host.submitted
    mark = host.core.ledger.mark(injection.history, injection)
    traced.sockets.on_send(udp(4), mark, "raw socket")
    traced.stack.books.lost = {"queue overflow": 3, "socket overflow": 0}
    traced.trace.closed()
    events = list(traced.tracer.events())
    assert kinds(events) == ["clone", "inject", "send", "loss"]
    assert [(event.cause, event.packets) for event in events if isinstance(event, Loss)] == [("queue overflow", 3)]
    assert {event.packet for event in events[1:3]} == {1}


def test_only_the_latest_are_kept_when_that_is_asked_for() -> None:
    tracer = Tracer(lambda: 1, most=3)
    tracer.records.extend((number,) for number in range(10))
    assert [record[0] for record in tracer.records] == [7, 8, 9]


def test_halves_of_characters_do_not_end_the_trace(traced: TracedHost) -> None:
    traced.host.core.violate("GE-9", "\ud800", "\udfff")
    (broken,) = list(traced.tracer.events())
    assert isinstance(broken, Violation)
    assert (broken.call, broken.message) == ("\\ud800", "\\udfff")


def test_the_text_of_a_host_has_a_line_for_every_event_and_obeys_nobody(traced: TracedHost) -> None:
    host = traced.host
    host.filter(layer("OUTBOUND_IPPACKET", 4), lambda seen: seen.permit(), name="\x1b[31m red \u202e")
    host.show(traced.shown(traced.arrives(udp(4, inbound=False)), layer("OUTBOUND_IPPACKET", 4)))
    text = traced.trace.text()
    assert len(text.splitlines()) == 4
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31m red \\u202e" in text


def test_what_was_taken_out_lately_is_still_told(traced: TracedHost) -> None:
    traced.arrives(udp(4))
    assert [record[0] for record in traced.tracer.take()] == [0]
    assert list(traced.tracer.take()) == []
    traced.arrives(udp(4))
    assert kinds(traced.tracer.events()) == ["arrive", "arrive"]
