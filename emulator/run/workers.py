"""Scenarios in parallel: worker processes, each with one scenario at a time and labs of its own."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from emulator.checks import Check
from emulator.run.interrupts import shielded
from emulator.run.listener import Listener
from emulator.run.results import Result
from emulator.run.snapshot import Snapshot
from emulator.scenario import Scenario
from netns.process import owned_argv

CLEAR_UP_SECONDS = 30.0
"""How long an interrupted worker may take to remove its labs."""


@dataclass(eq=False)
class Worker:
    """One worker process, and what it is at."""

    process: subprocess.Popen[bytes]
    number: int | None = None
    rest: bytes = b""
    """The beginning of a line that has not come wholly."""

    def give(self, message: Mapping[str, Any]) -> None:
        """Hand over the settings, or a task."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: its output will tell
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def lines(self) -> list[bytes] | None:
        """The lines that have come; None when the worker has ended."""
        assert self.process.stdout is not None
        octets = os.read(self.process.stdout.fileno(), 1 << 16)
        if not octets:
            return None
        *whole, self.rest = (self.rest + octets).split(b"\n")
        return whole


class Pool:
    """Some workers, started when the block is entered; when it is left they are gone, and their labs with them."""

    def __init__(self, jobs: int, settings: Mapping[str, Any], listener: Listener) -> None:
        self._jobs = jobs
        self._settings = settings
        self._listener = listener
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        try:
            for _ in range(self._jobs):
                self._start()
        except BaseException:
            self._end(interrupted=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with shielded():
            self._end(interrupted=kind is not None)

    def run(self, items: Sequence[Scenario]) -> list[Result]:
        """Run them all, and give the results in the order of `items`."""
        waiting = deque(enumerate(items))
        results: dict[int, Result] = {}
        for worker in list(self._workers):
            self._next(worker, waiting)
        while len(results) < len(items):
            for key, _ in self._selector.select():
                lines = key.data.lines()
                if lines is None:
                    self._died(key.data, items, results)
                    if waiting:
                        self._next(self._start(), waiting)
                    continue
                for line in lines:
                    if self._heard(json.loads(line), results):
                        self._next(key.data, waiting)
        return [results[number] for number in range(len(items))]

    def _start(self) -> Worker:
        argv = owned_argv([sys.executable, "-P", "-m", "emulator.run.worker"])
        with shielded():
            # A session of its own: Ctrl-C reaches us alone, and we pass it on. Held back until it can be handled.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process = subprocess.Popen(
                    argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=_environment()
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            worker = Worker(process)
            self._workers.append(worker)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        worker.give(self._settings)
        return worker

    def _next(self, worker: Worker, waiting: deque[tuple[int, Scenario]]) -> None:
        if not waiting:
            worker.number = None
            return
        worker.number, item = waiting.popleft()
        self._listener.begun(worker.number, item)
        worker.give({"number": worker.number, "target": item.target})

    def _heard(self, told: dict[str, Any], results: dict[int, Result]) -> bool:
        """Pass on what a worker said; True when its scenario has ended."""
        number = told["number"]
        match told["event"]:
            case "step":
                self._listener.step(number, told["text"])
            case "checked":
                self._listener.checked(number, Check(**told["check"]))
            case "snapshot":
                self._listener.snapshot(number, Snapshot.from_plain(told["snapshot"]))
            case "ended":
                results[number] = Result.from_plain(told["result"])
                self._listener.ended(number, results[number])
                return True
        return False

    def _died(self, worker: Worker, items: Sequence[Scenario], results: dict[int, Result]) -> None:
        """A worker that ends by itself has not finished its scenario: that one failed."""
        assert worker.process.stdout is not None
        self._selector.unregister(worker.process.stdout)
        self._workers.remove(worker)
        status = worker.process.wait()
        _close(worker)
        if worker.number is not None:
            item = items[worker.number]
            why = f"its process ended with status {status}"
            result = Result(item.name, item.summary, checks=[Check("ran to its end", False, "a result", why)])
            results[worker.number] = result
            self._listener.ended(worker.number, result)

    def _end(self, *, interrupted: bool) -> None:
        if interrupted and self._workers:
            self._listener.interrupted()
        for worker in self._workers:
            if interrupted:
                worker.process.send_signal(signal.SIGINT)
            _close_input(worker)
        for worker in self._workers:
            try:
                # Its pipe is read on, or it could not write its way to the end.
                worker.process.communicate(timeout=CLEAR_UP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            _close(worker)
        self._workers.clear()
        self._selector.close()


def _close(worker: Worker) -> None:
    _close_input(worker)
    if worker.process.stdout is not None:
        worker.process.stdout.close()


def _close_input(worker: Worker) -> None:
    """End the worker's input; `communicate` must not find a closed pipe."""
    pipe, worker.process.stdin = worker.process.stdin, None
    if pipe is not None:
        with suppress(BrokenPipeError):
            pipe.close()


def _environment() -> dict[str, str]:
    """Ours, with our own search path for modules: the worker reads the same sources."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
