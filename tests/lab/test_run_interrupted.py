"""Runs that are interrupted, killed, paused, kept or watched: nothing is left, however they end."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.run_machine import PATIENCE_SECONDS, Machine, environment, eventually

pytestmark = pytest.mark.host_only("starts a run for every test, to interrupt it")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which no lab is left in the end."""
    with Machine(tmp_path) as made:
        yield made


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
    # Before the interpreter has begun with us it ends as it likes.
    assert run.returncode in (130, -signal.SIGINT) or "emulator" not in err, err
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


def test_live_draws_on_a_terminal_and_writes_lines_elsewhere(machine: Machine) -> None:
    plain = machine.wfplab("run", "quick.py::good", "--live")
    assert plain.stderr.startswith("[1/1] good: passed")
    assert "\x1b" not in plain.stderr + plain.stdout
    drawn = on_a_terminal(machine, "run", "quick.py::lively", "--live")
    for text in (b"lively[ipv4]", b"OUTBOUND_IPPACKET_V4", b" reinjected", b"injected by <handle 1", b"checks hold"):
        assert text in drawn


def on_a_terminal(machine: Machine, *arguments: str) -> bytes:
    """What a run writes to standard error when that is a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    try:
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
