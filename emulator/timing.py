"""Playing a schedule on a host: injections are performed and completed at the times it chooses.

Hangs itself between the core and the stack; a host without one pays nothing.
Source: GE-4, CF-6, CF-8, OR-1, TR-3.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emulator.injection import FUNCTION_NAMES, Injection
from emulator.netbuffer import NetBufferList
from emulator.ntstatus import NtStatus
from emulator.schedule import Schedule, When

if TYPE_CHECKING:
    from emulator.stack import Stack

INLINE_SECONDS = 2.0
"""How long an inline completion on the host's thread may keep the call that waits for it."""


@dataclass
class _Held:
    """A completion that waits: turns left, and what is done then."""

    left: int
    work: Callable[[], None]


class Timing:
    """Plays one schedule on one host; made before the host is traced or started."""

    def __init__(self, stack: Stack, schedule: Schedule, host: str) -> None:
        self.stack = stack
        self.core = stack.core
        self.schedule = schedule
        self.host = host
        self._submit = self.core.submit
        self._numbers: Counter[int] = Counter()
        self._kept = 0
        self._when: dict[Injection, When] = {}
        self._queue: deque[Injection] = deque()
        """Accepted and not yet performed, in order."""
        self._left = 0
        """Turns until the first of them is performed."""
        self._held: list[_Held] = []
        self._turning = False
        self.core.submit = self.submit
        self.core.hold_completion = self._completing
        self.core.ownership.on_kept = self._retired
        stack.timing = self

    @property
    def busy(self) -> bool:
        """True while something was put off."""
        return bool(self._queue or self._held)

    # -- injections -------------------------------------------------------------------------------------

    def submit(self, injection: Injection) -> None:
        """Take an accepted injection over from its handle."""
        number = self._numbers[injection.handle.number]
        self._numbers[injection.handle.number] += 1
        when = self.schedule.injection(self.host, injection.handle.number, number)
        self._when[injection] = when
        if when.inline:
            self._inline(injection)
        elif when.delay or self._queue:
            if not self._queue:
                self._left = when.delay
            self._queue.append(injection)
            self._go_on()
        else:
            self._submit(injection)

    def _inline(self, injection: Injection) -> None:
        if threading.get_ident() == self.stack.loop.thread_id:
            self._perform_inline(injection)
            return
        locks = self.core.locks
        known = locks.current_call()
        calling = known or locks.enter_call(FUNCTION_NAMES[injection.function])
        calling.waits = True
        try:
            self.stack.loop.call(lambda: self._perform_inline(injection), timeout=INLINE_SECONDS)
        except TimeoutError as error:
            self.core.violate(
                "GE-4",
                FUNCTION_NAMES[injection.function],
                f"the completion function ran before the call returned, and does not come back: {error}; "
                "give locks back before you inject",
                handle=injection.handle,
            )
        finally:
            calling.waits = False
            if known is None:
                locks.leave_call(calling)

    def _perform_inline(self, injection: Injection) -> None:
        self._queue.append(injection)
        self._perform_all()
        if injection.packets_left > 0 and injection in injection.handle.in_flight:
            # Sent, and to be seen again: the driver gets it back before that (CF-6).
            injection.handle.complete(injection, NtStatus.SUCCESS)
            injection.given_back = True

    def _perform_all(self) -> None:
        while self._queue:
            self._submit(self._queue.popleft())
        self.stack.outbox.perform()

    # -- turns ------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if not self._turning:
            self._turning = True
            self.stack.loop.post(self._turn)

    def _turn(self) -> None:
        """One turn of the host's thread: what has waited long enough is done."""
        self._turning = False
        self._left -= 1
        while self._queue and self._left < 0:
            self._submit(self._queue.popleft())
            self._left = self._when[self._queue[0]].delay if self._queue else 0
            if self._left:
                break
            self._left = -1
        for item in self._held:
            item.left -= 1
        due = [item for item in self._held if item.left <= 0]
        self._held = [item for item in self._held if item.left > 0]
        for item in due:
            item.work()
        if self.busy:
            self._go_on()

    def flush(self) -> None:
        """Do now what was put off: the host is being closed."""
        self._perform_all()
        while self._held:
            held, self._held = self._held, []
            for item in held:
                item.work()

    # -- completions ------------------------------------------------------------------------------------

    def _completing(self, injection: Injection, again: Callable[[], None]) -> bool:
        """Whether a completion waits; `again` then completes it for good."""
        when = self._when.pop(injection, None)
        if when is None:  # octets for a stream: nobody submits them
            stream = -injection.handle.number
            when = self.schedule.injection(self.host, stream, self._numbers[stream])
            self._numbers[stream] += 1
        injection.scramble = when.scramble
        if not when.hold:
            return False
        self._held.append(_Held(when.hold, again))
        self._go_on()
        return True

    def _retired(self, original: NetBufferList) -> None:
        """An original that a driver keeps was blocked: the stack may move its data start back (TR-3)."""
        view = getattr(original.origin, "view", None)
        if view is None or not original.flat or original.start != view.payload_offset:
            return
        self._kept += 1
        size = view.transport_header_size
        if size and original.data_offset >= size and self.schedule.retreated(self.host, self._kept):
            original.retreat(size)
