"""Histories, what a handle is told of them, and the records that marks lead to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator import ledger as ledger_module
from emulator.ledger import EXEMPT_MAGIC, MAGIC, Entry, Ledger, exempt_mark, injection_state
from emulator.wfptypes import InjectionState

NOT_INJECTED = InjectionState.NOT_INJECTED
SELF = InjectionState.INJECTED_BY_SELF
OTHER = InjectionState.INJECTED_BY_OTHER
PREVIOUSLY = InjectionState.PREVIOUSLY_INJECTED_BY_SELF


class Handle:
    """Equal to every other: only identity may tell handles apart (HC-16)."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


A, B, C = Handle(), Handle(), Handle()


def history(*steps: tuple[Handle, object]) -> tuple[Entry, ...]:
    return tuple(Entry(handle, context, serial) for serial, (handle, context) in enumerate(steps, 1))


# -- states ---------------------------------------------------------------------------------------------------


@pytest.mark.rule("QS-2", "QS-3", "QS-4", "QS-5", "QS-6", "HC-16")
@pytest.mark.parametrize(
    ("steps", "asked", "state", "context"),
    [
        ((), A, NOT_INJECTED, None),
        (((A, 1),), A, SELF, 1),
        (((A, 1),), B, OTHER, None),
        (((A, 1), (B, 2)), A, PREVIOUSLY, 1),
        (((A, 1), (B, 2)), B, SELF, 2),
        (((A, 1), (B, 2)), C, OTHER, None),
        (((A, 1), (A, 2)), A, SELF, 2),
        (((A, 1), (A, 2), (B, 3)), A, PREVIOUSLY, 2),
        (((A, 1), (B, 2), (A, 3)), B, PREVIOUSLY, 2),
        (((A, None),), A, SELF, None),
    ],
)
def test_a_handle_is_told_what_it_did(
    steps: tuple[tuple[Handle, object], ...], asked: Handle, state: InjectionState, context: object
) -> None:
    assert injection_state(history(*steps), asked) == (state, context)


def model(steps: list[tuple[int, int]], asked: int) -> tuple[InjectionState, object]:
    """The rule, in its own words: QS-5 and QS-6."""
    if not steps:
        return NOT_INJECTED, None
    mine = [context for handle, context in steps if handle == asked]
    if steps[-1][0] == asked:
        return SELF, mine[-1]
    return (PREVIOUSLY, mine[-1]) if mine else (OTHER, None)


@pytest.mark.rule("QS-5", "QS-6", "QS-13")
@given(st.lists(st.tuples(st.integers(0, 3), st.integers()), max_size=8), st.integers(0, 4))
def test_every_sequence_of_injections_follows_the_model(steps: list[tuple[int, int]], asked: int) -> None:
    handles = [Handle() for _ in range(5)]
    past = history(*((handles[number], context) for number, context in steps))
    assert injection_state(past, handles[asked]) == model(steps, asked)
    assert injection_state(past, handles[asked]) == model(steps, asked)


# -- marks ----------------------------------------------------------------------------------------------------


def test_a_mark_leads_back_to_its_history() -> None:
    book = Ledger()
    first, second = book.mark(history((A, 1))), book.mark(history((B, 2)), "pending", fragment=True)
    assert first != second
    assert first >> 24 == second >> 24 == MAGIC
    assert book.history(first) == history((A, 1))
    record = book.record(second)
    assert record is not None
    assert (record.history, record.injection, record.fragment) == (history((B, 2)), "pending", True)
    assert len(book) == 2


@pytest.mark.rule("QS-2")
@pytest.mark.parametrize("foreign", [0, 1, 0x12000001, EXEMPT_MAGIC << 24 | 1, 0xFF000001])
def test_a_mark_of_somebody_else_leads_nowhere(foreign: int) -> None:
    book = Ledger()
    mine = book.mark(history((A, 1)), "pending")
    assert mine & 0xFFFFFF == 1
    assert book.record(foreign) is None
    assert book.history(foreign) == ()
    book.settle(foreign)
    record = book.record(mine)
    assert record is not None
    assert record.injection == "pending"
    assert book.record(MAGIC << 24 | 77) is None


def test_a_record_outlives_one_rotation_and_not_two() -> None:
    book = Ledger()
    mark = book.mark(history((A, 1)))
    book.rotate()
    assert book.history(mark) == history((A, 1))
    book.rotate()
    assert book.history(mark) == ()


@pytest.mark.rule("HD-7")
def test_a_pending_record_stays_until_it_is_settled() -> None:
    book = Ledger()
    mark = book.mark(history((A, 1)), "pending")
    for _ in range(5):
        book.rotate()
    assert book.history(mark) == history((A, 1))
    book.settle(mark)
    record = book.record(mark)
    assert record is not None
    assert (record.injection, record.history) == (None, history((A, 1)))
    book.rotate()
    book.rotate()
    assert book.record(mark) is None
    book.settle(mark)


def test_ids_wrap_around_and_are_not_used_while_they_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "ID_MASK", 7)
    book = Ledger()
    kept = book.mark(history((A, 1)), "pending")
    for _ in range(50):
        mark = book.mark(history((B, 2)))
        assert mark != kept
        assert 0 < mark & 0xFFFFFF <= 7
        assert book.history(kept) == history((A, 1))
        book.rotate()
        book.rotate()


def test_the_mark_of_what_no_layer_sees_is_no_record() -> None:
    book = Ledger()
    assert exempt_mark() >> 24 == EXEMPT_MAGIC != MAGIC
    assert book.record(exempt_mark()) is None


def test_a_brief_record_goes_when_some_hundred_more_were_made() -> None:
    ledger = Ledger()
    steps = history((A, "one"))
    first = ledger.brief(steps)
    others = [ledger.brief(()) for _ in range(ledger_module.BRIEF_KEPT - 1)]
    assert ledger.history(first) == steps
    last = ledger.brief(steps)
    assert ledger.record(first) is None
    assert ledger.history(last) == steps
    assert all(ledger.record(mark) is not None for mark in others)
    assert len(ledger) == ledger_module.BRIEF_KEPT


def test_a_brief_record_of_an_older_period_goes_too() -> None:
    ledger = Ledger()
    first = ledger.brief(())
    ledger.rotate()
    for _ in range(ledger_module.BRIEF_KEPT):
        ledger.brief(())
    assert ledger.record(first) is None
    assert len(ledger) == ledger_module.BRIEF_KEPT


def test_what_no_hook_will_see_again_is_forgotten() -> None:
    ledger = Ledger()
    young, kept = ledger.mark(()), ledger.mark(())
    ledger.forget(young)
    assert ledger.record(young) is None
    ledger.rotate()
    ledger.forget(kept)
    assert len(ledger) == 0
    ledger.forget(kept)
