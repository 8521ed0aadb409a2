"""What every packet meets has two twins, compiled and pure: the same tests pass with both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emulator import compiled
from emulator.run.building import build
from netns.errors import MissingFeature
from netns.patience import patient

ROOT = Path(__file__).parents[2]
TESTS = (
    "test_callouts.py", "test_callouts_stream.py", "test_callouts_stream_faults.py", "test_calls.py",
    "test_calls_accepted.py", "test_calls_stream.py", "test_calls_stream_order.py", "test_compiled.py",
    "test_completions.py", "test_contexts.py", "test_core.py", "test_engine.py", "test_engine_filters.py",
    "test_flows.py", "test_flowtracking.py", "test_handle.py", "test_handle_completing.py", "test_handle_destroy.py",
    "test_indication.py", "test_ledger.py", "test_looping.py", "test_metadata.py", "test_netbuffer.py",
    "test_octets.py", "test_ownership.py", "test_ownership_freeing.py", "test_reference.py", "test_splice.py",
    "test_stream.py", "test_stream_engine.py", "test_stream_engine_deferring.py", "test_stream_stage.py",
    "test_stream_stage_filters.py", "edge", "paths",
)  # fmt: skip
"""Of the unit tests, those of what is compiled, and of the edge that is put upon it."""
LAB_TESTS = ("test_network_batches.py",)
"""Of the lab tests, those of the modules that have a source for each twin."""


@pytest.mark.lab
@pytest.mark.host_only("compiles the core, and runs unit tests")
@pytest.mark.timeout(patient(600))
def test_the_other_twin_passes_the_same_tests() -> None:
    environment = {key: value for key, value in os.environ.items() if key != compiled.PURE}
    if compiled.in_use:
        environment[compiled.PURE] = "1"
    else:
        try:
            build()
        except MissingFeature as error:
            pytest.skip(str(error))
    asked = "import sys, emulator.compiled as it; sys.exit(not it.in_use)"
    used = subprocess.run([sys.executable, "-P", "-c", asked], cwd=ROOT, env=environment, check=False).returncode == 0
    assert used is not compiled.in_use
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"tests/unit/{name}" for name in TESTS] + [f"tests/lab/{name}" for name in LAB_TESTS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
