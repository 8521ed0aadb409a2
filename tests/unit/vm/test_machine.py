"""Choosing an acceleration by trial, and following a console; a stand-in takes QEMU's place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from emulator.vm import machine as vmmachine
from emulator.vm.image import Image
from emulator.vm.kernels import KERNELS
from emulator.vm.machine import End, NoEmulator, Size, boot, choose_acceleration, command_for
from netns.errors import MissingFeature

IMAGE = Image(KERNELS[0], Path("/cache/bookworm"))
Show = Callable[[bytes], object]


def trial(*lines: bytes, timed_out: bool = False, complaint: str = "") -> Callable[..., End]:
    def boots(command: Sequence[str], show: Show, *, seconds: float, scratch: Path) -> End:
        assert "wfplab.trial" in command[command.index("-append") + 1]
        assert command[command.index("-accel") + 1] == "kvm"
        for line in lines:
            show(line)
        return End(timed_out, 0.1, 1, complaint)

    return boots


@pytest.fixture
def kvm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A device that this user may open; and QEMU is there."""
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(vmmachine, "KVM_DEVICE", str(device))
    monkeypatch.setattr(vmmachine, "find_program", lambda name: name)
    return device


def test_kvm_is_taken_when_a_trial_boot_works(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmmachine, "boot", trial(b"noise", b"wfplab-trial-ok"))
    chosen = choose_acceleration(IMAGE, "auto", Path())
    assert (chosen.name, chosen.reason) == ("kvm", "a trial boot worked")


@pytest.mark.parametrize(
    ("boots", "why"),
    [
        (trial(b"noise", complaint="no such register\nmore"), "a trial boot failed: no such register"),
        (trial(timed_out=True), "a trial boot failed: it did not answer"),
        (trial(), "a trial boot failed: it ended at once"),
    ],
)
def test_a_device_that_boots_nothing_is_no_kvm(
    boots: Callable[..., End], why: str, kvm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vmmachine, "boot", boots)
    chosen = choose_acceleration(IMAGE, "auto", Path())
    assert chosen.name == "tcg"
    assert chosen.reason.endswith(why)


def test_without_a_device_nothing_is_tried(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kvm.unlink()
    monkeypatch.setattr(vmmachine, "boot", None)
    assert choose_acceleration(IMAGE, "auto", Path()).name == "tcg"


def test_what_is_asked_for_is_not_tried(kvm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmmachine, "boot", None)
    assert choose_acceleration(IMAGE, "kvm", Path()).name == "kvm"


@pytest.mark.parametrize(("there", "said"), [(True, "only QEMU can use it"), (False, "not there either")])
def test_without_qemu_it_says_what_to_install_and_what_of_kvm(
    there: bool, said: str, kvm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise MissingFeature(f"program {name}")

    monkeypatch.setattr(vmmachine, "find_program", missing)
    if not there:
        kvm.unlink()
    with pytest.raises(NoEmulator, match=rf"not installed \(.* {said}.*apt-get install qemu-system-x86"):
        choose_acceleration(IMAGE, "tcg", Path())


def test_a_guest_has_no_network_and_three_disks_of_which_one_comes_back() -> None:
    command = command_for("tcg", IMAGE, Size(2, 1024), Path("/s/job,1.img"), Path("/s/out"))
    drives = [command[at + 1] for at, word in enumerate(command) if word == "-drive"]
    assert drives == [
        "file=/cache/bookworm/root.img,format=raw,if=virtio,snapshot=on,cache=unsafe",
        "file=/s/job,,1.img,format=raw,if=virtio,readonly=on",
        "file=/s/out,format=raw,if=virtio,cache=unsafe",
    ]
    assert "-nodefaults" in command
    assert not any("net" in word for word in command)


@pytest.mark.parametrize(("acceleration", "processor"), [("kvm", "host"), ("tcg", "max,-cx16")])
def test_an_emulated_processor_lacks_what_is_emulated_wrongly(acceleration: str, processor: str) -> None:
    command = command_for(acceleration, IMAGE, Size(), Path("/s/job"), Path("/s/out"))
    assert command[command.index("-cpu") + 1] == processor


def test_lines_are_shown_as_they_come_without_returns_and_noise(tmp_path: Path) -> None:
    seen: list[bytes] = []
    script = r"import sys; sys.stdout.write('a\r\n\r\n[ 1.0] reboot: Power down\r\nb'); sys.stderr.write('no\n')"
    end = boot([sys.executable, "-c", script], seen.append, seconds=30, scratch=tmp_path)
    assert seen == [b"a", b"", b"b"]
    assert not end.timed_out
    assert end.complaint == "no"
    assert end.peak_memory_mib > 0


def test_a_guest_that_does_not_end_is_killed(tmp_path: Path) -> None:
    seen: list[bytes] = []
    script = "import signal; print('up', flush=True); signal.pause()"
    end = boot([sys.executable, "-c", script], seen.append, seconds=1, scratch=tmp_path)
    assert end.timed_out


def test_a_guest_does_not_outlive_a_show_that_raises(tmp_path: Path) -> None:
    def interrupted(line: bytes) -> None:
        raise KeyboardInterrupt(line.decode())

    script = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    with pytest.raises(KeyboardInterrupt) as raised:
        boot([sys.executable, "-c", script], interrupted, seconds=30, scratch=tmp_path)
    assert not Path(f"/proc/{raised.value}").exists()
