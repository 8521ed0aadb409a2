"""Lists, buffers and descriptors: what is read and written where, and how data starts move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.netbuffer import CREATED, POISON, STACK, ChecksumInfo, Mdl, NetBuffer, NetBufferList
from tests.unit.fakehost import Origin

MEMORY = bytes(range(100))


def chain(*windows: tuple[int, int]) -> Mdl:
    """Descriptors over one memory each, octet n of memory k being 10 * k + n, showing (offset, length) of it."""
    mdls = [
        Mdl(bytearray(range(10 * number, 10 * number + 10)), offset, length)
        for number, (offset, length) in enumerate(windows)
    ]
    for before, after in zip(mdls, mdls[1:], strict=False):
        before.next = after
    return mdls[0]


def flat(front: int = 0, octets: bytes = MEMORY, origin: Origin | None = None) -> NetBufferList:
    made = NetBufferList(bytearray(front) + octets, front, front + len(octets), STACK, origin=origin)
    made.base = 0
    return made


def of_buffers(*packets: NetBuffer) -> NetBufferList:
    made = NetBufferList(bytearray(), 0, 0, CREATED)
    made.first_net_buffer = packets[0]
    for before, after in zip(packets, packets[1:], strict=False):
        before.next = after
    return made


# -- descriptors ----------------------------------------------------------------------------------------------


def test_a_descriptor_shows_its_window_in_place() -> None:
    memory = bytearray(MEMORY)
    mdl = Mdl(memory, 5, 3)
    assert bytes(mdl.view()) == bytes([5, 6, 7])
    mdl.view()[1] = 99
    assert memory[6] == 99
    assert Mdl(memory, 90).length == 10
    assert [item.length for item in chain((0, 4), (2, 3)).chain()] == [4, 3]


@pytest.mark.parametrize(("offset", "length"), [(-1, 4), (0, -1), (0, 101), (98, 3)])
def test_a_descriptor_outside_its_memory_does_not_exist(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="outside its 100 octets"):
        Mdl(bytearray(MEMORY), offset, length)


# -- one packet over a chain ----------------------------------------------------------------------------------


def test_data_runs_through_a_chain_of_descriptors() -> None:
    first = chain((2, 4), (0, 3), (9, 1), (5, 5))  # 2 3 4 5 | 10 11 12 | 29 | 35 36 37 38 39
    buffer = NetBuffer(first, 1, 11)
    assert buffer.read(0, 11) == bytes([3, 4, 5, 10, 11, 12, 29, 35, 36, 37, 38])
    assert [len(span) for span in buffer.spans(0, 11)] == [3, 3, 1, 4]
    assert buffer.read(2, 5) == bytes([5, 10, 11, 12, 29])
    assert buffer.read(11, 0) == b""
    buffer.write(2, b"abcdef")
    assert buffer.read(0, 11) == bytes([3, 4]) + b"abcdef" + bytes([36, 37, 38])
    assert first.next is not None
    assert bytes(first.next.memory[:4]) == b"bcd" + bytes([13])  # what no descriptor shows stays as it is
    assert len(buffer) == 11


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 12), (11, 1), (3, -1), (5, 7)])
def test_nothing_is_read_outside_of_the_data(start: int, length: int) -> None:
    buffer = NetBuffer(chain((2, 4), (0, 3), (0, 10)), 1, 11)
    with pytest.raises(ValueError, match="outside the 11 octets"):
        buffer.read(start, length)
    with pytest.raises(ValueError, match="outside"):
        buffer.write(12, b"x")


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, 8), (7, 1), (2, -1)])
def test_a_packet_outside_its_chain_does_not_exist(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="outside the chain's 7 octets"):
        NetBuffer(chain((2, 4), (0, 3)), offset, length)
    assert len(NetBuffer(None, 0, 0)) == 0


@pytest.mark.rule("NB-13")
def test_a_retreat_uses_the_space_in_front_first() -> None:
    first = chain((0, 10))
    buffer = NetBuffer(first, 6, 4)
    buffer.retreat(5)
    assert (buffer.data_offset, buffer.data_length) == (1, 9)
    assert buffer.first_mdl is first
    assert buffer.read(0, 9) == bytes(range(1, 10))


@pytest.mark.rule("NB-13")
def test_a_retreat_without_space_makes_memory_and_the_advance_drops_it() -> None:
    first = chain((0, 10))
    buffer = NetBuffer(first, 2, 8)
    before = buffer.structure(), buffer.data_offset, buffer.data_length
    buffer.retreat(6, backfill=3)
    assert buffer.first_mdl is not first
    assert buffer.first_mdl is not None
    assert buffer.first_mdl.length == 7  # four that were short, three to spare
    assert (buffer.data_offset, buffer.data_length) == (3, 14)
    assert buffer.read(0, 8) == bytes(4) + bytes([0, 1, 2, 3])
    buffer.write(0, b"HEAD")
    buffer.advance(6)
    assert (buffer.structure(), buffer.data_offset, buffer.data_length) == before
    assert buffer.first_mdl is first


@pytest.mark.rule("NB-13")
def test_an_advance_may_keep_what_a_retreat_has_made() -> None:
    buffer = NetBuffer(chain((0, 10)), 0, 10)
    buffer.retreat(4)
    made = buffer.first_mdl
    buffer.advance(4, free_mdl=False)
    assert buffer.first_mdl is made
    assert buffer.data_offset == 4
    assert buffer.read(0, 10) == bytes(range(10))


@pytest.mark.rule("NB-13")
def test_an_advance_never_drops_what_it_has_not_left() -> None:
    buffer = NetBuffer(chain((0, 10)), 0, 10)
    buffer.retreat(4)
    made = buffer.first_mdl
    buffer.advance(3)
    assert buffer.first_mdl is made
    assert buffer.read(0, 2) == bytes([0, 0])
    other = NetBuffer(chain((0, 5), (0, 5)), 0, 10)
    first = other.first_mdl
    other.advance(7)  # past the first descriptor, which no retreat has made
    assert other.first_mdl is first


@pytest.mark.parametrize("size", [-1, 11])
def test_an_advance_past_the_end_changes_nothing(size: int) -> None:
    buffer = NetBuffer(chain((0, 10)), 0, 10)
    with pytest.raises(ValueError, match="cannot advance"):
        buffer.advance(size)
    assert (buffer.data_offset, buffer.data_length) == (0, 10)


@pytest.mark.parametrize(("delta", "backfill"), [(-1, 0), (1, -1)])
def test_a_retreat_takes_no_negative_size(delta: int, backfill: int) -> None:
    buffer = NetBuffer(chain((0, 10)), 0, 10)
    with pytest.raises(ValueError, match="0 or more"):
        buffer.retreat(delta, backfill)
    with pytest.raises(ValueError, match="0 or more"):
        flat().retreat(delta, backfill)
    assert (buffer.data_offset, buffer.data_length) == (0, 10)


@pytest.mark.rule("NB-13")
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=6), st.integers(0, 10))
def test_retreats_that_are_undone_leave_no_trace(steps: list[tuple[int, int]], offset: int) -> None:
    buffer = NetBuffer(chain((0, 10), (3, 5)), offset, 15 - offset)
    before = buffer.structure(), buffer.data_offset, buffer.data_length, buffer.read(0, 15 - offset)
    for delta, backfill in steps:
        buffer.retreat(delta, backfill)
    for delta, _ in reversed(steps):
        buffer.advance(delta)
    assert (buffer.structure(), buffer.data_offset, buffer.data_length, buffer.read(0, 15 - offset)) == before


@pytest.mark.rule("GE-18")
def test_the_address_of_a_data_start_is_that_in_its_own_memory() -> None:
    first = chain((2, 4), (3, 3))
    assert NetBuffer(first, 0, 7).address == 2
    assert NetBuffer(first, 4, 3).address == 3
    assert NetBuffer(first, 5, 2).address == 4
    assert NetBuffer(None, 0, 0).address == 0
    assert flat(front=14).addresses() == [14]
    assert of_buffers(NetBuffer(first, 0, 7), NetBuffer(first, 5, 1)).addresses() == [2, 4]


# -- lists ----------------------------------------------------------------------------------------------------


def test_a_flat_list_is_one_packet() -> None:
    item = flat(front=20)
    assert item.flat
    assert item.single
    assert (item.data_offset, item.data_length) == (20, 100)
    assert item.octets == item.read(0, 100) == MEMORY
    assert item.packets() == [MEMORY]
    assert item.flat  # looking takes nothing apart
    assert repr(item) == "<stack list, 100 octets, driver's>"


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 101), (100, 1), (5, -1)])
def test_a_flat_list_is_read_and_written_within_its_data_only(start: int, length: int) -> None:
    item = flat(front=20)
    with pytest.raises(ValueError, match="outside the 100 octets"):
        item.read(start, length)
    with pytest.raises(ValueError, match="outside"):
        item.write(start, bytes(max(length, 101)))
    assert item.memory == bytes(20) + MEMORY


def test_the_origin_learns_of_writes_and_of_being_taken_apart_but_not_of_looks() -> None:
    origin = Origin()
    item = flat(front=20, origin=origin)
    item.read(0, 5)
    item.retreat(4)
    item.advance(4)
    assert item.octets == MEMORY
    assert not origin.edited
    item.write(0, b"x")
    assert origin.edited
    touched = Origin()
    assert len(flat(origin=touched).first_net_buffer) == 100
    assert touched.edited
    written = Origin()
    NetBuffer(chain((0, 10)), 0, 10, origin=written).write(0, b"x")
    assert written.edited


@given(st.data())
def test_a_list_taken_apart_behaves_as_before(data: st.DataObject) -> None:
    """The same steps on a flat list and on one whose buffers exist."""
    both = [flat(front=20), flat(front=20)]
    assert both[1].first_net_buffer.data_offset == 20
    for _ in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(["retreat", "advance", "write"]))
        start, length = data.draw(st.integers(-2, 60)), data.draw(st.integers(0, 60))
        outcomes = []
        for item in both:
            try:
                if step == "write":
                    item.write(start, bytes([255]) * length)
                else:
                    getattr(item, step)(start)
                outcomes.append("done")
            except ValueError:
                outcomes.append("refused")
        assert outcomes[0] == outcomes[1]
        assert both[0].octets == both[1].octets
        assert both[0].data_length == both[1].data_length


@pytest.mark.rule("NB-14")
def test_a_list_moves_the_data_start_of_every_packet() -> None:
    first, second = NetBuffer(chain((0, 10)), 4, 6), NetBuffer(chain((0, 5), (0, 5)), 1, 9)
    item = of_buffers(first, second)
    assert not item.single
    item.retreat(3)
    assert [(buffer.data_length, buffer.data_offset) for buffer in item.net_buffers()] == [(9, 1), (12, 0)]
    assert item.packets() == [bytes(range(1, 10)), bytes([0, 0, 0, 1, 2, 3, 4, 10, 11, 12, 13, 14])[:12]]
    item.advance(3)
    assert [buffer.data_length for buffer in item.net_buffers()] == [6, 9]
    first.retreat(2)  # one buffer alone
    assert [buffer.data_length for buffer in item.net_buffers()] == [8, 9]


def test_a_list_advances_all_of_its_packets_or_none() -> None:
    item = of_buffers(NetBuffer(chain((0, 10)), 0, 10), NetBuffer(chain((0, 4)), 0, 4))
    with pytest.raises(ValueError, match="shorter"):
        item.advance(5)
    assert [buffer.data_length for buffer in item.net_buffers()] == [10, 4]
    assert item.data_length == 10
    assert item.data_offset == 0
    assert item.read(0, 2) == bytes([0, 1])


def test_an_advance_past_the_end_of_a_flat_list_changes_nothing() -> None:
    item = flat(front=20)
    with pytest.raises(ValueError, match="cannot advance 101"):
        item.advance(101)
    assert item.flat
    assert item.octets == MEMORY


def test_lists_can_be_chained() -> None:
    first, second = flat(), flat()
    first.next = second
    assert list(first.lists()) == [first, second]
    assert list(second.lists()) == [second]


@pytest.mark.rule("NB-3")
def test_a_structure_tells_descriptors_apart_but_not_data_starts() -> None:
    item = flat(front=20)
    before = item.structure()
    item.retreat(4)
    assert item.structure() == before
    buffer = item.first_net_buffer
    assert item.structure() == before
    buffer.retreat(30)
    assert item.structure() == before  # what a retreat had to make is no change of the driver's
    assert buffer.first_mdl is not None
    buffer.first_mdl.next = Mdl(bytearray(120))
    assert item.structure() != before


@pytest.mark.parametrize("apart", [False, True])
def test_poisoned_lists_forget_their_octets(apart: bool) -> None:
    item = flat(front=20)
    memory = item.memory
    if apart:
        assert item.first_net_buffer.data_offset == 20
    item.poison()
    assert item.octets == bytes([POISON]) * 100
    item.write(0, b"x")
    assert memory == bytes(20) + MEMORY


def test_checksums_count_as_finished_unless_said_otherwise() -> None:
    info = ChecksumInfo()
    assert (info.transmit_tcp, info.transmit_udp) == (False, False)
    assert flat().info is None
