"""Signals wait while something is made or removed, and end everything else at once."""

from __future__ import annotations

import signal
import threading

import pytest

from emulator.run.interrupts import INSISTED, Terminated, TimedOut, deadline, orderly_end, shielded, time_stopped


def test_a_shielded_block_ends_before_the_signal_is_told() -> None:
    done = []

    def interrupted() -> None:
        with shielded():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["all of it"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_shields_may_lie_in_one_another() -> None:
    done = []

    def interrupted() -> None:
        with shielded():
            with shielded():
                signal.raise_signal(signal.SIGINT)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == ["inner", "outer"]


def test_whoever_insists_gets_through() -> None:
    told = []

    def insisting() -> None:
        with shielded():
            for number in range(INSISTED + 1):
                told.append(number)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        insisting()
    assert len(told) == INSISTED


def test_an_error_in_the_block_does_not_swallow_the_signal() -> None:
    def interrupted() -> None:
        with shielded():
            signal.raise_signal(signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_on_other_threads_a_shield_does_nothing() -> None:
    entered = []

    def run() -> None:
        with shielded(), deadline(1, "this"), time_stopped(), orderly_end():
            entered.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGINT)]


def test_a_deadline_reaches_what_waits_and_is_gone_afterwards() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimedOut, match=r"the lecture did not end within 0.02 s"), deadline(0.02, "the lecture"):
        threading.Event().wait()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_time_can_be_stopped_and_goes_on() -> None:
    with deadline(50, "this"):
        with time_stopped():
            assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 50


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_is_an_exit_with_its_status(number: int) -> None:
    with pytest.raises(Terminated) as ended, orderly_end():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL
