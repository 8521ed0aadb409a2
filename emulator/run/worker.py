"""A process that runs scenarios for `wfplab run --jobs`: one JSON line in for each, JSON lines out.

In: first the settings, then `{"number": 3, "target": "NAME or FILE::NAME"}`, until the end of input.
Out: `{"event": "step" | "checked" | "snapshot" | "ended", "number": 3, ...}`.
What scenarios print goes to standard error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from emulator.checks import Check
from emulator.run.interrupts import orderly_end
from emulator.run.listener import Listener
from emulator.run.loading import chosen
from emulator.run.results import Result
from emulator.run.runner import run_one
from emulator.run.session import settings_from
from emulator.run.snapshot import Sampler, Snapshot

if TYPE_CHECKING:
    from emulator.topology import Bed


class Relay(Listener):
    """Writes what it is told as JSON lines."""

    def __init__(self, out: TextIO, *, live: bool) -> None:
        self._out = out
        self._live = live
        self._lock = threading.Lock()

    def step(self, number: int, text: str) -> None:
        self._tell("step", number, text=text)

    def checked(self, number: int, check: Check) -> None:
        self._tell("checked", number, check=asdict(check))

    def snapshot(self, number: int, snapshot: Snapshot) -> None:
        self._tell("snapshot", number, snapshot=snapshot.as_plain())

    def watching(self, number: int, label: str, beds: Sequence[Bed]) -> AbstractContextManager[object]:
        if not self._live:
            return super().watching(number, label, beds)
        return Sampler(label, beds, lambda taken: self.snapshot(number, taken))

    def ended(self, number: int, result: Result) -> None:
        self._tell("ended", number, result=result.as_plain())

    def _tell(self, event: str, number: int, **more: Any) -> None:
        line = json.dumps({"event": event, "number": number, **more})
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()


def main() -> None:
    """Serve until the input ends, or until interrupted."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    wanted = json.loads(sys.stdin.readline())
    settings = settings_from(wanted)
    relay = Relay(out, live=wanted["live"])
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with orderly_end():
            for line in sys.stdin:
                task = json.loads(line)
                (item,) = chosen([task["target"]])
                relay.ended(task["number"], run_one(item, settings, relay, task["number"]))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
