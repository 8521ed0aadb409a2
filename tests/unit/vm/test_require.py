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
