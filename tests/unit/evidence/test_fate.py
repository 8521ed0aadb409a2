"""Why was this packet lost: every way a packet can end has its reason, and a delivered one is not called lost."""

from __future__ import annotations

import pytest

from emulator.evidence import trace as raw
from emulator.evidence.fate import Fates
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
    outbound,
)

VERSIONS = pytest.mark.parametrize("version", [4, 6])
WHO = "filter 7 (redact: callout 3, Redact.classify)"


def fates(tape: Tape) -> list[tuple[str, str, str]]:
    """Outcome, reason and host of each packet."""
    _, builder = tape.built()
    return [(fate.outcome, fate.reason, fate.host) for fate in Fates(builder).events(1)]


@VERSIONS
def test_a_packet_whose_clone_arrived_is_delivered(version: int) -> None:
    assert fates(cloned_and_injected(version)) == [("delivered", "reached peer", "peer")]


@VERSIONS
def test_a_blocked_packet_names_filter_callout_and_layer(version: int) -> None:
    assert fates(blocked(version)) == [
        ("dropped", f"blocked at {outbound(version).name} of host by {WHO}", "host")
    ]


@VERSIONS
def test_an_absorbed_packet_says_that_nothing_took_its_place(version: int) -> None:
    why = f"absorbed at {outbound(version).name} of host by {WHO}, and nothing was injected in its place"
    assert fates(blocked(version, absorb=True)) == [("dropped", why, "host")]


@VERSIONS
def test_a_failed_injection_tells_its_status(version: int) -> None:
    octets = datagram(version=version)
    tape = Tape().arrive(1, POSTROUTING, octets).inject(1, octets, sight=1)
    tape.layer(1, outbound(version), block=True, absorb=True).complete(1, "DATA_NOT_ACCEPTED")
    why = "FwpsInjectNetworkSendAsync0 of handle 5 at host ended with DATA_NOT_ACCEPTED"
    assert fates(tape.verdict(1, POSTROUTING, DROP)) == [("dropped", why, "host")]


@VERSIONS
def test_a_made_packet_whose_injection_failed_is_dropped(version: int) -> None:
    tape = Tape().inject(1, datagram(version=version)).complete(1, "INVALID_PARAMETER")
    why = "FwpsInjectNetworkSendAsync0 of handle 5 at host ended with INVALID_PARAMETER"
    assert fates(tape) == [("dropped", why, "host")]


@VERSIONS
def test_a_packet_that_another_took_the_place_of_is_replaced(version: int) -> None:
    octets, other = datagram(version=version), datagram(b"other", version=version)
    tape = Tape().arrive(1, OUTPUT, octets).inject(1, other, cause=1)
    tape.layer(1, outbound(version), block=True, absorb=True).verdict(1, OUTPUT, DROP).complete(1)
    tape.wire(other, out=HOST, into=PEER)
    _, builder = tape.built()
    first, second = Fates(builder).events(1)
    assert (first.outcome, first.others, second.outcome) == ("replaced", [2], "delivered")


@VERSIONS
def test_a_frame_that_left_and_came_nowhere_is_left(version: int) -> None:
    assert fates(Tape().wire(datagram(version=version), out=HOST)) == [
        ("left", "left host and arrived nowhere", "host")
    ]


def test_a_frame_for_a_stranger_says_so() -> None:
    octets = bytearray(datagram())
    octets[16:20] = bytes([192, 0, 2, 1])
    assert fates(Tape().wire(bytes(octets), out=HOST)) == [
        ("left", "left host, for an address that no host has", "host")
    ]


def test_a_packet_that_passed_the_last_hook_and_was_not_seen_again_is_the_kernels() -> None:
    ((outcome, why, _),) = fates(Tape().arrive(1, POSTROUTING, datagram()).verdict(1, POSTROUTING, ACCEPT))
    assert outcome == "left"
    assert why.startswith("passed the last hook of host")


@VERSIONS
def test_a_packet_blocked_at_its_destination_is_not_delivered(version: int) -> None:
    octets = datagram(version=version, to_host=True)
    tape = Tape().wire(octets, out=PEER, into=HOST).arrive(1, PREROUTING, octets)
    tape.layer(1, inbound(version), block=True).verdict(1, PREROUTING, DROP)
    assert [(fate[0], fate[2]) for fate in fates(tape)] == [("dropped", "host")]


@VERSIONS
def test_a_packet_that_reached_a_host_that_lost_packets_is_doubted(version: int) -> None:
    octets = datagram(version=version, to_host=True)
    tape = Tape().wire(octets, out=PEER, into=HOST).add(raw.LOSS, HOST, "queue overflow", 3)
    ((outcome, why, _),) = fates(tape)
    assert outcome == "delivered"
    assert why.endswith("is not known: 3 by queue overflow")


@VERSIONS
def test_loopback_delivers_to_the_sender(version: int) -> None:
    octets = datagram(version=version, to_host=True)
    tape = Tape().comes(octets, into=HOST, name="lo").arrive(1, INPUT, octets).verdict(1, INPUT, ACCEPT)
    assert fates(tape) == [("delivered", "reached host", "host")]


def test_a_multicast_packet_is_delivered_when_anybody_else_has_it() -> None:
    octets = bytearray(datagram())
    octets[16:20] = bytes([224, 0, 0, 1])
    assert [fate[0] for fate in fates(Tape().wire(bytes(octets), out=HOST, into=PEER))] == ["delivered"]
    assert [fate[0] for fate in fates(Tape().wire(bytes(octets), out=HOST))] == ["left"]


@VERSIONS
def test_a_packet_that_the_splice_took_in_is_replaced_by_what_it_sends(version: int) -> None:
    tape = Tape().wire(datagram(version=version), out=HOST, name="wfs2h1")
    assert fates(tape) == [("replaced", "taken in by the stream splice of host", "host")]


def test_an_injection_of_which_nothing_was_seen_is_left() -> None:
    assert fates(Tape().inject(3, datagram()).complete(3)) == [
        ("left", "injected at host (injection 3) and not seen again", "host")
    ]
