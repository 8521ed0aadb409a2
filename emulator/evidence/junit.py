"""Results as JUnit XML, for continuous integration: a test case for every scenario, the run's counts as properties.

A failed scenario is a failure; one that was not measured is an error, or skipped where only the machine lacked
something: so green never means that nothing was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO
from xml.etree import ElementTree

from emulator.evidence.visible import visible
from emulator.run.results import FAILED, UNMEASURED, Result

TEXT_MOST = 20_000


def write_junit(out: IO[bytes], results: Sequence[Result], counts: Mapping[str, int]) -> None:
    """Write the document; the file stays its owner's.  Raises OSError."""
    verdicts = [_verdict(result) for result in results]
    totals = {
        "tests": str(len(results)),
        "failures": str(verdicts.count("failure")),
        "errors": str(verdicts.count("error")),
        "skipped": str(verdicts.count("skipped")),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "wfplab", **totals})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "wfplab", **totals})
    properties = ElementTree.SubElement(suite, "properties")
    for name, number in counts.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": str(number)})
    for result, verdict in zip(results, verdicts, strict=True):
        _case(suite, result, verdict)
    tree = ElementTree.ElementTree(root)
    ElementTree.indent(tree)
    tree.write(out, encoding="utf-8", xml_declaration=True)


def _verdict(result: Result) -> str:
    if result.status == FAILED:
        return "failure"
    if result.status != UNMEASURED:
        return ""
    return "skipped" if result.unmeasured and result.unmeasured == result.missing else "error"


def _case(suite: ElementTree.Element, result: Result, verdict: str) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        {
            "classname": "wfplab",
            "name": _fit(result.name),
            "time": f"{result.seconds:.3f}",
            "assertions": str(len(result.checks)),
        },
    )
    if not verdict:
        return
    failed = [check for check in result.checks if not check.ok]
    reasons = [f"{check.name}: expected {check.expected}, seen {check.seen} {check.where}".rstrip() for check in failed]
    reasons = reasons or result.unmeasured or ["nothing was measured"]
    told = ElementTree.SubElement(case, verdict, {"message": _fit(reasons[0])[:500]})
    told.text = _fit("\n".join(reasons))
    lines = [f"broken rule, {violation['family']}: {violation['text']}" for violation in result.violations]
    for title, text in result.sections:
        lines += [f"-- {title}", text]
    if lines:
        ElementTree.SubElement(case, "system-out").text = _fit("\n".join(lines))


def _fit(text: str) -> str:
    """What XML can carry: no control characters, no halves of a character; not too much of it."""
    return visible(text if len(text) <= TEXT_MOST else text[:TEXT_MOST] + "…")
