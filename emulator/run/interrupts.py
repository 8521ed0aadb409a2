"""Ctrl-C and deadlines, so that nothing is cut off in the middle of being made or removed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INSISTED = 3
"""So many Ctrl-C end even what must not be cut off; the next run then clears up."""
AGAIN_SECONDS = 3.0
"""After a deadline has passed: what clears up after it may hang too, and is told again."""
_HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class TimedOut(Exception):
    """Raised in the main thread when a deadline has passed."""


class Terminated(SystemExit):
    """Raised in the main thread by SIGTERM and SIGHUP: all is cleared up, then the process ends."""


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def shielded() -> Iterator[None]:
    """Hold signals back while the block runs, and deliver the first of them after it.

    Only those that a Python function handles, and only on the main thread; elsewhere it does nothing.
    """
    if not _on_main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if noted.count(signal.SIGINT) >= INSISTED:
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _HELD_BACK}
    held = {number: handler for number, handler in before.items() if callable(handler)}
    for number in held:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(min(noted, key=_HELD_BACK.index))


@contextmanager
def deadline(seconds: float | None, what: str) -> Iterator[None]:
    """Raise TimedOut in the block when it has not ended within `seconds`; None is no deadline.

    Nothing that waits in Python can miss it.  Only on the main thread; elsewhere it does nothing.
    """
    if seconds is None or not _on_main_thread():
        yield
        return

    def expired(number: int, frame: FrameType | None) -> NoReturn:
        raise TimedOut(f"{what} did not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def time_stopped() -> Iterator[None]:
    """While the block runs, a deadline does not come nearer."""
    if not _on_main_thread():
        yield
        return
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)


@contextmanager
def orderly_end() -> Iterator[None]:
    """While the block runs, SIGTERM and SIGHUP end the process like Ctrl-C does: clearing up.

    Raises Terminated (with status 128 + signal) in the block.
    """
    if not _on_main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise Terminated(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
