"""JUnit XML that others can read, whatever stands in it, and that is green only for what was measured and passed."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as some

from emulator.checks import Check
from emulator.evidence.junit import TEXT_MOST, write_junit
from emulator.evidence.tally import tally
from emulator.run.results import Result

GOOD = Check("fine", True, "1", "1")
BAD = Check("what arrived", False, "[b'one']", "[]", "network.py:33")
HOSTILE = "]]></failure><x>&\x00\x1b[2J\u202e\ud800\ufffe"


def suite(results: Sequence[Result]) -> ElementTree.Element:
    out = BytesIO()
    write_junit(out, results, tally([], results))
    root = ElementTree.fromstring(out.getvalue())
    assert root.tag == "testsuites"
    (found,) = root
    assert {key: root.attrib[key] for key in found.attrib} == found.attrib
    return found


def test_each_scenario_is_a_test_case_and_only_a_passed_one_is_green() -> None:
    results = [
        Result("good", checks=[GOOD], seconds=0.25),
        Result("bad", checks=[GOOD, BAD], violations=[{"family": "ipv4", "rule": "NB-9", "text": "freed twice"}],
               sections=[("host: books", "output: 3 offered")]),
        Result("empty"),
        Result("lost", unmeasured=["a canary was lost"]),
        Result("lacking", unmeasured=["no nft"], missing=["no nft"]),
    ]  # fmt: skip
    found = suite(results)
    totals = [found.get(name) for name in ("tests", "failures", "errors", "skipped", "time")]
    assert totals == ["5", "1", "2", "1", "0.250"]
    cases = {case.get("name"): case for case in found.findall("testcase")}
    assert {name: [child.tag for child in case] for name, case in cases.items()} == {
        "good": [], "bad": ["failure", "system-out"], "empty": ["error"], "lost": ["error"], "lacking": ["skipped"],
    }  # fmt: skip
    assert cases["bad"].get("assertions") == "2"
    assert cases["bad"][0].text == "what arrived: expected [b'one'], seen [] network.py:33"
    assert cases["bad"][1].text == "broken rule, ipv4: freed twice\n-- host: books\noutput: 3 offered"
    assert cases["lost"][0].get("message") == "a canary was lost"


def test_the_counts_of_the_run_are_properties() -> None:
    found = suite([Result("good", checks=[GOOD])])
    properties = {item.attrib["name"]: item.attrib["value"] for item in found.iter("property")}
    assert (properties["scenarios"], properties["checks"], properties["frames"]) == ("1", "1", "0")


def test_hostile_text_is_text() -> None:
    bad = Check(HOSTILE, False, HOSTILE, HOSTILE)
    (case,) = suite([Result(HOSTILE, checks=[bad], sections=[(HOSTILE, HOSTILE)])]).findall("testcase")
    shown = "]]></failure><x>&\\x00\\x1b[2J\\u202e\\ud800\\ufffe"
    assert case.get("name") == shown
    assert case[0].text == f"{shown}: expected {shown}, seen {shown}"
    assert case[1].text == f"-- {shown}\n{shown}"


def test_what_is_too_long_is_cut() -> None:
    (case,) = suite([Result("a", checks=[Check("b", False, "x" * 3 * TEXT_MOST, "")])]).findall("testcase")
    assert len(case[0].text or "") == TEXT_MOST + 1
    assert len(case[0].get("message") or "") == 500


@given(some.text(some.characters(exclude_categories=())))
def test_any_text_gives_a_document_that_can_be_read(text: str) -> None:
    suite([Result(text, unmeasured=[text], checks=[Check(text, False, text, text)])])
