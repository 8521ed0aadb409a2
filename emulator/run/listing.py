"""`wfplab list`: the scenarios, or the acceptance cases and who stands for them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TextIO

from emulator.checkout import source_tree
from emulator.contract.cases import CLAIMED, FAILED, OPEN, PASSED, Case, case_claims, case_statuses, load_cases
from emulator.contract.results import ResultsUnreadable, load
from emulator.run.loading import BadTarget, chosen
from emulator.scenario import FAMILY_NAMES, Scenario


def run(targets: Sequence[str], out: TextIO, *, cases: bool, as_json: bool) -> int:
    """Write the list; returns 0.  Raises BadTarget for a file or name that does not exist, or damaged results."""
    if cases:
        known, claims, root = load_cases(), case_claims(), source_tree()
        try:
            proofs = list(load(root).values()) if root is not None else []
        except ResultsUnreadable as error:
            raise BadTarget(str(error)) from error
        statuses = case_statuses(claims, proofs, root)
        (cases_as_json if as_json else cases_as_text)(known, claims, statuses, out)
        return 0
    items = chosen(targets)
    (as_document if as_json else as_text)(items, out)
    return 0


def as_text(items: Sequence[Scenario], out: TextIO) -> None:
    """Names and first lines, group by group."""
    width = max((len(item.name) for item in items), default=0)
    for group, members in groupby(items, key=lambda item: item.file or item.group):
        out.write(f"{group}\n")
        for item in members:
            out.write(f"  {item.name:<{width}}  {item.summary}\n")


def as_document(items: Sequence[Scenario], out: TextIO) -> None:
    """One JSON document with everything known about each."""
    found = [
        {
            "name": item.target,
            "group": item.group,
            "summary": item.summary,
            "families": [FAMILY_NAMES[family] for family in item.families],
            "cases": list(item.cases),
            "rules": list(item.rules),
            "programs": list(item.programs),
        }
        for item in items
    ]
    json.dump({"scenarios": found}, out, indent=1)
    out.write("\n")


def cases_as_text(
    cases: Sequence[Case], claims: Mapping[str, Sequence[str]], statuses: Mapping[str, str], out: TextIO
) -> None:
    """A line for each case: id, status, title and who stands for it; then how many there are of each."""
    for case in cases:
        by = claims.get(case.id, ())
        status = statuses.get(case.id, OPEN)
        stands = f"  [{', '.join(by)}]" if by else ""
        out.write(f"{case.id}  {status:<7}  {case.title}{stands}\n")
    told = Counter(statuses.get(case.id, OPEN) for case in cases)
    out.write(f"{len(cases)} cases: {', '.join(f'{told[name]} {name}' for name in (PASSED, FAILED, CLAIMED, OPEN))}\n")
    out.write("passed: by the tests that name it, when they last ran; claimed: they have not run since they changed\n")


def cases_as_json(
    cases: Sequence[Case], claims: Mapping[str, Sequence[str]], statuses: Mapping[str, str], out: TextIO
) -> None:
    """One JSON document: id, title, status and who stands for it."""
    found = [
        {
            "id": case.id,
            "title": case.title,
            "status": statuses.get(case.id, OPEN),
            "by": list(claims.get(case.id, ())),
        }
        for case in cases
    ]
    json.dump({"cases": found}, out, indent=1)
    out.write("\n")
