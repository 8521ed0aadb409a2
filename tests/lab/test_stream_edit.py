"""Editing real connections: the acceptance cases D01 to D12 of the stream layer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from emulator.callouts_stream import InlineEdit, OutOfBandEdit, Worker
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.stream import clone_stream_data
from emulator.topology import Pair
from emulator.wfptypes import AddressFamily, StreamFlag
from netns.patience import patient
from tests.lab.conftest import expected_violations
from tests.lab.stream_ends import ROLES, STREAM, connected, exchange, handle, read_all, read_exactly, reset, wait_for

CLOUDY, SUNNY, RAINY = b"cloudy", b"sunny", b"rainy"


@pytest.fixture
def driver(pair: Pair) -> Iterator[Driver]:
    """A driver on the emulated host."""
    with pair.host.driver(weight=0x40) as loaded:
        yield loaded


@ROLES
@pytest.mark.rule("ST-1", "ST-16", "ST-26", "LA-33")
@pytest.mark.case("D01")
def test_d01_inline_edit_of_one_write(pair: Pair, driver: Driver, family: AddressFamily, outbound: bool) -> None:
    edit = InlineEdit(handle(driver), CLOUDY, SUNNY)
    driver.add(edit, "STREAM", family)
    with connected(pair, family, outbound=outbound) as ends:
        got = exchange(ends, b"it is cloudy today", b"and cloudy tomorrow")
    assert got == (b"it is sunny today", b"and sunny tomorrow")
    assert edit.replaced == 2


@pytest.mark.rule("ST-16", "ST-28")
@pytest.mark.case("D02")
def test_d02_the_same_for_every_split(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    driver.add(InlineEdit(handle(driver), CLOUDY, SUNNY), "STREAM", family)
    text = b"a cloudy day"
    for pieces in range(2, 8):
        with connected(pair, family) as ends:
            for at in range(1, len(text)):
                cuts = sorted({at, *range(at, len(text), max(1, (len(text) - at) // (pieces - 1) + 1))})[: pieces - 1]
                for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
                    ends.host.sendall(text[start:end])
                assert read_exactly(ends.peer, 11) == b"a sunny day"


@ROLES
@pytest.mark.rule("ST-15", "ST-14", "ST-40", "CF-7")
@pytest.mark.case("D03")
def test_d03_out_of_band_above_inline(pair: Pair, family: AddressFamily, outbound: bool) -> None:
    with (
        Worker() as worker,
        pair.host.driver("upper", weight=0x40) as upper,
        pair.host.driver("lower", weight=0x20) as lower,
    ):
        rainy = OutOfBandEdit(handle(upper), RAINY, CLOUDY, worker)
        cloudy = InlineEdit(handle(lower), CLOUDY, SUNNY)
        upper.add(rainy, "STREAM", family)
        lower.add(cloudy, "STREAM", family)
        with connected(pair, family, outbound=outbound) as ends:
            got = exchange(ends, b"rainy or cloudy", b"cloudy or rainy, or rai")
        assert got == (b"sunny or sunny", b"sunny or sunny, or rai")
        assert cloudy.replaced == 4
        wait_for(lambda: not pair.host.stack.stream.counts()["live"])


@pytest.mark.rule("ST-15", "CF-6")
@pytest.mark.case("D04")
def test_d04_an_injection_runs_the_lower_classify_on_its_own_thread(
    pair: Pair, driver: Driver, family: AddressFamily
) -> None:
    trace: list[tuple[str, int]] = []
    taking = driver.create_handle(0, STREAM)
    ownership = driver.core.ownership
    injected = threading.Event()

    def upper(seen: Indication) -> None:
        data = seen.stream.stream_data
        chain = clone_stream_data(ownership, data)
        where = {
            "flow_id": seen.flow_handle, "callout_id": seen.filter.callout.callout_id, "layer": seen.layer,  # type: ignore[union-attr]
            "stream_flags": int(data.flags), "data_length": data.data_length,
        }  # fmt: skip
        seen.block()

        def work() -> None:
            pair.host.stack.loop.call(lambda: None)  # else the classify that took them may still run: ST-37
            trace.append(("inject", threading.get_ident()))
            taking.stream_inject(chain, lambda _context, done, _dispatch: ownership.free_clone(done), **where)
            trace.append(("return", threading.get_ident()))
            injected.set()

        worker.post(work)

    def lower(seen: Indication) -> None:
        trace.append(("classify", threading.get_ident()))
        seen.permit()

    with Worker() as worker, pair.host.driver("lower", weight=0x20) as second:
        driver.add(upper, "STREAM", family)
        second.add(lower, "STREAM", family)
        with connected(pair, family) as ends:
            ends.host.sendall(b"nested")
            assert read_exactly(ends.peer, 6) == b"nested"
            assert injected.wait(patient(10))
            assert [what for what, _ in trace[:3]] == ["inject", "classify", "return"]
            assert len({thread for _, thread in trace[:3]}) == 1
        wait_for(lambda: not pair.host.stack.stream.counts()["live"])


@pytest.mark.rule("ST-28", "ST-30")
@pytest.mark.case("D05")
def test_d05_need_more_data_then_the_end(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    shown: list[tuple[int, int]] = []

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        shown.append((data.data_length, seen.out_flags))
        if data.data_length == 4:
            seen.stream.need_more(10)
        else:
            seen.permit()

    driver.add(classify, "STREAM", family)
    with connected(pair, family) as ends:
        ends.host.sendall(b"1234")
        wait_for(lambda: shown)
        ends.host.sendall(b"56")
        ends.host.shutdown(socket.SHUT_WR)
        assert read_all(ends.peer) == b"123456"
        assert shown == [(4, 0), (6, 4), (0, 4)]


@pytest.mark.rule("ST-8", "ST-26")
@pytest.mark.case("D07")
def test_d07_permit_inject_block_permit(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    edit = InlineEdit(handle(driver), b"ppp", b"rrrrr")
    sizes: list[int] = []

    def classify(seen: Indication) -> None:
        sizes.append(seen.stream.stream_data.data_length)
        edit.classify(seen)

    driver.add(classify, "STREAM", family)
    with connected(pair, family) as ends:
        ends.host.sendall(b"nnnpppmmmm")
        assert read_exactly(ends.peer, 12) == b"nnnrrrrrmmmm"
        assert sizes == [10, 7, 4]
        wait_for(lambda: edit.injector.completed == {0: 1})


@pytest.mark.rule("ST-8", "SD-2", "SD-3", "ST-40")
@pytest.mark.case("D09")
def test_d09_the_original_chain_of_three_lists(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    taking, ownership = handle(driver), driver.core.ownership
    contexts: list[Any] = []
    chains: list[Any] = []

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        if data.disconnect:
            seen.permit()
        elif len(list(data.lists())) < 3:
            seen.stream.need_more(1)
        else:
            chains.append((seen.flow_handle, seen.filter.callout.callout_id, seen.layer, data.data_length))  # type: ignore[union-attr]
            chains.append(clone_stream_data(ownership, data))
            seen.block()

    def done(context: Any, item: Any, dispatch: bool) -> None:
        contexts.append(context)
        item.next = None
        ownership.free_clone(item)

    driver.add(classify, "STREAM", family)
    with connected(pair, family) as ends:
        ends.host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, piece in enumerate((b"one ", b"two ", b"three")):
            ends.host.sendall(piece)
            wait_for(lambda number=number: chains or taken(pair) > number)  # type: ignore[misc]
        (flow_id, callout_id, layer, length), chain = wait_for(lambda: len(chains) == 2 and chains)
        taking.stream_inject(
            chain, done, flow_id=flow_id, callout_id=callout_id, layer=layer, stream_flags=int(StreamFlag.SEND),
            data_length=length, completion_context="shared",
        )  # fmt: skip
        assert read_exactly(ends.peer, 13) == b"one two three"
        wait_for(lambda: contexts == ["shared"] * 3)


def taken(pair: Pair) -> int:
    """How many pieces wait in the first stage of the one connection."""
    flows = list(pair.host.stack.core.streams.flows.values())
    return len(flows[0].send.stages[0].queue) if flows else 0


@ROLES
@pytest.mark.rule("ST-10", "ST-35")
@pytest.mark.case("D10")
def test_d10_the_fin_comes_last_and_the_other_way_flows(
    pair: Pair, driver: Driver, family: AddressFamily, outbound: bool
) -> None:
    gate = threading.Event()
    with Worker() as worker:
        driver.add(OutOfBandEdit(handle(driver), RAINY, CLOUDY, worker), "STREAM", family)
        with connected(pair, family, outbound=outbound) as ends:
            worker.post(lambda: gate.wait(patient(10)))
            ends.host.sendall(b"is it rainy?")
            ends.host.shutdown(socket.SHUT_WR)
            ends.peer.settimeout(0.3)
            with pytest.raises(TimeoutError):
                ends.peer.recv(1)
            gate.set()
            ends.peer.settimeout(patient(10))
            assert read_all(ends.peer) == b"is it cloudy?"
            ends.peer.sendall(b"rainy it is")
            ends.peer.shutdown(socket.SHUT_WR)
            assert read_all(ends.host) == b"cloudy it is"
        wait_for(lambda: not pair.host.stack.stream.counts()["live"])


@pytest.mark.rule("ST-35", "OR-3")
@pytest.mark.case("D11")
def test_d11_a_fin_that_is_never_reinjected(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    def classify(seen: Indication) -> None:
        if seen.stream.stream_data.disconnect and not seen.stream.stream_data.inbound:
            seen.block()
        else:
            seen.permit()

    driver.add(classify, "STREAM", family)
    with connected(pair, family) as ends:
        ends.host.shutdown(socket.SHUT_WR)
        ends.peer.sendall(b"still open")
        assert read_exactly(ends.host, 10) == b"still open"
        stack = pair.host.stack
        wait_for(lambda: any("FIN consumed, never reinjected" in leak for leak in stack.core.leaks()))
        stack.core.streams.detach()
        expected_violations(stack, "ST-35")
        with pytest.raises(ConnectionResetError):
            ends.peer.recv(1)


@pytest.mark.rule("ST-39")
@pytest.mark.case("D12")
def test_d12_a_fin_that_was_never_indicated(pair: Pair, driver: Driver, family: AddressFamily) -> None:
    injecting = handle(driver)
    places: list[tuple[int, int, int]] = []

    def classify(seen: Indication) -> None:
        places.append((seen.flow_handle, seen.filter.callout.callout_id, seen.layer))  # type: ignore[union-attr]
        seen.block()

    driver.add(classify, "STREAM", family)
    with connected(pair, family) as ends:
        ends.host.sendall(b"x")
        flow_id, callout_id, layer = wait_for(lambda: places)[0]
        injecting.stream_inject(
            None, lambda *_: None, flow_id=flow_id, callout_id=callout_id, layer=layer,
            stream_flags=int(StreamFlag.SEND | StreamFlag.SEND_DISCONNECT), data_length=0,
        )  # fmt: skip
        assert read_all(ends.peer) == b""
        expected_violations(pair.host.stack, "ST-39")
        ends.peer.close()
        reset(ends.host)
    wait_for(lambda: not pair.host.stack.stream.counts()["live"])
    pair.host.stack.core.violations.entries.clear()
