"""Tuples of hosts and captures become events that know their packet, over clones, injections and the wire."""

from __future__ import annotations

import pytest

from emulator.evidence import trace as raw
from emulator.evidence import traceevents as event
from tests.unit.tracing import (
    ACCEPT,
    DROP,
    HOST,
    INPUT,
    OUTPUT,
    PEER,
    POSTROUTING,
    PREROUTING,
    Tape,
    blocked,
    cloned_and_injected,
    datagram,
    inbound,
    kinds,
    outbound,
)

VERSIONS = pytest.mark.parametrize("version", [4, 6])


def of(events: list[event.AnyEvent], kind: type[event.Event]) -> list[event.AnyEvent]:
    return [item for item in events if isinstance(item, kind)]


@VERSIONS
def test_a_clone_that_goes_on_in_its_packets_place_has_its_number(version: int) -> None:
    events = cloned_and_injected(version).events()
    about = [item for item in events if not isinstance(item, event.Filter)]
    assert {item.packet for item in about} == {1}
    (verdict,) = of(events, event.Verdict)
    assert isinstance(verdict, event.Verdict)
    assert (verdict.outcome, verdict.copy, verdict.injection, verdict.handle) == ("reinjected", 1, 1, 5)
    frames = of(events, event.Wire)
    assert [(item.copy, item.injection, item.injector) for item in frames if isinstance(item, event.Wire)] == [
        (1, 1, "host"), (1, 1, "host"),
    ]  # fmt: skip
    layers = [item for item in events if isinstance(item, event.Decision)]
    assert [(item.blocked, item.absorb, item.copy) for item in layers] == [(True, True, 0), (False, False, 1)]


@VERSIONS
def test_a_right_is_told_once_when_it_goes(version: int) -> None:
    tape = Tape().arrive(1, POSTROUTING, datagram(version=version))
    for number, right in ((1, True), (2, False), (3, False)):
        tape.add(raw.CLASSIFY, HOST, 1, int(outbound(version)), number, 0, 0x1002, True, right, False, 0, 0, "")
    (gone,) = of(tape.events(), event.Right)
    assert isinstance(gone, event.Right)
    assert (gone.filter, gone.layer, gone.packet) == (2, outbound(version).name, 1)


@VERSIONS
@pytest.mark.parametrize(("absorb", "outcome"), [(False, "blocked"), (True, "absorbed")])
def test_a_dropped_packet_says_where_and_by_whom(version: int, absorb: bool, outcome: str) -> None:
    (verdict,) = of(blocked(version, absorb=absorb).events(), event.Verdict)
    assert isinstance(verdict, event.Verdict)
    assert (verdict.outcome, verdict.layer, verdict.filter) == (outcome, outbound(version).name, 7)


def test_a_packet_still_held_at_the_end_is_abandoned() -> None:
    tape = Tape().arrive(1, POSTROUTING, datagram()).layer(1, outbound(4), block=True, absorb=True)
    (verdict,) = of(tape.verdict(1, POSTROUTING, DROP, abandoned=True).events(), event.Verdict)
    assert isinstance(verdict, event.Verdict)
    assert verdict.outcome == "abandoned"


@VERSIONS
def test_a_rewritten_packet_is_found_again_by_its_new_octets(version: int) -> None:
    before, after = datagram(b"before!", version=version), datagram(b"another", version=version)
    tape = Tape().arrive(1, OUTPUT, before).layer(1, outbound(version)).verdict(1, OUTPUT, ACCEPT, octets=after)
    events = tape.wire(after, out=HOST, into=PEER).events()
    assert {item.packet for item in events} == {1}
    (verdict,) = of(events, event.Verdict)
    assert isinstance(verdict, event.Verdict)
    assert (verdict.outcome, verdict.octets) == ("passed", after)


@VERSIONS
def test_a_packet_sent_by_a_socket_is_known_at_the_hooks_by_its_injection(version: int) -> None:
    octets = datagram(version=version)
    tape = Tape().inject(4, octets)
    tape.add(raw.SEND, HOST, 4, "raw socket", octets)
    tape.arrive(1, POSTROUTING, octets, serial=4).verdict(1, POSTROUTING, ACCEPT).complete(4)
    events = tape.wire(octets, out=HOST, into=PEER).events()
    assert {(item.packet, item.copy) for item in events} == {(1, 0)}
    arrival = next(item for item in events if isinstance(item, event.Arrival))
    assert (arrival.injection, arrival.handle, arrival.out) == (4, 5, "eth0")
    assert all(item.injection == 4 for item in events if isinstance(item, event.Wire))


@VERSIONS
def test_the_packets_of_one_list_have_numbers_of_their_own(version: int) -> None:
    packets = [datagram(bytes([number]), version=version) for number in range(3)]
    tape = Tape().inject(1, *packets)
    for octets in packets:
        tape.wire(octets, out=HOST, into=PEER)
    frames = of(tape.events(), event.Wire)
    assert [item.packet for item in frames] == [1, 1, 2, 2, 3, 3]


@VERSIONS
def test_what_arrives_is_followed_from_the_wire_through_the_layers(version: int) -> None:
    octets = datagram(version=version, to_host=True)
    tape = Tape().wire(octets, out=PEER, into=HOST).arrive(1, PREROUTING, octets)
    tape.layer(1, inbound(version)).verdict(1, PREROUTING, ACCEPT).arrive(2, INPUT, octets)
    events = tape.verdict(2, INPUT, ACCEPT).events()
    assert {item.packet for item in events} == {1}


def test_a_frame_without_ip_is_of_no_packet() -> None:
    events = Tape().add(raw.WIRE, HOST, "eth0", 4, 42, True, bytes(12) + b"\x08\x06" + bytes(28)).events()
    assert [(item.packet, item.copy) for item in events] == [(0, 0)]


def test_going_over_the_same_tuples_again_gives_the_same_events() -> None:
    tape = cloned_and_injected()
    assert tape.events() == tape.events()


def test_verdicts_and_lists_of_packets_seen_before_the_trace_began_are_about_no_packet() -> None:
    tape = Tape().verdict(99, INPUT, ACCEPT).verdict(98, INPUT, DROP)
    tape.add(raw.FREED, HOST, 5, 0).add(raw.MADE, HOST, 6, "clone", 5, 97, 40).complete(12)
    tape.add(raw.SEND, HOST, 13, "raw socket", datagram()).add(raw.VIOLATION, HOST, 96, "NB-9", "", "", "")
    events = tape.events()
    assert kinds(events) == ["verdict", "verdict", "free", "clone", "complete", "send", "violation"]
    assert {item.packet for item in events} == {0}
