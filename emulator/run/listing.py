"""`wfplab list`: the scenarios, or the acceptance cases and who stands for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TextIO

from emulator.contract.cases import Case, case_claims, load_cases
from emulator.run.loading import chosen
from emulator.scenario import FAMILY_NAMES, Scenario


def run(targets: Sequence[str], out: TextIO, *, cases: bool, as_json: bool) -> int:
    """Write the list; returns 0.  Raises BadTarget for a file or name that does not exist."""
    if cases:
        known, claims = load_cases(), case_claims()
        (cases_as_json if as_json else cases_as_text)(known, claims, out)
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


def cases_as_text(cases: Sequence[Case], claims: Mapping[str, Sequence[str]], out: TextIO) -> None:
    """A line for each case: id, status, title and who stands for it; then how many are open."""
    for case in cases:
        by = claims.get(case.id, ())
        status = "claimed" if by else "open"
        stands = f"  [{', '.join(by)}]" if by else ""
        out.write(f"{case.id}  {status:<7}  {case.title}{stands}\n")
    claimed = sum(1 for case in cases if case.id in claims)
    out.write(f"{len(cases)} cases: {claimed} claimed, {len(cases) - claimed} open\n")


def cases_as_json(cases: Sequence[Case], claims: Mapping[str, Sequence[str]], out: TextIO) -> None:
    """One JSON document: id, title, status and who stands for it."""
    found = [
        {
            "id": case.id,
            "title": case.title,
            "status": "claimed" if case.id in claims else "open",
            "by": list(claims.get(case.id, ())),
        }
        for case in cases
    ]
    json.dump({"cases": found}, out, indent=1)
    out.write("\n")
