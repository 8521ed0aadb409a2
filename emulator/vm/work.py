"""`wfplab vm`: the lab in a throw-away virtual machine, on the stock kernel of a distribution."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TextIO

from emulator.checkout import source_tree
from emulator.vm import MINUTES
from emulator.vm.image import Image, ensure_image
from emulator.vm.job import Job, Outcome, describe_results, make_results_disk, read_results, write_job
from emulator.vm.kernels import KERNELS, kernels_named
from emulator.vm.machine import Acceleration, End, Size, boot, choose_acceleration, command_for, require_emulator
from emulator.vm.scratch import scratch_folder

FAILED = 1
MARK = b"\1"
"""What lines of a guest's standard error begin with."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """How guests are to be booted."""

    kernels: Sequence[str] = ()
    acceleration: str = "auto"
    """`auto`, `kvm` or `tcg`."""
    minutes: float = MINUTES
    """How long one guest may take before it is killed; real time, which no factor changes."""
    size: Size = Size()


def test(arguments: Sequence[str], wishes: Wishes, out: TextIO) -> int:
    """Run the lab suite in a guest for each kernel, every feature required; with arguments, pytest alone.

    Results come back to `vm-out/KERNEL`. Returns 0 when all guests passed, else a status that is not 0.
    Raises UnknownKernel, NoEmulator, MissingFeature, ProgramFailed.
    """
    in_tree = source_tree() is not None
    job = Job("pytest" if arguments or not in_tree else "test", tuple(arguments))
    return _each(job, wishes, out)


def run(arguments: Sequence[str], wishes: Wishes, out: TextIO) -> int:
    """`wfplab run` with these arguments, in a guest for each kernel; what it prints and its status come back.

    Raises UnknownKernel, NoEmulator, MissingFeature, ProgramFailed.
    """
    return _each(Job("run", tuple(arguments)), wishes, out)


def doctor(arguments: Sequence[str], wishes: Wishes, out: TextIO) -> int:
    """`wfplab doctor` with these arguments, in a guest for each kernel; what it prints and its status come back.

    Raises UnknownKernel, NoEmulator, MissingFeature, ProgramFailed.
    """
    return _each(Job("doctor", tuple(arguments)), wishes, out)


def build(names: Sequence[str], out: TextIO, *, anew: bool) -> int:
    """Build the images of these kernels where they are not current, or all of them `anew`."""
    for kernel in kernels_named(names):
        image = ensure_image(kernel, cache_folder(), _sayer(out), anew=anew)
        _sayer(out)(f"{kernel.name}: Linux {image.release}")
    return 0


def kernels(out: TextIO) -> int:
    """List the kernels, and which have an image."""
    width = max(len(kernel.name) for kernel in KERNELS)
    for kernel in KERNELS:
        image = Image(kernel, cache_folder() / kernel.name)
        state = f"built: Linux {image.release}" if image.is_current else "not built"
        out.write(f"{kernel.name:<{width}}  {kernel.summary} ({state})\n")
    return 0


def cache_folder() -> Path:
    """Where images are kept: below the source tree, or for an installed copy in the user's cache."""
    tree = source_tree()
    if tree is not None:
        return tree / "build" / "vm"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wfplab" / "vm"


def _each(job: Job, wishes: Wishes, out: TextIO) -> int:
    require_emulator()
    say = _sayer(out)
    statuses: dict[str, int] = {}
    for kernel in kernels_named(wishes.kernels):
        image = ensure_image(kernel, cache_folder(), say)
        statuses[kernel.name] = _once(job, image, wishes, say)
    if len(statuses) > 1:
        say(", ".join(f"{name}: {f'status {status}' if status else 'passed'}" for name, status in statuses.items()))
    return next((status for status in statuses.values() if status), 0)


def _once(job: Job, image: Image, wishes: Wishes, say: Callable[[str], None]) -> int:
    project = source_tree() or Path.cwd()
    results = project / "vm-out" / image.kernel.name
    with scratch_folder(cache_folder()) as scratch:
        acceleration = choose_acceleration(image, wishes.acceleration, scratch)
        factor = time_factor(acceleration)
        size = replace(wishes.size, processors=acceleration.processors)
        say(described(image, acceleration, size, factor))
        staged, job_disk, results_disk = scratch / "job", scratch / "job.img", scratch / "results.tar"
        staged.mkdir()
        sent = Job(job.command, job.arguments, factor, acceleration.bulk_share)
        write_job(sent, project, staged, job_disk)
        make_results_disk(results_disk)
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        command = command_for(acceleration.name, image, size, job_disk, results_disk)
        with (scratch / "console.log").open("wb") as console:
            end = boot(command, _console(console), seconds=wishes.minutes * 60, scratch=scratch)
        outcome = read_results(results_disk, results)
        shutil.copyfile(scratch / "console.log", results / "console.log")
    say(ended(end, outcome, wishes))
    say(f"results in {results}: {', '.join(describe_results(results))}")
    return FAILED if outcome is None else outcome.status


def time_factor(acceleration: Acceleration) -> float:
    """By how much time-outs grow in the guest: what WFPLAB_TIME_FACTOR says, or what the acceleration asks for."""
    told = os.environ.get("WFPLAB_TIME_FACTOR")
    return float(told) if told else acceleration.time_factor


def described(image: Image, acceleration: Acceleration, size: Size, factor: float) -> str:
    """What is about to be booted, and how."""
    how = {"kvm": "KVM", "tcg": "software emulation"}[acceleration.name]
    return (
        f"booting Linux {image.release} ({image.kernel.name}) by {how}: {acceleration.reason}; "
        f"{size.processors} processor{'s' * (size.processors > 1)}, {size.memory_mib} MiB, time-outs times {factor:g}"
    )


def ended(end: End, outcome: Outcome | None, wishes: Wishes) -> str:
    """What became of the guest, and how much time and memory it took at most."""
    cost = f"QEMU {end.seconds:.0f} s and {end.peak_memory_mib} MiB"
    if outcome is not None:
        used = f"{outcome.memory_mib} of the guest's {wishes.size.memory_mib} MiB"
        return f"the job took {outcome.seconds:.0f} s and {used}; {cost}"
    if end.timed_out:
        return f"the guest was stopped: its job did not end within {wishes.minutes:g} minutes; {cost}"
    why = f" ({end.complaint.splitlines()[-1]})" if end.complaint else ""
    return f"the guest died before its job had ended{why}; {cost}"


def _sayer(out: TextIO) -> Callable[[str], None]:
    def say(line: str) -> None:
        out.write(f"wfplab: {line}\n")
        out.flush()

    return say


def _console(log: BinaryIO) -> Callable[[bytes], None]:
    """Shows the lines of a guest's console where its programs wrote them, and keeps all of them in `log`."""

    def show(line: bytes) -> None:
        text = line.removeprefix(MARK)
        log.write(text + b"\n")
        out = sys.stderr if line.startswith(MARK) else sys.stdout
        out.write(text.decode(errors="replace") + "\n")
        out.flush()

    return show
