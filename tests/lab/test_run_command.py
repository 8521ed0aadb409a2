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
def lively(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Long enough to be watched."""
    import time
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, 4)
        def pass_on(seen):
            if seen.view.destination_port != 5000 or seen.injected_by(handle):
                return seen.permit()
            handle.network_send(seen.clone(), driver.done)
            return seen.block(absorb=True)
        driver.add(pass_on, "OUTBOUND_IPPACKET", family)
        for _ in range(15):
            check("arrives", traffic.exchange([b"one"]), [b"one"])
            time.sleep(0.1)

@scenario(families=(AddressFamily.INET,))
def lacking(check: Checks) -> None:
    """A machine without some feature."""
    from netns.errors import MissingFeature
    raise MissingFeature("the feature")
'''


class Machine:
    """A folder with scenarios, and a mount namespace in which no other run's labs are seen, nor ours by others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "quick.py").write_text(QUICK)
        (folder / "slow.py").write_text(SLOW)
        script = "for at in /run/netns /run/wfplab; do mkdir -p $at && mount -t tmpfs -o mode=700 none $at; done"
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", f"{script}; echo ready; exec sleep 600"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"

    def argv(self, *arguments: str) -> list[str]:
        """`wfplab` inside of it."""
        inside = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--wdns={self.folder}"]
        return [*inside, sys.executable, "-P", "-m", "emulator", *arguments]

    def wfplab(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.argv(*arguments), env=environment(), capture_output=True, text=True, input=stdin, timeout=120
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it, in a session of its own."""
        return subprocess.Popen(
            self.argv(*arguments), env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def namespaces(self) -> set[str]:
        """The names of what labs have made."""
        return set(os.listdir(f"/proc/{self.holder.pid}/root/run/netns"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which no lab is left in the end."""
    made = Machine(tmp_path)
    try:
        yield made
        assert eventually(lambda: not made.namespaces()), f"left behind: {made.namespaces()}"
        assert os.listdir(f"/proc/{made.holder.pid}/root/run/wfplab") == []
    finally:
        made.holder.kill()
        made.holder.communicate()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def eventually(holds: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_run_that_passes_is_status_0_and_one_json_document(
    machine: Machine
) -> None:
    ran = machine.wfplab("run", "quick.py::good", "--json")
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


def test_what_failed_or_measured_nothing_is_status_1(machine: Machine) -> None:
    ran = machine.wfplab("run", "quick.py::good", "quick.py::bad", "quick.py::empty_handed", "--json")
    assert ran.returncode == 1
    document = json.loads(ran.stdout)
    assert [scenario["status"] for scenario in document["scenarios"]] == ["passed", "failed", "unmeasured"]
    assert document["summary"] == {"passed": 1, "failed": 1, "unmeasured": 1}
    for name in ("bad", "empty_handed"):
        assert machine.wfplab("run", f"quick.py::{name}").returncode == 1


def test_a_failed_check_is_shown_with_its_line(machine: Machine) -> None:
    ran = machine.wfplab("run", "quick.py::bad")
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
    name: str, told: Sequence[str], machine: Machine
) -> None:
    ran = machine.wfplab("run", f"quick.py::{name}", "--timeout", "4")
    assert ran.returncode == 1, ran.stdout
    for text in told:
        assert text in ran.stdout
    assert "Traceback" not in ran.stderr
    assert machine.namespaces() == set()


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
def test_wrong_usage_is_status_2_and_one_message(arguments: list[str], told: str, machine: Machine) -> None:
    (machine.folder / "broken.py").write_text("def (\n")
    (machine.folder / "none.py").write_text("x = 1\n")
    (machine.folder / "asks.py").write_text(
        'from emulator import scenario\n\n@scenario\ndef asks(pear):\n    """A fruit."""\n'
    )
    ran = machine.wfplab("run", *arguments)
    assert ran.returncode == 2
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_a_missing_feature_is_status_77_unless_something_failed(machine: Machine) -> None:
    alone = machine.wfplab("run", "quick.py::lacking", "quick.py::good")
    assert alone.returncode == 77
    assert "nothing was measured: the feature is missing" in alone.stdout
    assert machine.wfplab("run", "quick.py::lacking", "quick.py::bad").returncode == 1


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
    number: signal.Signals, jobs: list[str], machine: Machine
) -> None:
    run = machine.start("run", "slow.py", "quick.py::good", *jobs, "-v")
    assert eventually(lambda: len(machine.namespaces()) >= 2)
    run.send_signal(number)
    out, err = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode == (130 if number == signal.SIGINT else 128 + number), err
    assert "interrupted; removing" in err
    assert "Traceback" not in err
    assert out == ""
    assert machine.namespaces() == set()


@pytest.mark.parametrize("delay_ms", range(60, 660, 75))
def test_ctrl_c_at_any_moment_leaves_nothing(
    delay_ms: int, machine: Machine
) -> None:
    run = machine.start("run", "slow.py")
    time.sleep(delay_ms / 1000)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=PATIENCE_SECONDS)
    assert run.returncode in (130, -signal.SIGINT), err
    assert machine.namespaces() == set()


def test_what_a_killed_run_left_is_removed_by_the_next(machine: Machine) -> None:
    run = machine.start("run", "slow.py")
    assert eventually(lambda: len(machine.namespaces()) >= 2)
    run.kill()
    run.communicate()
    left = machine.namespaces()
    assert left
    ran = machine.wfplab("run", "quick.py::good")
    assert ran.returncode == 0
    assert f"removed what a dead run (process {run.pid}) had left" in ran.stderr
    assert not left & machine.namespaces()


def test_jobs_run_at_the_same_time_and_report_in_order(machine: Machine) -> None:
    ran = machine.wfplab("run", "quick.py::good", "quick.py::bad", "quick.py::lacking", "--jobs", "2", "--json")
    assert ran.returncode == 1, ran.stderr
    document = json.loads(ran.stdout)
    found = [(scenario["name"], scenario["status"]) for scenario in document["scenarios"]]
    assert found == [("good", "passed"), ("bad", "failed"), ("lacking", "unmeasured")]


def test_a_scenario_that_ends_its_process_fails_and_the_others_run_on(
    machine: Machine
) -> None:
    (machine.folder / "dies.py").write_text(
        "import os\nfrom emulator import Pair, scenario\n\n@scenario\ndef dies(pair: Pair) -> None:\n"
        '    """Ends its process."""\n    os._exit(7)\n'
    )
    ran = machine.wfplab("run", "dies.py", "quick.py::good", "--jobs", "2", "--json")
    assert ran.returncode == 1
    dies, good = json.loads(ran.stdout)["scenarios"]
    assert dies["checks"] == [
        {"name": "ran to its end", "ok": False, "expected": "a result", "seen": "its process ended with status 7"}
    ]
    assert good["status"] == "passed"
    assert machine.wfplab("clean").returncode == 0


def test_a_kept_lab_can_be_looked_into(machine: Machine) -> None:
    run = machine.start("run", "quick.py::good", "--keep")
    assert run.stderr is not None
    lines = iter(run.stderr.readline, "")
    assert any("wfplab shell 'good[ipv4]' peer" in line for line in lines)
    look = machine.wfplab("shell", "good", "peer", "ip", "-brief", "address", "show", "dev", "eth0")
    assert "10.0.0.2/24" in look.stdout, look.stderr
    wrong = machine.wfplab("shell", "good", "pear")
    assert (wrong.returncode, wrong.stderr) == (2, "wfplab: scenario good has no host pear; it has host, peer\n")
    out, _ = run.communicate("\n", timeout=PATIENCE_SECONDS)
    assert run.returncode == 0
    assert "1 passed" in out
    assert machine.namespaces() == set()
    gone = machine.wfplab("shell", "good", "peer")
    assert gone.returncode == 2
    assert "no lab of scenario good is open" in gone.stderr


def test_a_failure_pauses_while_its_host_is_alive(machine: Machine) -> None:
    run = machine.start("run", "quick.py::bad", "--pause-on-failure", "--timeout", "3")
    assert run.stderr is not None
    assert any("paused: bad[ipv4]: arrives: expected [b'two']" in line for line in iter(run.stderr.readline, ""))
    assert len(machine.namespaces()) == 2
    time.sleep(3.5)  # a pause does not count against the scenario's time
    run.communicate("\n", timeout=PATIENCE_SECONDS)
    assert run.returncode == 1


def test_the_other_queue_backend_runs_the_same_scenario(machine: Machine) -> None:
    assert machine.wfplab("run", "clone_and_inject_outbound", "--queue", "netfilterqueue", "-q").returncode == 0


def test_live_draws_on_a_terminal_and_writes_lines_elsewhere(machine: Machine) -> None:
    plain = machine.wfplab("run", "quick.py::good", "--live")
    assert plain.stderr.startswith("[1/1] good: passed")
    assert "\x1b" not in plain.stderr + plain.stdout
    drawn = on_a_terminal(machine, "run", "quick.py::lively", "--live")
    for text in (b"lively[ipv4]", b"OUTBOUND_IPPACKET_V4", b" reinjected", b"injected by <handle 1", b"checks hold"):
        assert text in drawn


def test_quiet_says_only_what_did_not_pass(machine: Machine) -> None:
    ran = machine.wfplab("run", "quick.py::good", "quick.py::bad", "-q")
    assert ran.stderr.startswith("[2/2] bad: failed")
    assert "good" not in ran.stderr + ran.stdout


def on_a_terminal(machine: Machine, *arguments: str) -> bytes:
    """What a run writes to standard error when that is a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    try:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        run = subprocess.Popen(
            machine.argv(*arguments),
            env={**environment(), "TERM": "xterm", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
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
