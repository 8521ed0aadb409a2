"""The files of a run tell the same, of every packet that passed, and nothing half-written is taken for a report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from emulator.checks import Check
from emulator.evidence import traceevents as event
from emulator.evidence.artifacts import NAMES, Evidence
from emulator.evidence.capturing import Recorder
from emulator.evidence.recordfile import RecordFile
from emulator.evidence.traceevents import AnyEvent, read_file
from emulator.layers import layer_of
from emulator.run.results import Result
from emulator.topology import Alone, Bridged, Empty, Pair, Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily
from netns.patience import patient
from tests.lab.conftest import Strict
from tests.lab.reporting import wfplab, write_scenarios

OF_THE_COMMAND = pytest.mark.host_only("starts a run of its own, to read what it leaves")
FIELDS = ("frame.time_epoch", "frame.interface_name", "frame.comment", "_ws.malformed", "ip.src", "ipv6.src")


def events_of(folder: Path) -> list[AnyEvent]:
    with (folder / "trace.jsonl").open("rb") as trace:
        return list(read_file(trace))


def dissected(folder: Path) -> list[dict[str, str]]:
    """What tshark makes of each frame."""
    argv = ["tshark", "-n", "-r", str(folder / "capture.pcapng"), "-T", "fields", "-E", "separator=/t"]
    for field in FIELDS:
        argv += ["-e", field]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=patient(50))
    return [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of scenarios that pass, drop, and fail."""
    folder = tmp_path_factory.mktemp("run")
    done = wfplab("run", write_scenarios(folder), "--report", folder / "report")
    assert done.returncode == 1, done.stderr
    assert "2 passed, 1 failed" in done.stdout
    return folder / "report"


# -- all four files ---------------------------------------------------------------------------------------


def test_a_run_leaves_exactly_its_four_files(report: Path) -> None:
    assert sorted(os.listdir(report)) == sorted(NAMES)


def test_all_four_files_tell_the_same_counts(report: Path) -> None:
    events = events_of(report)
    frames = dissected(report)
    page = (report / "report.html").read_text("utf-8")
    on_page = {name: int(number) for name, number in re.findall(r'data-count="([^"]+)">(\d+)<', page)}
    suite = ElementTree.parse(report / "junit.xml").getroot()[0]
    in_junit = {item.attrib["name"]: int(item.attrib["value"]) for item in suite.iter("property")}
    info = subprocess.run(["capinfos", report / "capture.pcapng"], capture_output=True, text=True, check=True).stdout
    comment = re.search(r"Capture comment:\s+wfplab: (.*)", info)
    assert comment is not None
    in_capture = {name: int(number) for number, name in re.findall(r"(\d+) ([^,]+)", comment[1])}
    # Counted here from each file's own contents, not read off its summary.
    by_kind = Counter(type(item) for item in events)
    assert by_kind[event.Wire] == len(frames)
    injected = sum("INJECTED_BY_SELF" in frame["frame.comment"] for frame in frames)
    assert injected == sum(bool(item.injection) for item in events if isinstance(item, event.Wire))
    own = {
        "beds": by_kind[event.Bed], "packets": by_kind[event.Fate], "frames": len(frames),
        "injected frames": injected, "arrivals": by_kind[event.Arrival], "classifies": by_kind[event.Classify],
        "verdicts": by_kind[event.Verdict], "injections": by_kind[event.Inject],
        "completions": by_kind[event.Complete], "violations": by_kind[event.Violation],
        "scenarios": len(suite.findall("testcase")), "failed": len(list(suite.iter("failure"))),
        "checks": sum(int(case.attrib["assertions"]) for case in suite.findall("testcase")),
    }  # fmt: skip
    summary = events[-1]
    assert isinstance(summary, event.Summary)
    for told in (summary.counts, on_page, in_junit, in_capture):
        assert told == summary.counts
        assert {name: told[name] for name in own} == own
    assert own["injections"] == 6
    assert own["violations"] == 2
    assert page.count('class="scenario ') == own["scenarios"]


def test_the_trace_agrees_with_the_books_of_every_host(report: Path) -> None:
    events = events_of(report)
    checked = 0
    for end in (item for item in events if isinstance(item, event.Ended)):
        verdicts = Counter(
            item.outcome for item in events if isinstance(item, event.Verdict) and item.bed == end.bed
        )
        arrivals = sum(isinstance(item, event.Arrival) and item.bed == end.bed for item in events)
        book = end.books["host"]
        assert arrivals == book.get("offered", 0)
        assert {name: verdicts[name] for name in verdicts} == {
            name: book[name] for name in ("passed", "reinjected", "blocked", "absorbed") if book.get(name)
        }
        checked += arrivals
    assert checked > 0


# -- the capture ------------------------------------------------------------------------------------------


def test_the_capture_opens_in_order_with_named_interfaces_and_a_comment_on_every_frame(report: Path) -> None:
    frames = dissected(report)
    assert {frame["frame.interface_name"] for frame in frames} == {"host eth0", "peer eth0"}
    assert all(not frame["_ws.malformed"] for frame in frames)
    times = [frame["frame.time_epoch"] for frame in frames]
    assert times == sorted(times)
    grammar = re.compile(
        r"(no handle, state NOT_INJECTED|handle \d+ \(NETWORK INET6?\) network send at host, "
        r"state INJECTED_BY_SELF, status SUCCESS); packet \d+( copy \d+)?: (delivered|left): .+"
        r"|no IP packet \(.*\): no layer sees it"
    )
    for frame in frames:
        assert grammar.fullmatch(frame["frame.comment"]), frame["frame.comment"]


# -- lineage ----------------------------------------------------------------------------------------------


def test_every_packet_sent_is_followed_to_where_it_ended(report: Path) -> None:
    events = events_of(report)
    scenarios = {item.bed: item.scenario for item in events if isinstance(item, event.Bed)}
    for bed, scenario in scenarios.items():
        fates = {item.packet: item for item in events if isinstance(item, event.Fate) and item.bed == bed}
        to_5000 = {
            item.packet
            for item in events
            if isinstance(item, event.Arrival) and item.bed == bed and _port(item.octets) == 5000
        }
        outcomes = Counter(fates[packet].outcome for packet in to_5000)
        if scenario == "copies":
            assert outcomes == {"delivered": 3}
            assert {tuple(_copies(events, packet)) for packet in to_5000} == {(0, 1)}
        elif scenario == "drops":
            assert outcomes == {"dropped": 2}
            assert all("by filter 1 (wall at OUTBOUND_TRANSPORT" in fates[packet].reason for packet in to_5000)


def _port(octets: bytes) -> int:
    from emulator.octets import IpView

    return IpView(octets).destination_port or 0


def _copies(events: list[AnyEvent], packet: int) -> list[int]:
    return sorted({item.copy for item in events if item.packet == packet})


def test_why_a_packet_was_lost_is_a_command(report: Path) -> None:
    done = wfplab("trace", report, "--lost")
    assert done.returncode == 1
    assert done.stdout.count("dropped: blocked at OUTBOUND_TRANSPORT_V") == 4
    assert done.stdout.endswith("4 packets were not delivered\n")
    followed = wfplab("trace", report / "trace.jsonl", "--follow", re.findall(r"#(\d+)", done.stdout)[0])
    assert "blocked at OUTPUT at OUTBOUND_TRANSPORT_V" in followed.stdout
    assert not set("\x1b\u202e\u2066") & set(done.stdout + followed.stdout)


@contextmanager
def recorded(bed: Any, tmp_path: Path) -> Iterator[Evidence]:
    """The evidence of a bed, from now on."""
    with Evidence.create(tmp_path / "report") as evidence:
        evidence.begin(bed, "here", "any")
        yield evidence


def written(evidence: Evidence, bed: Any) -> list[AnyEvent]:
    """End a bed's recording, put the run together, and read its trace."""
    bed.close_stacks()
    books = {host.name: host.emulated.books.as_dict() for host in bed if host.emulated is not None}
    evidence.end(bed, "passed", books)
    evidence.close([Result("here", checks=[Check("a", True, "1", "1")])])
    return events_of(evidence.directory)


def fates(events: list[AnyEvent], port: int = 5000) -> list[tuple[str, str]]:
    """Outcome and host of every packet that goes to a port."""
    wanted = {item.packet for item in events if isinstance(item, event.Wire) and _port_of(item) == port}
    return [(item.outcome, item.host) for item in events if isinstance(item, event.Fate) and item.packet in wanted]


def _port_of(frame: event.Wire) -> int:
    return _port(frame.octets[14:]) if frame.packet else 0


def test_a_routed_packet_is_one_packet_over_both_wires(
    beds: Strict, family: AddressFamily, tmp_path: Path
) -> None:
    routed = beds.make(Routed)
    with recorded(routed, tmp_path) as evidence:
        stack = routed.mid.stack
        stack.add_filter(layer_of("IPFORWARD", family.version), action=Action.PERMIT)
        assert Datagrams(routed.left, routed.right, family).exchange([b"one", b"two"]) == [b"one", b"two"]
        events = written(evidence, routed)
        wires = [item for item in events if isinstance(item, event.Wire) and _port_of(item) == 5000]
        frames = Counter((item.packet, item.host, item.interface) for item in wires)
        packets = sorted({packet for packet, _, _ in frames})
        ways = [("left", "eth0"), ("mid", "eth0"), ("mid", "eth1"), ("right", "eth0")]
        assert frames == Counter((packet, *way) for packet in packets for way in ways)
        assert len(packets) == 2
        assert fates(events) == [("delivered", "right")] * 2


def test_a_bridged_frame_is_one_packet_at_both_ports(beds: Strict, family: AddressFamily, tmp_path: Path) -> None:
    bridged = beds.make(Bridged)
    with recorded(bridged, tmp_path) as evidence:
        assert Datagrams(bridged.vm1, bridged.vm2, family).exchange([b"one"]) == [b"one"]
        events = written(evidence, bridged)
        assert fates(events) == [("delivered", "vm2")]


def test_loopback_frames_are_taken_once(beds: Strict, family: AddressFamily, tmp_path: Path) -> None:
    alone = beds.make(Alone)
    with recorded(alone, tmp_path) as evidence:
        assert Datagrams(alone.host, alone.host, family).exchange([b"one"]) == [b"one"]
        events = written(evidence, alone)
        frames = [item for item in events if isinstance(item, event.Wire) and _port_of(item) == 5000]
        assert [(item.interface, item.outgoing) for item in frames] == [("lo", False)]
        assert fates(events) == [("delivered", "host")]


def test_a_host_that_is_added_later_is_recorded_too(beds: Strict, family: AddressFamily, tmp_path: Path) -> None:
    empty = beds.make(Empty)
    with recorded(empty, tmp_path) as evidence:
        one = empty.add_host("one", "10.9.0.1", "fd09::1", emulated=True)
        two = empty.add_host("two", "10.9.0.2", "fd09::2")
        empty.lab.link(
            one.namespace, two.namespace, addresses=(["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"])
        )
        one.stack.add_filter(layer_of("OUTBOUND_IPPACKET", family.version), action=Action.PERMIT)
        assert Datagrams(one, two, family).exchange([b"one"]) == [b"one"]
        events = written(evidence, empty)
        assert any(isinstance(item, event.Arrival) and item.host == "one" for item in events)
        assert fates(events) == [("delivered", "two")]


def test_a_packet_still_held_when_its_host_closes_is_abandoned_in_trace_and_books(
    family: AddressFamily, tmp_path: Path
) -> None:
    kept: list[Any] = []
    arrived = threading.Event()

    def keep(seen: Any) -> None:
        if 5000 not in (seen.view.ports or ()):
            seen.permit()  # the host's kernel has something to say of its own
            return
        kept.append(seen.clone())
        seen.block(absorb=True)
        arrived.set()

    with Pair() as pair, recorded(pair, tmp_path) as evidence:
        registered = pair.host.stack.core.engine.callouts.register(keep)
        pair.host.stack.add_filter(layer_of("OUTBOUND_IPPACKET", family.version), registered)
        Datagrams(pair.host, pair.peer, family).send(b"held")
        assert arrived.wait(patient(10))
        events = written(evidence, pair)
        verdicts = [item.outcome for item in events if isinstance(item, event.Verdict) and not item.accepted]
        assert verdicts == ["abandoned"]
        (end,) = [item for item in events if isinstance(item, event.Ended)]
        assert end.books["host"]["abandoned"] == 1
        (reason,) = [item.reason for item in events if isinstance(item, event.Fate) and item.outcome == "dropped"]
        assert reason.endswith("and still held when the host was closed")
        pair.host.stack.core.ownership.free_clone(kept.pop())


# -- bounds and ends --------------------------------------------------------------------------------------


def test_a_large_run_is_bounded_and_says_what_is_left_out(family: AddressFamily, tmp_path: Path) -> None:
    with Pair() as pair, Recorder(pair, file=RecordFile(records_most=100)) as recorder:
        traffic = Datagrams(pair.host, pair.peer, family)
        payloads = [b"%d" % number for number in range(500)]
        assert traffic.exchange(payloads) == payloads
        recorder.stop()
        assert len(recorder.file) == 100
        assert recorder.file.left_out["wire"] >= 900
        assert recorder.lost == {"host": 0, "peer": 0}


def test_a_bed_is_not_disturbed_by_being_recorded(beds: Strict, family: AddressFamily, tmp_path: Path) -> None:
    pair = beds.make(Pair)
    before = set(os.listdir("/proc/self/fd"))
    with recorded(pair, tmp_path) as evidence:
        traffic = Datagrams(pair.host, pair.peer, family)
        payloads = [b"%d" % number for number in range(300)]
        assert traffic.exchange(payloads) == payloads
        events = written(evidence, pair)
        assert fates(events) == [("delivered", "peer")] * 300
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 4  # the sockets of the traffic, which the bed closes


@OF_THE_COMMAND
def test_parallel_workers_make_one_report(tmp_path: Path) -> None:
    done = wfplab("run", write_scenarios(tmp_path), "--jobs", "2", "--report", tmp_path / "report")
    assert done.returncode == 1, done.stderr
    assert sorted(os.listdir(tmp_path / "report")) == sorted(NAMES)
    events = events_of(tmp_path / "report")
    assert [item.scenario for item in events if isinstance(item, event.Bed)] == [
        "copies", "copies", "drops", "drops", "fails", "fails",
    ]  # fmt: skip
    times = [frame["frame.time_epoch"] for frame in dissected(tmp_path / "report")]
    assert times == sorted(times)


@OF_THE_COMMAND
def test_an_interrupted_run_leaves_no_report_and_takes_the_old_one_away(tmp_path: Path) -> None:
    file = write_scenarios(tmp_path)
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.html").write_text("of an earlier run")
    argv = [sys.executable, "-m", "emulator", "run", str(file), "--report", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first scenario has ended
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=patient(30)) == 130
    assert os.listdir(folder) == []


@OF_THE_COMMAND
def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = wfplab("run", "network_send", "--report", tmp_path / "file")
    assert done.returncode == 2
    assert "--report" in done.stderr
    assert done.stdout == ""


@OF_THE_COMMAND
def test_the_json_document_and_the_report_go_together(tmp_path: Path) -> None:
    done = wfplab("run", "network_send", "--json", "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["passed"] == 1
    assert (tmp_path / "report" / "report.html").is_file()


@OF_THE_COMMAND
def test_the_built_in_scenarios_lose_no_packet_without_a_reason(tmp_path: Path) -> None:
    names = ("clone_and_inject_outbound", "clone_and_inject_inbound", "redirect_a_connection", "loopback")
    done = wfplab("run", "network_send", *names, "--report", tmp_path / "report")
    assert done.returncode == 0, done.stdout
    events = events_of(tmp_path / "report")
    assert Counter(item.outcome for item in events if isinstance(item, event.Fate))["left"] == 0
    assert (tmp_path / "report" / "report.html").stat().st_size < 3_000_000
