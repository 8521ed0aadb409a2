"""Where the stream layer stands: connections nobody looks at, or only later, its flows, and the layers beside it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from emulator.callouts_stream import InlineEdit, StreamMonitor
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.topology import Pair
from emulator.wfptypes import Action, AddressFamily, CalloutFlag, IncomingFlag
from tests.lab.stream_ends import (
    PORT,
    Deciding,
    Sender,
    connected,
    exchange,
    handle,
    read_all,
    read_exactly,
    wait_for,
)

CLOUDY, SUNNY = b"cloudy", b"sunny"


@pytest.fixture
def driver(pair: Pair) -> Iterator[Driver]:
    """A driver on the emulated host."""
    with pair.host.driver(weight=0x40) as loaded:
        yield loaded


@pytest.mark.rule("ST-42", "ST-33", "FI-7")
def test_uninspected_connections_cost_no_copy_until_somebody_may_look(
    pair: Pair, driver: Driver, family: AddressFamily
) -> None:
    conditional = Deciding(lambda seen: seen.permit(), flags=CalloutFlag.CONDITIONAL_ON_FLOW)
    driver.add(conditional, "STREAM", family)
    counts = pair.host.stack.stream.counts
    octets = os.urandom(1 << 20) * 4
    monitor = StreamMonitor(keep=1 << 30)
    monitor.flags = CalloutFlag.ALLOW_MID_STREAM_INSPECTION
    with connected(pair, family) as ends:
        sender = Sender(ends.host, octets, shut=False)
        assert read_exactly(ends.peer, len(octets)) == octets
        sender.join()
        assert counts()["octets_copied"] == 0
        assert counts()["octets_passed"] == len(octets)
        items = driver.add(monitor, "STREAM", family, action=Action.CALLOUT_INSPECTION)
        ends.host.sendall(b"looked at")
        assert read_exactly(ends.peer, 9) == b"looked at"
        assert bytes(monitor.sent) == b"looked at"
        driver.remove(*items)
        ends.host.sendall(octets)
        assert read_exactly(ends.peer, len(octets)) == octets
        assert bytes(monitor.sent) == b"looked at"
        ends.host.shutdown(socket.SHUT_WR)
        assert read_all(ends.peer) == b""
        wait_for(lambda: counts()["octets_passed"] == 2 * len(octets))


@pytest.mark.rule("ST-42")
def test_a_callout_that_may_join_in_the_middle_meets_connections_older_than_its_filter(
    pair: Pair, family: AddressFamily
) -> None:
    path = pair.host.stack.stream
    counts = path.counts
    shown: list[tuple[bytes, int]] = []

    def classify(seen: Indication) -> None:
        shown.append((seen.stream.stream_data.octets, seen.stream.incoming_flags))
        seen.permit()

    joining = Deciding(classify, flags=CalloutFlag.ALLOW_MID_STREAM_INSPECTION)
    with pair.host.driver() as loaded:
        loaded.registered(joining)
        with connected(pair, family) as ends:
            ends.host.sendall(b"before")
            assert read_exactly(ends.peer, 6) == b"before"
            assert (counts()["established"], counts()["octets_copied"], shown) == (1, 0, [])
            items = loaded.add(joining, "STREAM", family, where={"IP_REMOTE_PORT": PORT})
            for piece in (b"first", b"second"):
                ends.host.sendall(piece)
                assert read_exactly(ends.peer, len(piece)) == piece
            assert shown == [(b"first", int(IncomingFlag.MID_STREAM_INSPECTION)), (b"second", 0)]
            loaded.remove(*items)
        assert path.paths, "there may be other filters"
    wait_for(lambda: not path.paths)
    with connected(pair, family) as ends:
        assert exchange(ends, b"not", b"lifted") == (b"not", b"lifted")
    wait_for(lambda: counts()["established"] == 1)


@pytest.mark.rule("FL-8", "FL-3")
def test_the_flow_handle_and_context_are_those_of_the_other_layers(
    pair: Pair, driver: Driver, family: AddressFamily
) -> None:
    seen_at: dict[str, list[Any]] = {"established": [], "stream": []}
    stream = Deciding(lambda seen: look("stream", seen), flags=CalloutFlag.CONDITIONAL_ON_FLOW)

    def look(where: str, seen: Indication) -> None:
        seen_at[where].append((seen.flow_handle, seen.flow_context))
        seen.permit()

    items = driver.add(stream, "STREAM", family)

    def attach(seen: Indication) -> None:
        look("established", seen)
        callout = items[0].callout
        assert callout is not None
        driver.core.engine.flows.associate(seen.flow_handle, items[0].layer, callout.callout_id, 99)

    tcp = {"IP_PROTOCOL": socket.IPPROTO_TCP}
    driver.add(attach, "ALE_FLOW_ESTABLISHED", family, action=Action.CALLOUT_INSPECTION, where=tcp)
    with connected(pair, family) as ends:
        assert exchange(ends, b"a", b"b") == (b"a", b"b")
    number = seen_at["established"][0][0]
    assert len(seen_at["established"]) == 1
    assert set(seen_at["stream"]) == {(number, 99)}
    wait_for(lambda: stream.deleted == [99])


@pytest.mark.rule("ST-44")
def test_differs_from_windows_the_packet_layers_lie_between_stream_and_the_host(
    pair: Pair, driver: Driver, family: AddressFamily
) -> None:
    """ST-44 asks for the other order: STREAM between the application and the transport layers."""
    order: list[str] = []

    def look(name: str) -> Any:
        def classify(seen: Indication) -> None:
            view = seen.view
            payload = view.end - view.payload_offset if seen.stream is None else seen.stream.stream_data.data_length
            if payload == 7:
                order.append(name)

        return classify

    for group in ("STREAM", "OUTBOUND_TRANSPORT", "INBOUND_TRANSPORT"):
        driver.add(look(group), group, family, action=Action.CALLOUT_INSPECTION)
    with connected(pair, family) as ends:
        ends.host.sendall(b"outward")
        assert read_exactly(ends.peer, 7) == b"outward"
        assert order == ["OUTBOUND_TRANSPORT", "STREAM"]
        order.clear()
        ends.peer.sendall(b"inwards")
        assert read_exactly(ends.host, 7) == b"inwards"
        assert order == ["STREAM", "INBOUND_TRANSPORT"]


@pytest.mark.rule("ST-44")
def test_differs_from_windows_the_transport_layers_show_what_programs_write_and_read(
    pair: Pair, driver: Driver, family: AddressFamily
) -> None:
    """ST-44: what a stream callout injects passes the transport layers on its way in, and not on its way out."""
    shown: dict[str, set[bytes]] = {"OUTBOUND_TRANSPORT": set(), "INBOUND_TRANSPORT": set()}

    def look(name: str) -> Any:
        def classify(seen: Indication) -> None:
            shown[name].add(bytes(seen.memory[seen.view.payload_offset : seen.view.end]))

        return classify

    driver.add(InlineEdit(handle(driver), CLOUDY, SUNNY), "STREAM", family)
    for group in shown:
        driver.add(look(group), group, family, action=Action.CALLOUT_INSPECTION, where={"IP_PROTOCOL": 6})
    with connected(pair, family) as ends:
        assert exchange(ends, CLOUDY, CLOUDY) == (SUNNY, SUNNY)
    assert {CLOUDY} == shown["OUTBOUND_TRANSPORT"] - {b""}
    assert {SUNNY} == shown["INBOUND_TRANSPORT"] - {b""}
