"""Memory for reading: used again only once nobody holds it."""

from __future__ import annotations

from emulator.paths.stream_memory import KEPT_MOST, LEAD, RECEIVE_OCTETS, ReadMemory


def test_memory_that_nobody_holds_is_used_again() -> None:
    memory = ReadMemory()
    first = memory.take()
    assert len(first) == len(LEAD) + RECEIVE_OCTETS
    number = id(first)
    del first
    assert id(memory.take()) == number


def test_memory_that_is_held_is_not() -> None:
    memory = ReadMemory()
    held = [memory.take() for _ in range(2 * KEPT_MOST)]
    assert len({id(piece) for piece in held}) == 2 * KEPT_MOST
    numbers = [id(piece) for piece in held[:KEPT_MOST]]
    spared = held[3]
    del held
    assert id(memory.take()) == numbers[0]
    taken = [memory.take() for _ in range(KEPT_MOST)]
    assert all(piece is not spared for piece in taken)


def test_a_view_holds_it_too() -> None:
    memory = ReadMemory()
    view = memoryview(memory.take())[20:30]
    number = id(view.obj)
    assert id(memory.take()) != number
    view.release()
    del view
    assert id(memory.take()) == number


def test_what_lies_in_front_is_put_back() -> None:
    memory = ReadMemory()
    piece = memory.take()
    piece[:4] = b"abcd"
    del piece
    assert bytes(memory.take()[: len(LEAD)]) == LEAD
