"""The contract: every rule of the documented API this project knows, and which of them a test proves."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from emulator.contract.results import Digests, Proof, ResultsUnreadable, load

RULES = Path(__file__).with_name("contract.toml")
EVIDENCE = "DHSTLJ"
"""Documentation, header, sample, third-party driver, measured on Linux, decided here: see docs/sources.md."""

FAILED = 1
USAGE = 2


class ContractError(Exception):
    """The rules file is not what it must be; a defect of this project."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One statement about the API that a test can prove or refute."""

    id: str
    group: str
    evidence: str
    """Letters of EVIDENCE; with J alone the rule binds this emulator and claims nothing about Windows."""
    text: str
    source: tuple[str, ...]
    """Keys that docs/sources.md explains."""
    not_emulated: str | None
    """Why an emulator on Linux does not do this, or not yet; None for all but some."""
    lacks: str | None = None
    """What of it is not emulated, although the rest is and may be covered."""


@dataclass(frozen=True, slots=True)
class Contract:
    """All rules in the order of the rules file, and the title of each group."""

    titles: Mapping[str, str]
    rules: tuple[Rule, ...]


class Status(StrEnum):
    """What the last test runs say about a rule."""

    COVERED = "covered"
    """A test that names it ran and passed, and none that names it failed."""
    UNCOVERED = "uncovered"
    NOT_EMULATED = "not-emulated"
    """Never counted as covered, not even when a test names it."""


@dataclass(frozen=True, slots=True)
class RuleReport:
    """A rule, its status, and the tests the status rests on."""

    rule: Rule
    status: Status
    tests: tuple[str, ...]
    """Those that name the rule and ran to an end, passing or failing, with their files unchanged since."""
    reason: str | None
    """Why the rule is not covered; of one that is, what it lacks; None when there is nothing to say."""


def load_contract(path: Path = RULES) -> Contract:
    """Read the rules file; about 20 ms. Raises ContractError, also for a repeated id or an unknown group."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        titles = {str(group): str(title) for group, title in document["group"].items()}
        missing = document.get("missing", {})
        rules = tuple(_rule(entry, missing) for entry in document["rule"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"{path}: {error!r}") from error
    seen: set[str] = set()
    for rule in rules:
        if rule.id in seen or rule.group not in titles:
            raise ContractError(f"{path}: {rule.id} is repeated, or its group has no title")
        seen.add(rule.id)
    return Contract(titles, rules)


def join(contract: Contract, proofs: Iterable[Proof], root: Path) -> tuple[RuleReport, ...]:
    """Put rules and tests together; one whose files below `root` changed since it ran counts for nothing."""
    naming: dict[str, list[Proof]] = {}
    for proof in proofs:
        for id in proof.rules:
            naming.setdefault(id, []).append(proof)
    present = Digests(root)
    return tuple(_judge(rule, naming.get(rule.id, ()), present) for rule in contract.rules)


def main_report(
    json: bool = False, groups: Sequence[str] = (), uncovered: bool = False, root: Path | None = None
) -> int:
    """Print what the recorded tests prove: a summary, or with `groups` or `uncovered` the rules themselves.

    `groups` limits everything printed, counts included, to these groups (any case); `uncovered` lists only
    rules that are neither covered nor excused. `root` is the source tree, by default the one this runs from,
    else the current folder. Returns 0, 1 when the recorded results are damaged, or 2 for an unknown group.
    """
    from emulator.checkout import source_tree
    from emulator.contract import printing

    root = root or source_tree() or Path.cwd()
    contract = load_contract()
    wanted = {group.upper() for group in groups}
    if unknown := sorted(wanted - contract.titles.keys()):
        sys.stderr.write(f"wfplab: no group {', '.join(unknown)}; there are {' '.join(contract.titles)}\n")
        return USAGE
    try:
        proofs = load(root)
    except ResultsUnreadable as error:
        sys.stderr.write(f"wfplab: {error}\n")
        return FAILED
    reports = join(contract, proofs.values(), root)
    chosen = [report for report in reports if not wanted or report.rule.group in wanted]
    if json:
        printing.as_json(chosen, sys.stdout, uncovered=uncovered)
        return 0
    if not proofs:
        sys.stderr.write("wfplab: no test run is recorded; `wfplab test` records one\n")
    if wanted or uncovered:
        printing.as_list(chosen, sys.stdout, uncovered=uncovered)
    else:
        printing.as_table(contract.titles, chosen, sys.stdout)
    return 0


def _rule(entry: Mapping[str, object], missing: Mapping[str, object]) -> Rule:
    id, evidence, source = str(entry["id"]), str(entry["evidence"]), entry["source"]
    if not isinstance(source, list):
        raise TypeError(f"source of {id}")
    excuse = missing[str(entry["missing"])] if "missing" in entry else entry.get("not_emulated")
    lacks = entry.get("lacks")
    return Rule(
        id=id,
        group=id.partition("-")[0],
        evidence=evidence,
        text=_one_line(entry["text"]),
        source=tuple(str(key) for key in source),
        not_emulated=None if excuse is None else _one_line(excuse),
        lacks=None if lacks is None else _one_line(lacks),
    )


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _judge(rule: Rule, naming: Sequence[Proof], present: Digests) -> RuleReport:
    fresh = [proof for proof in naming if present.of(proof.files) == proof.digest]
    counted = [proof for proof in fresh if proof.outcome.proves or proof.outcome.refutes]
    tests = tuple(sorted(proof.node for proof in counted))
    if rule.not_emulated is not None:
        return RuleReport(rule, Status.NOT_EMULATED, tests, rule.not_emulated)
    refuting = [proof for proof in counted if proof.outcome.refutes]
    if counted and not refuting:
        return RuleReport(rule, Status.COVERED, tests, rule.lacks and f"except {rule.lacks}")
    if refuting:
        reason = _count(refuting, "failed")
    elif not naming:
        reason = "no test names it"
    else:
        stale = [proof for proof in naming if proof not in fresh]
        unproven = [_count([p for p in fresh if p.outcome is o], o.value) for o in {p.outcome for p in fresh}]
        reason = "; ".join(sorted(unproven) + ([_count(stale, "changed since it ran")] if stale else []))
    return RuleReport(rule, Status.UNCOVERED, tests, reason)


def _count(proofs: Sequence[Proof], what: str) -> str:
    first = min(proof.node for proof in proofs)
    more = f" and {len(proofs) - 1} more" if len(proofs) > 1 else ""
    return f"{what}: {first}{more}"
