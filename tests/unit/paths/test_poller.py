"""Many descriptors behind one."""

from __future__ import annotations

import os
import select

from emulator.paths.poller import READ, WRITE, Poller


def test_it_is_readable_when_something_it_watches_is_ready_and_calls_back() -> None:
    poller = Poller()
    reader, writer = os.pipe()
    happened: list[int] = []
    poller.add(reader, READ, happened.append)
    assert not select.select([poller.fileno()], [], [], 0)[0]
    os.write(writer, b"x")
    assert select.select([poller.fileno()], [], [], 0)[0]
    poller.turn()
    assert happened == [READ]
    poller.change(reader, 0)
    poller.turn()
    assert happened == [READ]
    poller.add(writer, WRITE, happened.append)
    poller.turn()
    assert happened == [READ, WRITE]
    poller.remove(writer)
    poller.remove(writer)
    poller.turn()
    assert happened == [READ, WRITE]
    poller.close()
    poller.close()
    os.close(reader)
    os.close(writer)


def test_one_that_was_removed_by_another_is_not_called() -> None:
    poller = Poller()
    pipes = [os.pipe(), os.pipe()]
    called: list[int] = []

    def first_come(descriptor: int) -> None:
        called.append(descriptor)
        for reader, _ in pipes:
            poller.remove(reader)

    for reader, writer in pipes:
        os.write(writer, b"x")
        poller.add(reader, READ, lambda _, reader=reader: first_come(reader))  # type: ignore[misc]
    poller.turn()
    assert len(called) == 1
    poller.close()
    for descriptor in (end for pipe in pipes for end in pipe):
        os.close(descriptor)
