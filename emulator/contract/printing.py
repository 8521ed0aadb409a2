"""How `wfplab contract` shows its findings: JSON, a table of groups, or a list of rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TextIO

from emulator.contract.rules import RuleReport, Status


def as_json(reports: Sequence[RuleReport], out: TextIO, *, uncovered: bool = False) -> None:
    """Write one JSON document; `uncovered` limits its list to such rules, but the counts are those of all."""
    counts = Counter(report.status for report in reports)
    listed = [report for report in reports if not uncovered or report.status is Status.UNCOVERED]
    document = {
        "rules": [
            {
                "id": report.rule.id,
                "status": report.status.value,
                "tests": list(report.tests),
                "reason": report.reason,
                "group": report.rule.group,
                "evidence": report.rule.evidence,
                "text": report.rule.text,
                "source": list(report.rule.source),
            }
            for report in listed
        ],
        "covered": counts[Status.COVERED],
        "uncovered": counts[Status.UNCOVERED],
        "not_emulated": counts[Status.NOT_EMULATED],
        "total": len(reports),
    }
    json.dump(document, out, indent=1, ensure_ascii=False)
    out.write("\n")


def as_table(titles: Mapping[str, str], reports: Sequence[RuleReport], out: TextIO) -> None:
    """Write one line per group with its counts, and a last line with those of all rules."""
    # Costs more than all else here, and JSON does without it.
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("group")
    table.add_column("", overflow="fold")
    for heading in ("rules", "covered", "not emulated", "uncovered"):
        table.add_column(heading, justify="right")
    for group, title in titles.items():
        table.add_row(group, title, *_counts([r for r in reports if r.rule.group == group]))
    table.add_section()
    table.add_row("all", "", *_counts(reports), style="bold")
    Console(file=out).print(table)


def as_list(reports: Sequence[RuleReport], out: TextIO, *, uncovered: bool = False) -> None:
    """Write each rule with its text and what its status rests on, then the counts of all of `reports`."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(file=out)
    styles = {Status.COVERED: "green", Status.UNCOVERED: "red", Status.NOT_EMULATED: "yellow"}
    for report in reports:
        if uncovered and report.status is not Status.UNCOVERED:
            continue
        rule = report.rule
        head = Text.assemble(
            (rule.id, "bold"), "  ", (report.status.value, styles[report.status]), f"  [{rule.evidence}]"
        )
        console.print(head)
        below = [rule.text]
        if report.status is Status.COVERED and report.tests:
            more = f" and {len(report.tests) - 1} more" if len(report.tests) > 1 else ""
            below.append(f"→ {report.tests[0]}{more}")
        if report.reason is not None:
            below.append(f"→ {report.reason}")
        for line in below:
            console.print(Padding(Text(line), (0, 0, 0, 4)))
    rules, covered, excused, missing = _counts(reports)
    counts = f"{rules} rules: {covered} covered, {excused} not emulated, {missing} uncovered"
    console.print(counts, highlight=False)


def _counts(reports: Sequence[RuleReport]) -> tuple[str, str, str, str]:
    counts = Counter(report.status for report in reports)
    order = (Status.COVERED, Status.NOT_EMULATED, Status.UNCOVERED)
    covered, excused, missing = (str(counts[status]) for status in order)
    return str(len(reports)), covered, excused, missing
