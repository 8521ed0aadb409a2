"""`wfplab run` from end to end: exit statuses, JSON, and what is said of scenarios and callouts that go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from netns.patience import patient
from tests.lab.run_machine import QUICK, Machine, environment

pytestmark = pytest.mark.host_only("starts a run for every test, to read what it says")

NOBODY = 65534


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which no lab is left in the end."""
    with Machine(tmp_path) as made:
        yield made


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
        (["clone_and_inject_outbund"], "did you mean clone_and_inject_outbound"),
        (["nosuch.py"], "nosuch.py does not exist"),
        (["quick.py::goood"], "did you mean good"),
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
        "import os, emulator.run.session\nfrom emulator.cli import main\n"
        "try: main(['list'])\nexcept SystemExit: pass\n"
        f"os.setresuid({NOBODY}, {NOBODY}, {NOBODY})\nmain(['run', 'handle_matrix'])"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd="/", env=environment(), capture_output=True, text=True,
        timeout=patient(60),
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (
        77, "wfplab: `run` needs root: sudo ./wfplab run, or ./wfplab run --rootless\n"
    )


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


def test_the_other_queue_backend_runs_the_same_scenario(machine: Machine) -> None:
    assert machine.wfplab("run", "clone_and_inject_outbound", "--queue", "netfilterqueue", "-q").returncode == 0


def test_quiet_says_only_what_did_not_pass(machine: Machine) -> None:
    ran = machine.wfplab("run", "quick.py::good", "quick.py::bad", "-q")
    assert ran.stderr.startswith("[2/2] bad: failed")
    assert "good" not in ran.stderr + ran.stdout
