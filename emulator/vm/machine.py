"""A throw-away virtual machine: which acceleration works here, and one boot with its console and its end."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emulator.vm import MEMORY_MIB
from emulator.vm.image import Image
from netns.errors import MissingFeature
from netns.process import find_program, owned_argv

QEMU = "qemu-system-x86_64"
KVM_DEVICE = "/dev/kvm"
TRIAL_SECONDS = 10.0
TRIAL_PASSED = b"wfplab-trial-ok"
TIME_FACTOR = {"kvm": 2.0, "tcg": 20.0}
"""By how much time-outs grow. Under software emulation programs take 5 to 13 times as long, and two at a time run."""

BULK_SHARE = {"kvm": 1, "tcg": 8}
"""What part of their packets and octets tests of bulk move: an eighth, where software emulates."""

PROCESSORS = {"kvm": 2, "tcg": 1}
"""Of a guest. Linux rewrites its own instructions while it runs; with several emulated processors one now and then
runs what has been replaced, and the kernel panics (`Oops: int3` in a branch that a key switches)."""

MODEL = {"kvm": "host", "tcg": "max,-cx16"}
"""Of a processor, in QEMU's words. What QEMU 7.2 emulates for CMPXCHG16B leaves parts of a pointer in the flags, by
which kernels panic sooner or later; without that instruction they take locks instead."""

ACCELERATOR = {"kvm": "kvm", "tcg": "tcg,tb-size=256"}
"""In QEMU's words: unasked, software emulation keeps up to 1 GiB of translated code."""

KERNEL_LINE = "console=ttyS0 loglevel=1 panic=-1 mitigations=off"
CLOCK = {"kvm": "", "tcg": "tsc=reliable"}
"""An emulated processor's counter can be relied on. Told so, Linux reads it; else every look asks a slow device."""

NOISE = (b"sysrq: Power Off", b"reboot: Power down")
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True, slots=True)
class Acceleration:
    """How the guest's instructions are run, and what is to be said about the choice."""

    name: str
    """`kvm` or `tcg`, QEMU's software emulation."""
    reason: str

    @property
    def time_factor(self) -> float:
        return TIME_FACTOR[self.name]

    @property
    def bulk_share(self) -> int:
        return BULK_SHARE[self.name]

    @property
    def processors(self) -> int:
        return PROCESSORS[self.name]


@dataclass(frozen=True, slots=True)
class Size:
    """Of a guest."""

    processors: int = 2
    memory_mib: int = MEMORY_MIB


@dataclass(frozen=True, slots=True)
class End:
    """How a boot ended, from outside."""

    timed_out: bool
    seconds: float
    peak_memory_mib: int
    """Of QEMU, the guest's memory included."""
    complaint: str
    """What QEMU itself said."""


class NoEmulator(MissingFeature):
    """Raised when there is nothing to boot a guest with."""

    def __init__(self) -> None:
        super().__init__(f"program {QEMU}")
        has_kvm = "is there, but only QEMU can use it here" if os.path.exists(KVM_DEVICE) else "is not there either"
        text = f"a virtual machine needs {QEMU}, which is not installed ({KVM_DEVICE} {has_kvm}); "
        self.args = (text + "on Debian and Ubuntu: apt-get install qemu-system-x86",)


def require_emulator() -> None:
    """Raise NoEmulator if QEMU is not there."""
    try:
        find_program(QEMU)
    except MissingFeature as error:
        raise NoEmulator from error


def choose_acceleration(image: Image, wanted: str, scratch: Path) -> Acceleration:
    """KVM if this kernel really boots under it, else software emulation; or what is `wanted`, unless `auto`.

    That the device is there is no proof: some hosts let only kernels made for them run. Raises NoEmulator.
    """
    require_emulator()
    if wanted != "auto":
        return Acceleration(wanted, "as asked for")
    if not os.path.exists(KVM_DEVICE):
        return Acceleration("tcg", f"no {KVM_DEVICE}")
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return Acceleration("tcg", f"{KVM_DEVICE} is not for this user")
    seen: list[bytes] = []
    trial = [*_command("kvm", image, Size(), "wfplab.trial")]
    end = boot(trial, seen.append, seconds=TRIAL_SECONDS, scratch=scratch)
    if any(TRIAL_PASSED in line for line in seen):
        return Acceleration("kvm", "a trial boot worked")
    why = "it did not answer" if end.timed_out else (end.complaint.splitlines() or ["it ended at once"])[0]
    return Acceleration("tcg", f"{KVM_DEVICE} is there, but a trial boot failed: {why}")


def command_for(acceleration: str, image: Image, size: Size, job: Path, results: Path) -> list[str]:
    """QEMU's arguments for a guest with its three disks, a console on standard output, and no network."""
    return [
        *_command(acceleration, image, size, ""),
        "-drive", f"file={_value(job)},format=raw,if=virtio,readonly=on",
        "-drive", f"file={_value(results)},format=raw,if=virtio,cache=unsafe",
    ]  # fmt: skip


def _command(acceleration: str, image: Image, size: Size, word: str) -> list[str]:
    line = " ".join(f"{KERNEL_LINE} {CLOCK[acceleration]} {word}".split())
    return [
        QEMU, "-machine", "q35", "-accel", ACCELERATOR[acceleration], "-cpu", MODEL[acceleration],
        "-smp", str(size.processors), "-m", f"{size.memory_mib}M",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-sandbox", SANDBOX,
        "-kernel", str(image.linux), "-initrd", str(image.first_disk), "-append", line,
        # Every boot starts from the same disk: what is written goes to a file without a name.
        "-drive", f"file={_value(image.root_disk)},format=raw,if=virtio,snapshot=on,cache=unsafe",
    ]  # fmt: skip


def _value(path: Path) -> str:
    """A path as the value of an option; QEMU reads a doubled comma as one."""
    return str(path).replace(",", ",,")


def boot(command: Sequence[str], show: Callable[[bytes], object], *, seconds: float, scratch: Path) -> End:
    """Run QEMU to its end, and hand every line of the console to `show`; kill it after `seconds`.

    It dies with the calling thread. Temporary files are made in `scratch`. Raises MissingFeature.
    """
    started = time.monotonic()
    complaint = scratch / "qemu.log"
    with complaint.open("w+b") as errors:
        child = subprocess.Popen(
            owned_argv(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            env={**os.environ, "TMPDIR": str(scratch)}, start_new_session=True,
        )  # fmt: skip
        try:
            ended = _follow(child, show, started + seconds)
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    return End(not ended, time.monotonic() - started, peak, complaint.read_text(errors="replace").strip())


def _follow(child: subprocess.Popen[bytes], show: Callable[[bytes], object], deadline: float) -> bool:
    """Show lines until the console closes (True) or time has run out (False)."""
    assert child.stdout is not None
    descriptor = child.stdout.fileno()
    rest = b""
    while True:
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return False
        octets = os.read(descriptor, 65536)
        *lines, rest = (rest + octets.replace(b"\r", b"")).split(b"\n")
        for line in lines if octets else [rest] if rest else []:
            if not any(noise in line for noise in NOISE):
                show(line)
        if not octets:
            child.wait()
            return True
