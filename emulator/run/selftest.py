"""`wfplab test`: the linters and all tests of the project, as one answer."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from emulator.checkout import source_tree
from netns.patience import FACTOR, patient

FAILED = 1
CANNOT_RUN = 77

PYTEST_SECONDS = 60

_LINTERS = (("ruff", "check", "."), ("mypy",))


def run(pytest_arguments: Sequence[str], *, out: TextIO) -> int:
    """Run ruff, mypy and the tests in the source tree; one line per step goes to `out`, at the end.

    With arguments, pytest alone runs, with these arguments. Every step runs, also after one that failed.
    For another user than root the lab tests cannot run; that is said, and is not a success.

    Returns 0 when every step passed, 1 when one failed, 77 when there are no sources or no root.
    """
    root = source_tree()
    if root is None:
        out.write("wfplab: `test` needs the source tree; this is an installed copy without tests\n")
        return CANNOT_RUN
    if pytest_arguments:
        return FAILED if _step(("pytest", *pytest_arguments), root) else 0
    privileged = os.geteuid() == 0
    # One pytest session for all, so that there is one list of rules proved. Unit tests come first.
    folders = ("tests/unit", "tests/lab") if privileged else ("tests/unit",)
    lines = []
    status = 0
    for command in (*_LINTERS, ("pytest", "-ra", *folders)):
        started = time.monotonic()
        returned = _step(command, root)
        status = FAILED if returned else status
        verdict = f"failed, status {returned}" if returned else "passed"
        lines.append(f"{' '.join(command):<36} {verdict} ({time.monotonic() - started:.1f} s)\n")
    if not privileged:
        lines.append("tests/lab                            NOT RUN: needs root (sudo ./wfplab test)\n")
        status = status or CANNOT_RUN
    out.writelines(lines)
    return status


def _step(command: Sequence[str], root: Path) -> int:
    # -P: with -m, the working folder would come first on the search path.
    environment = dict(os.environ)
    if FACTOR in environment:
        environment["PYTEST_TIMEOUT"] = f"{patient(PYTEST_SECONDS):g}"
    return subprocess.run([sys.executable, "-P", "-m", *command], cwd=root, env=environment, check=False).returncode
