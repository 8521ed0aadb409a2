"""`wfplab run`: chooses scenarios, runs them one by one or in parallel, and prints what they came to."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TextIO

from emulator.run.interrupts import Terminated, orderly_end
from emulator.run.loading import BadTarget, chosen
from emulator.run.results import Result, exit_status
from emulator.run.runner import Settings, run_one
from emulator.scenario import FAMILY_NAMES, Scenario
from emulator.violations import Level, Reaction

if TYPE_CHECKING:
    from emulator.evidence.artifacts import Evidence
    from emulator.paths.queue import QueueBackend
    from emulator.run.listener import Listener
    from emulator.topology import Bed

FAILED = 1
CANNOT_RUN = 77
FULL_TAKES = 10
"""How many times longer the long version of a scenario may take."""
_FAMILIES = {name: family for family, name in FAMILY_NAMES.items()}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asked for; plain values."""

    json: bool = False
    jobs: int = 1
    keep: bool = False
    pause_on_failure: bool = False
    step: bool = False
    """Stop at every step."""
    live: bool = False
    verbosity: int = 1
    """0 quiet, 1 normal, 2 verbose."""
    progress: bool = False
    """Say how each scenario ended also where results are printed as JSON."""
    queue: str = ""
    """Name of the queue backend; empty is the default one."""
    timeout: float | None = 60.0
    family: str = ""
    seed: int = 0
    schedules: int = 0
    """0 is the ordinary run."""
    verifier: str = "full"
    on_finding: str = "fail"
    full: bool = False
    report: str = ""
    """The folder for the run's files; empty for none."""
    parts: str = ""
    """Where the run keeps what it will put into them."""


def settings_from(wanted: Mapping[str, Any]) -> Settings:
    """The settings of runs for plain values; raises BadTarget for a queue or a family that does not exist."""
    from emulator.topology import HostOptions

    host = HostOptions(level=_level(wanted["verifier"]), reaction=_reaction(wanted["on_finding"]))
    if wanted["queue"]:
        host = replace(host, backend=queue_named(wanted["queue"]))
    if wanted["family"] not in ("", "ipv4", "ipv6"):
        raise BadTarget(f"there is no family {wanted['family']}; --family takes ipv4 or ipv6")
    family = _FAMILIES[wanted["family"]] if wanted["family"] else None
    if wanted["schedules"] < 0:
        raise BadTarget("--schedules takes a number of 0 or more")
    return Settings(
        host=host,
        timeout=wanted["timeout"] and wanted["timeout"] * (FULL_TAKES if wanted["full"] else 1),
        family=family,
        full=wanted["full"],
        seed=wanted["seed"],
        schedules=wanted["schedules"],
        evidence=_evidence(wanted["parts"]),
    )


def queue_named(name: str) -> QueueBackend:
    """The queue backend of this name; raises BadTarget."""
    from emulator.paths.queue import QueueBackend

    known = [item.value for item in QueueBackend]
    if name not in known:
        raise BadTarget(f"there is no queue {name}; --queue takes {' or '.join(known)}")
    return QueueBackend(name)


def _level(name: str) -> Level:
    try:
        return Level[name.upper()]
    except KeyError:
        raise BadTarget(f"there is no level {name}; --verifier takes off, normal or full") from None


def _reaction(name: str) -> Reaction:
    try:
        return Reaction(name)
    except ValueError:
        raise BadTarget(f"there is no reaction {name}; --on-finding takes report, fail or raise") from None


def _evidence(parts: str) -> Evidence | None:
    if not parts:
        return None
    from emulator.evidence.artifacts import Evidence

    return Evidence(parts)


def run(targets: Sequence[str], wanted: Wanted, *, before: Callable[[], None] = lambda: None) -> int:
    """Run scenarios as root and print what they came to; the exit status.

    `before` is called when it is known what is to run: whoever asked wrongly is told so without being root.
    Raises BadTarget for wrong usage, LabError when Linux refuses, KeyboardInterrupt.
    """
    from emulator.run import report

    if wanted.jobs < 1:
        raise BadTarget("--jobs takes a number of 1 or more")
    if wanted.jobs > 1 and (wanted.keep or wanted.pause_on_failure or wanted.step):
        raise BadTarget("--keep, --pause-on-failure and --step go with one scenario at a time, not with --jobs")
    settings = settings_from(asdict(wanted))
    items = chosen(targets)
    before()
    clear_up_before()
    with (
        orderly_end(),
        _recorded(wanted) as evidence,
        ExitStack() as kept,
        report.watching(wanted, len(items), sys.stderr) as listener,
    ):
        if evidence is not None:
            wanted = replace(wanted, parts=str(evidence.parts))
            settings = replace(settings, evidence=evidence)
        if wanted.jobs > 1 and len(items) > 1:
            results = _in_parallel(items, wanted, listener)
        else:
            results = _one_by_one(items, wanted, settings, listener, kept)
        listener.finished()
        if wanted.json:
            report.as_json(results, sys.stdout)
        else:
            report.summary(results, sys.stdout, verbosity=wanted.verbosity)
        sys.stdout.flush()
        if evidence is not None:
            _write(evidence, results)
        if wanted.keep:
            _keep(kept, sys.stderr)
    return exit_status(results, failed=FAILED, cannot_run=CANNOT_RUN)


def _recorded(wanted: Wanted) -> AbstractContextManager[Evidence | None]:
    """What records the run, if that was asked for; raises BadTarget for a folder that cannot be written to."""
    if not wanted.report:
        return nullcontext()
    from emulator.evidence.artifacts import Evidence

    try:
        return Evidence.create(wanted.report)
    except OSError as error:
        raise BadTarget(f"--report {wanted.report}: {error.strerror or error}") from error


def _write(evidence: Evidence, results: Sequence[Result]) -> None:
    from netns.errors import refused

    try:
        evidence.close(results)
    except OSError as error:
        raise refused(f"writing the report to {evidence.directory}", error) from error
    sys.stderr.write(f"wfplab: report: {evidence.directory / 'report.html'}\n")


def clear_up_before() -> None:
    """Remove what dead runs left, and say so."""
    from netns.lease import reap
    from netns.scratch import reap_folders

    for path in reap_folders():
        sys.stderr.write(f"wfplab: removed the folder of a dead run: {path}\n")
    for cleaned in reap():
        names = ", ".join(cleaned.namespaces) or "no namespaces"
        sys.stderr.write(f"wfplab: removed what a dead run (process {cleaned.pid}) had left: {names}\n")


def _in_parallel(items: Sequence[Scenario], wanted: Wanted, listener: Listener) -> list[Result]:
    from emulator.run.workers import Pool

    with Pool(min(wanted.jobs, len(items)), asdict(wanted), listener) as pool:
        return pool.run(items)


def _one_by_one(
    items: Sequence[Scenario], wanted: Wanted, settings: Settings, listener: Listener, kept: ExitStack
) -> list[Result]:
    if wanted.keep:
        settings = replace(settings, kept=kept)
    if wanted.pause_on_failure or wanted.step:
        settings = replace(
            settings,
            pause=lambda label, bed, why: _pause(listener, label, bed, why),
            pause_on_failure=wanted.pause_on_failure,
            pause_at_steps=wanted.step,
        )
    results = []
    for number, item in enumerate(items):
        listener.begun(number, item)
        try:
            result = run_one(item, settings, listener, number)
        except BaseException:
            listener.interrupted()
            raise
        results.append(result)
        listener.ended(number, result)
    return results


def _pause(listener: Listener, label: str, bed: Bed, why: str) -> None:
    with listener.aside():
        out = sys.stderr
        out.write(f"paused: {label}: {why}\n{_how_to_look(label, bed.hosts)}")
        out.write("Enter goes on, Ctrl-C ends the run.\n")
        out.flush()
        sys.stdin.readline()


def _keep(kept: ExitStack, out: TextIO) -> None:
    """Wait until whoever kept the labs has seen enough, then remove them."""
    from netns.lease import labelled

    out.write(
        "kept until Enter or Ctrl-C: the hosts with their addresses, links and routes. The drivers are unloaded, and\n"
        "packets pass as on plain Linux; --pause-on-failure and --step stop before that.\n"
    )
    own = os.getpid()
    for label, live in labelled():
        if live.pid == own:
            out.write(_how_to_look(label, [name.split("-", 2)[2] for name in live.namespaces]))
    out.flush()
    try:
        if not sys.stdin.readline() and not sys.stdin.isatty():
            signal.pause()
    except (KeyboardInterrupt, Terminated):
        out.write("\n")
    kept.close()


def _how_to_look(label: str, hosts: Iterable[str]) -> str:
    return "".join(f"  wfplab shell '{label}' {host}\n" for host in hosts)
