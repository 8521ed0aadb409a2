"""Inside the guest: does the job, with every feature required, and leaves its results for the host.

Started by `guest/init.sh` as `python -m emulator.vm.guest JOB RESULTS`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PYTEST_SECONDS = 60
AT_A_TIME = max(2, os.cpu_count() or 1)
"""Scenarios and tests that run side by side, also on one processor: many of them wait for most of their time."""
SUITE = ("-m", "not host_only", "--dist", "loadfile", "--ignore=tests/lab/test_scenarios.py", "tests/lab")
"""The lab tests of the project that a kernel can make a difference to; all scenarios run by themselves."""
SLOWEST = ("--durations=20", "--durations-min=10")
LOOK_SECONDS = 5.0
"""Between looks at the memory, while a program runs."""


class Work:
    """One job: what it has come to so far, and where its results go."""

    def __init__(self, job: Mapping[str, Any], results: Path) -> None:
        self.arguments = [str(argument) for argument in job["arguments"]]
        self.factor = float(job["time_factor"])
        self.results = results
        self.most_used = 0
        """KiB of the guest's memory, files in memory included; when it was looked at."""
        self.environment = {
            **os.environ,
            "WFPLAB_TIME_FACTOR": f"{self.factor:g}",
            "WFPLAB_BULK_SHARE": str(job["bulk_share"]),
            "WFPLAB_RESULTS": str(results),
        }

    def test(self) -> int:
        """Every feature, every scenario, every lab test; all are tried also after one that failed."""
        workers = f"--numprocesses={AT_A_TIME}"
        statuses = [self.features(), self.scenarios(), self.pytest([workers, *SLOWEST, *SUITE])]
        return next((status for status in statuses if status), 0)

    def pytest_alone(self) -> int:
        """pytest with the arguments as they are."""
        return self.pytest(self.arguments)

    def run(self) -> int:
        """`wfplab run` with the arguments as they are; where they ask for no report, one comes back all the same."""
        asked = {word.partition("=")[0] for word in self.arguments}
        report = self._report() if asked.isdisjoint(("--report", "--list", "--help")) else ()
        return self._wfplab("run", *report, *self.arguments)

    def doctor(self) -> int:
        """`wfplab doctor` with the arguments as they are."""
        return self._wfplab("doctor", *self.arguments)

    def features(self) -> int:
        """Demand every feature that `wfplab doctor` knows, also where there is something else to fall back to."""
        document = self.results / "doctor.json"
        with document.open("wb") as file:
            status = self._wfplab("doctor", "--json", stdout=file)
        found = self._printed(document).get("features", [])
        lacking = [f"{each['name']} ({each['detail']})" for each in found if not each["available"]]
        _say(f"doctor: {len(found) - len(lacking)} of {len(found)} features")
        for line in lacking:
            _say(f"  MISSING {line}")
        return status or int(bool(lacking) or not found)

    def scenarios(self) -> int:
        """Run all scenarios; the document of results and the report come back, and what failed is said."""
        document = self.results / "scenarios.json"
        with document.open("wb") as file:
            ways = ["--json", "--progress", f"--jobs={AT_A_TIME}"]
            status = self._wfplab("run", *ways, *self._report(), stdout=file)
        found = self._printed(document)
        for line in told_scenarios(found) if found else ():
            _say(line)
        return status

    def pytest(self, arguments: Sequence[str]) -> int:
        """Run pytest where a skip is a failure, and time-outs are longer by the factor."""
        seconds = PYTEST_SECONDS * self.factor
        options = [
            "-p", "emulator.vm.require", "--wfplab-require", "-o", f"timeout={seconds:g}",
            "-o", f"faulthandler_timeout={seconds * 0.9:g}", "-o", "cache_dir=/tmp/pytest",
            # What passed leaves nothing: /tmp is memory.
            "-o", "tmp_path_retention_policy=failed", f"--junitxml={self.results / 'junit.xml'}", "-ra",
        ]  # fmt: skip
        return self._call([sys.executable, "-P", "-m", "pytest", *options, *arguments])

    def _printed(self, document: Path) -> dict[str, Any]:
        """What a command printed; empty if it failed before it could, and said why."""
        text = document.read_text()
        return dict(json.loads(text)) if text else {}

    def _report(self) -> list[str]:
        """Trace, capture and page of all that is run."""
        return ["--report", str(self.results / "report")]

    def _wfplab(self, *arguments: str, stdout: Any = None) -> int:
        return self._call([sys.executable, "-P", "-m", "emulator", *arguments], stdout)

    def _call(self, argv: Sequence[str], stdout: Any = None) -> int:
        sys.stdout.flush()
        with subprocess.Popen(argv, stdout=stdout, env=self.environment) as program:
            while True:
                self.most_used = max(self.most_used, used_memory())
                try:
                    status = program.wait(LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
                return status if status >= 0 else 128 - status


def used_memory() -> int:
    """KiB that programs and files in memory take: what the kernel could not give to somebody else."""
    with open("/proc/meminfo") as lines:
        found = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return found["MemTotal"] - found["MemAvailable"]


def told_scenarios(document: Mapping[str, Any]) -> list[str]:
    """What `wfplab run --json` found, in lines: the failed checks, then the counts."""
    lines = []
    for scenario in document["scenarios"]:
        if scenario["status"] != "passed":
            lines.append(f"{scenario['name']}: {scenario['status']}")
        for check in scenario["checks"]:
            if not check["ok"]:
                lines.append(f"  {check['name']}\n    expected {check['expected']}\n    seen     {check['seen']}")
    counts = ", ".join(f"{number} {word}" for word, number in document["summary"].items())
    return [*lines, f"scenarios: {counts}"]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(job: Path, results: Path) -> None:
    """Do the job, and write `outcome.json` last: where it is missing, the guest died."""
    told = json.loads(job.read_text())
    work = Work(told, results)
    started = time.monotonic()
    does: dict[str, Callable[[], int]] = {
        "test": work.test, "run": work.run, "doctor": work.doctor, "pytest": work.pytest_alone,
    }  # fmt: skip
    status = does[told["command"]]()
    outcome = {
        "status": status, "seconds": round(time.monotonic() - started, 3), "memory_mib": work.most_used >> 10,
        "release": os.uname().release,
    }  # fmt: skip
    (results / "outcome.json").write_text(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
