"""What a result is worth, and that it survives the way between processes."""

from __future__ import annotations

import json

import pytest

from emulator.checks import Check
from emulator.run.results import Result, counts, exit_status

GOOD, BAD = Check("one", True, "1", "1"), Check("two", False, "2", "3", "a.py:5")


def result(*checks: Check, unmeasured: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> Result:
    return Result("name", "summary", ["ipv4"], list(checks), unmeasured=list(unmeasured), missing=list(missing))


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (result(GOOD), "passed"),
        (result(GOOD, BAD), "failed"),
        (result(), "unmeasured"),
        (result(GOOD, unmeasured=("a canary was lost",)), "unmeasured"),
        (result(BAD, unmeasured=("a canary was lost",)), "failed"),
    ],
)
def test_the_status_of_a_result(made: Result, status: str) -> None:
    assert made.status == status


def test_the_json_of_a_scenario_has_exactly_what_is_documented() -> None:
    assert result(GOOD, BAD).as_dict() == {
        "name": "name",
        "families": ["ipv4"],
        "status": "failed",
        "checks": [
            {"name": "one", "ok": True, "expected": "1", "seen": "1"},
            {"name": "two", "ok": False, "expected": "2", "seen": "3"},
        ],
        "violations": [],
        "books": {"hosts": {}, "canaries": {}, "closed": True},
    }


def test_a_result_comes_back_as_it_was_through_json() -> None:
    made = result(GOOD, BAD, unmeasured=("why",))
    made.sections.append(("title", "text"))
    made.violations.append({"family": "ipv4", "rule": "GE-9", "text": "it raised"})
    assert Result.from_plain(json.loads(json.dumps(made.as_plain()))) == made


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([], 0),
        ([result(GOOD), result(GOOD)], 0),
        ([result(GOOD), result(BAD)], 1),
        ([result(GOOD), result()], 1),
        ([result(GOOD), result(unmeasured=("x",), missing=("x",))], 77),
        ([result(unmeasured=("x",), missing=("x",)), result(BAD)], 1),
        ([result(unmeasured=("x", "y"), missing=("x",))], 1),
    ],
)
def test_the_exit_status_of_a_run(results: list[Result], status: int) -> None:
    assert exit_status(results, failed=1, cannot_run=77) == status


def test_the_summary_counts_all_three() -> None:
    assert counts([result(GOOD), result(BAD), result(BAD)]) == {"passed": 1, "failed": 2, "unmeasured": 0}
