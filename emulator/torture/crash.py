"""Crashes: processes of runs are killed at random moments; the next run must find everything clean.

A run is a process of its own with workers and programs in its hosts; any of them may be the one that is killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from emulator.torture.decoys import Decoys
from emulator.torture.figures import Figures
from netns import mountpoint
from netns.lease import STATE_DIRECTORY, living, reap

TOKEN = "WFPLAB_TORTURE"
SCENARIOS = ("clone_and_inject_outbound", "ping_answered_by_a_callout")
KILLS, QUICK_KILLS = 200, 3
ENDING_SECONDS = 20.0
"""How long the processes of a killed run may take to end by themselves."""
_PAUSE_SECONDS = 0.01


@dataclass
class Victim:
    """One run that is to be killed, and what is known of it."""

    process: subprocess.Popen[bytes]
    token: str
    folder: Path
    runs: set[str] = field(default_factory=set)
    """The leases its processes took, by run id."""

    def processes(self) -> list[int]:
        """The processes that belong to it and live: those with its token in their environment."""
        mark = f"{TOKEN}={self.token}".encode()
        return [pid for pid in _pids() if mark in _environment_of(pid)]

    def note_leases(self) -> None:
        """Remember the leases that its processes hold now."""
        mine = set(self.processes())
        with suppress(Exception):
            self.runs |= {live.run for live in living() if live.pid in mine}


def run(*, quick: bool = False, kills: int | None = None, seed: int | None = None) -> Figures:
    """Kill so many runs, each once, at moments and in places that the seed chooses.

    Raises LabError when Linux refuses what the check itself needs.
    """
    told = Figures("crash")
    began = time.monotonic()
    seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
    told.figures["seed"] = seed
    dice = random.Random(seed)
    with Decoys() as decoys, tempfile.TemporaryDirectory(prefix="wfplab-crash-") as folder:
        whole = _unkilled(Path(folder), told)
        told.figures["seconds of a run that is not killed"] = whole
        for number in range(QUICK_KILLS if quick else KILLS if kills is None else kills):
            victim = _start(Path(folder), number)
            try:
                _kill_one(victim, dice, whole, told)
                _wait_for_the_rest(victim, told, number)
                _check_clean(victim, told, number)
            finally:
                _kill_all(victim)
            for line in decoys.untouched():
                told.complain(f"kill {number}: {line}")
        for line in decoys.works():
            told.complain(line)
    told.seconds = time.monotonic() - began
    return told


# -- one victim ---------------------------------------------------------------------------------------------


def _start(folder: Path, number: int) -> Victim:
    token = f"{os.getpid()}-{number}-{os.urandom(4).hex()}"
    report = folder / "report"
    argv = [sys.executable, "-m", "emulator", "run", *SCENARIOS, "--jobs", "2", "--quiet", "--report", str(report)]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {TOKEN: token},
        start_new_session=True,
    )
    return Victim(process, token, report)


def _unkilled(folder: Path, told: Figures) -> float:
    """Run once to the end: how long that takes, in seconds; what is killed afterwards must be able to pass."""
    began = time.monotonic()
    victim = _start(folder, -1)
    if victim.process.wait() != 0:
        told.complain(f"a run that nobody killed ended with status {victim.process.returncode}")
    for line in _half_written(victim.folder):
        told.complain(f"a run that nobody killed: {line}")
    return time.monotonic() - began


def _kill_one(victim: Victim, dice: random.Random, whole: float, told: Figures) -> None:
    """Wait for a random moment, then kill one of the run's processes."""
    until = time.monotonic() + dice.uniform(0.0, whole)
    while time.monotonic() < until and victim.process.poll() is None:
        victim.note_leases()
        time.sleep(_PAUSE_SECONDS)
    victim.note_leases()
    alive = victim.processes()
    if not alive:
        told.add("had ended before")
        return
    chosen = dice.choice(sorted(alive))
    with suppress(ProcessLookupError):
        os.kill(chosen, signal.SIGKILL)
        told.add("killed: the run itself" if chosen == victim.process.pid else "killed: a child of it")


def _wait_for_the_rest(victim: Victim, told: Figures, number: int) -> None:
    """What is left of the run ends by itself: nothing of it may need to be killed."""
    until = time.monotonic() + ENDING_SECONDS
    while time.monotonic() < until:
        victim.process.poll()
        victim.note_leases()
        # A process that is being ended has no environment any more, and still its leases.
        if not victim.processes() and not victim.runs & {live.run for live in living()}:
            return
        time.sleep(_PAUSE_SECONDS)
    names = ", ".join(_name_of(pid) for pid in victim.processes())
    told.complain(f"kill {number}: processes of the run live on: {names}")


def _check_clean(victim: Victim, told: Figures, number: int) -> None:
    """The next run clears up; afterwards nothing of the killed one is there."""
    told.add("namespaces taken over by the next run", sum(len(item.namespaces) for item in reap()))
    names = set(os.listdir(mountpoint.DIRECTORY)) if os.path.isdir(mountpoint.DIRECTORY) else set()
    for run_id in victim.runs:
        left = sorted(name for name in names if name.startswith(f"wfp-{run_id}-"))
        if left:
            told.complain(f"kill {number}: namespaces are left: {', '.join(left)}")
        if os.path.lexists(f"{STATE_DIRECTORY}/{run_id}.lease"):
            told.complain(f"kill {number}: the lease {run_id} is left")
    for line in _half_written(victim.folder):
        told.complain(f"kill {number}: {line}")


def _half_written(folder: Path) -> Iterator[str]:
    """Files of the report that bear their name and are not whole."""
    for name, check in (("junit.xml", _whole_xml), ("report.html", _whole_html), ("trace.jsonl", _whole_lines)):
        path = folder / name
        if path.exists():
            why = check(path)
            if why:
                yield f"{name} is taken for whole, and is not: {why}"


def _whole_xml(path: Path) -> str:
    try:
        ElementTree.parse(path)
    except ElementTree.ParseError as error:
        return str(error)
    return ""


def _whole_html(path: Path) -> str:
    return "" if path.read_text(encoding="utf-8").rstrip().endswith("</html>") else "its end is missing"


def _whole_lines(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        return "its last line is cut off"
    try:
        for line in text.splitlines():
            json.loads(line)
    except ValueError as error:
        return str(error)
    return ""


# -- processes ----------------------------------------------------------------------------------------------


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _name_of(pid: int) -> str:
    try:
        return f"{pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return str(pid)


def _kill_all(victim: Victim) -> None:
    """Let nothing of a victim live on, whatever it did."""
    for pid in victim.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    victim.process.wait()
