"""The wheel and the sdist: what is in them, that they come out the same twice, and that what is installed works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulator.vm.job import project_files

pytestmark = pytest.mark.host_only("builds and installs packages, which no kernel makes a difference to")

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
INFO = f"wfplab-{VERSION}.dist-info"
PACKAGES = ("emulator", "netns")
AT_THE_TOP = {
    ".ci", ".github", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "PKG-INFO", "README.md",
    "SECURITY.md", "Vagrantfile", "docs", "emulator", "netns", "pyproject.toml", "tests", "wfplab",
}  # fmt: skip

USERS_TEST = """
from emulator import AddressFamily, Callout, Datagrams, Indication, Pair


class Silence(Callout):
    def classify(self, seen: Indication) -> None:
        return seen.block() if b"secret" in seen.payload else seen.permit()


def test_secrets_stay(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        driver.add(Silence(), "OUTBOUND_TRANSPORT", family)
        assert traffic.exchange([b"secret", b"open"]) == [b"open"]
"""


@dataclass(frozen=True)
class Built:
    """The two distributions of one build."""

    wheel: Path
    sdist: Path

    @property
    def octets(self) -> list[bytes]:
        return [self.wheel.read_bytes(), self.sdist.read_bytes()]


def build(tree: Path, into: Path) -> Built:
    """Both, as `python -m build` makes them, but with what is installed here."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(into)]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    [wheel], [sdist] = into.glob("*.whl"), into.glob("*.tar.gz")
    return Built(wheel, sdist)


def copied(target: Path) -> Path:
    """The source tree without what git ignores, and with files such as an editor leaves."""
    for path in project_files(ROOT):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target / path, follow_symlinks=False)
    for stray in ("build/vm/root.img", "emulator/__pycache__/cli.cpython-311.pyc", "notes.txt", ".venv/bin/python"):
        (target / stray).parent.mkdir(parents=True, exist_ok=True)
        (target / stray).touch()
    return target


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tree, tmp_path_factory.mktemp("dist"))


def packaged(tree: Path) -> set[str]:
    """The files of both packages, as git would have them."""
    return {path.as_posix() for path in project_files(tree) if path.parts[0] in PACKAGES}


def test_the_wheel_is_the_packages_and_nothing_else(tree: Path, built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = set(wheel.namelist())
    metadata = {f"{INFO}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")}
    assert names == packaged(tree) | metadata
    data = ("emulator/contract/contract.toml", "emulator/vm/boot/init.sh")
    for needed in ("emulator/py.typed", "netns/py.typed", *data):
        assert needed in names


def test_the_sdist_is_the_project_and_nothing_else(tree: Path, built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
        launcher = sdist.getmember(f"wfplab-{VERSION}/wfplab")
    assert {name.partition("/")[0] for name in names} <= AT_THE_TOP
    assert AT_THE_TOP - {name.partition("/")[0] for name in names} <= {".ci", ".github"}
    assert packaged(tree) <= names
    assert "tests/lab/test_package.py" in names
    assert not any("__pycache__" in name for name in names)
    assert launcher.mode & 0o111


def test_a_second_build_is_the_same_to_the_octet(tree: Path, built: Built, tmp_path: Path) -> None:
    again = copied(tmp_path / "again")
    for path in project_files(again):
        os.utime(again / path, (time.time(), time.time()), follow_symlinks=False)
        if not (again / path).is_symlink():
            (again / path).chmod((again / path).stat().st_mode & 0o100 | 0o600)  # another umask
    assert build(again, tmp_path / "dist").octets == built.octets


def test_a_wheel_from_the_sdist_is_the_same(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as sdist:
        if hasattr(tarfile, "data_filter"):
            sdist.extractall(tmp_path, filter="data")
        else:  # Python 3.11 before its fourth release
            sdist.extractall(tmp_path)
    again = build(tmp_path / f"wfplab-{VERSION}", tmp_path / "dist")
    assert again.wheel.read_bytes() == built.wheel.read_bytes()


@dataclass(frozen=True)
class Installed:
    """The wheel's contents in a folder of their own, and an empty folder to work in."""

    folder: Path
    work: Path

    def call(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command there; the packages that wfplab needs are those of this interpreter."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PATH"] = f"{self.folder / 'bin'}:{environment['PATH']}"
        return subprocess.run(
            [str(word) for word in command], cwd=self.work, env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", str(folder), str(built.wheel)], check=True, capture_output=True)
    return Installed(folder, tmp_path_factory.mktemp("empty"))


def test_the_installed_command_runs_scenarios_and_says_its_version(installed: Installed) -> None:
    assert installed.call("wfplab", "--version").stdout == f"wfplab {VERSION}\n"
    ran = installed.call("wfplab", "run", "network_send")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "passed" in ran.stdout
    assert list(installed.work.iterdir()) == []


def test_the_modules_are_those_of_the_wheel(installed: Installed) -> None:
    script = "import emulator, netns; print(emulator.__file__, netns.__file__)"
    told = installed.call(sys.executable, "-P", "-c", script).stdout.split()
    assert told == [str(installed.folder / name / "__init__.py") for name in PACKAGES]


def test_an_installed_copy_has_no_tests_to_run(installed: Installed) -> None:
    ran = installed.call("wfplab", "test")
    assert ran.returncode == 77
    assert "source tree" in ran.stderr


def test_a_users_tests_run_and_fail_for_what_they_see(installed: Installed, tmp_path: Path) -> None:
    good, bad = tmp_path / "test_good.py", tmp_path / "test_bad.py"
    good.write_text(USERS_TEST)
    bad.write_text(USERS_TEST.replace("== [b\"open\"]", "== [b\"secret\"]"))
    assert pytest_on(installed, good) == (0, "2 passed")
    assert pytest_on(installed, bad)[0] == 1


def pytest_on(installed: Installed, *arguments: Path) -> tuple[int, str]:
    options: Sequence[str] = ("-q", "-p", "no:cacheprovider", "--wfplab-require", "--rootdir=.")
    ran = installed.call(sys.executable, "-m", "pytest", *options, *arguments)
    return ran.returncode, ran.stdout.splitlines()[-1].partition(" in ")[0]


def test_types_are_there_for_a_users_mypy(installed: Installed, tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text("from emulator import Callout\nreveal_type(Callout.classify)\nx: int = Callout\n")
    told = installed.call(sys.executable, "-m", "mypy", "--strict", "--cache-dir=/dev/null", user).stdout
    assert "emulator.indication.Indication" in told
    assert "[assignment]" in told
    assert "[import-untyped]" not in told
