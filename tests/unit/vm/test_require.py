"""Where everything is required, what skips itself fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest
def test_passes(): pass
def test_skips(): pytest.skip("missing feature: netem")
@pytest.mark.skip(reason="broken")
def test_is_marked(): pass
@pytest.mark.xfail(strict=True)
def test_is_expected_to_fail(): assert False
@pytest.fixture
def gone(): pytest.skip("missing feature: tproxy")
def test_needs(gone): pass
"""
MODULE_SKIPS = 'import pytest\npytest.skip("missing feature: nft", allow_module_level=True)\n'


def outcome(folder: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir=.", *options]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


def test_a_skip_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(SKIPS)
    status, told = outcome(tmp_path, "-p", "emulator.vm.require")
    assert status == 1
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in told
    for reason in ("missing feature: netem", "broken", "missing feature: tproxy"):
        assert f"skipped where nothing may be: {reason}" in told


def test_so_is_one_of_a_whole_module(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(MODULE_SKIPS)
    status, told = outcome(tmp_path, "-p", "emulator.vm.require")
    assert status == 2
    assert "skipped where nothing may be: missing feature: nft" in told


@pytest.mark.parametrize(("text", "status"), [(SKIPS, 0), (MODULE_SKIPS, 5)])
def test_otherwise_a_skip_is_one(text: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(text)
    assert outcome(tmp_path)[0] == status


LEFT_OUT = """
import pytest
@pytest.mark.host_only("needs Chromium")
@pytest.mark.parametrize("n", [1, 2])
def test_page(n): raise AssertionError
def test_packet(): pass
"""
LISTED = "   2  test_a.py: needs Chromium"


@pytest.mark.parametrize("parallel", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_what_is_left_to_the_host_is_counted_with_its_reason(parallel: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(LEFT_OUT)
    status, told = outcome(tmp_path, "-p", "emulator.vm.require", "-m", "not host_only", *parallel)
    assert status == 0
    assert "1 passed" in told
    assert "2 tests left to the host's own suite" in told
    assert LISTED in told.splitlines()


def test_what_was_left_out_for_other_reasons_is_not(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(LEFT_OUT)
    status, told = outcome(tmp_path, "-p", "emulator.vm.require", "-k", "page")
    assert (status, "2 failed, 1 deselected" in told) == (1, True)
    assert "left to the host" not in told


@pytest.mark.parametrize("parallel", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_a_failure_is_said_when_it_is_there(parallel: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): assert 1 == 2\ndef test_b(): pass\n")
    status, told = outcome(tmp_path, "-p", "emulator.vm.require", *parallel)
    assert status == 1
    at_once = told.partition("= FAILURES =")[0].splitlines()
    said = at_once.index("failed: test_a.py::test_a, call")
    assert at_once[said + 1].split() == ["E", "assert", "1", "==", "2"]
