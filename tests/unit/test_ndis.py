"""Retreat and advance, macros, buffers in one piece, pools."""

from __future__ import annotations

import pytest

from emulator.core import Core
from emulator.ndis import (
    MDL,
    NDIS_STATUS_RESOURCES,
    NDIS_STATUS_SUCCESS,
    NET_BUFFER,
    NET_BUFFER_CURRENT_MDL,
    NET_BUFFER_CURRENT_MDL_OFFSET,
    NET_BUFFER_DATA_LENGTH,
    NET_BUFFER_DATA_OFFSET,
    NET_BUFFER_FIRST_MDL,
    NET_BUFFER_LIST_FIRST_NB,
    NET_BUFFER_LIST_NEXT_NBL,
    NET_BUFFER_LIST_POOL_PARAMETERS,
    NET_BUFFER_LIST_STATUS,
    NET_BUFFER_NEXT_NB,
    Ndis,
    NdisGetDataBuffer,
)
from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus


def new() -> tuple[Core, Ndis]:
    core = Core(lambda injection: None)
    return core, Ndis(core)


def two_packets(core: Core) -> NetBufferList:
    item = core.ownership.create_from(b"first", backfill=8)
    item.first_net_buffer.next = NET_BUFFER(MDL(bytearray(b"second")), 0, 6)
    return item


@pytest.mark.rule("NB-13")
def test_a_retreat_takes_unused_space_first_and_an_advance_gives_it_back() -> None:
    core, ndis = new()
    item = core.ownership.create_from(b"payload", backfill=8)
    buffer = NET_BUFFER_LIST_FIRST_NB(item)
    first = NET_BUFFER_FIRST_MDL(buffer)
    assert ndis.NdisRetreatNetBufferDataStart(buffer, 8, 0, None) == NDIS_STATUS_SUCCESS
    assert (NET_BUFFER_DATA_OFFSET(buffer), NET_BUFFER_DATA_LENGTH(buffer)) == (0, 15)
    assert NET_BUFFER_FIRST_MDL(buffer) is first
    ndis.NdisAdvanceNetBufferDataStart(buffer, 8, False, None)
    assert (NET_BUFFER_DATA_OFFSET(buffer), NET_BUFFER_DATA_LENGTH(buffer)) == (8, 7)


@pytest.mark.rule("NB-13")
@pytest.mark.parametrize("free", [True, False])
def test_a_retreat_makes_memory_when_there_is_too_little_and_an_advance_may_free_it(free: bool) -> None:
    core, ndis = new()
    buffer = NET_BUFFER_LIST_FIRST_NB(core.ownership.create_from(b"payload", backfill=4))
    first = NET_BUFFER_FIRST_MDL(buffer)
    assert ndis.NdisRetreatNetBufferDataStart(buffer, 20, 6, None) == NDIS_STATUS_SUCCESS
    made = NET_BUFFER_FIRST_MDL(buffer)
    assert made is not None
    assert made is not first
    assert made.length == 16 + 6
    assert NET_BUFFER_DATA_OFFSET(buffer) == 6
    assert buffer.read(20, 7) == b"payload"
    ndis.NdisAdvanceNetBufferDataStart(buffer, 20, free, None)
    assert NET_BUFFER_FIRST_MDL(buffer) is (first if free else made)
    assert buffer.read(0, 7) == b"payload"


@pytest.mark.rule("NB-13")
def test_the_driver_may_make_and_free_the_memory_itself() -> None:
    core, ndis = new()
    buffer = NET_BUFFER_LIST_FIRST_NB(core.ownership.create_from(b"payload"))
    asked: list[int] = []
    freed: list[MDL] = []

    def allocate(size: int) -> MDL:
        asked.append(size)
        return MDL(bytearray(size))

    assert ndis.NdisRetreatNetBufferDataStart(buffer, 20, 4, allocate) == NDIS_STATUS_SUCCESS
    made = NET_BUFFER_FIRST_MDL(buffer)
    assert (asked, NET_BUFFER_DATA_OFFSET(buffer), NET_BUFFER_DATA_LENGTH(buffer)) == ([24], 4, 27)
    ndis.NdisAdvanceNetBufferDataStart(buffer, 20, True, freed.append)
    assert freed == [made]
    assert ndis.NdisRetreatNetBufferDataStart(buffer, 20, 0, lambda size: None) == NDIS_STATUS_RESOURCES
    assert NET_BUFFER_DATA_LENGTH(buffer) == 7


@pytest.mark.rule("NB-13")
def test_a_retreat_that_needs_memory_can_fail_and_then_nothing_has_moved() -> None:
    core, ndis = new()
    item = two_packets(core)
    core.ownership.deny = lambda call: call == "NdisRetreatNetBufferDataStart"
    before = [(buffer.data_offset, buffer.data_length) for buffer in item.net_buffers()]
    # The first packet has eight octets in front, the second has none.
    assert ndis.NdisRetreatNetBufferListDataStart(item, 8, 0, None, None) == NDIS_STATUS_RESOURCES
    assert [(buffer.data_offset, buffer.data_length) for buffer in item.net_buffers()] == before
    assert ndis.NdisRetreatNetBufferListDataStart(item, 9, 0, None, None) == NDIS_STATUS_RESOURCES
    assert [(buffer.data_offset, buffer.data_length) for buffer in item.net_buffers()] == before
    assert ndis.NdisRetreatNetBufferDataStart(item.first_net_buffer, 8, 0, None) == NDIS_STATUS_SUCCESS


@pytest.mark.rule("NB-14")
def test_a_buffer_moves_alone_and_a_list_moves_all_its_buffers() -> None:
    core, ndis = new()
    item = two_packets(core)
    ndis.NdisRetreatNetBufferDataStart(NET_BUFFER_LIST_FIRST_NB(item), 2, 0, None)
    assert [len(packet) for packet in item.packets()] == [7, 6]
    ndis.NdisAdvanceNetBufferDataStart(NET_BUFFER_LIST_FIRST_NB(item), 2, True, None)
    ndis.NdisRetreatNetBufferListDataStart(item, 2, 0, None, None)
    assert [len(packet) for packet in item.packets()] == [7, 8]
    ndis.NdisAdvanceNetBufferListDataStart(item, 2, True, None)
    assert item.packets() == [b"first", b"second"]


@pytest.mark.rule("NB-14")
def test_a_list_in_one_piece_stays_so() -> None:
    core, ndis = new()
    item = core.ownership.create_from(b"payload", backfill=8)
    assert ndis.NdisRetreatNetBufferListDataStart(item, 8, 0, None, None) == NDIS_STATUS_SUCCESS
    assert item.data_length == 15
    ndis.NdisAdvanceNetBufferListDataStart(item, 8, True, None)
    assert (item.octets, item.flat) == (b"payload", True)


@pytest.mark.rule("NB-13", "GE-9")
def test_moving_past_the_end_is_a_violation_and_nothing_is_done() -> None:
    core, ndis = new()
    item = core.ownership.create_from(b"payload")
    buffer = item.first_net_buffer
    ndis.NdisAdvanceNetBufferDataStart(buffer, 8, True, None)
    ndis.NdisAdvanceNetBufferListDataStart(item, 8, True, None)
    ndis.NdisAdvanceNetBufferDataStart(buffer, -1, True, None)
    ndis.NdisRetreatNetBufferDataStart(buffer, -1, 0, None)
    ndis.NdisRetreatNetBufferDataStart(buffer, 1, -1, None)
    assert core.violations.rules() == ["NB-13"] * 5
    assert item.octets == b"payload"


def test_macros_show_lists_buffers_and_descriptors() -> None:
    core, _ = new()
    item = two_packets(core)
    item.next = core.ownership.create_from(b"x")
    item.status = NtStatus.DATA_NOT_ACCEPTED
    first = NET_BUFFER_LIST_FIRST_NB(item)
    second = NET_BUFFER_NEXT_NB(first)
    assert second is not None
    assert (second.read(0, 6), NET_BUFFER_NEXT_NB(second)) == (b"second", None)
    assert NET_BUFFER_LIST_NEXT_NBL(item) is item.next
    assert NET_BUFFER_LIST_STATUS(item) == NtStatus.DATA_NOT_ACCEPTED
    last = MDL(bytearray(b"cdef"))
    buffer = NET_BUFFER(MDL(bytearray(b"ab"), next=last), 3, 3)
    assert (NET_BUFFER_CURRENT_MDL(buffer), NET_BUFFER_CURRENT_MDL_OFFSET(buffer)) == (last, 1)
    buffer = NET_BUFFER(MDL(bytearray(b"ab"), next=last), 2, 0)
    assert (NET_BUFFER_CURRENT_MDL(buffer), NET_BUFFER_CURRENT_MDL_OFFSET(buffer)) == (last, 0)


def test_data_in_one_piece_is_shown_in_place_and_other_data_is_copied() -> None:
    buffer = NET_BUFFER(MDL(bytearray(b"_abc"), next=MDL(bytearray(b"def"))), 1, 6)
    shown = NdisGetDataBuffer(buffer, 3, None, 1, 0)
    assert shown is not None
    shown[0:1] = b"A"
    assert buffer.read(0, 6) == b"Abcdef"
    assert NdisGetDataBuffer(buffer, 4, None, 1, 0) is None
    assert NdisGetDataBuffer(buffer, 7, bytearray(7), 1, 0) is None
    assert NdisGetDataBuffer(buffer, 4, bytearray(3), 1, 0) is None
    storage = bytearray(8)
    copied = NdisGetDataBuffer(buffer, 6, storage, 1, 0)
    assert copied is not None
    assert copied.tobytes() + storage == b"AbcdefAbcdef\0\0"


@pytest.mark.rule("NB-7")
def test_a_pool_is_freed_once_and_may_not_be_had() -> None:
    core, ndis = new()
    pool = ndis.NdisAllocateNetBufferListPool(None, NET_BUFFER_LIST_POOL_PARAMETERS(fAllocateNetBuffer=True))
    assert pool is not None
    ndis.NdisFreeNetBufferListPool(pool)
    assert list(core.violations) == []
    ndis.NdisFreeNetBufferListPool(pool)
    assert core.violations.rules() == ["NB-7"]
    core.ownership.deny = lambda call: True
    assert ndis.NdisAllocateNetBufferListPool(None, NET_BUFFER_LIST_POOL_PARAMETERS()) is None
