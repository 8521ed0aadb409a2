"""The books of a host, as they are told."""

from __future__ import annotations

from emulator.checks import Checks
from emulator.paths.books import Books
from emulator.paths.queue import QueueCounts


def test_a_loss_keeps_the_books_open_and_is_shown_however_long_the_rest_is() -> None:
    books = Books()
    for book in books.hooks.values():
        book.offered = book.passed = 123456789
    assert books.closed
    books.note_losses(QueueCounts(received=1, settled=1, queue_overflowed=84))
    assert not books.closed
    check = Checks()
    check.that("the books close", books.closed, books.as_dict())
    (taken,) = check.taken
    assert "…" in taken.seen, "it is cut"
    assert "'lost': {'queue overflow': 84}" in taken.seen
