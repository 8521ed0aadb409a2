"""The rules file is complete, a rule is covered only by a test that ran, and the command shows both."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from emulator.contract.printing import as_json, as_list, as_table
from emulator.contract.results import RESULTS, Digests, Outcome, Proof, ResultsUnreadable, load, update
from emulator.contract.rules import (
    EVIDENCE,
    Contract,
    ContractError,
    Rule,
    RuleReport,
    Status,
    join,
    load_contract,
    main_report,
)

NUMBERS = {
    "GE": "1-20",
    "HC": "1-19",
    "HD": "1-9",
    "QS": "1-15",
    "NS": "1-21",
    "NR": "1-16",
    "TS": "1-23",
    "TR": "1-14",
    "FW": "1-13",
    "ST": "1-45",
    "MA": "1-16",
    "VS": "1-8",
    "NB": "1-15 20-25",
    "SD": "1-10",
    "CO": "1-6 10-22 30-31",
    "FL": "1-10",
    "PE": "1-8 10-14",
    "NT": "1-8",
    "LA": "1-4 10-18 20-22 30-37",
    "MD": "1-13",
    "FI": "1-7",
    "CF": "1-10",
    "OR": "1-7",
    "ER": "1-4",
    "VE": "1-1",
    "DC": "1-21",
}
"""Every rule there is; ids are only ever added."""

EXCUSED = {
    *(f"MA-{number}" for number in range(1, 17)),
    *(f"VS-{number}" for number in range(1, 9)),
    *(f"PE-{number}" for number in (*range(1, 9), *range(10, 15))),
    *("NS-21", "ST-44", "TR-6", "TR-9", "TR-10", "LA-4", "LA-17", "LA-18", "MD-11", "DC-8", "DC-9", "DC-10", "DC-19"),
}

DOCS = Path(__file__).parents[3] / "docs"


def all_ids() -> list[str]:
    """The ids NUMBERS stands for, in its order."""
    ids = []
    for group, spans in NUMBERS.items():
        for span in spans.split():
            first, last = map(int, span.split("-"))
            ids += [f"{group}-{number}" for number in range(first, last + 1)]
    return ids


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract()


class TestTheRulesFile:
    def test_it_has_every_rule_once_and_in_order(self, contract: Contract) -> None:
        assert [rule.id for rule in contract.rules] == all_ids()
        assert len(contract.rules) == 389

    def test_its_groups_are_those_of_its_rules(self, contract: Contract) -> None:
        assert list(contract.titles) == list(NUMBERS)
        assert all(contract.titles.values())

    def test_every_rule_says_something_on_some_evidence_from_some_source(self, contract: Contract) -> None:
        for rule in contract.rules:
            assert rule.text.endswith("."), rule.id
            assert len(rule.text) > 30, rule.id
            assert rule.evidence, rule.id
            assert set(rule.evidence) <= set(EVIDENCE), rule.id
            assert rule.source, rule.id

    def test_no_two_rules_say_the_same(self, contract: Contract) -> None:
        texts = Counter(rule.text for rule in contract.rules)
        assert max(texts.values()) == 1

    def test_a_decision_of_ours_says_that_it_is_one(self, contract: Contract) -> None:
        for rule in contract.rules:
            if re.search(r"[Dd]ecided here|\bHere\b|[Tt]he emulator|\bLinux\b", rule.text):
                assert set("JL") & set(rule.evidence), rule.id

    def test_rules_named_in_a_text_or_as_a_source_exist(self, contract: Contract) -> None:
        known = set(all_ids())
        for rule in contract.rules:
            sources = [key.removeprefix("rule:") for key in rule.source if key.startswith("rule:")]
            named = re.findall(rf"\b(?:{'|'.join(NUMBERS)})-\d+\b", rule.text)
            assert {*sources, *named} <= known - {rule.id}, rule.id

    def test_rules_are_excused_by_name_and_each_with_a_reason(self, contract: Contract) -> None:
        excused = {rule.id: rule.not_emulated for rule in contract.rules if rule.not_emulated is not None}
        assert set(excused) == EXCUSED
        assert all(len(reason) > 40 for reason in excused.values())

    def test_what_a_rule_lacks_is_said_of_rules_that_are_not_excused(self, contract: Contract) -> None:
        lacking = [rule for rule in contract.rules if rule.lacks is not None]
        assert lacking
        assert [rule.id for rule in lacking if rule.not_emulated is not None] == []
        assert [rule.id for rule in lacking if not (rule.lacks or "").endswith(".")] == []

    def test_kinds_of_source_are_explained(self, contract: Contract) -> None:
        explained = (DOCS / "sources.md").read_text(encoding="utf-8")
        kinds = {key.partition(":")[0] for rule in contract.rules for key in rule.source}
        assert {kind for kind in kinds if f"`{kind}" not in explained} == set()

    def test_differences_name_only_rules_that_exist(self) -> None:
        text = (DOCS / "differences.md").read_text(encoding="utf-8")
        named = set(re.findall(r"\b[A-Z]{2}-\d+\b", text))
        assert named
        assert named <= set(all_ids())

    def test_a_difference_names_tests_of_its_own_rules(self) -> None:
        text = (DOCS / "differences.md").read_text(encoding="utf-8")
        entries = [entry for entry in re.split(r"\n(?=- |#)", text) if "*Test:*" in entry and entry.startswith("- ")]
        assert entries
        for entry in entries:
            rules = set(re.findall(r"\b[A-Z]{2}-\d+\b", entry))
            for name in re.findall(r"test_\w+\.py", entry.partition("*Test:*")[2]):
                (path,) = (DOCS.parent / "tests").rglob(name)
                marked = set(re.findall(r'"([A-Z]{2}-\d+)"', path.read_text(encoding="utf-8")))
                assert not rules or rules & marked, f"{name} proves none of {sorted(rules)}"

    @pytest.mark.parametrize(
        "text",
        [
            "not toml",
            "[group]\nGE = 'x'\n",
            "[group]\nGE = 'x'\n[[rule]]\nid = 'GE-1'\n",
            "[group]\nGE = 'x'\n[[rule]]\nid = 'HC-1'\nevidence = 'D'\ntext = 'x'\nsource = ['y']\n",
            "[group]\nGE = 'x'\n" + "[[rule]]\nid = 'GE-1'\nevidence = 'D'\ntext = 'x'\nsource = ['y']\n" * 2,
            "[group]\nGE = 'x'\n[[rule]]\nid = 'GE-1'\nevidence = 'D'\ntext = 'x'\nsource = 'y'\n",
        ],
        ids=["syntax", "no rules", "no text", "unknown group", "twice", "source no list"],
    )
    def test_a_damaged_file_is_refused(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "rules.toml"
        path.write_text(text)
        with pytest.raises(ContractError):
            load_contract(path)


def rule(id: str = "GE-1", not_emulated: str | None = None) -> Rule:
    return Rule(id, id[:2], "D", f"What {id} says.", ("decision",), not_emulated)


class TestCoverage:
    """What a rule's status is, from the tests that name it."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "test_a.py").write_text("unchanged")
        (tmp_path / "shared.py").write_text("as it was")
        return tmp_path

    def proof(self, root: Path, name: str, outcome: Outcome, *, digest: str | None = None) -> Proof:
        files = ("test_a.py", "shared.py")
        current = Digests(root).of(files) or ""
        return Proof(f"test_a.py::{name}", ("GE-1",), "test_a.py", digest or current, outcome, None, files[1:])

    def judged(self, root: Path, *proofs: Proof, not_emulated: str | None = None) -> RuleReport:
        (report,) = join(Contract({"GE": "x"}, (rule(not_emulated=not_emulated),)), proofs, root)
        return report

    def test_one_that_passed_covers(self, root: Path) -> None:
        report = self.judged(root, self.proof(root, "one", Outcome.PASSED))
        assert (report.status, report.tests, report.reason) == (Status.COVERED, ("test_a.py::one",), None)

    def test_without_any_it_is_uncovered(self, root: Path) -> None:
        report = self.judged(root)
        assert (report.status, report.tests, report.reason) == (Status.UNCOVERED, (), "no test names it")

    @pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.XFAILED])
    def test_one_that_failed_outweighs_one_that_passed(self, root: Path, outcome: Outcome) -> None:
        report = self.judged(root, self.proof(root, "good", Outcome.PASSED), self.proof(root, "bad", outcome))
        assert report.status is Status.UNCOVERED
        assert report.tests == ("test_a.py::bad", "test_a.py::good")
        assert report.reason == "failed: test_a.py::bad"

    @pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.XPASSED, Outcome.UNFINISHED])
    def test_one_that_did_not_plainly_pass_neither_covers_nor_harms(self, root: Path, outcome: Outcome) -> None:
        other = self.proof(root, "other", outcome)
        alone = self.judged(root, other)
        assert (alone.status, alone.tests, alone.reason) == (
            Status.UNCOVERED,
            (),
            f"{outcome.value}: test_a.py::other",
        )
        both = self.judged(root, other, self.proof(root, "good", Outcome.PASSED))
        assert (both.status, both.tests) == (Status.COVERED, ("test_a.py::good",))

    @pytest.mark.parametrize("outcome", [Outcome.PASSED, Outcome.FAILED])
    def test_one_whose_file_changed_since_counts_for_nothing(self, root: Path, outcome: Outcome) -> None:
        report = self.judged(root, self.proof(root, "old", outcome, digest="0" * 64))
        assert (report.status, report.tests) == (Status.UNCOVERED, ())
        assert report.reason == "changed since it ran: test_a.py::old"

    def test_one_that_rests_on_a_file_that_changed_since_counts_for_nothing(self, root: Path) -> None:
        proof = self.proof(root, "one", Outcome.PASSED)
        (root / "shared.py").write_text("is another")
        report = self.judged(root, proof)
        assert (report.status, report.reason) == (Status.UNCOVERED, "changed since it ran: test_a.py::one")
        (root / "shared.py").unlink()
        assert self.judged(root, proof).status is Status.UNCOVERED

    def test_one_whose_file_is_gone_counts_for_nothing(self, root: Path) -> None:
        proof = self.proof(root, "one", Outcome.PASSED)
        (root / "test_a.py").unlink()
        assert self.judged(root, proof).status is Status.UNCOVERED

    def test_one_that_is_covered_says_what_it_lacks(self, root: Path) -> None:
        proved = [self.proof(root, "one", Outcome.PASSED)]
        (report,) = join(Contract({"GE": "x"}, (replace(rule(), lacks="the rest."),)), proved, root)
        assert (report.status, report.reason) == (Status.COVERED, "except the rest.")
        out = io.StringIO()
        as_list([report], out)
        assert [line.strip() for line in out.getvalue().splitlines()[2:4]] == ["→ test_a.py::one", "→ except the rest."]

    def test_an_excused_rule_is_never_covered(self, root: Path) -> None:
        report = self.judged(root, self.proof(root, "one", Outcome.PASSED), not_emulated="cannot")
        assert (report.status, report.reason) == (Status.NOT_EMULATED, "cannot")


class TestResults:
    """The document between the test run and the command."""

    PROOF = Proof("test_a.py::one", ("GE-1", "HC-2"), "test_a.py", "00", Outcome.PASSED, "2024-01-01", ("b.py",))

    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        assert load(tmp_path) == {}
        update(tmp_path, lambda old: {**old, self.PROOF.node: self.PROOF})
        assert load(tmp_path) == {self.PROOF.node: self.PROOF}
        update(tmp_path, lambda old: old)
        assert load(tmp_path) == {self.PROOF.node: self.PROOF}

    @pytest.mark.parametrize("text", ["", "[]", '{"format": 0}', '{"format": 1, "tests": {"a": {}}}', "\xff"])
    def test_a_damaged_document_is_refused_and_replaced_by_the_next_run(self, tmp_path: Path, text: str) -> None:
        (tmp_path / RESULTS).parent.mkdir()
        (tmp_path / RESULTS).write_bytes(text.encode("latin-1"))
        with pytest.raises(ResultsUnreadable):
            load(tmp_path)
        update(tmp_path, lambda old: old)
        assert load(tmp_path) == {}

    def test_a_change_that_fails_leaves_the_old_document_and_nothing_else(self, tmp_path: Path) -> None:
        update(tmp_path, lambda old: {self.PROOF.node: self.PROOF})
        unwritable = replace(self.PROOF, rules=(object(),))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            update(tmp_path, lambda old: {unwritable.node: unwritable})
        assert load(tmp_path) == {self.PROOF.node: self.PROOF}
        assert {path.name for path in (tmp_path / RESULTS).parent.iterdir()} == {
            RESULTS.name,
            RESULTS.with_suffix(".lock").name,
        }


class TestTheCommand:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """A tree in which GE-1 is proved and HC-2 failed."""
        file = tmp_path / "test_a.py"
        file.write_text("")
        digest = Digests(tmp_path).of([file.name]) or ""
        proofs = [
            Proof("test_a.py::one", ("GE-1",), "test_a.py", digest, Outcome.PASSED, None),
            Proof("test_a.py::two", ("HC-2",), "test_a.py", digest, Outcome.FAILED, None),
        ]
        update(tmp_path, lambda old: {proof.node: proof for proof in proofs})
        return tmp_path

    def test_json_has_every_rule_and_the_counts(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main_report(json=True, root=root) == 0
        document = json.loads(capsys.readouterr().out)
        assert [entry["id"] for entry in document["rules"]] == all_ids()
        assert (document["covered"], document["total"], document["not_emulated"]) == (1, 389, len(EXCUSED))
        by_id = {entry["id"]: entry for entry in document["rules"]}
        assert (by_id["GE-1"]["status"], by_id["GE-1"]["tests"]) == ("covered", ["test_a.py::one"])
        assert (by_id["HC-2"]["status"], by_id["HC-2"]["reason"]) == ("uncovered", "failed: test_a.py::two")
        assert by_id["TR-6"]["status"] == "not-emulated"
        assert {entry["status"] for entry in document["rules"]} == {"covered", "uncovered", "not-emulated"}

    def test_groups_limit_list_and_counts(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main_report(json=True, groups=["ge", "VE"], uncovered=True, root=root) == 0
        document = json.loads(capsys.readouterr().out)
        assert [entry["id"] for entry in document["rules"]] == [f"GE-{n}" for n in range(2, 21)] + ["VE-1"]
        assert (document["covered"], document["total"]) == (1, 21)

    def test_the_table_has_a_line_per_group(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main_report(root=root) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        first = {words[0]: words[-4:] for words in lines if words}
        assert first["GE"] == ["20", "1", "0", "19"]
        assert first["TR"] == ["14", "0", "3", "11"]
        assert first["all"] == ["389", "1", str(len(EXCUSED)), str(388 - len(EXCUSED))]
        assert list(first)[1:-1] == list(NUMBERS)

    def test_a_list_shows_texts_tests_and_reasons(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main_report(groups=["GE", "HC"], root=root) == 0
        out = capsys.readouterr().out
        assert re.search(r"^GE-1  covered  \[D\]\n    An injection reports twice", out, re.MULTILINE)
        assert "→ test_a.py::one" in out
        assert "→ failed: test_a.py::two" in out
        assert out.endswith("39 rules: 1 covered, 0 not emulated, 38 uncovered\n")

    def test_uncovered_lists_neither_covered_nor_excused_rules(
        self, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main_report(uncovered=True, root=root) == 0
        out = capsys.readouterr().out
        listed = re.findall(r"^([A-Z]{2}-\d+)  ", out, re.MULTILINE)
        assert listed == [id for id in all_ids() if id not in {"GE-1", *EXCUSED}]

    def test_an_unknown_group_is_a_usage_error(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main_report(groups=["GE", "XX"], root=root) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "no group XX" in captured.err

    def test_without_a_run_it_says_so(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main_report(root=tmp_path) == 0
        assert "no test run is recorded" in capsys.readouterr().err

    def test_damaged_results_are_an_error(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (root / RESULTS).write_text("{")
        assert main_report(json=True, root=root) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "damaged" in captured.err

    def test_brackets_in_a_test_id_are_shown_as_they_are(self) -> None:
        report = RuleReport(rule(), Status.COVERED, ("test_a.py::one[bold]",), None)
        out = io.StringIO()
        as_list([report], out)
        assert "test_a.py::one[bold]" in out.getvalue()

    def test_every_form_prints_nothing_but_headings_for_no_rules(self) -> None:
        outs = io.StringIO(), io.StringIO(), io.StringIO()
        as_json([], outs[0])
        as_list([], outs[1])
        as_table({}, [], outs[2])
        assert json.loads(outs[0].getvalue())["rules"] == []
        assert outs[1].getvalue() == "0 rules: 0 covered, 0 not emulated, 0 uncovered\n"
        assert outs[2].getvalue().split()[-5:] == ["all", "0", "0", "0", "0"]
