"""A bed's events with their ends: comments on frames, fates of packets, books, and what was left out."""

from __future__ import annotations

from io import BytesIO

import pytest

from emulator.evidence import trace as raw
from emulator.evidence import traceevents as event
from emulator.evidence.bedtrace import write_bed
from emulator.evidence.recordfile import RecordFile
from emulator.evidence.traceevents import AnyEvent, TraceWriter, read
from tests.unit.tracing import HOST, PEER, Tape, blocked, cloned_and_injected, datagram, places

VERSIONS = pytest.mark.parametrize("version", [4, 6])
BOOKS = {
    "host": {
        "hooks": {"output": {"offered": 2, "passed": 1}, "input": {"offered": 3, "passed": 3}},
        "injections": {"accepted": 4, "by_verdict": 1},
        "lost": {"queue overflow": 5},
        "closed": False,
    }
}


def written(tape: Tape, *, most: int = 1000) -> list[AnyEvent]:
    out = BytesIO()
    with RecordFile(records_most=most) as records:
        for record in tape.records:
            records.append(record)
        begun = event.Bed(time=1, scenario="a", family="ipv4", hosts=places())
        write_bed(TraceWriter(out), begun, records, status="passed", books=BOOKS)
    return list(read(out.getvalue().splitlines()))


def comments(tape: Tape) -> list[str]:
    return [item.comment for item in written(tape) if isinstance(item, event.Wire)]


@VERSIONS
def test_an_injected_frame_is_commented_with_handle_path_state_and_status(version: int) -> None:
    expected = (
        "handle 5 (NETWORK INET) network send at host, state INJECTED_BY_SELF, status SUCCESS; "
        "packet ? copy 1: delivered: reached peer"
    )
    assert comments(cloned_and_injected(version)) == [expected, expected]


@VERSIONS
def test_a_frame_that_nobody_injected_says_so_and_what_became_of_it(version: int) -> None:
    tape = Tape().wire(datagram(version=version), out=HOST, into=PEER)
    expected = "no handle, state NOT_INJECTED; packet ?: delivered: reached peer"
    assert comments(tape) == [expected, expected]


def test_an_injection_that_was_not_completed_is_pending() -> None:
    tape = Tape().inject(1, datagram()).wire(datagram(), out=HOST, into=PEER)
    assert all("status PENDING" in comment for comment in comments(tape))


def test_a_frame_without_ip_is_of_no_layer() -> None:
    tape = Tape().add(raw.WIRE, HOST, "eth0", 4, 42, True, bytes(12) + b"\x08\x06" + bytes(28))
    assert comments(tape) == ["no IP packet (ARP, 42 octets): no layer sees it"]


def test_a_bed_ends_with_fates_status_books_and_what_was_left_out() -> None:
    events = written(blocked(), most=4)
    assert [type(item) for item in (events[0], *events[-2:])] == [event.Bed, event.Fate, event.Ended]
    end = events[-1]
    assert isinstance(end, event.Ended)
    assert (end.status, end.left_out) == ("passed", {"verdict": 1})
    assert end.books == {
        "host": {
            "offered": 5, "passed": 4, "injections accepted": 4, "injections by verdict": 1, "lost: queue overflow": 5,
        }
    }  # fmt: skip


def test_what_only_seems_to_be_lost_for_want_of_records_says_so() -> None:
    tape = Tape().wire(datagram(), out=HOST, into=PEER)
    assert [item.reason for item in written(tape, most=1) if isinstance(item, event.Fate)] == [
        "left host and arrived nowhere; but not everything was recorded"
    ]


def test_a_bed_on_which_nothing_happened_is_written_too() -> None:
    assert [type(item) for item in written(Tape())] == [event.Bed, event.Ended]
