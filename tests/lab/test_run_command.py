"""`wfplab run` from end to end: exit statuses, JSON, and that nothing is left, however a run ends."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 30.0
NOBODY = 65534

SLOW = '''
import time
from emulator import AddressFamily, Checks, Pair, Datagrams, scenario

@scenario()
def slow(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """host === peer"""
    check("control", Datagrams(pair.host, pair.peer, family).exchange([b"one"]), [b"one"])
    check.step("waiting")
    time.sleep(60)
'''

QUICK = '''
from emulator import AddressFamily, Checks, Pair, Datagrams, scenario

@scenario(families=(AddressFamily.INET,))
def good(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """host === peer"""
    check("arrives", Datagrams(pair.host, pair.peer, family).exchange([b"one"]), [b"one"])

@scenario(families=(AddressFamily.INET,))
def bad(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """host === peer"""
    check("arrives", Datagrams(pair.host, pair.peer, family).exchange([b"one"]), [b"two"])

@scenario(families=(AddressFamily.INET,))
def empty_handed(pair: Pair) -> None:
    """host === peer"""

@scenario(families=(AddressFamily.INET,))
def raising(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A callout that raises."""
    traffic = Datagrams(pair.host, pair.peer, family)
    check("control", traffic.exchange([b"one"]), [b"one"])
    with pair.host.driver() as driver:
        driver.add(lambda seen: 1 // 0, "OUTBOUND_IPPACKET", family)
        traffic.exchange([b"two"])

@scenario(families=(AddressFamily.INET,))
def hoarding(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A callout that never gives its clone back."""
    traffic = Datagrams(pair.host, pair.peer, family)
    check("control", traffic.exchange([b"one"]), [b"one"])
    kept = []
    def hoard(seen):
        if seen.view.destination_port == 5000:
            kept.append(seen.clone())
            return seen.block(absorb=True)
        return seen.permit()
    with pair.host.driver() as driver:
        driver.add(hoard, "OUTBOUND_IPPACKET", family)
        traffic.send(b"two")
        pair.host.stack.settle(timeout=0.5)

@scenario(families=(AddressFamily.INET,))
def spinning(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A callout that does not return."""
    traffic = Datagrams(pair.host, pair.peer, family)
    check("control", traffic.exchange([b"one"]), [b"one"])
    def spin(seen):
        while True:
            pass
    with pair.host.driver() as driver:
        driver.add(spin, "OUTBOUND_IPPACKET", family)
        traffic.exchange([b"two"])

@scenario(families=(AddressFamily.INET,))
def lacking(check: Checks) -> None:
    """A machine without some feature."""
    from netns.errors import MissingFeature
    raise MissingFeature("the feature")
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "quick.py").write_text(QUICK)
    (tmp_path / "slow.py").write_text(SLOW)
    return tmp_path


@pytest.fixture
def namespaces() -> Iterator[Callable[[], set[str]]]:
    """The namespaces of labs that are there beyond those of others; none may be left in the end."""

    def ours() -> set[str]:
        place = Path("/run/netns")
        return {path.name for path in place.iterdir() if path.name.startswith("wfp-")} if place.is_dir() else set()

    before = ours()
    yield lambda: ours() - before
    assert eventually(lambda: not ours() - before), f"left behind: {ours() - before}"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "emulator", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def wfplab(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, input=stdin, timeout=120
    )


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(), text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def eventually(holds: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_run_that_passes_is_status_0_and_one_json_document(
    folder: Path, namespaces: Callable[[], set[str]]
) -> None:
    ran = wfplab(folder, "run", "quick.py::good", "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["summary"] == {"passed": 1, "failed": 0, "unmeasured": 0}
    [scenario] = document["scenarios"]
    assert set(scenario) == {"name", "families", "status", "checks", "violations", "books"}
    assert scenario["name"] == "good"
    assert scenario["families"] == ["ipv4"]
    assert scenario["checks"][0] == {"name": "arrives", "ok": True, "expected": "[b'one']", "seen": "[b'one']"}
    assert scenario["violations"] == []
    assert scenario["books"]["closed"] is True
    assert scenario["books"]["canaries"] == {"sent": 1, "arrived": 1}


def test_what_failed_or_measured_nothing_is_status_1(folder: Path, namespaces: Callable[[], set[str]]) -> None:
    ran = wfplab(folder, "run", "quick.py::good", "quick.py::bad", "quick.py::empty_handed", "--json")
    assert ran.returncode == 1
    document = json.loads(ran.stdout)
    assert [scenario["status"] for scenario in document["scenarios"]] == ["passed", "failed", "unmeasured"]
    assert document["summary"] == {"passed": 1, "failed": 1, "unmeasured": 1}
    for name in ("bad", "empty_handed"):
        assert wfplab(folder, "run", f"quick.py::{name}").returncode == 1


def test_a_failed_check_is_shown_with_its_line(folder: Path, namespaces: Callable[[], set[str]]) -> None:
    ran = wfplab(folder, "run", "quick.py::bad")
    line = QUICK.splitlines().index('    check("arrives", Datagrams(pair.host, pair.peer, family)'
                                    '.exchange([b"one"]), [b"two"])') + 1  # fmt: skip
    assert f"arrives (quick.py:{line})" in ran.stdout
    assert "expected [b'two']\n    seen     [b'one']" in ran.stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("raising", ["GE-9", "ZeroDivisionError", "(at quick.py:"]),
        ("hoarding", ["never given back (NB-9), made at", "in hoard"]),
        ("spinning", ["did not end within 4 s", "does not come back from a callout: it stands in spinning"]),
    ],
)
def test_a_callout_that_misbehaves_is_named_and_cleared_up(
    name: str, told: Sequence[str], folder: Path, namespaces: Callable[[], set[str]]
) -> None:
    ran = wfplab(folder, "run", f"quick.py::{name}", "--timeout", "4")
    assert ran.returncode == 1, ran.stdout
    for text in told:
        assert text in ran.stdout
    assert "Traceback" not in ran.stderr
    assert namespaces() == set()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch"], "there is no scenario nosuch"),
        (["clone_and_inject_outbund"], "did you mean clone_and_inject_outbound?"),
        (["nosuch.py"], "nosuch.py does not exist"),
        (["quick.py::goood"], "did you mean good?"),
        (["broken.py"], "broken.py:1: it cannot be imported: SyntaxError"),
        (["none.py"], "none.py has no scenario"),
        (["asks.py"], "scenario asks asks for `pear`"),
        (["quick.py", "--queue", "none"], "--queue takes netlink or netfilterqueue"),
        (["quick.py", "--jobs", "0"], "--jobs takes a number of 1 or more"),
        (["quick.py", "--jobs", "2", "--keep"], "not with --jobs"),
        (["--no-such-option"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_status_2_and_one_message(arguments: list[str], told: str, folder: Path) -> None:
    (folder / "broken.py").write_text("def (\n")
    (folder / "none.py").write_text("x = 1\n")
    (folder / "asks.py").write_text(
        'from emulator import scenario\n\n@scenario\ndef asks(pear):\n    """A fruit."""\n'
    )
    ran = wfplab(folder, "run", *arguments)
    assert ran.returncode == 2
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_a_missing_feature_is_status_77_unless_something_failed(folder: Path) -> None:
    alone = wfplab(folder, "run", "quick.py::lacking", "quick.py::good")
    assert alone.returncode == 77
    assert "nothing was measured: the feature is missing" in alone.stdout
    assert wfplab(folder, "run", "quick.py::lacking", "quick.py::bad").returncode == 1


def test_without_root_it_is_status_77_and_one_line() -> None:
    # Loaded as root: the interpreter's own files may be out of a user's reach.
    script = (
        "import os, emulator.session\nfrom emulator.cli import main\n"
        "try: main(['list'])\nexcept SystemExit: pass\n"
        f"os.setresuid({NOBODY}, {NOBODY}, {NOBODY})\nmain(['run', 'handle_matrix'])"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd="/", env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (77, "wfplab: `run` needs root: sudo ./wfplab run\n")


@pytest.mark.parametrize("jobs", [[], ["--jobs", "2"]], ids=["one", "two"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_an_interrupted_run_removes_everything(
    number: signal.Signals, jobs: list[str], folder: Path, namespaces: Callable[[], set[str]]
) -> None:
    run = start(folder, "run", "slow.py", "quick.py::good", *jobs, "-v")
    assert eventually(lambda: len(namespaces()) >= 2)
    run.send_signal(number)
    out, err = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == (130 if number == signal.SIGINT else 128 + number), err
    assert "interrupted; removing" in err
    assert "Traceback" not in err
    assert out == ""
    assert namespaces() == set()


@pytest.mark.parametrize("delay_ms", range(60, 660, 75))
def test_ctrl_c_at_any_moment_leaves_nothing(
    delay_ms: int, folder: Path, namespaces: Callable[[], set[str]]
) -> None:
    run = start(folder, "run", "slow.py")
    time.sleep(delay_ms / 1000)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode in (130, -signal.SIGINT), err
    assert namespaces() == set()


def test_what_a_killed_run_left_is_removed_by_the_next(folder: Path, namespaces: Callable[[], set[str]]) -> None:
    run = start(folder, "run", "slow.py")
    assert eventually(lambda: len(namespaces()) >= 2)
    run.kill()
    run.communicate()
    left = namespaces()
    assert left
    ran = wfplab(folder, "run", "quick.py::good")
    assert ran.returncode == 0
    assert f"removed what a dead run (process {run.pid}) had left" in ran.stderr
    assert not left & namespaces()


def test_jobs_run_at_the_same_time_and_report_in_order(folder: Path, namespaces: Callable[[], set[str]]) -> None:
    ran = wfplab(folder, "run", "quick.py::good", "quick.py::bad", "quick.py::lacking", "--jobs", "2", "--json")
    assert ran.returncode == 1, ran.stderr
    document = json.loads(ran.stdout)
    found = [(scenario["name"], scenario["status"]) for scenario in document["scenarios"]]
    assert found == [("good", "passed"), ("bad", "failed"), ("lacking", "unmeasured")]


def test_a_scenario_that_ends_its_process_fails_and_the_others_run_on(
    folder: Path, namespaces: Callable[[], set[str]]
) -> None:
    (folder / "dies.py").write_text(
        "import os\nfrom emulator import Pair, scenario\n\n@scenario\ndef dies(pair: Pair) -> None:\n"
        '    """Ends its process."""\n    os._exit(7)\n'
    )
    ran = wfplab(folder, "run", "dies.py", "quick.py::good", "--jobs", "2", "--json")
    assert ran.returncode == 1
    dies, good = json.loads(ran.stdout)["scenarios"]
    assert dies["checks"] == [
        {"name": "ran to its end", "ok": False, "expected": "a result", "seen": "its process ended with status 7"}
    ]
    assert good["status"] == "passed"
    assert wfplab(folder, "clean").returncode == 0


def test_a_kept_lab_can_be_looked_into(folder: Path, namespaces: Callable[[], set[str]]) -> None:
    run = start(folder, "run", "quick.py::good", "--keep")
    assert run.stderr is not None
    lines = iter(run.stderr.readline, "")
    assert any("wfplab shell 'good[ipv4]' peer" in line for line in lines)
    look = wfplab(folder, "shell", "good", "peer", "ip", "-brief", "address", "show", "dev", "eth0")
    assert "10.0.0.2/24" in look.stdout, look.stderr
    wrong = wfplab(folder, "shell", "good", "pear")
    assert (wrong.returncode, wrong.stderr) == (2, "wfplab: scenario good has no host pear; it has host, peer\n")
    out, _ = run.communicate("\n", timeout=PATIENCE_SECONDS)
    assert run.returncode == 0
    assert "1 passed" in out
    assert namespaces() == set()
    gone = wfplab(folder, "shell", "good", "peer")
    assert gone.returncode == 2
    assert "no lab of scenario good is open" in gone.stderr


def test_a_failure_pauses_while_its_host_is_alive(folder: Path, namespaces: Callable[[], set[str]]) -> None:
    run = start(folder, "run", "quick.py::bad", "--pause-on-failure", "--timeout", "3")
    assert run.stderr is not None
    assert any("paused: bad[ipv4]: arrives: expected [b'two']" in line for line in iter(run.stderr.readline, ""))
    assert len(namespaces()) == 2
    time.sleep(3.5)  # a pause does not count against the scenario's time
    run.communicate("\n", timeout=PATIENCE_SECONDS)
    assert run.returncode == 1


def test_the_other_queue_backend_runs_the_same_scenario(folder: Path) -> None:
    assert wfplab(folder, "run", "clone_and_inject_outbound", "--queue", "netfilterqueue", "-q").returncode == 0


def test_live_draws_on_a_terminal_and_writes_lines_elsewhere(folder: Path) -> None:
    plain = wfplab(folder, "run", "quick.py::good", "--live")
    assert plain.stderr.startswith("[1/1] good: passed")
    assert "\x1b" not in plain.stderr + plain.stdout
    drawn = on_a_terminal(folder, "run", "clone_and_inject_outbound", "--live")
    assert b"POSTROUTING" not in drawn
    for text in (b"clone_and_inject_outbound[ipv4]", b"OUTBOUND_IPPACKET_V4", b"reinjected", b"injected by <handle 1"):
        assert text in drawn


def test_quiet_says_only_what_did_not_pass(folder: Path) -> None:
    ran = wfplab(folder, "run", "quick.py::good", "quick.py::bad", "-q")
    assert ran.stderr.startswith("[2/2] bad: failed")
    assert "good" not in ran.stderr + ran.stdout


def on_a_terminal(folder: Path, *arguments: str) -> bytes:
    """What a run writes to standard error when that is a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        run = subprocess.Popen(
            command(*arguments), cwd=folder, env={**environment(), "TERM": "xterm"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        seen = b""
        try:
            while octets := os.read(ours, 65536):
                seen += octets
        except OSError:  # the other end is closed
            pass
        assert run.wait(PATIENCE_SECONDS) == 0
        return seen
    finally:
        os.close(ours)
