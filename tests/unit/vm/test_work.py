"""`wfplab vm`: what is said, where results go, and whose status it is; no guest is booted."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from emulator.vm import job as vmjob
from emulator.vm import work
from emulator.vm.image import Image
from emulator.vm.job import Job
from emulator.vm.kernels import Kernel, UnknownKernel
from emulator.vm.machine import Acceleration, End, NoEmulator
from emulator.vm.work import Wishes

TWO = Wishes(kernels=("bookworm", "trixie"))


class Guest:
    """Stands in for a boot: what it was given, and what it answers."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.statuses: list[int | None] = []
        self.end = End(False, 12.3, 600, "")
        self.lines = [b"\1wfplab vm: Linux is up", b"1 passed"]

    def write_job(self, job: Job, project: Path, folder: Path, disk: Path) -> None:
        self.jobs.append(job)

    def boot(self, command: Sequence[str], show: Callable[[bytes], object], *, seconds: float, scratch: Path) -> End:
        for line in self.lines:
            show(line)
        status = self.statuses.pop(0)
        if status is not None:
            outcome = json.dumps({"status": status, "seconds": 5, "memory_mib": 480}).encode()
            with tarfile.open(scratch / "results.tar", "w") as file:
                info = tarfile.TarInfo("outcome.json")
                info.size = len(outcome)
                file.addfile(info, io.BytesIO(outcome))
        return self.end


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    made = Guest()

    def image(kernel: Kernel, cache: Path, say: object, *, anew: bool = False) -> Image:
        image = Image(kernel, cache / kernel.name)
        image.folder.mkdir(parents=True, exist_ok=True)
        image.recipe.write_text(json.dumps({"release": f"6-{kernel.name}", "recipe": "anew" if anew else ""}))
        return image

    monkeypatch.setattr(work, "source_tree", lambda: tmp_path)
    monkeypatch.setattr(work, "require_emulator", lambda: None)
    monkeypatch.setattr(work, "ensure_image", image)
    monkeypatch.setattr(work, "choose_acceleration", lambda *_: Acceleration("tcg", "no device"))
    monkeypatch.setattr(work, "write_job", made.write_job)
    monkeypatch.setattr(work, "boot", made.boot)
    monkeypatch.delenv("WFPLAB_TIME_FACTOR", raising=False)
    return made


def test_a_guest_that_passes_says_how_it_was_booted_and_what_it_cost(
    guest: Guest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest.statuses = [0]
    out = io.StringIO()
    assert work.test((), Wishes(), out) == 0
    assert guest.jobs == [Job("test", (), 20.0, 8)]
    assert out.getvalue().splitlines() == [
        "wfplab: booting Linux 6-bookworm (bookworm) by software emulation: no device; 1 processor, 1536 MiB, "
        "time-outs times 20",
        "wfplab: the job took 5 s and 480 of the guest's 1536 MiB; QEMU 12 s and 600 MiB",
        f"wfplab: results in {tmp_path}/vm-out/bookworm: console.log, outcome.json",
    ]
    assert capsys.readouterr() == ("1 passed\n", "wfplab vm: Linux is up\n")
    assert (tmp_path / "vm-out/bookworm/console.log").read_text() == "wfplab vm: Linux is up\n1 passed\n"


def test_nothing_but_results_and_images_stays(guest: Guest, tmp_path: Path) -> None:
    guest.statuses = [0]
    work.run((), Wishes(), io.StringIO())
    assert {path.name for path in tmp_path.iterdir()} == {"build", "vm-out"}
    assert [path.name for path in (tmp_path / "build/vm").iterdir()] == ["bookworm"]


def test_arguments_are_for_pytest_alone_or_for_run(guest: Guest) -> None:
    guest.statuses = [0, 0]
    work.test(("-k", "x"), Wishes(), io.StringIO())
    work.run(("name", "--json"), Wishes(), io.StringIO())
    assert guest.jobs == [Job("pytest", ("-k", "x"), 20.0, 8), Job("run", ("name", "--json"), 20.0, 8)]


@pytest.mark.parametrize(
    ("statuses", "status", "said"),
    [
        ([0, 0], 0, "bookworm: passed, trixie: passed"),
        ([3, 0], 3, "bookworm: status 3, trixie: passed"),
        ([0, None], 1, "bookworm: passed, trixie: status 1"),
    ],
)
def test_every_kernel_is_tried_and_one_that_fails_fails_all(
    statuses: list[int | None], status: int, said: str, guest: Guest
) -> None:
    guest.statuses = statuses
    out = io.StringIO()
    assert work.test((), TWO, out) == status
    assert out.getvalue().splitlines()[-1] == f"wfplab: {said}"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (End(True, 61, 600, ""), "the guest was stopped: its job did not end within 1 minutes; QEMU 61 s"),
        (End(False, 2, 60, "a\nno room"), "the guest died before its job had ended (no room); QEMU 2 s"),
        (End(False, 2, 60, ""), "the guest died before its job had ended; QEMU 2 s"),
    ],
)
def test_a_guest_without_an_outcome_is_a_failure_with_its_reason(end: End, said: str, guest: Guest) -> None:
    guest.statuses, guest.end = [None], end
    out = io.StringIO()
    assert work.test((), Wishes(minutes=1), out) == 1
    assert said in out.getvalue()


def test_results_of_the_last_time_do_not_stay(guest: Guest, tmp_path: Path) -> None:
    old = tmp_path / "vm-out/bookworm/junit.xml"
    old.parent.mkdir(parents=True)
    old.touch()
    guest.statuses = [None]
    work.test((), Wishes(), io.StringIO())
    assert not old.exists()


def test_the_factor_of_time_outs_can_be_said(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFPLAB_TIME_FACTOR", "2.5")
    guest.statuses = [0]
    work.test((), Wishes(), io.StringIO())
    assert guest.jobs[0].time_factor == 2.5


def test_without_qemu_nothing_is_built(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise NoEmulator

    monkeypatch.setattr(work, "require_emulator", missing)
    monkeypatch.setattr(work, "ensure_image", None)
    with pytest.raises(NoEmulator):
        work.test((), Wishes(), io.StringIO())


def test_an_unknown_kernel_stops_before_the_first_boot(guest: Guest) -> None:
    with pytest.raises(UnknownKernel):
        work.test((), Wishes(kernels=("bookworm", "potato")), io.StringIO())
    assert guest.jobs == []


def test_an_installed_copy_has_no_suite_and_keeps_images_in_the_users_cache(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "source_tree", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    guest.statuses = [0]
    work.test((), Wishes(), io.StringIO())
    assert guest.jobs == [Job("pytest", (), 20.0, 8)]
    assert (tmp_path / "cache/wfplab/vm/bookworm").is_dir()
    assert (tmp_path / "vm-out/bookworm/outcome.json").exists()


def test_kernels_are_listed_with_what_is_built(guest: Guest, tmp_path: Path) -> None:
    out = io.StringIO()
    assert work.kernels(out) == 0
    first, *_ = out.getvalue().splitlines()
    assert first == "bookworm            Debian 12's own kernel, Linux 6.1 (not built)"


def test_images_are_built_ahead(guest: Guest) -> None:
    out = io.StringIO()
    assert work.build(["trixie"], out, anew=True) == 0
    assert out.getvalue() == "wfplab: trixie: Linux 6-trixie\n"


def test_results_have_room_for_captures() -> None:
    assert vmjob.RESULTS_OCTETS >= 1 << 30
