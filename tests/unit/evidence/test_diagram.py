"""The sequence diagram: lanes side by side with their neighbours, arrows for what passed, bounds on how many."""

from __future__ import annotations

import pytest

from emulator.evidence import trace as raw
from emulator.evidence import traceevents as event
from emulator.evidence.diagram import ALIKE_MOST, NOTES_MOST, OCTETS_MOST, Diagram
from emulator.evidence.traceevents import Bed, Place
from tests.unit.tracing import HOST, PEER, Tape, blocked, cloned_and_injected, datagram, places

VERSIONS = pytest.mark.parametrize("version", [4, 6])


def bed(hosts: list[Place] | None = None, links: list[list[str]] | None = None) -> Bed:
    return Bed(time=1, hosts=hosts or places(), links=links or [["host", "eth0", "peer", "eth0"]])


def drawn(tape: Tape, *, most: int = 1000) -> Diagram:
    diagram = Diagram(bed(), most)
    for seen in tape.events():
        diagram.take(seen)
    return diagram


def test_hosts_stand_beside_those_they_are_linked_to() -> None:
    hosts = [Place(name="mid", emulated=True), Place(name="right"), Place(name="left")]
    links = [["left", "eth0", "mid", "eth0"], ["right", "eth0", "mid", "eth1"]]
    diagram = Diagram(bed(hosts, links), 1)
    assert [host.name for host in diagram.hosts] == ["right", "mid", "left"]
    assert [lane.label for lane in diagram.lanes] == ["right", "mid", "callouts", "paths", "left"]


def test_an_emulated_host_at_the_left_has_its_callouts_on_the_other_side_of_the_wire() -> None:
    hosts = [Place(name="a", emulated=True), Place(name="b", emulated=True)]
    diagram = Diagram(bed(hosts, [["a", "eth0", "b", "eth0"]]), 1)
    assert [lane.label for lane in diagram.lanes] == ["paths", "callouts", "a", "b", "callouts", "paths"]


@VERSIONS
def test_a_cloned_and_injected_packet_is_drawn_step_by_step(version: int) -> None:
    diagram = drawn(cloned_and_injected(version))
    peer, host, callouts, paths = range(4)
    assert [(step.kind, step.start, step.end, step.injected, step.outcome) for step in diagram.steps] == [
        ("layer", host, callouts, False, "absorbed"),
        ("inject", callouts, paths, True, ""),
        ("layer", host, callouts, True, "passed"),
        ("goes-on", paths, host, True, ""),
        ("complete", paths, callouts, True, "passed"),
        ("wire", host, peer, True, ""),
    ]
    assert {step.number for step in diagram.steps} == {1}


def test_a_frame_that_nobody_saw_come_in_ends_outside() -> None:
    (step,) = drawn(Tape().wire(datagram(), out=HOST)).steps
    assert (step.start, step.end) == (1, -1)
    (step,) = drawn(Tape().comes(datagram(to_host=True), into=HOST)).steps
    assert (step.start, step.end) == (-1, 1)


def test_what_the_splice_takes_in_and_sends_is_on_the_lane_of_the_paths() -> None:
    tape = Tape().wire(datagram(), out=HOST, name="wfs2h1").comes(datagram(b"edited"), into=HOST, name="wfs2w1")
    host, paths = 1, 3
    assert [(step.start, step.end) for step in drawn(tape).steps] == [(host, paths), (paths, host)]


def test_a_frame_that_goes_from_device_to_device_of_one_host_is_one_step() -> None:
    octets = datagram(to_host=True)
    tape = Tape().wire(octets, out=PEER, into=HOST).comes(octets, into=HOST, name="br0")
    tape.wire(octets, out=HOST, name="br0").wire(octets, out=HOST, name="port2")
    diagram = drawn(tape)
    assert [(step.start, step.end) for step in diagram.steps] == [(0, 1), (1, -1)]
    assert [detail for step in diagram.steps for detail in step.details if detail] == [
        "left by peer eth0", "came in by host eth0", "came in by host br0", "left by host br0", "left by host port2",
    ]  # fmt: skip


def test_a_rewritten_packet_shows_before_and_after() -> None:
    before, after = datagram(b"before"), datagram(b"after!")
    tape = Tape().arrive(1, 3, before).verdict(1, 3, 1, octets=after)
    (step,) = drawn(tape).steps
    assert (step.before, step.after) == (before, after)


def test_packets_just_like_each_other_are_folded_and_still_counted() -> None:
    tape = Tape()
    for number in range(ALIKE_MOST + 10):
        tape.wire(datagram(b"%03d" % number), out=HOST, into=PEER)
    tape.wire(datagram(b"other", to_host=True), out=PEER, into=HOST)
    diagram = drawn(tape)
    assert len(diagram.steps) == ALIKE_MOST + 1
    shown = [number for step in diagram.steps for number in map(int, step.numbers.split())]
    assert shown == list(range(1, ALIKE_MOST + 12))
    assert diagram.left_out == 0


def test_injected_packets_are_never_folded() -> None:
    tape = Tape().inject(1, *(datagram(b"%03d" % number) for number in range(16)))
    for number in range(16):
        tape.wire(datagram(b"%03d" % number), out=HOST, into=PEER)
    assert sum(step.kind == "wire" for step in drawn(tape).steps) == 16


def test_no_more_than_asked_for_is_kept_but_for_notes() -> None:
    tape = Tape()
    for number in range(20):
        tape.inject(number + 1, datagram(b"%03d" % number))
    for _ in range(2 * NOTES_MOST):
        tape.add(raw.VIOLATION, HOST, 0, "NB-9", "call", "wrong", "")
    diagram = drawn(tape, most=5)
    assert len(diagram.steps) == 5 + NOTES_MOST
    assert diagram.left_out == 15 + NOTES_MOST


def test_octets_are_cut() -> None:
    (step,) = drawn(Tape().inject(1, datagram(bytes(1000)))).steps
    assert len(step.before) == OCTETS_MOST


@VERSIONS
def test_fates_are_noted_unless_the_packet_was_delivered(version: int) -> None:
    diagram = drawn(blocked(version))
    diagram.take(event.Fate(time=2, host="host", packet=1, outcome="dropped", reason="blocked by filter 7"))
    diagram.take(event.Fate(time=2, host="host", packet=2, outcome="delivered", reason="reached peer"))
    assert [(step.kind, step.title) for step in diagram.steps if step.is_note] == [
        ("fate", "dropped: blocked by filter 7")
    ]
