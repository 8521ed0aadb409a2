"""The kernel's table of queues, on its literal text, and the books made of it."""

from __future__ import annotations

import pytest

from emulator.paths.queue import QueueCounts
from emulator.paths.queue_counters import KernelQueue, books, parsed

TEXT = b"    5   4242    12 2 65531     3     4       19  1\n65535     17     0 2  4016     0     0        0  1\n"


def test_a_line_is_a_queue() -> None:
    assert parsed(TEXT) == {
        5: KernelQueue(5, 4242, 12, 2, 65531, 3, 4, 19),
        65535: KernelQueue(65535, 17, 0, 2, 4016, 0, 0, 0),
    }
    assert parsed(b"") == {}


@pytest.mark.parametrize("line", [b"5 1 2", b"5 4242 12 2 65531 3 4 19 1 7", b"5 4242 12 2 x 3 4 19 1", b"\n"])
def test_a_line_of_another_shape_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"no line|invalid literal"):
        parsed(line)


def test_the_books_add_up() -> None:
    lines = list(parsed(TEXT).values())
    counts = books(lines, received=10, settled=4, sent=3, tally={"overruns": 1, "truncated": 2})
    # 12 wait in the kernel: 7 of the 10 that were received, and 5 that were not.
    assert counts == QueueCounts(
        received=10, settled=4, queue_overflowed=3, socket_overflowed=4, overruns=1, truncated=2, unread=5
    )
    assert (counts.held, counts.overflowed) == (6, 7)


def test_packets_the_kernel_gave_up_are_not_counted_twice() -> None:
    lines = [KernelQueue(5, 1, 2, 2, 65531, 0, 0, 9)]
    assert books(lines, received=9, settled=0, sent=0, tally={}).unread == 0
