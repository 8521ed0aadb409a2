"""Making lists: shared octets and copies, and edits of structure found when they are freed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from emulator.errors import InvalidParameter
from emulator.netbuffer import (
    CLONE,
    Mdl,
    NetBuffer,
    NetBufferList,
)
from emulator.ownership import Counters
from tests.unit.desk import HISTORY, OCTETS, Desk, pieces


@pytest.fixture
def desk() -> Desk:
    return Desk()


# -- clones ---------------------------------------------------------------------------------------------------


@pytest.mark.rule("NB-1", "NB-4")
def test_a_clone_and_its_original_are_the_same_octets(desk: Desk) -> None:
    clone = desk.own.clone(desk.original)
    clone.write(1, b"clone")
    assert desk.original.read(0, 7) == b"\x00clone\x06"
    assert desk.origin.edited
    desk.original.write(10, b"original")
    assert clone.read(9, 9) == b"\x09original"
    assert clone.parent is desk.original
    assert desk.original.child_count == 1
    assert clone.context is None
    assert clone.kind == CLONE
    desk.own.free_clone(clone)
    assert (desk.original.child_count, desk.rules, desk.clean) == (0, [], True)


@pytest.mark.rule("NB-1", "NB-4")
def test_a_clone_of_a_chain_shares_every_piece(desk: Desk) -> None:
    original = desk.own.create(pieces(5, 1, 30, 4), 2, 36)
    clone = desk.own.clone(original)
    assert clone.octets == original.octets == bytes(range(2, 38))
    for start in range(36):
        clone.write(start, bytes([200 - start]))
    assert original.octets == clone.octets == bytes(200 - start for start in range(36))
    original.write(0, b"seen by both")
    assert clone.read(0, 12) == b"seen by both"
    desk.own.free_clone(clone)
    desk.own.free_list(original)
    assert (desk.rules, desk.clean) == ([], True)


@pytest.mark.rule("NB-1")
def test_a_replaced_descriptor_is_not_shared(desk: Desk) -> None:
    clone = desk.own.clone(desk.original)
    shared = clone.first_net_buffer.first_mdl
    clone.first_net_buffer.first_mdl = Mdl(bytearray(60))
    clone.write(0, b"mine alone")
    assert desk.original.octets == OCTETS
    clone.first_net_buffer.first_mdl = shared
    desk.own.free_clone(clone)
    assert desk.rules == []


@pytest.mark.rule("NB-2")
@pytest.mark.parametrize("move", [-20, -8, 0, 13, 60])
def test_a_clone_covers_the_data_from_where_it_starts_now(desk: Desk, move: int) -> None:
    original = desk.original
    original.retreat(-move) if move < 0 else original.advance(move)
    clone = desk.own.clone(original)
    original.advance(-move) if move < 0 else original.retreat(move)
    assert clone.octets == (bytes(20) + OCTETS)[20 + move :]
    assert clone.data_offset == 0
    assert original.octets == OCTETS


@pytest.mark.rule("NB-1", "NB-14")
def test_a_clone_has_all_packets_of_the_list(desk: Desk) -> None:
    original = desk.own.create(pieces(10, 10), 0, 20)
    original.first_net_buffer.next = NetBuffer(pieces(4, 4), 1, 6)
    clone = desk.own.clone(original)
    assert clone.packets() == original.packets() == [bytes(range(20)), bytes(range(1, 7))]
    clone.first_net_buffer.advance(3)
    assert [len(packet) for packet in original.packets()] == [20, 6]
    assert clone.first_net_buffer.next is not None
    clone.first_net_buffer.next.write(0, b"x")
    assert original.packets()[1][:1] == b"x"


@pytest.mark.rule("NB-2", "NB-3")
def test_a_clone_retreats_into_memory_of_its_own(desk: Desk) -> None:
    clone = desk.own.clone(desk.original)
    clone.retreat(8)
    clone.write(0, b"new head")
    assert desk.original.octets == OCTETS
    assert desk.original.memory[:20] == bytes(20)
    desk.own.free_clone(clone)
    assert desk.rules == []


@pytest.mark.rule("QS-8")
@pytest.mark.parametrize("how", ["clone", "deep_clone"])
def test_clones_inherit_the_history_and_created_lists_do_not(desk: Desk, how: str) -> None:
    clone = getattr(desk.own, how)(desk.original)
    assert clone.history == HISTORY
    assert clone.protocol == 17
    assert desk.own.clone(clone).history == HISTORY
    assert desk.own.create(Mdl(clone.memory), 0, 5).history == ()
    assert desk.own.create_from(clone.octets).history == ()


@pytest.mark.rule("NB-6", "DC-18")
@pytest.mark.parametrize("apart", [False, True])
def test_a_deep_clone_has_octets_of_its_own(desk: Desk, apart: bool) -> None:
    original = desk.original
    if apart:
        original = desk.own.create(pieces(20, 40), 0, 60)
        original.first_net_buffer.next = NetBuffer(pieces(6), 0, 6)
    deep = desk.own.deep_clone(original)
    assert deep.packets() == original.packets()
    deep.write(0, b"mine")
    assert deep.octets == b"mine" + OCTETS[4:]
    assert original.octets == OCTETS
    original.write(8, b"theirs")
    assert deep.octets == b"mine" + OCTETS[4:]
    assert deep.context is not None
    assert deep.parent is original
    assert original.child_count == 1
    desk.own.free_clone(deep)
    assert original.child_count == 0
    assert desk.rules == []


# -- structural edits -----------------------------------------------------------------------------------------


def replace_mdl(clone: NetBufferList) -> None:
    clone.first_net_buffer.first_mdl = Mdl(bytearray(60))


def insert_mdl(clone: NetBufferList) -> None:
    buffer = clone.first_net_buffer
    buffer.first_mdl = Mdl(bytearray(4), next=buffer.first_mdl)
    buffer.data_offset += 4


def append_mdl(clone: NetBufferList) -> None:
    first = clone.first_net_buffer.first_mdl
    assert first is not None
    last = list(first.chain())[-1]
    last.next = Mdl(bytearray(4))


def shorten_mdl(clone: NetBufferList) -> None:
    first = clone.first_net_buffer.first_mdl
    assert first is not None
    first.length -= 1


def replace_buffer(clone: NetBufferList) -> None:
    clone.first_net_buffer = NetBuffer(Mdl(bytearray(60)), 0, 60)


def append_buffer(clone: NetBufferList) -> None:
    clone.first_net_buffer.next = NetBuffer(Mdl(bytearray(60)), 0, 60)


def replace_memory(clone: NetBufferList) -> None:
    clone.memory = bytearray(clone.memory)


EDITS = [replace_mdl, insert_mdl, append_mdl, shorten_mdl, replace_buffer, append_buffer]


@pytest.mark.rule("NB-3")
@pytest.mark.parametrize("edit", [*EDITS, replace_memory])
@pytest.mark.parametrize("how", ["clone", "deep_clone"])
def test_an_edit_of_a_clones_structure_is_found_when_it_is_freed(
    desk: Desk, how: str, edit: Callable[[NetBufferList], None]
) -> None:
    clone = getattr(desk.own, how)(desk.original)
    edit(clone)
    desk.own.free_clone(clone)
    assert desk.rules == ["NB-3"]
    assert desk.clean


@pytest.mark.rule("NB-3")
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_a_chain_is_found_as_well(desk: Desk, edit: Callable[[NetBufferList], None]) -> None:
    original = desk.own.create(pieces(20, 20, 20), 0, 60)
    untouched, clone = desk.own.clone(original), desk.own.clone(original)
    edit(clone)
    desk.own.free_clone(untouched)
    assert desk.rules == []
    desk.own.free_clone(clone)
    assert desk.rules == ["NB-3"]


@pytest.mark.rule("NB-3")
def test_an_edit_that_was_undone_is_none(desk: Desk) -> None:
    clone = desk.own.clone(desk.original)
    buffer = clone.first_net_buffer
    kept, buffer.first_mdl = buffer.first_mdl, Mdl(bytearray(60))
    buffer.first_mdl = kept
    clone.advance(10)
    clone.write(0, b"octets are no structure")
    desk.own.free_clone(clone)
    assert desk.rules == []


# -- creating -------------------------------------------------------------------------------------------------


@pytest.mark.rule("NB-7", "NB-8")
def test_a_created_list_shows_the_drivers_memory(desk: Desk) -> None:
    memory = bytearray(OCTETS)
    item = desk.own.create(Mdl(memory), 4, 50, context_size=32, context_backfill=16)
    assert item.octets == OCTETS[4:54]
    assert item.single
    item.write(0, b"mine")
    assert memory[4:8] == b"mine"
    assert item.context is not None
    assert bytes(item.context) == bytes(32)
    assert item.parent is None
    assert desk.own.counters() == Counters(clones=0, created=1, references=0)
    desk.own.free_list(item)
    assert memory[4:8] == b"mine"
    assert (desk.rules, desk.clean) == ([], True)


@pytest.mark.rule("NB-7")
def test_a_list_without_memory_has_no_data(desk: Desk) -> None:
    assert desk.own.create().packets() == [b""]


@pytest.mark.rule("NB-7")
@pytest.mark.parametrize(
    ("offset", "length", "sizes"),
    [
        (0, 61, {}),
        (-1, 10, {}),
        (60, 1, {}),
        (0, -1, {}),
        (0, 60, {"context_size": 3}),
        (0, 60, {"context_backfill": 8}),
        (0, 60, {"context_size": -16}),
        (0, 60, {"context_backfill": -16}),
    ],
)
def test_bad_sizes_make_no_list(desk: Desk, offset: int, length: int, sizes: dict[str, int]) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        desk.own.create(Mdl(bytearray(OCTETS)), offset, length, **sizes)
    assert refusal.value.rule == "NB-7"
    assert desk.clean


@pytest.mark.rule("NB-7")
@pytest.mark.parametrize(("offset", "length"), [(1, 0), (0, 1)])
def test_without_a_chain_offset_and_length_are_0(desk: Desk, offset: int, length: int) -> None:
    with pytest.raises(InvalidParameter):
        desk.own.create(None, offset, length)


def test_a_list_over_a_copy_has_its_backfill_in_front(desk: Desk) -> None:
    item = desk.own.create_from(OCTETS, backfill=14)
    assert item.flat
    assert item.data_offset == 14
    memory = item.memory
    item.retreat(14)
    assert item.octets == bytes(14) + OCTETS
    assert item.flat
    assert item.memory is memory
    desk.own.free_list(item)
    assert desk.rules == []
