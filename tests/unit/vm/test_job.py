"""What goes into a guest, and what is believed of what comes back."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from emulator.vm import job as vmjob
from emulator.vm.job import NOT_SENT, Job, Outcome, make_results_disk, project_files, read_results, write_job
from netns.errors import LabError

ROOT = Path(__file__).parents[3]
GOOD = json.dumps({"status": 3, "seconds": 1.5, "memory_mib": 300}).encode()


def archive(disk: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    """A results disk as the guest writes it: an archive, and zeros behind it."""
    with tarfile.open(disk, "w") as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                file.addfile(info, io.BytesIO(member[1]))
    with disk.open("ab") as file:
        file.write(bytes(65536))
    return disk


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_results_come_back_with_the_outcome(tmp_path: Path) -> None:
    disk = archive(tmp_path / "disk", ("./outcome.json", GOOD), ("./trace/a.pcapng", b"packets"))
    assert read_results(disk, tmp_path / "out") == Outcome(3, 1.5, 300)
    assert (tmp_path / "out/trace/a.pcapng").read_bytes() == b"packets"


def test_old_results_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/outcome.json").write_bytes(GOOD)
    assert read_results(archive(tmp_path / "disk"), tmp_path / "out") is None
    assert names(tmp_path / "out") == set()


def test_a_guest_that_died_has_no_outcome(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    make_results_disk(disk)
    assert disk.stat().st_blocks == 0
    assert read_results(disk, tmp_path / "out") is None


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"status": "x", "seconds": 1}', b"\xff", b'{"status": null}'])
def test_an_outcome_that_says_nothing_is_none(text: bytes, tmp_path: Path) -> None:
    assert read_results(archive(tmp_path / "disk", ("outcome.json", text)), tmp_path / "out") is None


def test_nothing_of_a_hostile_archive_lands_outside(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, ".."
    hard = tarfile.TarInfo("hard")
    hard.type, hard.linkname = tarfile.LNKTYPE, "../../secret"
    device = tarfile.TarInfo("device")
    device.type = tarfile.CHRTYPE
    absolute = str(tmp_path / "absolute")
    disk = archive(
        tmp_path / "disk", ("../up", b"x"), (absolute, b"x"), ("a/../../up", b"x"), link, ("link/in", b"x"), hard,
        device, ("twice", b"first"), ("twice", b"second"), ("outcome.json", GOOD),
    )  # fmt: skip
    assert read_results(disk, tmp_path / "out") == Outcome(3, 1.5, 300)
    assert names(tmp_path / "out") == {"link", "link/in", "twice", "outcome.json"}
    assert not (tmp_path / "out/link").is_symlink()
    assert (tmp_path / "out/twice").read_bytes() == b"first"
    assert names(tmp_path) - {f"out/{name}" for name in names(tmp_path / "out")} == {"disk", "out"}


def test_a_project_is_sent_without_caches_environments_and_results(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", *(f"{folder}/x" for folder in NOT_SENT), "b/__pycache__/c.pyc", "x.egg-info/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/link").symlink_to("c.py")
    (tmp_path / "away").symlink_to("/nowhere")
    assert [path.as_posix() for path in project_files(tmp_path)] == ["a.py", "away", "b/c.py", "b/link"]


def test_all_that_git_ignores_is_left_out() -> None:
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()}
    assert ignored - {"*.egg-info"} <= NOT_SENT


def test_a_job_is_the_project_its_installation_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(vmjob, "make_disk", lambda folder, disk, spare_octets: made.append(disk))
    project, folder = tmp_path / "project", tmp_path / "folder"
    project.mkdir()
    folder.mkdir()
    (project / "emulator").mkdir()
    (project / "emulator/vm").mkdir()
    (project / "emulator/vm/job.py").touch()
    (project / "script").write_text("x")
    (project / "script").chmod(0o755)
    write_job(Job("run", ("a b",), 10.0), project, folder, tmp_path / "disk")
    assert made == [tmp_path / "disk"]
    assert (folder / "project/script").stat().st_mode & 0o777 == 0o755
    assert json.loads((folder / "job.json").read_text()) == {
        "command": "run", "arguments": ["a b"], "time_factor": 10.0, "bulk_share": 1}  # fmt: skip
    assert (folder / "guest/init.sh").read_text().startswith("#!/bin/sh")
    assert (folder / "site/wfplab.pth").read_text() == "/project\n"
    [metadata] = (folder / "site").glob("wfplab-*.dist-info")
    assert "wfplab = emulator.cli:main" in (metadata / "entry_points.txt").read_text()
    assert "Name: wfplab" in (metadata / "METADATA").read_text()


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder a job disk is made from; `project` and `folder` beside it, the first being where we are."""
    monkeypatch.setattr(vmjob, "make_disk", lambda folder, disk, spare_octets: None)
    for name in ("project/tests", "folder"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "folder"


def arguments_of(folder: Path, *arguments: str) -> list[str]:
    write_job(Job("run", arguments), folder.parent / "project", folder, folder.parent / "disk")
    return list(json.loads((folder / "job.json").read_text())["arguments"])


def test_files_are_named_as_the_guest_has_them(sent: Path) -> None:
    (sent.parent / "outside.py").write_text("outside")
    Path("mine.py").touch()
    named = arguments_of(sent, "mine.py::one", "../outside.py::two", "tests", "network_send", "--json", "-k", "a::b")
    assert named == [
        "/project/mine.py::one", "/job/files/outside.py::two", "/project/tests", "network_send", "--json", "-k", "a::b",
    ]  # fmt: skip
    assert (sent / "files/outside.py").read_text() == "outside"


def test_a_folder_outside_is_refused(sent: Path) -> None:
    with pytest.raises(LabError, match=r"\.\. is a folder outside of"):
        arguments_of(sent, "..")


def test_a_tree_that_is_no_project_is_refused(sent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmjob, "PROJECT_OCTETS", 10)
    Path("large").write_bytes(bytes(11))
    with pytest.raises(LabError, match="start in the folder of a project"):
        arguments_of(sent)


def test_an_installed_copy_sends_its_packages(sent: Path) -> None:
    arguments_of(sent)
    assert (sent / "site/netns/py.typed").exists()
    assert (sent / "site/emulator/vm/boot/init.sh").exists()
    assert not list((sent / "site").rglob("__pycache__"))
    assert not (sent / "site/wfplab.pth").exists()
