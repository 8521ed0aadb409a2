"""The files of a run: whole or not there, of this run alone, and telling the same."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest

from emulator.checks import Check
from emulator.evidence import traceevents as event
from emulator.evidence.artifacts import NAMES, Evidence, Joined, write_capture
from emulator.evidence.bedtrace import PACKET_TO_COME
from emulator.evidence.traceevents import AnyEvent, TraceWriter, read_file
from emulator.run.results import Result

RESULTS = [Result("one", checks=[Check("a", True, "1", "1")])]


def part(folder: Path, name: str, *events: AnyEvent) -> None:
    """What one bed has left among a run's parts."""
    with (folder / name).open("wb") as out:
        writer = TraceWriter(out)
        for seen in events:
            writer.write(seen)


def wire(packet: int, time: int = 1) -> event.Wire:
    comment = f"no handle, state NOT_INJECTED; {PACKET_TO_COME}: delivered"
    return event.Wire(time=time, packet=packet, host="host", interface="eth0", comment=comment, octets=bytes(14))


def test_a_run_leaves_four_files_and_nothing_else(tmp_path: Path) -> None:
    evidence = Evidence.create(tmp_path / "new" / "folder")
    part(evidence.parts, "000000.jsonl", event.Bed(time=1, scenario="one"), wire(1), event.Ended(time=2))
    counts = evidence.close(RESULTS)
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == sorted(NAMES)
    assert (counts["scenarios"], counts["beds"], counts["frames"]) == (1, 1, 1)
    with (evidence.directory / "trace.jsonl").open("rb") as trace:
        *_, last = read_file(trace)
    assert isinstance(last, event.Summary)
    assert last.counts == counts


def test_parts_are_joined_in_order_with_numbers_of_the_whole_run(tmp_path: Path) -> None:
    evidence = Evidence.create(tmp_path)
    for number in (1, 0):
        part(evidence.parts, f"{number:06d}.jsonl", event.Bed(time=1, scenario=f"s{number}"), wire(1), wire(2),
             event.Inject(time=1, packet=2, cause=1, injection=1, handle=1, function="f"),
             event.Fate(time=1, packet=1, outcome="replaced", others=[2]))  # fmt: skip
    evidence.close(RESULTS)
    with (tmp_path / "trace.jsonl").open("rb") as trace:
        events = list(read_file(trace))
    assert [item.seq for item in events] == list(range(1, len(events) + 1))
    assert [item.scenario for item in events if isinstance(item, event.Bed)] == ["s0", "s1"]
    frames = [item for item in events if isinstance(item, event.Wire)]
    assert [(item.bed, item.packet) for item in frames] == [(1, 1), (1, 2), (2, 3), (2, 4)]
    assert [item.comment.split("; ")[1] for item in frames] == [f"packet {number}: delivered" for number in range(1, 5)]
    assert [item.cause for item in events if isinstance(item, event.Inject)] == [1, 3]
    assert [item.others for item in events if isinstance(item, event.Fate)] == [[2], [4]]


def test_frames_of_beds_at_the_same_time_are_in_order_in_the_capture() -> None:
    trace, out = BytesIO(), BytesIO()
    writer = TraceWriter(trace)
    for seen in (event.Bed(time=1, bed=1), wire(1, 30), wire(1, 10), event.Bed(time=1, bed=2), wire(1, 20)):
        writer.write(seen)
    write_capture(trace, out, {})
    times = [out.getvalue().find(bytes([time, 0, 0, 0, 14, 0, 0, 0])) for time in (10, 20, 30)]
    assert -1 not in times
    assert times == sorted(times)


def test_the_report_of_an_earlier_run_goes_before_a_new_one_begins(tmp_path: Path) -> None:
    for name in (*NAMES, "notes.txt"):
        (tmp_path / name).write_text("old")
    evidence = Evidence.create(tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir() if item.is_file()) == ["notes.txt"]
    evidence.discard()
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_report_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    evidence = Evidence.create(tmp_path)
    (evidence.parts / "000000.jsonl").write_bytes(b"half a li")
    with pytest.raises(event.BadTrace):
        evidence.close(RESULTS)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_worker_had_begun_is_not_taken_for_a_bed(tmp_path: Path) -> None:
    evidence = Evidence.create(tmp_path)
    (evidence.parts / ".new-abc").write_bytes(b"half a li")
    assert evidence.close(RESULTS)["beds"] == 0


def test_a_worker_that_joined_leaves_the_parts_to_their_owner(tmp_path: Path) -> None:
    with Evidence.create(tmp_path) as owner:
        Evidence(owner.parts).discard()
        assert owner.parts.is_dir()
    assert not owner.parts.exists()


def test_parts_are_only_for_who_runs(tmp_path: Path) -> None:
    with Evidence.create(tmp_path) as evidence:
        assert evidence.parts.stat().st_mode & 0o077 == 0


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "report"
    folder.mkdir()
    evidence = Evidence.create(folder)
    (folder / "report.html").symlink_to(victim)
    evidence.close(RESULTS)
    assert victim.read_text() == "precious"
    assert not (folder / "report.html").is_symlink()


def test_numbers_go_on_where_the_last_bed_ended() -> None:
    joined = Joined()
    first = list(joined.renumbered(iter([wire(5), event.Loss(time=1, cause="x", packets=1)])))
    second = list(joined.renumbered(iter([wire(1)])))
    assert [(item.bed, item.packet) for item in (*first, *second)] == [(1, 5), (1, 0), (2, 6)]
