"""The acceptance cases, and who stands for them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from emulator.contract.cases import Case, case_claims, case_statuses, load_cases, merged, of_scenarios, of_tests
from emulator.contract.results import Digests, Outcome, Proof
from emulator.contract.rules import load_contract
from emulator.run import listing
from emulator.run.loading import built_in


def test_there_are_eighty_cases_with_titles_of_their_own() -> None:
    cases = load_cases()
    assert len(cases) == len({case.id for case in cases}) == len({case.title for case in cases}) == 80
    assert {case.id[0] for case in cases} == set("ABCDEFGH")


def test_scenarios_name_only_cases_and_rules_that_exist() -> None:
    cases, rules = {case.id for case in load_cases()}, {rule.id for rule in load_contract().rules}
    for item in built_in():
        assert set(item.cases) <= cases, item.name
        assert set(item.rules) <= rules, item.name


def test_tests_claim_cases_by_their_markers(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        "import pytest\n@pytest.mark.case('B01', 'B02')\ndef test_one(): pass\n"
        "@pytest.mark.rule('NB-1')\ndef test_two(): pass\n"
    )
    assert of_tests(tmp_path) == {"B01": ["tests/test_a.py::test_one"], "B02": ["tests/test_a.py::test_one"]}


def test_claims_are_put_together() -> None:
    assert merged({"B01": ["a"]}, {"B01": ["b"], "B02": ["c"]}) == {"B01": ["a", "b"], "B02": ["c"]}
    assert of_scenarios(built_in())["B01"] == ["clone_and_inject_outbound"]
    assert set(case_claims()) <= {case.id for case in load_cases()}


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([], "claimed"),
        ([Outcome.PASSED], "passed"),
        ([Outcome.PASSED, Outcome.SKIPPED], "passed"),
        ([Outcome.SKIPPED], "claimed"),
        ([Outcome.UNFINISHED], "claimed"),
        ([Outcome.PASSED, Outcome.FAILED], "failed"),
        ([Outcome.FAILED, Outcome.PASSED], "failed"),
    ],
)
def test_a_case_is_what_its_tests_were_when_they_last_ran(
    outcomes: list[Outcome], status: str, tmp_path: Path
) -> None:
    (tmp_path / "test_a.py").write_text("")
    digest = Digests(tmp_path).of(["test_a.py"]) or ""
    proofs = [
        Proof(f"test_a.py::{number}", (), "test_a.py", digest, outcome, None, cases=("B01",))
        for number, outcome in enumerate(outcomes)
    ]
    assert case_statuses({"B01": ["a"]}, proofs, tmp_path) == {"B01": status}
    assert case_statuses({"B01": ["a"]}, proofs, None) == {"B01": "claimed"}
    (tmp_path / "test_a.py").write_text("changed")
    assert case_statuses({"B01": ["a"]}, proofs, tmp_path) == {"B01": "claimed"}


def test_the_list_says_which_have_passed_and_which_are_open() -> None:
    cases = [Case("B01", "network", "it arrives"), Case("B02", "network", "it leaves")]
    claims, statuses = {"B01": ["arrives"]}, {"B01": "passed"}
    out = io.StringIO()
    listing.cases_as_text(cases, claims, statuses, out)
    assert out.getvalue().splitlines()[:3] == [
        "B01  passed   it arrives  [arrives]",
        "B02  open     it leaves",
        "2 cases: 1 passed, 0 failed, 0 claimed, 1 open",
    ]
    out = io.StringIO()
    listing.cases_as_json(cases, claims, statuses, out)
    first, second = json.loads(out.getvalue())["cases"]
    assert first == {"id": "B01", "title": "it arrives", "status": "passed", "by": ["arrives"]}
    assert second == {"id": "B02", "title": "it leaves", "status": "open", "by": []}
