"""Freeing lists and giving references back: every way to do it wrong, and what is still held."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emulator.errors import FwpInvalidFlags, FwpNullPointer, InsufficientResources, InvalidParameter, WfpError
from emulator.netbuffer import (
    CLONE,
    DEEP_CLONE,
    FREED,
    IN_FLIGHT,
    INDICATED,
    POISON,
    REASSEMBLED,
    RETIRED,
    STREAM_CLONE,
    Mdl,
    NetBufferList,
)
from emulator.ownership import Counters
from tests.unit.desk import OCTETS, Desk, pieces


@pytest.fixture
def desk() -> Desk:
    return Desk()


# -- freeing --------------------------------------------------------------------------------------------------


@pytest.mark.rule("NB-5", "NB-9")
@pytest.mark.parametrize("how", ["clone", "deep_clone"])
def test_a_clone_is_freed_once(desk: Desk, how: str) -> None:
    clone = getattr(desk.own, how)(desk.original)
    desk.own.free_clone(clone)
    assert clone.state == FREED
    assert desk.rules == []
    desk.own.free_clone(clone)
    assert desk.rules == ["NB-9"]
    assert desk.original.child_count == 0
    assert desk.origin.claims == 0
    assert desk.origin.released == 1


@pytest.mark.rule("NB-5")
def test_stream_clones_are_freed_as_clones(desk: Desk) -> None:
    for parent in (desk.original, None):
        made = NetBufferList(bytearray(OCTETS), 0, 60, STREAM_CLONE)
        clone = desk.own.adopt_clone(made, parent)
        assert desk.own.counters().clones == 1
        desk.own.free_clone(clone)
    assert (desk.rules, desk.clean) == ([], True)


@pytest.mark.rule("NB-8", "NB-9")
def test_a_created_list_is_freed_once(desk: Desk) -> None:
    item = desk.own.create_from(OCTETS)
    desk.own.free_list(item)
    desk.own.free_list(item)
    assert desk.rules == ["NB-9"]


@pytest.mark.rule("NB-5", "NB-8")
def test_the_wrong_function_frees_nothing(desk: Desk) -> None:
    clone, created = desk.own.clone(desk.original), desk.own.create_from(OCTETS)
    desk.own.free_list(clone)
    desk.own.free_clone(created)
    desk.own.free_clone(desk.original)
    desk.own.free_list(desk.original)
    assert desk.rules == ["NB-5", "NB-8", "NB-5", "NB-8"]
    assert desk.own.counters() == Counters(clones=1, created=1, references=0)
    assert desk.original.state == INDICATED
    desk.own.free_clone(clone)
    desk.own.free_list(created)
    assert len(desk.rules) == 4
    assert desk.clean


@pytest.mark.rule("GE-3")
def test_a_list_in_flight_cannot_be_freed(desk: Desk) -> None:
    clone, created = desk.own.clone(desk.original), desk.own.create_from(OCTETS)
    clone.state = created.state = IN_FLIGHT
    desk.own.free_clone(clone)
    desk.own.free_list(created)
    assert desk.rules == ["GE-3", "GE-3"]
    assert (clone.state, created.state) == (IN_FLIGHT, IN_FLIGHT)
    assert desk.origin.released == 0
    assert not desk.clean


@pytest.mark.rule("GE-6")
def test_flags_at_freeing_are_told_and_the_clone_is_freed(desk: Desk) -> None:
    desk.own.free_clone(desk.own.clone(desk.original), 1)
    assert (desk.rules, desk.clean) == (["GE-6"], True)


@pytest.mark.rule("NB-9")
def test_another_hosts_list_is_not_freed_here(desk: Desk) -> None:
    other = Desk()
    desk.own.free_clone(other.own.clone(other.original))
    assert desk.rules == ["NB-9"]
    desk.own.free_list(other.own.create_from(OCTETS))
    assert desk.rules == ["NB-9", "NB-9"]
    assert other.own.counters() == Counters(1, 1, 0)


@pytest.mark.rule("NB-9", "NB-12")
@pytest.mark.parametrize("stacks", [False, True])
def test_freeing_a_list_before_its_clones_is_told_and_still_releases_the_packet(stacks: bool) -> None:
    desk = Desk(stacks=stacks)
    first = desk.own.clone(desk.original)
    second = desk.own.clone(first)
    desk.own.free_clone(first)
    assert desk.rules == ["NB-9"]
    assert desk.origin.released == 0
    desk.own.free_clone(second)
    assert desk.rules == ["NB-9"]
    assert desk.origin.released == 1
    created = desk.own.create_from(OCTETS)
    clone = desk.own.clone(created)
    desk.own.free_list(created)
    assert desk.rules == ["NB-9", "NB-9"]
    desk.own.free_clone(clone)
    assert desk.clean


@pytest.mark.rule("NB-24")
def test_freeing_a_reassembled_list_gives_back_its_parts(desk: Desk) -> None:
    given_back: list[str] = []
    item = desk.own.create(pieces(10), 0, 10, kind=REASSEMBLED)
    item.made_of = lambda: given_back.append("parts")
    desk.own.free_list(item)
    assert given_back == ["parts"]
    assert (desk.rules, desk.clean) == ([], True)


# -- references and validity ----------------------------------------------------------------------------------


@pytest.mark.rule("NB-11")
def test_an_original_is_valid_after_classify_only_when_referenced(desk: Desk) -> None:
    desk.own.reference(desk.original)
    desk.own.retire(desk.original)
    assert desk.original.state == INDICATED
    desk.own.free_clone(desk.own.clone(desk.original))
    assert desk.rules == []
    desk.own.dereference(desk.original)
    assert desk.original.state == RETIRED
    with pytest.raises(InvalidParameter) as refusal:
        desk.own.clone(desk.original)
    assert refusal.value.rule == "NB-11"
    with pytest.raises(InvalidParameter):
        desk.own.deep_clone(desk.original)
    desk.own.reference(desk.original)
    assert desk.rules == ["NB-11"] * 3
    assert desk.clean


@pytest.mark.rule("NB-11")
def test_a_freed_list_is_not_valid(desk: Desk) -> None:
    clone = desk.own.clone(desk.original)
    desk.own.free_clone(clone)
    with pytest.raises(InvalidParameter):
        desk.own.clone(clone)
    assert desk.rules == ["NB-11"]


@pytest.mark.rule("NB-11")
@pytest.mark.parametrize("modify", [False, True])
def test_a_reference_says_whether_the_packet_will_be_modified(desk: Desk, modify: bool) -> None:
    desk.own.reference(desk.original, modify)
    assert desk.origin.modified_later is modify


@pytest.mark.rule("NB-12")
def test_every_reference_is_given_back_once(desk: Desk) -> None:
    desk.own.reference(desk.original)
    desk.own.reference(desk.original)
    desk.own.retire(desk.original)
    assert desk.own.counters().references == desk.original.references == 2
    desk.own.dereference(desk.original)
    assert desk.original.state == INDICATED
    assert desk.origin.released == 0
    desk.own.dereference(desk.original)
    assert desk.original.state == RETIRED
    assert desk.origin.released == 1
    assert desk.clean
    desk.own.dereference(desk.original)
    assert desk.rules == ["NB-12"]
    assert desk.origin.released == 1


@pytest.mark.rule("NB-12")
def test_a_reference_given_to_another_host_is_none_here(desk: Desk) -> None:
    other = Desk()
    other.own.reference(desk.original)
    desk.own.dereference(desk.original)
    assert desk.rules == ["NB-12"]
    assert desk.original.references == 1


@pytest.mark.rule("NB-12")
def test_a_clone_keeps_the_packet_when_the_reference_has_gone(desk: Desk) -> None:
    desk.own.reference(desk.original)
    clone = desk.own.clone(desk.original)
    desk.own.dereference(desk.original)
    assert desk.origin.released == 0
    assert clone.octets == OCTETS
    desk.own.free_clone(clone)
    assert desk.origin.released == 1


@pytest.mark.rule("NB-12")
def test_the_packet_is_released_with_the_last_of_its_keepers(desk: Desk) -> None:
    clones = [desk.own.clone(desk.original) for _ in range(3)]
    deep = desk.own.deep_clone(clones[0])
    for clone in reversed(clones[1:]):
        desk.own.free_clone(clone)
    desk.own.free_clone(deep)
    assert desk.origin.released == 0
    desk.own.free_clone(clones[0])
    assert desk.origin.released == 1


# -- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.rule("GE-6", "GE-7")
@pytest.mark.parametrize("how", ["clone", "deep_clone"])
def test_refused_clones_change_nothing(desk: Desk, how: str) -> None:
    make = getattr(desk.own, how)
    with pytest.raises(FwpNullPointer):
        make(None)
    with pytest.raises(FwpInvalidFlags):
        make(desk.original, 1)
    with pytest.raises(FwpNullPointer):
        make(None, 1)
    with pytest.raises(FwpNullPointer):
        desk.own.reference(None)
    assert (desk.original.child_count, desk.origin.claims, desk.rules, desk.clean) == (0, 0, [], True)


ALLOCATIONS: dict[str, Callable[[Desk], object]] = {
    "FwpsAllocateCloneNetBufferList0": lambda desk: desk.own.clone(desk.original),
    "FwpsAllocateDeepCloneNetBufferList0": lambda desk: desk.own.deep_clone(desk.original),
    "FwpsAllocateNetBufferAndNetBufferList0": lambda desk: desk.own.create(Mdl(bytearray(4)), 0, 4),
}


@pytest.mark.rule("GE-2")
@pytest.mark.parametrize("name", ALLOCATIONS)
def test_every_allocation_can_be_made_to_fail(desk: Desk, name: str) -> None:
    asked: list[str] = []

    def deny(call: str) -> bool:
        asked.append(call)
        return len(asked) == 1

    desk.own.deny = deny
    with pytest.raises(InsufficientResources):
        ALLOCATIONS[name](desk)
    assert desk.clean
    ALLOCATIONS[name](desk)
    assert asked == [name, name]
    assert not desk.clean
    with pytest.raises(WfpError):
        desk.own.clone(None)  # asked for only when the arguments are right
    assert len(asked) == 2


# -- what is still held ---------------------------------------------------------------------------------------


@pytest.mark.rule("OR-3", "NB-9")
def test_what_is_held_is_counted_and_listed(desk: Desk) -> None:
    clone, created = desk.own.clone(desk.original), desk.own.create_from(OCTETS)
    desk.own.reference(desk.original)
    assert desk.own.counters() == Counters(clones=1, created=1, references=1)
    assert {item for item, _ in desk.own.leaks()} == {clone, created, desk.original}
    assert desk.own.owns(clone)
    assert not desk.own.owns(desk.original)
    desk.own.free_clone(clone)
    desk.own.free_list(created)
    desk.own.dereference(desk.original)
    assert desk.own.leaks() == []
    assert desk.own.counters() == Counters(0, 0, 0)


def test_with_stacks_a_leak_tells_where_it_was_made_and_freed_octets_are_poison() -> None:
    desk = Desk(stacks=True)
    clone = desk.own.clone(desk.original)
    ((_, stack),) = desk.own.leaks()
    assert "test_with_stacks_a_leak_tells" in stack[0]
    assert not any("/emulator/" in line for line in stack)
    desk.own.free_list(clone)
    assert desk.log.entries[0].made_at == stack
    assert "test_with_stacks" in desk.log.entries[0].noticed_at[0]
    desk.own.free_clone(clone)
    assert clone.octets == bytes([POISON]) * 60
    assert desk.original.octets == OCTETS


def test_without_stacks_nothing_is_recorded(desk: Desk) -> None:
    clone = desk.own.clone(desk.original)
    assert desk.own.leaks() == [(clone, ())]
    assert desk.own.made_at(clone) == ()


@pytest.mark.rule("NB-10")
@pytest.mark.parametrize("how", ["clone", "deep_clone", "reference"])
def test_what_keeps_a_packet_for_too_long_is_told_once(desk: Desk, how: str) -> None:
    getattr(desk.own, how)(desk.original)
    desk.own.create_from(OCTETS)  # for long waits (NB-10)
    for _ in range(2):
        desk.own.grow_older(3)
    assert desk.rules == []
    for _ in range(5):
        desk.own.grow_older(3)
    assert desk.rules == ["NB-10"]


@pytest.mark.rule("NB-10")
def test_neither_freed_lists_nor_those_in_flight_grow_older(desk: Desk) -> None:
    freed, flying = desk.own.clone(desk.original), desk.own.clone(desk.original)
    desk.own.grow_older(2)
    desk.own.free_clone(freed)
    flying.state = IN_FLIGHT
    for _ in range(5):
        desk.own.grow_older(2)
    assert desk.rules == []


def test_kinds_are_told_apart(desk: Desk) -> None:
    kinds = [desk.own.clone(desk.original).kind, desk.own.deep_clone(desk.original).kind]
    assert kinds == [CLONE, DEEP_CLONE]
