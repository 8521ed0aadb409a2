"""What goes into a guest and what comes back: the disk with the project and its job, the disk of results."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path, PurePosixPath

from emulator.vm.image import make_disk
from netns.errors import LabError

RESULTS_OCTETS = 1 << 30
OUTCOME = "outcome.json"
PLACE = "/project"
"""Where the guest has the project."""

PACKAGES = ("emulator", "netns")
PROJECT_OCTETS = 512 << 20

NOT_SENT = frozenset({
    ".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".vagrant", ".venv", "__pycache__",
    "_compiled", "build", "dist", "vm-out",
})  # fmt: skip
"""Folders that are no part of a project, wherever they lie."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a guest is to do."""

    command: str
    """`test`: doctor, all scenarios, all lab tests; `pytest`: pytest alone; `run` and `doctor`: that command."""
    arguments: tuple[str, ...] = ()
    time_factor: float = 1.0
    """By how much the guest is slower than the machines that time-outs are made for."""
    bulk_share: int = 1
    """What part of their packets and octets tests of bulk move: 1 for all, 8 for an eighth."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a guest came to, in its own words."""

    status: int
    seconds: float
    """How long the job took, without start and end of the guest."""
    memory_mib: int
    """What of the guest's memory was in use, at most."""


def write_job(job: Job, project: Path, folder: Path, disk: Path) -> None:
    """Make `disk`, which the guest mounts read only, from the tree `project`; `folder` is an empty one to use.

    Arguments of the job that are files on this machine become those of the guest; one that lies outside of the
    project goes along. Raises LabError for a folder outside of it, for a project that is too large, and when
    there is no installation to take the metadata from; ProgramFailed, MissingFeature.
    """
    _copy_project(project, folder / "project")
    (folder / "files").mkdir()
    arguments = [_argument(word, project, folder / "files") for word in job.arguments]
    (folder / "guest").mkdir()
    (folder / "guest/init.sh").write_bytes(files("emulator.vm").joinpath("boot/init.sh").read_bytes())
    (folder / "job.json").write_text(json.dumps(asdict(job) | {"arguments": arguments}) + "\n")
    _write_installation(folder / "site", is_project=(project / "emulator/vm/job.py").exists())
    make_disk(folder, disk, spare_octets=8 << 20)


def _copy_project(project: Path, target: Path) -> None:
    target.mkdir()
    octets = 0
    for path in project_files(project):
        octets += (project / path).lstat().st_size
        if octets > PROJECT_OCTETS:
            raise LabError(f"{project} has more than {PROJECT_OCTETS >> 20} MiB: start in the folder of a project")
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(project / path, target / path, follow_symlinks=False)


def _argument(word: str, project: Path, others: Path) -> str:
    """The argument as the guest is to have it; what it names of this machine may end in `::NAME`."""
    name, *rest = word.partition("::")
    path = Path(name).resolve()
    if word.startswith("-") or not path.exists() or not os.path.lexists(name):
        return word
    if path.is_relative_to(project.resolve()):
        return "".join([f"{PLACE}/{path.relative_to(project.resolve()).as_posix()}", *rest])
    if not path.is_file():
        raise LabError(f"{name} is a folder outside of {project}, and is not sent into the guest")
    shutil.copyfile(path, others / path.name)
    return "".join([f"/job/files/{path.name}", *rest])


def project_files(project: Path) -> Iterator[Path]:
    """The files and links of a project, as paths below it; caches, environments and results are left out."""
    for place, folders, names in os.walk(project):
        folders[:] = sorted(name for name in folders if name not in NOT_SENT and not name.endswith(".egg-info"))
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*sorted(names), *links):
            path = Path(place, name)
            if path.is_symlink() or path.is_file():
                yield path.relative_to(project)


def _write_installation(site: Path, *, is_project: bool) -> None:
    """What pip would put into the guest's environment: of the project itself a path (as `--editable` does), of
    an installed copy the packages; and the metadata."""
    site.mkdir()
    try:
        installed = distribution("wfplab")
    except PackageNotFoundError as error:
        raise LabError("wfplab is not installed here: start it by ./wfplab, or install it by pip") from error
    if is_project:
        (site / "wfplab.pth").write_text(f"{PLACE}\n")
    else:
        for package in PACKAGES:
            source = Path(__file__).parents[2] / package
            shutil.copytree(source, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = site / f"wfplab-{installed.version}.dist-info"
    metadata.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (metadata / name).write_text(installed.read_text(name) or "")


def make_results_disk(disk: Path) -> None:
    """An empty disk for results; it takes room only as it is filled."""
    with disk.open("xb") as file:
        file.truncate(RESULTS_OCTETS)


def read_results(disk: Path, folder: Path) -> Outcome | None:
    """Unpack what the guest left into `folder`, which is made anew; None if it died before it had ended.

    The guest is not trusted: only plain files come out, and only below `folder`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with tarfile.open(disk, "r:") as archive:
            for member in archive:
                target = _place(folder, member)
                if target is not None and (content := archive.extractfile(member)) is not None:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with content, target.open("xb") as file:
                        shutil.copyfileobj(content, file)
    except tarfile.ReadError:
        return None
    return _outcome(folder / OUTCOME)


def _place(folder: Path, member: tarfile.TarInfo) -> Path | None:
    path = PurePosixPath(member.name)
    if not member.isreg() or path.is_absolute() or ".." in path.parts or "\0" in member.name:
        return None
    target = folder / path
    return None if target.exists() else target


def _outcome(path: Path) -> Outcome | None:
    try:
        told = json.loads(path.read_text())
        return Outcome(int(told["status"]), float(told["seconds"]), int(told["memory_mib"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe_results(folder: Path) -> Sequence[str]:
    """The names of what came back, in order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
