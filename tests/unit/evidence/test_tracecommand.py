"""`wfplab trace`: lines, choices, one packet over all hops, and where packets were lost."""

from __future__ import annotations

import json
from io import BytesIO, StringIO
from pathlib import Path

import pytest

from emulator.evidence import traceevents as event
from emulator.evidence.bedtrace import write_bed
from emulator.evidence.recordfile import RecordFile
from emulator.evidence.tracecommand import Choice, run
from emulator.evidence.traceevents import TraceWriter
from tests.unit.tracing import (
    ACCEPT,
    HOST,
    OUTPUT,
    PEER,
    Tape,
    blocked,
    cloned_and_injected,
    datagram,
    places,
)

VERSIONS = pytest.mark.parametrize("version", [4, 6])


def trace_of(folder: Path, *tapes: Tape) -> Path:
    """A report's folder with the trace of these beds, one packet number after the other."""
    from emulator.evidence.artifacts import Joined

    out = BytesIO()
    writer, joined = TraceWriter(out), Joined()
    writer.write(event.Run(time=1, format=event.FORMAT, program="wfplab 1", kernel="6.1"))
    for number, tape in enumerate(tapes):
        part = BytesIO()
        with RecordFile() as records:
            for record in tape.records:
                records.append(record)
            begun = event.Bed(time=1, scenario=f"scenario{number}", family="ipv4", hosts=places())
            write_bed(TraceWriter(part), begun, records, status="passed", books={})
        for seen in joined.renumbered(event.read(part.getvalue().splitlines())):
            writer.write(seen)
    writer.write(event.Summary(time=2, counts={"packets": 1}))
    (folder / "trace.jsonl").write_bytes(out.getvalue())
    return folder


def printed(path: Path, **choice: object) -> tuple[int, str]:
    out = StringIO()
    return run(path, Choice(**choice), out), out.getvalue()  # type: ignore[arg-type]


@VERSIONS
def test_every_event_is_a_line(tmp_path: Path, version: int) -> None:
    status, text = printed(trace_of(tmp_path, cloned_and_injected(version)))
    assert status == 0
    assert len(text.splitlines()) == 19
    for part in ("#1.1  host", "reinjected at POSTROUTING, injection 1 of handle 5", "delivered: reached peer"):
        assert part in text


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        ({"kind": "wire"}, {"wire"}),
        ({"layer": "outbound_ippacket"}, {"classify", "decide", "right", "filter", "verdict"}),
        ({"handle": 5, "kind": "complete"}, {"complete"}),
        ({"packet": 1, "host": "peer"}, {"wire", "fate"}),
        ({"bed": 1, "kind": "end"}, {"end"}),
    ],
)
def test_events_are_chosen(tmp_path: Path, choice: dict[str, object], kinds: set[str]) -> None:
    status, text = printed(trace_of(tmp_path, cloned_and_injected(), blocked()), json=True, **choice)
    assert status == 0
    assert {json.loads(line)["event"] for line in text.splitlines()} <= kinds
    assert text


def test_nothing_chosen_is_status_1(tmp_path: Path) -> None:
    assert printed(trace_of(tmp_path, blocked()), packet=99) == (1, "")
    assert printed(trace_of(tmp_path, blocked()), follow=99)[0] == 1


@VERSIONS
def test_one_packet_is_followed_over_all_hops_with_what_changed(tmp_path: Path, version: int) -> None:
    before, after = datagram(b"lower", version=version), datagram(b"loweR", version=version)
    tape = Tape().wire(datagram(b"another", version=version), out=HOST, into=PEER)
    tape.arrive(1, OUTPUT, before).verdict(1, OUTPUT, ACCEPT, octets=after).wire(after, out=HOST, into=PEER)
    status, text = printed(trace_of(tmp_path, tape), follow=2)
    assert status == 0
    assert "another" not in text
    assert text.count("0000  ") == 2
    assert "octets that differ: 1" in text
    assert text.count("52*") == 1
    assert text.rstrip().endswith("#2 delivered: reached peer")


@VERSIONS
def test_what_was_injected_because_of_a_packet_is_followed_too(tmp_path: Path, version: int) -> None:
    answer = datagram(b"answer", version=version)
    tape = Tape().arrive(1, OUTPUT, datagram(b"query!", version=version)).inject(1, answer, cause=1)
    _, text = printed(trace_of(tmp_path, tape.wire(answer, out=HOST, into=PEER)), follow=1)
    assert "because of packet 1" in text
    assert "#2 delivered: reached peer" in text


@VERSIONS
def test_lost_packets_are_listed_with_their_reasons_over_all_beds(tmp_path: Path, version: int) -> None:
    folder = trace_of(tmp_path, cloned_and_injected(version), blocked(version), blocked(version, absorb=True))
    status, text = printed(folder, lost=True)
    assert status == 1
    assert "#1 " not in text
    assert "#2  scenario1 ipv4  arrive POSTROUTING" in text
    assert "dropped: blocked at OUTBOUND_IPPACKET" in text
    assert "#3  scenario2 ipv4" in text
    assert "and nothing was injected in its place" in text
    assert text.endswith("2 packets were not delivered\n")
    assert printed(trace_of(tmp_path, cloned_and_injected(version)), lost=True) == (0, "no packet was lost\n")


def test_a_file_is_read_as_a_folder_is(tmp_path: Path) -> None:
    folder = trace_of(tmp_path, blocked())
    assert printed(folder / "trace.jsonl") == printed(folder)


def test_hostile_traces_command_no_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;evil\x07\u202e\x9b"
    out = BytesIO()
    writer = TraceWriter(out)
    for seen in (
        event.Run(time=1, format=1, program=evil, kernel=evil),
        event.Bed(time=1, bed=1, scenario=evil, family=evil, picture=evil),
        event.Violation(time=1, packet=1, host=evil, rule=evil, call=evil, message=evil),
        event.Arrival(time=1 << 62, packet=1, hook=evil, octets=evil.encode()),
        event.Fate(time=1, packet=1, host=evil, outcome=evil, reason=evil),
        event.Loss(time=1, host=evil, cause=evil, packets=1),
        event.Summary(time=1, counts={evil: 1}),
    ):
        writer.write(seen)
    (tmp_path / "trace.jsonl").write_bytes(out.getvalue())
    for choice in ({}, {"lost": True}, {"follow": 1}, {"json": True}):
        text = printed(tmp_path, **choice)[1]
        assert text
        assert not set("\x1b\x07\u202e\x9b") & set(text)


@pytest.mark.parametrize(("octets", "why"), [(None, "No such file"), (b"", "breaks off"), (b"nonsense\n", "line 1")])
def test_a_trace_that_cannot_be_read_is_told_of_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], octets: bytes | None, why: str
) -> None:
    if octets is not None:
        (tmp_path / "trace.jsonl").write_bytes(octets)
    assert printed(tmp_path)[0] == 1
    told = capsys.readouterr().err
    assert why in told
    assert told.count("\n") == 1
