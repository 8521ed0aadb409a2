"""Chains of injections, as far as octets tell them."""

from __future__ import annotations

import pytest

from emulator.headers import build_ip_header
from emulator.ledger import Entry
from emulator.looping import KEPT, SAME_KEPT, LoopGuard, handles_of, told
from emulator.octets import IpView

HERE, THERE = b"\x0a\0\0\1", b"\x0a\0\0\2"


class Handle:
    def __init__(self, number: int) -> None:
        self.number = number


A, B = Handle(1), Handle(2)


def packet(payload: bytes = b"x", *, hop_limit: int = 64) -> IpView:
    datagram = b"\0\1\0\2" + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload
    return IpView(build_ip_header(4, HERE, THERE, 17, datagram, hop_limit=hop_limit))


def history(*handles: Handle) -> tuple[Entry, ...]:
    return tuple(Entry(handle, None, number) for number, handle in enumerate(handles))


@pytest.mark.rule("GE-14", "QS-8")
def test_a_copy_of_what_was_injected_and_blocked_continues_its_chain() -> None:
    guard = LoopGuard(32)
    assert guard.idle
    chain: tuple[object, ...] = (A,)
    guard.sent(1, chain)
    for number in range(2, 40):
        handle = (A, B)[number % 2 == 0]
        guard.blocked(packet(), history(handle), number - 1)
        assert not guard.idle
        chain = guard.continued(packet(), handle)
        assert len(chain) == number
        guard.sent(number, chain)
    assert chain[:4] == (A, B, A, B)


@pytest.mark.rule("GE-14")
def test_lowering_the_ttl_does_not_hide_a_loop() -> None:
    guard = LoopGuard(32)
    guard.blocked(packet(hop_limit=64), history(A))
    assert guard.continued(packet(hop_limit=63), B) == (A, B)


def test_other_octets_continue_nothing() -> None:
    guard = LoopGuard(32)
    guard.blocked(packet(b"one"), history(A))
    assert guard.continued(packet(b"two"), B) == (B,)
    assert guard.continued(packet(b"one"), B) == (A, B)
    assert guard.continued(packet(b"one"), B) == (B,), "continued once"
    assert guard.idle


def test_a_copy_of_what_an_application_sent_again_continues_nothing() -> None:
    guard = LoopGuard(32)
    for _ in range(3 * SAME_KEPT):
        guard.blocked(packet(), history(A))
        guard.blocked_first(packet())
        assert guard.continued(packet(), A) == (A,)
    guard.blocked_first(packet(b"never injected"))
    assert guard.continued(packet(b"never injected"), A) == (A,)


def test_what_is_remembered_is_bounded() -> None:
    guard = LoopGuard(32)
    for number in range(3 * KEPT):
        guard.blocked(packet(b"%d" % number), history(A))
        guard.sent(number, (A, B))
    assert guard.continued(packet(b"0"), B) == (B,), "the oldest went first"
    assert guard.continued(packet(b"%d" % (3 * KEPT - 1)), B) == (A, B)


@pytest.mark.rule("GE-13")
def test_a_chain_is_told_by_its_handles() -> None:
    assert handles_of(history(A, B, A)) == (A, B, A)
    assert told((A, B)) == "handle 1 → handle 2 (2 times)"
    assert told((A, B) * 16) == (
        "handle 1 → handle 2 → handle 1 → handle 2 → handle 1 → handle 2 → … (32 times)"
    )
