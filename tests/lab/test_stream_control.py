"""Stopping, ending and passing real connections: the acceptance cases D13 to D17 of the stream layer, and more."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from emulator.callouts_stream import InlineEdit, OutOfBandEdit, StreamMonitor, Worker
from emulator.driver import Driver
from emulator.errors import FwpInvalidParameter
from emulator.indication import Indication
from emulator.stream import clone_stream_data
from emulator.topology import Pair
from emulator.wfptypes import Action, AddressFamily, StreamFlag
from netns.patience import patient
from tests.lab.bulk import bulk
from tests.lab.conftest import expected_violations
from tests.lab.stream_ends import (
    PORT,
    ROLES,
    Deciding,
    Sender,
    connected,
    exchange,
    handle,
    read_all,
    read_exactly,
    reset,
    wait_for,
)

CLOUDY, SUNNY = b"cloudy", b"sunny"


@pytest.fixture
def driver(pair: Pair) -> Iterator[Driver]:
    """A driver on the emulated host."""
    with pair.host.driver(weight=0x40) as loaded:
        yield loaded


@ROLES
@pytest.mark.rule("ST-32", "SD-7", "ST-17", "ST-19")
@pytest.mark.case("D13")
def test_d13_defer_against_a_fast_sender(pair: Pair, driver: Driver, family: AddressFamily, outbound: bool) -> None:
    octets = os.urandom(1 << 20) * bulk(50, least=24)  # more than both ends' buffers
    with Worker() as worker:
        slow = OutOfBandEdit(handle(driver), b"\x00never\x00", b"", worker, limit=16 << 10)
        driver.add(slow, "STREAM", family)
        with connected(pair, family, outbound=outbound) as ends:
            gate = threading.Event()
            worker.post(lambda: gate.wait(patient(30)))
            sender = Sender(ends.peer, octets)
            stalled = sender.stalled()
            assert stalled < len(octets) // 2, "the window did not close"
            flow = next(iter(pair.host.stack.core.streams.flows.values()))
            held = sum(stage.held for stage in flow.receive.stages) + flow.receive.waiting + slow.most_pending
            assert held <= (16 << 10) + 2 * (256 << 10)
            gate.set()
            digest = hashlib.sha256(read_all(ends.host)).digest()
            sender.join()
            assert digest == hashlib.sha256(octets).digest()
            assert slow.deferrals
        wait_for(lambda: not pair.host.stack.stream.counts()["live"])


@pytest.mark.rule("ST-32", "SD-8", "SD-9")
@pytest.mark.case("D14")
def test_d14_what_may_not_be_deferred_or_continued(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    refused: list[str] = []
    places: list[tuple[int, int, int]] = []
    mode = {"defer": True}
    streams = driver.core.streams

    def classify(seen: Indication) -> None:
        place = (seen.flow_handle, seen.filter.callout.callout_id, seen.layer)  # type: ignore[union-attr]
        places.append(place)
        data = seen.stream.stream_data
        if mode["defer"] and data.data_length:
            seen.stream.defer()
            return
        if data.inbound and data.data_length:
            try:
                streams.resume(*place, int(data.flags))
            except FwpInvalidParameter as error:
                refused.append(error.rule)
        seen.permit()

    driver.add(classify, "STREAM", family)
    with connected(pair, family) as ends:
        ends.host.sendall(b"outbound")
        assert read_exactly(ends.peer, 8) == b"outbound"
        expected_violations(pair.host.stack, "ST-32")
        ends.peer.sendall(b"inbound")
        flow = next(iter(streams.flows.values()))
        wait_for(lambda: flow.receive.deferred)
        with pytest.raises(FwpInvalidParameter):
            streams.resume(*places[-1], int(StreamFlag.RECEIVE | StreamFlag.RECEIVE_EXPEDITED))
        mode["defer"] = False
        streams.resume(*places[-1], flow.receive.stages[0].deferred_flags)
        assert read_exactly(ends.host, 7) == b"inbound"
        assert refused == ["SD-9"]
        expected_violations(pair.host.stack, "SD-9")


@ROLES
@pytest.mark.rule("ST-31", "CO-31", "FL-5")
@pytest.mark.case("D15")
def test_d15_drop_connection(pair: Pair, driver: Driver, family: AddressFamily, outbound: bool) -> None:
    def drop(seen: Indication) -> None:
        if seen.stream.stream_data.octets == b"drop me":
            seen.stream.drop_connection()
        else:
            seen.permit()

    callout = Deciding(drop)
    items = driver.add(callout, "STREAM", family)
    with connected(pair, family, outbound=outbound) as ends:
        ends.host.sendall(b"fine")
        assert read_exactly(ends.peer, 4) == b"fine"
        flow = next(iter(driver.core.streams.flows.values()))
        registered = items[0].callout
        assert registered is not None
        driver.core.engine.flows.associate(flow.number, items[0].layer, registered.callout_id, "context")
        ends.host.sendall(b"drop me")
        for sock in (ends.peer, ends.host):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert callout.deleted == ["context"]


@pytest.mark.rule("ST-31")
def test_an_inspection_filter_cannot_drop(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    driver.add(lambda seen: seen.stream.drop_connection(), "STREAM", family, action=Action.CALLOUT_INSPECTION)
    with connected(pair, family) as ends:
        assert exchange(ends, b"one", b"two") == (b"one", b"two")


@pytest.mark.rule("ST-37", "ST-18", "CO-21")
@pytest.mark.case("D17")
def test_d17_one_flow_is_never_classified_twice_at_once(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    """Outbound octets come to the lower callout on a worker's thread, inbound ones on the I/O thread."""
    taking, ownership = handle(driver), driver.core.ownership
    inside: Counter[int] = Counter()
    worst, segments = 0, 0
    threads: set[int] = set()

    def upper(seen: Indication) -> None:
        data = seen.stream.stream_data
        if data.inbound:
            return seen.permit()
        chain, where = clone_stream_data(ownership, data), {
            "flow_id": seen.flow_handle, "callout_id": seen.filter.callout.callout_id, "layer": seen.layer,  # type: ignore[union-attr]
            "stream_flags": int(data.flags), "data_length": data.data_length,
        }  # fmt: skip
        worker.post(lambda: taking.stream_inject(chain, done, **where))
        return seen.block()

    def done(context: Any, item: Any, dispatch: bool) -> None:
        item.next = None
        ownership.free_clone(item)

    def lower(seen: Indication) -> None:
        nonlocal worst, segments
        inside[seen.flow_handle] += 1
        time.sleep(0)  # whoever may classify meanwhile, does
        worst = max(worst, inside[seen.flow_handle])
        threads.add(threading.get_ident())
        segments += 1
        seen.permit()
        seen.stream.count_bytes_enforced = 100
        inside[seen.flow_handle] -= 1

    octets = os.urandom(bulk(250_000, least=125_000))  # enough for both threads to have their turns
    with Worker() as worker, pair.host.driver("lower", weight=0x20) as second:
        driver.add(upper, "STREAM", family)
        second.add(lower, "STREAM", family)
        with connected(pair, family) as one, connected(pair, family, outbound=False, port=PORT + 1) as two:
            senders = [Sender(sock, octets) for ends in (one, two) for sock in (ends.host, ends.peer)]
            assert all(read_all(reader) == octets for reader in (two.peer, two.host, one.peer, one.host))
            for sender in senders:
                sender.join()
        wait_for(lambda: not pair.host.stack.stream.counts()["live"])
    assert worst == 1
    assert segments >= bulk(10_000, least=5_000)
    assert len(threads) == 2


@ROLES
@pytest.mark.rule("FL-6")
def test_flow_abort_resets_both_ends(pair: Pair, driver: Driver, family: AddressFamily, outbound: bool) -> None:
    callout = Deciding(lambda seen: seen.permit())
    driver.add(callout, "STREAM", family)
    with connected(pair, family, outbound=outbound) as ends:
        ends.host.sendall(b"x")
        assert read_exactly(ends.peer, 1) == b"x"
        driver.core.engine.flows.abort(next(iter(driver.core.streams.flows)))
        for sock in (ends.peer, ends.host):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


@ROLES
@pytest.mark.rule("ST-36")
def test_a_reset_is_carried_over_and_is_no_end(
    pair: Pair, driver: Driver, family: AddressFamily, outbound: bool
) -> None:
    flags: list[int] = []

    def classify(seen: Indication) -> None:
        flags.append(int(seen.stream.stream_data.flags))
        seen.permit()

    driver.add(classify, "STREAM", family)
    for who, flag in (("peer", StreamFlag.RECEIVE_ABORT), ("host", StreamFlag.SEND_ABORT)):
        flags.clear()
        with connected(pair, family, outbound=outbound) as ends:
            ends.host.sendall(b"x")
            assert read_exactly(ends.peer, 1) == b"x"
            reset(getattr(ends, who))
            with pytest.raises(ConnectionResetError):
                getattr(ends, {"peer": "host", "host": "peer"}[who]).recv(1)
        assert flags[-1] & flag


@pytest.mark.rule("ST-11")
def test_urgent_data_stays_urgent(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    driver.add(InlineEdit(handle(driver), CLOUDY, SUNNY), "STREAM", family)
    with connected(pair, family) as ends:
        ends.host.sendall(b"cloudy")
        assert read_exactly(ends.peer, 5) == SUNNY
        ends.host.send(b"!", socket.MSG_OOB)
        assert select.select([], [], [ends.peer], 10)[2]
        ends.peer.setblocking(False)  # with a timeout, recv would wait for ordinary data first
        assert ends.peer.recv(1, socket.MSG_OOB) == b"!"
        ends.peer.settimeout(patient(10))
        ends.host.sendall(b"cloudy")
        assert read_exactly(ends.peer, 5) == SUNNY


@pytest.mark.rule("CO-18", "ST-21")
def test_a_monitor_sees_both_directions(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    monitor = StreamMonitor()
    driver.add(monitor, "STREAM", family, action=Action.CALLOUT_INSPECTION)
    with connected(pair, family, outbound=False) as ends:
        assert exchange(ends, b"from the host", b"from the peer") == (b"from the host", b"from the peer")
    assert (bytes(monitor.sent), bytes(monitor.received)) == (b"from the host", b"from the peer")
    assert len(monitor.ends) == 2


@pytest.mark.rule("ST-29")
def test_need_more_data_ends_at_the_limit(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    shown: list[tuple[int, int]] = []

    def classify(seen: Indication) -> None:
        shown.append((seen.stream.stream_data.data_length, seen.out_flags))
        if seen.out_flags:
            seen.permit()
        else:
            seen.stream.need_more(1 << 30)

    driver.add(classify, "STREAM", family)
    octets = os.urandom(1 << 20) * 9
    with connected(pair, family) as ends:
        sender = Sender(ends.host, octets)
        assert hashlib.sha256(read_all(ends.peer)).digest() == hashlib.sha256(octets).digest()
        sender.join()
    limited = [length for length, flags in shown if flags & 2]
    assert limited
    assert limited[0] >= 8 << 20


@pytest.mark.rule("ST-45", "ST-24")
def test_blocked_octets_are_gone_and_the_connection_lives(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    missed: list[int] = []

    def swallow(seen: Indication) -> None:
        if seen.stream.stream_data.octets == b"gone!":
            seen.block()
        else:
            seen.permit()

    def lower(seen: Indication) -> None:
        missed.append(seen.stream.missed_bytes)
        seen.permit()

    driver.add(swallow, "STREAM", family)
    with pair.host.driver("lower", weight=0x20) as second:
        second.add(lower, "STREAM", family)
        with connected(pair, family) as ends:
            ends.peer.sendall(b"gone!")
            wait_for(lambda: pair.host.stack.stream.counts()["octets_copied"] == 5)
            ends.peer.sendall(b"here")
            assert read_exactly(ends.host, 4) == b"here"
            assert missed == [5]


@pytest.mark.parametrize("outward", [True, False], ids=["peer stops reading", "host stops reading"])
def test_a_stopped_reader_bounds_what_is_held(pair: Pair, family: AddressFamily, outward: bool) -> None:
    with pair.host.driver() as loaded:
        loaded.add(InlineEdit(handle(loaded), CLOUDY, SUNNY), "STREAM", family)
        with connected(pair, family) as ends:
            writing, reading = (ends.host, ends.peer) if outward else (ends.peer, ends.host)
            # What the kernel of the one that stops reading keeps is not what is looked for.
            reading.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sender = Sender(writing, bytes(1 << 20) * 64, shut=False)
            stalled = sender.stalled()
            assert stalled < 32 << 20
            flow = next(iter(loaded.core.streams.flows.values()))
            assert flow.direction(not outward).waiting <= 2 * (256 << 10)
            reset(reading)
            sender.join()
            assert isinstance(sender.error, OSError)
