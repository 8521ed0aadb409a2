"""Flows by their packets, without a network and with a clock of our own."""

from __future__ import annotations

import pytest

from emulator.flows import IDLE_LIMIT, Flow, FlowTable
from emulator.flowtracking import (
    BEGINS,
    CLOSING_LIMIT,
    ENDS,
    ESTABLISHES,
    OPENING_LIMIT,
    REACCEPTS,
    RECONNECTS,
    Conversation,
    FlowTracker,
    wire_key,
)
from emulator.headers import build_ip_header
from emulator.octets import IpView

HERE = {4: b"\x0a\0\0\1", 6: b"\xfd" + bytes(14) + b"\1"}
THERE = {4: b"\x0a\0\0\2", 6: b"\xfd" + bytes(14) + b"\2"}
FIN, SYN, RST, ACK = 1, 2, 4, 16
OUT, IN = False, True


class Bench:
    """A tracker, and packets between two ends that go through it."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.ended: list[Flow] = []
        self.tracker = FlowTracker(FlowTable(self.ended.append))

    def packet(self, inbound: bool, protocol: int, transport: bytes) -> IpView:
        ends = (THERE, HERE) if inbound else (HERE, THERE)
        octets = build_ip_header(
            self.version, ends[0][self.version], ends[1][self.version], protocol, transport
        )
        return IpView(octets)

    def show(self, inbound: bool, view: IpView) -> tuple[Conversation | None, int]:
        """What the tracker says of a packet that then passes all layers."""
        header = bytes(view.buffer[:44])
        found, due = self.tracker.look(view, header, inbound)
        if due & BEGINS:
            found = self.tracker.begin(view, header, inbound)
        if found is not None and due:
            self.tracker.passed(found, due)
        return found, due

    def udp(self, inbound: bool, *, here: int = 1000, there: int = 53) -> tuple[Conversation | None, int]:
        ports = (there, here) if inbound else (here, there)
        datagram = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + b"\0\x08\0\0"
        return self.show(inbound, self.packet(inbound, 17, datagram))

    def tcp(self, inbound: bool, flags: int, data: bytes = b"") -> tuple[Conversation | None, int]:
        ports = (80, 1000) if inbound else (1000, 80)
        segment = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + bytes(8) + bytes((0x50, flags)) + bytes(6)
        return self.show(inbound, self.packet(inbound, 6, segment + data))

    def echo(self, inbound: bool, *, reply: bool, number: int) -> tuple[Conversation | None, int]:
        kinds = (8, 0) if self.version == 4 else (128, 129)
        message = bytes((kinds[reply], 0, 0, 0)) + number.to_bytes(2, "big") + b"\0\1"
        return self.show(inbound, self.packet(inbound, 1 if self.version == 4 else 58, message))

    @property
    def flows(self) -> list[Flow]:
        return list(self.tracker.table)


@pytest.fixture(params=[4, 6])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


@pytest.mark.rule("FI-7", "LA-16")
@pytest.mark.parametrize("inbound", [OUT, IN])
def test_after_a_change_of_filters_the_next_packet_of_either_direction_asks_again(bench: Bench, inbound: bool) -> None:
    bench.udp(inbound)
    bench.tcp(inbound, SYN)
    bench.tcp(not inbound, SYN | ACK)
    table, again = bench.tracker.table, REACCEPTS if inbound else RECONNECTS
    table.reauthorise(bench.version, outbound=inbound, asks=True)
    table.reauthorise(10 - bench.version, outbound=not inbound, asks=True)
    assert bench.udp(inbound)[1] == 0, "the flows of the other direction and of the other version"
    for back in (False, True):
        table.reauthorise(bench.version, outbound=not inbound, asks=True)
        assert bench.udp(inbound ^ back)[1] == again
    assert bench.tcp(inbound, ACK)[1] == ESTABLISHES | again
    assert bench.tcp(not inbound, ACK, b"data")[1] == again, "until somebody has answered"
    table.reauthorise(bench.version, outbound=not inbound, asks=False)
    assert [bench.udp(inbound)[1], bench.tcp(inbound, ACK, b"data")[1]] == [0, 0], "nobody is left to ask"
    table.reauthorise(bench.version, outbound=not inbound, asks=True)
    assert bench.tcp(inbound, RST)[1] == ENDS


@pytest.mark.rule("FL-7", "FL-8", "LA-14")
@pytest.mark.parametrize("inbound", [OUT, IN])
def test_the_first_datagram_begins_a_flow_and_both_directions_belong_to_it(bench: Bench, inbound: bool) -> None:
    first, due = bench.udp(inbound)
    assert due == BEGINS | ESTABLISHES
    assert first is not None
    assert first.flow.outbound is not inbound
    assert first.flow.key[1:] == (HERE[bench.version], 1000, THERE[bench.version], 53)
    for way in (inbound, not inbound):
        assert bench.udp(way) == (first, 0)
    other, due = bench.udp(inbound, here=1001)
    assert other is not None
    assert due == BEGINS | ESTABLISHES
    assert other.flow.number != first.flow.number


@pytest.mark.rule("FL-7")
def test_a_flow_that_is_idle_for_sixty_seconds_ends(bench: Bench) -> None:
    first, _ = bench.udp(OUT)
    assert first is not None
    bench.tracker.now = IDLE_LIMIT - 1
    bench.tracker.expire()
    assert bench.udp(IN) == (first, 0), "still there, and used just now"
    bench.tracker.now = 2 * IDLE_LIMIT - 2
    bench.tracker.expire()
    assert bench.flows == [first.flow]
    bench.tracker.now = 2 * IDLE_LIMIT - 1
    bench.tracker.expire()
    assert (bench.flows, bench.ended, len(bench.tracker)) == ([], [first.flow], 0)
    again, due = bench.udp(OUT)
    assert again is not None
    assert due == BEGINS | ESTABLISHES
    assert again.flow.number != first.flow.number


@pytest.mark.rule("FL-7")
def test_echoes_are_flows_by_their_identifier_and_replies_belong_to_requests(bench: Bench) -> None:
    asked, due = bench.echo(OUT, reply=False, number=7)
    assert due == BEGINS | ESTABLISHES
    assert bench.echo(IN, reply=True, number=7) == (asked, 0)
    other, due = bench.echo(OUT, reply=False, number=8)
    assert due == BEGINS | ESTABLISHES
    assert other is not asked
    back, due = bench.echo(IN, reply=False, number=7)
    assert due == BEGINS | ESTABLISHES, "the other side asks, too"
    assert back is not asked
    assert len(bench.flows) == 3


@pytest.mark.rule("LA-10", "LA-11", "FL-8")
@pytest.mark.parametrize("opener", [OUT, IN])
def test_a_connection_begins_by_syn_and_is_established_by_the_openers_acknowledgement(
    bench: Bench, opener: bool
) -> None:
    first, due = bench.tcp(opener, SYN)
    assert first is not None
    assert (due, first.flow.outbound) == (BEGINS, not opener)
    assert bench.tcp(opener, SYN) == (first, 0), "sent again"
    assert bench.tcp(not opener, SYN | ACK) == (first, 0)
    assert bench.tcp(not opener, ACK) == (first, 0), "not from the opener"
    assert bench.tcp(opener, ACK) == (first, ESTABLISHES)
    for way in (opener, not opener):
        assert bench.tcp(way, ACK, b"data") == (first, 0)


@pytest.mark.rule("FL-8")
def test_an_acknowledgement_that_was_blocked_establishes_nothing(bench: Bench) -> None:
    bench.tcp(OUT, SYN)
    bench.tcp(IN, SYN | ACK)
    view = bench.packet(OUT, 6, b"\x03\xe8\0\x50" + bytes(8) + bytes((0x50, ACK)) + bytes(6))
    found, due = bench.tracker.look(view, bytes(view.buffer[:44]), OUT)
    assert due == ESTABLISHES
    assert bench.tcp(OUT, ACK) == (found, ESTABLISHES), "the next one does"
    assert bench.tcp(OUT, ACK) == (found, 0)


def opened(bench: Bench) -> Conversation:
    bench.tcp(OUT, SYN)
    bench.tcp(IN, SYN | ACK)
    found, due = bench.tcp(OUT, ACK)
    assert due == ESTABLISHES
    assert found is not None
    return found


@pytest.mark.rule("FL-5")
@pytest.mark.parametrize("closer", [OUT, IN])
def test_a_connection_ends_with_the_acknowledgement_of_the_second_fin(bench: Bench, closer: bool) -> None:
    found = opened(bench)
    assert bench.tcp(closer, FIN | ACK) == (found, 0)
    assert bench.tcp(not closer, ACK, b"half open") == (found, 0)
    assert bench.tcp(not closer, FIN | ACK) == (found, 0)
    assert bench.flows == [found.flow]
    assert bench.tcp(not closer, ACK) == (found, 0), "not from the side that has to acknowledge"
    assert bench.tcp(closer, ACK) == (found, ENDS)
    assert (bench.flows, bench.ended, len(bench.tracker)) == ([], [found.flow], 0)
    assert bench.tcp(closer, ACK) == (None, 0), "a stray one begins nothing"


@pytest.mark.rule("FL-5")
@pytest.mark.parametrize("way", [OUT, IN])
def test_a_reset_ends_a_connection(bench: Bench, way: bool) -> None:
    found = opened(bench)
    assert bench.tcp(way, RST) == (found, ENDS)
    assert bench.ended == [found.flow]
    assert bench.tcp(way, RST) == (None, 0)


@pytest.mark.rule("FL-5")
def test_ends_used_anew_begin_another_flow(bench: Bench) -> None:
    found = opened(bench)
    again, due = bench.tcp(OUT, SYN)
    assert again is not None
    assert due == BEGINS
    assert bench.ended == [found.flow]
    assert bench.flows == [again.flow]


@pytest.mark.rule("FL-5")
def test_connections_that_nobody_finishes_end_in_time(bench: Bench) -> None:
    closing = opened(bench)
    bench.tcp(OUT, FIN | ACK)
    bench.tcp(IN, FIN | ACK)
    bench.tracker.now = CLOSING_LIMIT
    bench.tracker.expire()
    assert bench.ended == [closing.flow]
    asked, _ = bench.tcp(OUT, SYN)
    assert asked is not None
    bench.tracker.now += OPENING_LIMIT
    bench.tracker.expire()
    assert bench.ended == [closing.flow, asked.flow]
    found = opened(bench)
    bench.tracker.now += 10 * OPENING_LIMIT
    bench.tracker.expire()
    assert bench.flows == [found.flow], "an established one may be quiet"
    assert bench.tracker.quiet(OPENING_LIMIT) == [found]


@pytest.mark.rule("FL-8")
def test_a_connection_met_in_its_middle_is_a_flow_all_the_same(bench: Bench) -> None:
    found, due = bench.tcp(IN, ACK, b"data")
    assert found is not None
    assert due == 0
    assert bench.tcp(OUT, ACK) == (found, 0)
    other = Bench(bench.version)
    answered, due = other.tcp(IN, SYN | ACK)
    assert answered is not None
    assert (due, answered.flow.outbound) == (0, True), "we had opened it"


@pytest.mark.rule("FL-6")
def test_a_flow_that_somebody_else_ended_is_not_found_again(bench: Bench) -> None:
    found, _ = bench.udp(OUT)
    assert found is not None
    bench.tracker.table.end(found.flow)
    again, due = bench.udp(IN)
    assert again is not None
    assert due == BEGINS | ESTABLISHES
    assert again.flow is not found.flow


def test_a_flow_that_somebody_keeps_is_not_ended_here(bench: Bench) -> None:
    found = opened(bench)
    found.flow.kept = True
    assert bench.tcp(IN, RST) == (found, ENDS)
    assert bench.flows == [found.flow]
    found.flow.kept = False
    bench.tracker.end(found)
    assert bench.flows == []


def test_the_key_is_the_same_with_options_and_extension_headers(bench: Bench) -> None:
    plain = bench.packet(OUT, 17, b"\1\2\3\4\0\x08\0\0")
    if bench.version == 4:
        octets = bytearray(plain.buffer)
        octets[0] = 0x46
        octets[20:20] = b"\1\1\1\1"
        octets[2:4] = len(octets).to_bytes(2, "big")
    else:
        octets = bytearray(plain.buffer)
        octets[6] = 60
        octets[40:40] = b"\x11\0\1\4" + bytes(4)
        octets[4:6] = (len(octets) - 40).to_bytes(2, "big")
    longer = IpView(octets)
    assert wire_key(longer, bytes(octets[:44])) == wire_key(plain, bytes(plain.buffer[:44]))
