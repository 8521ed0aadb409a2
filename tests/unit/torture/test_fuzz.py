"""Hostile input, in small: every target holds, and one that does not is told of, with the input kept."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from emulator.torture import fuzz
from emulator.torture.hostile import TARGETS

CASES = 1500


def test_no_target_fails_on_any_octets() -> None:
    told = fuzz.run(cases=CASES, seed=20261127)
    assert told.complaints == []
    assert all(told.figures[f"cases of {name}"] for name in TARGETS)


def test_the_same_seed_gives_the_same_findings_and_keeps_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dislikes_four(data: bytes) -> None:
        assert data[:1] != b"\x44"

    monkeypatch.setitem(TARGETS, "view", dislikes_four)
    first, second = (fuzz.run(cases=CASES, seed=1, keep=tmp_path) for _ in range(2))
    assert first.complaints == second.complaints
    (kept,) = (tmp_path / "view").iterdir()
    assert kept.read_bytes()[:1] == b"\x44"
    assert "AssertionError at test_fuzz.py:" in first.complaints[0]


def test_a_case_that_takes_too_long_counts_as_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(data: bytes) -> None:
        until = time.process_time() + (0.004 if data[:1] == b"\x44" else 0)
        while time.process_time() < until:
            pass

    monkeypatch.setattr(fuzz, "SLOW_SECONDS", 0.002)
    monkeypatch.setitem(TARGETS, "view", slow)
    assert any("s for one case" in line for line in fuzz.run(cases=CASES, seed=1).complaints)
