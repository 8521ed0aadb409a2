"""`wfplab list`."""

from __future__ import annotations

import io
import json
import re

from emulator.run import listing


def listed(*targets: str, cases: bool = False, as_json: bool = False) -> str:
    out = io.StringIO()
    assert listing.run(targets, out, cases=cases, as_json=as_json) == 0
    return out.getvalue()


def test_scenarios_are_listed_by_group_with_their_first_lines() -> None:
    lines = listed().splitlines()
    assert "network" in lines
    assert any(line.startswith("  loopback ") and "On loopback" in line for line in lines)


def test_one_can_be_listed_alone() -> None:
    assert listed("loopback").startswith("network\n  loopback  On loopback")


def test_the_same_as_json() -> None:
    (found,) = json.loads(listed("loopback", as_json=True))["scenarios"]
    assert found["name"] == "loopback"
    assert found["families"] == ["ipv4", "ipv6"]
    assert found["cases"] == ["B14"]


def test_the_cases_have_a_status() -> None:
    assert re.search("B14  (passed|failed|claimed) +on loopback", listed(cases=True))
    assert len(json.loads(listed(cases=True, as_json=True))["cases"]) == 80
