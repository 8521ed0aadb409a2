"""`./wfplab` on machines that lack something: each is the real one, with parts hidden in a mount namespace.

The interpreter is a stand-in that records what it is asked, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.host_only("the launcher is a shell script among stand-ins")

ROOT = Path(__file__).parents[2]
NOBODY = 65534
CANNOT_RUN = 77
PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")

INTERPRETER = r"""#!/bin/sh
case "$1 $2" in
    -c*) case $2 in *ensurepip*) printf '%s\n' "$0" 3.11 /bin/sh /bin/sh ;; esac ;;
    '-m venv') echo venv >>"$LOG"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    '-m pip')
        case $* in *install*) ;; *) exit ;; esac
        echo "pip $*" >>"$LOG"
        if [ -p "$HANG" ]; then echo here >"$HANG"; exec sleep 60; fi
        [ ! -e "$BROKEN" ] ;;
    '-P -m') shift 3; printf '<%s>' "$@"; exit "${STATUS-0}" ;;
esac
"""

# Takes away what hides the program and records how it was called.
APT_GET = r"""#!/bin/sh
case $* in *' install '*) ;; *) exit 0 ;; esac
echo "$DEBIAN_FRONTEND ${*##*--no-install-recommends }" >>"$LOG.apt"
[ ! -e "$BROKEN" ] && umount "$HIDDEN"
"""


def instead_of(place: str | Path, file: Path, command: list[str]) -> list[str]:
    """The command, in a mount namespace where another file is at that place."""
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(file), str(place), *command]


@dataclass
class Checkout:
    """A copy of the launcher, and the environment to start it in."""

    folder: Path
    environment: dict[str, str]

    def start(
        self, *arguments: str, by: str | Path | None = None, hide: Sequence[str] = (), user: int = 0,
        cwd: str | Path = "/",
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run the launcher; `hide` are programs that are not there, as far as this start can see."""
        command = [str(by or self.folder / "wfplab"), *arguments]
        if user:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        for program in hide:
            command = instead_of(program, self.nothing, command)
        environment = {**self.environment, "HIDDEN": hide[0] if hide else ""}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)

    @property
    def nothing(self) -> Path:
        """A file that is no program."""
        path = self.folder.parent / "nothing"
        path.touch(mode=0o644)
        return path

    @property
    def installed(self) -> list[str]:
        """What the interpreter was asked to make: `venv`, or `pip` with its arguments."""
        log = Path(self.environment["LOG"])
        return log.read_text().splitlines() if log.exists() else []

    @property
    def packages(self) -> list[str]:
        """What apt was asked for, one line for each call, led by the debconf frontend."""
        log = Path(self.environment["LOG"] + ".apt")
        return log.read_text().splitlines() if log.exists() else []

    def break_installers(self) -> None:
        Path(self.environment["BROKEN"]).touch()

    def mend_installers(self) -> None:
        Path(self.environment["BROKEN"]).unlink()


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    # Not below pytest's own folder, which other users cannot enter.
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name)
        outside.chmod(0o755)
        folder = outside / "a checkout"
        folder.mkdir()
        for file in ("wfplab", "pyproject.toml"):
            shutil.copy(ROOT / file, folder)
        stand_ins = outside / "bin"
        stand_ins.mkdir()
        for program, text in (("stand-in", INTERPRETER), ("apt-get", APT_GET)):
            (stand_ins / program).write_text(text)
            (stand_ins / program).chmod(0o755)
        state = {key.upper(): str(outside / key) for key in ("log", "hang", "broken")}
        path = f"{stand_ins}:/usr/bin:/bin"
        state["TMPDIR"] = str(outside / "temporary")
        os.mkdir(state["TMPDIR"], 0o777)
        os.chmod(state["TMPDIR"], 0o1777)
        yield Checkout(folder, {**state, "PATH": path, "WFPLAB_PYTHON": str(stand_ins / "stand-in")})


def test_the_first_use_installs_and_says_so_and_the_second_does_neither(checkout: Checkout) -> None:
    first = checkout.start("contract", "two words", "")
    assert (first.stdout, first.returncode) == ("<contract><two words><>", 0)
    assert "installing Python packages into" in first.stderr
    assert [line.split()[0] for line in checkout.installed] == ["venv", "pip"]

    second = checkout.start("contract")
    assert (second.stdout, second.stderr) == ("<contract>", "")
    assert len(checkout.installed) == 2


def test_the_exit_status_is_the_commands_own(checkout: Checkout) -> None:
    checkout.environment["STATUS"] = "2"
    assert checkout.start("nonsense").returncode == 2


def test_it_is_found_by_link_by_relative_path_by_path_variable_and_by_name(checkout: Checkout) -> None:
    checkout.start("first")
    link = checkout.folder.parent / "link"
    link.symlink_to(checkout.folder / "wfplab")
    (checkout.folder.parent / "relative").symlink_to("link")
    (checkout.folder.parent / "tree").symlink_to(checkout.folder)
    checkout.environment["PATH"] += f":{checkout.folder}"
    for by in (link, checkout.folder.parent / "relative", checkout.folder.parent / "tree/wfplab", "wfplab"):
        assert checkout.start("x", by=by).stdout == "<x>"
    assert checkout.start("x", by="./wfplab", cwd=checkout.folder).stdout == "<x>"
    assert checkout.start("wfplab", "x", by="/bin/sh", cwd=checkout.folder).stdout == "<x>"
    assert len(checkout.installed) == 2


def test_it_needs_nothing_from_the_environment(checkout: Checkout) -> None:
    checkout.start("first")
    bare = subprocess.run([checkout.folder / "wfplab", "x"], env={}, capture_output=True, check=False)
    assert (bare.stdout, bare.stderr) == (b"<x>", b"")


def test_the_tests_have_an_extra_that_other_commands_then_use(checkout: Checkout) -> None:
    checkout.start("contract")
    checkout.start("test")
    checkout.start("contract")
    targets = [line.split()[-1] for line in checkout.installed if line.startswith("pip")]
    assert targets == [".", ".[test]"]


def test_the_bench_has_an_extra_and_does_not_take_turns_with_the_tests(checkout: Checkout) -> None:
    for command in ("contract", "bench", "test", "bench", "contract"):
        checkout.start(command)
    targets = [line.split()[-1] for line in checkout.installed if line.startswith("pip")]
    assert targets == [".", ".[bench]", ".[test,bench]"]


def test_what_failed_is_taken_up_again(checkout: Checkout) -> None:
    checkout.break_installers()
    failed = checkout.start("contract")
    assert (failed.returncode, failed.stdout) == (CANNOT_RUN, "")
    assert "could not be installed" in failed.stderr
    checkout.mend_installers()
    assert checkout.start("contract").stdout == "<contract>"
    # The environment itself was whole: only pip is asked again.
    assert [line.split()[0] for line in checkout.installed] == ["venv", "pip", "pip"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_installation_is_taken_up_again(checkout: Checkout, number: signal.Signals) -> None:
    hang = checkout.environment["HANG"]
    os.mkfifo(hang)
    command = [str(checkout.folder / "wfplab"), "contract"]
    process = subprocess.Popen(
        command, env=checkout.environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with open(hang) as reached:
        assert reached.read() == "here\n"
    os.killpg(process.pid, number)
    assert process.wait() == -number  # which a shell shows as 128 + number
    os.unlink(hang)
    assert checkout.start("contract").stdout == "<contract>"


def test_starts_at_the_same_time_install_once(checkout: Checkout) -> None:
    command = [str(checkout.folder / "wfplab"), "x"]
    running = [
        subprocess.Popen(command, env=checkout.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(4)
    ]
    assert [process.communicate()[0] for process in running] == [b"<x>"] * 4
    assert [line.split()[0] for line in checkout.installed] == ["venv", "pip"]


def test_changed_dependencies_are_installed_into_the_same_environment(checkout: Checkout) -> None:
    checkout.start("x")
    with (checkout.folder / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    checkout.start("x")
    assert [line.split()[0] for line in checkout.installed] == ["venv", "pip", "pip"]


def test_a_moved_checkout_and_a_lost_interpreter_get_a_new_environment(checkout: Checkout) -> None:
    checkout.start("x")
    checkout.folder = checkout.folder.rename(checkout.folder.parent / "moved")
    assert checkout.start("x").stdout == "<x>"
    (checkout.folder / ".venv/bin/python").unlink()
    assert checkout.start("x").stdout == "<x>"
    assert [line.split()[0] for line in checkout.installed] == ["venv", "pip"] * 3


def test_an_environment_that_somebody_made_is_kept(checkout: Checkout) -> None:
    checkout.start("x")
    (checkout.folder / ".venv/wfplab.stamp").unlink()
    (checkout.folder / ".venv/theirs").touch()
    checkout.start("x")
    assert (checkout.folder / ".venv/theirs").exists()


def test_a_python_that_is_too_old_is_named(checkout: Checkout) -> None:
    del checkout.environment["WFPLAB_PYTHON"]
    checkout.environment["PATH"] = "/usr/bin:/bin"
    old = checkout.folder.parent / "old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] || exit 3\necho Python 3.10.12\n')
    old.chmod(0o755)
    command = [str(checkout.folder / "wfplab"), "x"]
    for place in {Path("/usr/bin", name).resolve() for name in PYTHONS if Path("/usr/bin", name).exists()}:
        command = instead_of(place, old, command)
    result = subprocess.run(command, env=checkout.environment, capture_output=True, text=True, check=False)
    assert result.returncode == CANNOT_RUN
    assert "needs Python 3.11 or newer, and found Python 3.10.12" in result.stderr


def test_a_plain_user_is_told_once_how_packages_are_installed(checkout: Checkout) -> None:
    result = checkout.start("run", hide=["/usr/sbin/nft"], user=NOBODY)
    assert result.returncode == CANNOT_RUN
    assert len(result.stderr.splitlines()) == 1
    assert "nftables" in result.stderr
    assert f"sudo {checkout.folder}/wfplab run" in result.stderr
    assert checkout.packages == []


def test_a_plain_user_who_may_not_write_is_told_once(checkout: Checkout) -> None:
    result = checkout.start("contract", user=NOBODY)
    assert result.returncode == CANNOT_RUN
    assert len(result.stderr.splitlines()) == 1
    assert f"sudo {checkout.folder}/wfplab contract" in result.stderr


def test_a_plain_user_can_install_python_packages_and_use_what_root_installed(checkout: Checkout) -> None:
    os.chown(checkout.folder, NOBODY, NOBODY)
    Path(checkout.environment["LOG"]).touch()
    os.chown(checkout.environment["LOG"], NOBODY, NOBODY)
    assert checkout.start("contract", user=NOBODY).stdout == "<contract>"
    shutil.rmtree(checkout.folder / ".venv")
    assert checkout.start("contract").stdout == "<contract>"
    assert checkout.start("contract", user=NOBODY).stdout == "<contract>"


def test_what_root_installs_belongs_to_the_owner_of_the_checkout(checkout: Checkout) -> None:
    os.chown(checkout.folder, NOBODY, NOBODY)
    checkout.start("x")
    made = [path for path in checkout.folder.rglob("*") if ".venv" in path.parts]
    assert checkout.folder / ".venv/wfplab.stamp" in made
    assert {path.lstat().st_uid for path in made} == {NOBODY}


def test_a_missing_package_is_installed_without_questions_and_alone(checkout: Checkout) -> None:
    result = checkout.start("run", hide=["/usr/sbin/nft"])
    assert checkout.packages == ["noninteractive nftables"]
    assert "installing Debian packages nftables" in result.stderr
    assert result.stdout == "<run>"


@pytest.mark.parametrize("arguments", [("contract",), ("run", "--list"), ("run", "--help")])
def test_programs_for_traffic_are_installed_only_for_commands_that_make_traffic(
    checkout: Checkout, arguments: tuple[str, ...]
) -> None:
    assert checkout.start(*arguments, hide=["/usr/bin/socat"]).returncode == 0
    assert checkout.packages == []
    assert checkout.start("run", hide=["/usr/bin/socat"]).returncode == 0
    assert checkout.packages == ["noninteractive socat"]


def test_what_apt_cannot_install_stops_the_tests_but_not_a_run(checkout: Checkout) -> None:
    checkout.start("test", hide=["/usr/bin/socat"])
    checkout.break_installers()
    tests = checkout.start("test", hide=["/usr/bin/socat"])
    assert (tests.returncode, tests.stdout) == (CANNOT_RUN, "")
    assert "by hand: apt-get install socat" in tests.stderr
    run = checkout.start("run", hide=["/usr/bin/socat"])
    assert (run.returncode, run.stdout) == (0, "<run>")
    assert "going on without them" in run.stderr


def test_without_apt_it_says_what_to_install(checkout: Checkout) -> None:
    (checkout.folder.parent / "bin/apt-get").unlink()
    result = checkout.start("run", hide=["/usr/sbin/nft", "/usr/bin/apt-get"])
    assert (result.returncode, result.stdout) == (CANNOT_RUN, "")
    assert "packages nftables (" in result.stderr
    assert "there is no apt here: install them by hand" in result.stderr


def test_an_installed_server_is_neither_started_nor_enabled(checkout: Checkout) -> None:
    checkout.start("contract")
    stand_ins = checkout.folder.parent / "bin"
    nothing = "#!/bin/sh\n"
    asks_policy = "case $* in *' install '*) /usr/sbin/policy-rc.d; echo policy $? ;; esac >>\"$LOG\"\n"
    programs = {
        **dict.fromkeys(("iptables", "nft", "ip", "sysctl", "update-rc.d"), nothing),
        "apt-get": f"{nothing}{asks_policy}cp /bin/true /usr/sbin/nginx; cp /bin/true /usr/sbin/sshd\n",
        "systemctl": nothing + 'echo systemctl "$@" >>"$LOG"\n',
    }
    for name, text in programs.items():
        (stand_ins / name).write_text(text)
        (stand_ins / name).chmod(0o755)
    # A machine with an empty /usr/sbin: no servers, and no policy of its own.
    script = 'mount -t tmpfs none /usr/sbin && "$@" && ls /usr/sbin'
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", checkout.folder / "wfplab", "run"],
        env=checkout.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stdout == "<run>nginx\nsshd\n"
    assert checkout.installed[2:] == [
        "policy 101", "systemctl disable nginx.service", "systemctl disable ssh.service"
    ]  # fmt: skip
