from __future__ import annotations

import threading
import weakref

import pytest

from netns.errors import Closed
from netns.resident import Resident


class Thing:
    pass


def test_all_calls_run_on_one_thread_that_is_not_ours() -> None:
    entered: list[int] = []
    resident = Resident("t", lambda: entered.append(threading.get_ident()))
    try:
        seen = {resident.call(threading.get_ident) for _ in range(3)}
    finally:
        resident.close()
    assert seen == set(entered)
    assert threading.get_ident() not in seen


def test_results_and_exceptions_come_back() -> None:
    resident = Resident("t", lambda: None)
    try:
        assert resident.call(lambda: 42) == 42
        with pytest.raises(ZeroDivisionError):
            resident.call(lambda: 1 // 0)
        assert resident.call(lambda: 43) == 43
    finally:
        resident.close()


def test_a_call_within_a_call_does_not_wait_for_itself() -> None:
    resident = Resident("t", lambda: None)
    try:
        assert resident.call(lambda: resident.call(lambda: 7)) == 7
    finally:
        resident.close()


def test_a_failing_entry_raises_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        Resident("t", lambda: 1 // 0)
    assert threading.active_count() == before


def test_closing_ends_the_thread_and_refuses_calls_and_may_be_repeated() -> None:
    before = threading.active_count()
    resident = Resident("t", lambda: None)
    resident.close()
    resident.close()
    assert threading.active_count() == before
    with pytest.raises(Closed, match="t"):
        resident.call(lambda: None)


def test_a_waiting_thread_keeps_nothing_of_the_last_call_alive() -> None:
    resident = Resident("t", lambda: None)
    try:
        thing = resident.call(Thing)
        gone = weakref.ref(thing)
        del thing
        assert resident.call(gone) is None  # asked before this call's own result replaces the last one
    finally:
        resident.close()
