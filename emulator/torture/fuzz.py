"""Hostile input: millions of cases for everything that reads octets from outside; what fails is kept as a case.

With `guided`, a fuzzer that watches which code a case reaches (atheris) does a part of it, in a process of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

from emulator.torture.figures import Figures
from emulator.torture.hostile import LONGEST, TARGETS, WEIGHTS, Target
from emulator.torture.mutate import Mutator
from emulator.torture.seeds import seeds

CASES, QUICK_CASES = 10_000_000, 20_000
SLOW_SECONDS = 1.0
"""A single case that takes longer counts as a hang."""
GROWTH_ALLOWED_OCTETS = 64 << 20
_BATCH = 500
_FINDINGS_KEPT = 10


def run(
    *,
    quick: bool = False,
    cases: int | None = None,
    seed: int | None = None,
    keep: Path | None = None,
    guided: float = 0.0,
) -> Figures:
    """Give every target its share of so many cases; findings are written to `keep`, one file for each.

    `guided` seconds of coverage-guided cases for each target come on top.  Raises OSError: `keep` cannot be
    written to.
    """
    told = Figures("fuzz")
    began = time.monotonic()
    whole = QUICK_CASES if quick else CASES if cases is None else cases
    seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
    told.figures["seed"] = seed
    before = _memory()
    for name, target in TARGETS.items():
        _one_target(name, target, max(int(whole * WEIGHTS[name]), 20), seed, keep, told)
    grown = _memory() - before
    told.figures["memory grown (MiB)"] = grown / (1 << 20)
    if grown > GROWTH_ALLOWED_OCTETS:
        told.complain(f"memory grew by {grown / (1 << 20):.0f} MiB")
    if guided:
        _guided(guided, keep, told)
    told.seconds = time.monotonic() - began
    return told


def _one_target(name: str, target: Target, cases: int, seed: int, keep: Path | None, told: Figures) -> None:
    mutator = Mutator(seeds(name), seed, longest=LONGEST)
    found: set[str] = set()
    slowest = 0.0
    done = 0
    while done < cases:
        batch = [mutator.next() for _ in range(min(_BATCH, cases - done))]
        began = time.perf_counter()
        for case in batch:
            why = _tried(target, case)
            if why and why not in found and len(found) < _FINDINGS_KEPT:
                found.add(why)
                told.complain(f"{name}: {why}: {_kept(name, case, keep)}")
        took = time.perf_counter() - began
        if took > SLOW_SECONDS:
            slowest = max(slowest, _find_slow(name, target, batch, keep, told))
        done += len(batch)
    told.add("cases", done)
    told.figures[f"cases of {name}"] = done


def _tried(target: Target, case: bytes) -> str:
    """Why a case fails its target; empty when it does not."""
    try:
        target(case)
    except Exception as error:  # whatever it is: a target raises nothing
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
    return ""


def _find_slow(name: str, target: Target, batch: list[bytes], keep: Path | None, told: Figures) -> float:
    slowest = 0.0
    for case in batch:
        began = time.process_time()
        _tried(target, case)
        took = time.process_time() - began
        slowest = max(slowest, took)
        if took > SLOW_SECONDS:
            told.complain(f"{name}: {took:.1f} s for one case: {_kept(name, case, keep)}")
    return slowest


def _kept(name: str, case: bytes, keep: Path | None) -> str:
    digest = hashlib.sha256(case).hexdigest()[:16]
    if keep is None:
        return case[:64].hex() + ("…" if len(case) > 64 else "")
    folder = keep / name
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), (folder / f"{digest}.bin").open("xb") as file:  # follows no link of others
        file.write(case)
    return f"{folder.name}/{digest}.bin"


def _memory() -> int:
    """Most octets this process had at one time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# -- guided by coverage ---------------------------------------------------------------------------------------


def _guided(seconds: float, keep: Path | None, told: Figures) -> None:
    if importlib.util.find_spec("atheris") is None:
        told.figures["guided cases"] = "none: atheris is not installed"
        return
    for name in TARGETS:
        with tempfile.TemporaryDirectory(prefix="wfplab-fuzz-") as folder:
            for number, octets in enumerate(seeds(name)):
                (Path(folder) / f"seed{number}").write_bytes(octets)
            ran = subprocess.run(
                [sys.executable, "-m", "emulator.torture.guided", name, folder, str(int(seconds))],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
                check=False,
            )
            _read_guided(name, ran, Path(folder), keep, told)


def _read_guided(
    name: str, ran: subprocess.CompletedProcess[str], folder: Path, keep: Path | None, told: Figures
) -> None:
    for line in ran.stderr.splitlines():
        if line.startswith("stat::number_of_executed_units:"):
            told.add("guided cases", int(line.split()[-1]))
            told.add("cases", int(line.split()[-1]))
    if ran.returncode == 0:
        return
    crashes = [path for path in folder.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]
    for path in crashes:
        told.complain(f"{name}, guided: {path.name.partition('-')[0]}: {_kept(name, path.read_bytes(), keep)}")
    if not crashes:
        told.complain(f"{name}, guided: it ended with {ran.returncode}: {ran.stderr[-300:]}")
