"""Without root: an ordinary user runs the same scenarios and tests, in namespaces of the run's own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netns import rootless
from netns.errors import MissingFeature
from netns.patience import patient

ROOT = Path(__file__).parents[2]
NOBODY = 65534
SCENARIOS = ("network_send", "clone_and_inject_inbound", "one_handle_sends_and_forwards", "edit_a_stream_inline")
TESTS = """
def test_a_datagram_is_blocked(pair, family, driver):
    from emulator.traffic import Datagrams

    traffic = Datagrams(pair.host, pair.peer, family)
    assert traffic.exchange([b"one"]) == [b"one"]
    driver.add(lambda seen: seen.block() if seen.view.destination_port == 5000 else seen.permit(),
               "OUTBOUND_IPPACKET", family)
    assert traffic.exchange([b"two"]) == []

def test_programs_have_no_rights(pair):
    status = pair.host.run("cat", "/proc/self/status").stdout
    assert "CapEff:\\t0000000000000000" in status
    assert pair.host.run("ip", "link", "set", "eth0", "down", check=False).returncode != 0
    assert pair.host.run("ip", "link", "set", "eth0", "down", user="root").returncode == 0
"""

pytestmark = pytest.mark.timeout(patient(300))


class Ordinary:
    """A user without rights, and a folder that is the user's."""

    def __init__(self, folder: Path, user: int) -> None:
        self.folder = folder
        self.user = user
        self.token = f"WFPLAB_TOKEN={secrets.token_hex(8)}"

    def alive(self) -> list[str]:
        """The processes that were started by what ran."""
        found = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError):
                if self.token.encode() in Path("/proc", name, "environ").read_bytes():
                    found.append(name)
        return found

    def runs(self, *argv: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a module of Python as that user, to its end."""
        becoming = ["setpriv", "--reuid", str(self.user), "--regid", str(self.user), "--clear-groups"]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.folder), "USER": "me"}
        environment |= dict([self.token.split("=")])
        environment |= {name: value for name, value in os.environ.items() if name.startswith("WFPLAB_")}
        return subprocess.run(
            [*becoming, *before, sys.executable, "-m", *argv], cwd=self.folder, env=environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patient(180), check=False,
        )  # fmt: skip


@pytest.fixture
def ordinary() -> Iterator[Ordinary]:
    try:
        rootless.possible()
    except MissingFeature as error:
        pytest.skip(str(error))
    user = ROOT.stat().st_uid or NOBODY
    folder = Path(tempfile.mkdtemp(prefix="wfplab-rootless-"))
    try:
        os.chown(folder, user, user)
        made = Ordinary(folder, user)
        if made.runs("emulator", "--version").returncode:
            pytest.skip(f"user {user} cannot read the source tree")
        yield made
    finally:
        shutil.rmtree(folder)


def test_an_ordinary_user_runs_scenarios_and_leaves_nothing(ordinary: Ordinary) -> None:
    ran = ordinary.runs("emulator", "run", "--rootless", *SCENARIOS, "--json", "--report", "report", "--jobs", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["summary"] == {"passed": len(SCENARIOS), "failed": 0, "unmeasured": 0}
    for name in ("report.html", "trace.jsonl", "junit.xml"):
        assert (ordinary.folder / "report" / name).stat().st_uid == ordinary.user
    assert not ordinary.alive()


def test_the_doctor_says_what_there_is_not(ordinary: Ordinary) -> None:
    ran = ordinary.runs("emulator", "doctor", "--rootless", "--json")
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["ready"]) == (0, True)
    found = {feature["name"]: feature for feature in document["features"]}
    for name in ("buffers of any size", "other users in hosts", "labs that other terminals see"):
        assert not found[name]["available"]
        assert found[name]["fallback"]
    assert found[rootless.FEATURE]["detail"] == "in use"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_so_does_pytest(workers: str, ordinary: Ordinary) -> None:
    (ordinary.folder / "test_mine.py").write_text(TESTS)
    ran = ordinary.runs("pytest", "-q", "--wfplab-rootless", "--wfplab-require", "-n", workers, "test_mine.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 passed" in ran.stdout


def test_without_the_option_one_line_says_what_to_do(ordinary: Ordinary) -> None:
    ran = ordinary.runs("emulator", "run", "network_send")
    assert (ran.returncode, ran.stdout) == (77, "")
    assert ran.stderr == "wfplab: `run` needs root: sudo ./wfplab run, or ./wfplab run --rootless\n"
    ran = ordinary.runs("emulator", "clean")
    assert ran.stderr == "wfplab: `clean` needs root: sudo ./wfplab clean\n"


def test_where_the_kernel_does_not_allow_it_one_line_says_why(ordinary: Ordinary) -> None:
    forbid = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\""
    ran = ordinary.runs(
        "emulator", "run", "--rootless", "network_send", before=("unshare", "-Ur", "sh", "-ec", forbid, "sh")
    )
    assert (ran.returncode, ran.stdout) == (77, "")
    assert ran.stderr.startswith("wfplab: user namespaces for ordinary users is missing (needed by --rootless)")
    assert "user.max_user_namespaces is 0" in ran.stderr
    assert ran.stderr.count("\n") == 1
