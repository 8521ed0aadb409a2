"""Faults on purpose: the k-th of a kind fails, once, and everything else is only counted."""

from __future__ import annotations

import pytest

from emulator.errors import InsufficientResources
from emulator.faults import Fault, FaultKind, Faults
from tests.unit.fakehost import FakeHost


@pytest.mark.parametrize("text", ["clone:3", "verdict:2:late", "receive:1:late", "inject:12"])
def test_a_fault_is_read_as_it_is_written(text: str) -> None:
    assert str(Fault.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("clone", "is no fault: write KIND:NUMBER"),
        ("clone:x", "is no fault: write KIND:NUMBER"),
        ("clone:0", "counted from 1"),
        ("clone:1:late", "only packets and verdicts can be late"),
        ("sleep:1", "kinds are allocate, clone, inject"),
    ],
)
def test_what_is_no_fault_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Fault.parse(text)


def test_only_the_one_that_is_asked_for_fails() -> None:
    faults = Faults(Fault(FaultKind.RECEIVE, 2))
    assert [faults.strikes(FaultKind.RECEIVE) for _ in range(4)] == [False, True, False, False]
    assert not faults.strikes(FaultKind.VERDICT)
    assert (faults.struck, faults.counted[FaultKind.RECEIVE], faults.counted[FaultKind.VERDICT]) == (1, 4, 1)
    assert not any(Faults().strikes(kind) for kind in FaultKind)


@pytest.mark.rule("GE-2", "NB-9")
def test_a_call_that_fails_leaves_nothing_behind() -> None:
    host = FakeHost()
    faults = Faults(Fault(FaultKind.ALLOCATE, 2)).attach(host.core)
    own = host.core.ownership
    first = own.create_from(b"first")
    with pytest.raises(InsufficientResources):
        own.create_from(b"second")
    own.free_list(first)
    assert host.core.leaks() == []
    assert faults.counted[FaultKind.ALLOCATE] == 2
