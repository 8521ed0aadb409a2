"""`wfplab bench` on real packets: a short run of some rows, and what it prints."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from netns.patience import patient

pytestmark = pytest.mark.host_only("measures rates, which emulation makes meaningless")
CANNOT_RUN = 77
WRONG_USAGE = 2


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-m", "emulator", "bench", "--quick", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=patient(120))


@pytest.mark.timeout(patient(150))
def test_a_short_run_measures_both_sides_and_closes_the_books() -> None:
    done = bench("--json", "--only", "send-lists", "--only", "lab-", "--only", "unmatched-forward")
    document = json.loads(done.stdout)
    assert document.keys() == {"rows", "machine"}
    assert {row["name"] for row in document["rows"]} == {"send-lists", "lab-two-hosts", "unmatched-forward"}
    for row in document["rows"]:
        assert row["ours"] > 0
        assert row["peer"] > 0
        assert row["spread"][0] <= row["ratio"] <= row["spread"][1]
        assert row["loss"] == 0
        assert row["closed"] is True
        assert bool(row.get("limit")) is not row["met"]
    assert done.returncode == (0 if all(row["met"] for row in document["rows"]) else 1)
    assert {"processors", "kernel", "python", "load", "engine"} <= document["machine"].keys()
    assert "1/3 send-lists" in done.stderr


def test_a_name_of_no_row_is_refused() -> None:
    done = bench("--only", "nonesuch")
    assert done.returncode == WRONG_USAGE
    assert "forward-permit" in done.stderr
