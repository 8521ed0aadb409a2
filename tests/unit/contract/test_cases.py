"""The acceptance cases, and who stands for them."""

from __future__ import annotations

import io
import json
from pathlib import Path

from emulator.contract.cases import Case, case_claims, load_cases, merged, of_scenarios, of_tests
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


def test_the_list_says_which_are_open() -> None:
    cases = [Case("B01", "network", "it arrives"), Case("B02", "network", "it leaves")]
    out = io.StringIO()
    listing.cases_as_text(cases, {"B01": ["arrives"]}, out)
    assert out.getvalue().splitlines() == [
        "B01  claimed  it arrives  [arrives]",
        "B02  open     it leaves",
        "2 cases: 1 claimed, 1 open",
    ]
    out = io.StringIO()
    listing.cases_as_json(cases, {"B01": ["arrives"]}, out)
    assert json.loads(out.getvalue())["cases"][1] == {"id": "B02", "title": "it leaves", "status": "open", "by": []}
