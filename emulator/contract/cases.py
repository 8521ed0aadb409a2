"""The acceptance cases, and which scenarios and tests stand for them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from emulator.checkout import source_tree
from emulator.contract.results import Digests, Proof
from emulator.scenario import Scenario


@dataclass(frozen=True)
class Case:
    """One thing that a lab for injecting drivers has to show."""

    id: str
    group: str
    title: str


def load_cases() -> list[Case]:
    """All cases, in order."""
    tables = tomllib.loads((files("emulator.contract") / "cases.toml").read_text(encoding="utf-8"))
    return [Case(id, group, title) for group, cases in tables.items() for id, title in cases.items()]


def case_claims() -> dict[str, list[str]]:
    """Who stands for each case: scenarios of the project, and in a source tree also tests (`mark.case`)."""
    from emulator.run.loading import built_in

    root = source_tree()
    return merged(of_scenarios(built_in()), of_tests(root) if root is not None else {})


PASSED, FAILED, CLAIMED, OPEN = "passed", "failed", "claimed", "open"
"""What a case is: its tests have passed when they last ran, or one has failed; nobody knows; nobody stands for it."""


def case_statuses(claims: Mapping[str, Iterable[str]], proofs: Iterable[Proof], root: Path | None) -> dict[str, str]:
    """The status of every claimed case, by the last runs of the tests that name it and have not changed since.

    `root` is the source tree; without one nothing is known, and all are CLAIMED.
    """
    found = dict.fromkeys(claims, CLAIMED)
    if root is None:
        return found
    present = Digests(root)
    for proof in proofs:
        if not proof.cases or present.of(proof.files) != proof.digest:
            continue
        for case in proof.cases:
            if proof.outcome.refutes:
                found[case] = FAILED
            elif proof.outcome.proves and found.get(case) == CLAIMED:
                found[case] = PASSED
    return found


def of_scenarios(items: Iterable[Scenario]) -> dict[str, list[str]]:
    """The names of scenarios by the cases they name."""
    found: dict[str, list[str]] = {}
    for item in items:
        for case in item.cases:
            found.setdefault(case, []).append(item.name)
    return found


def of_tests(root: Path) -> dict[str, list[str]]:
    """The tests below `root` by the cases that their markers name, as FILE::NAME; read, not run."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, case in _marked(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(case, []).append(f"{path.relative_to(root).as_posix()}::{name}")
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(test, case) for every `@pytest.mark.case("...")` on a function or a class."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.case":
                for argument in decorator.args:
                    if isinstance(argument, ast.Constant):
                        yield node.name, str(argument.value)


def merged(*claims: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Several claims as one."""
    found: dict[str, list[str]] = {}
    for claim in claims:
        for case, by in claim.items():
            found.setdefault(case, []).extend(by)
    return found
