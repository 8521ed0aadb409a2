"""What scenarios came to: plain values that travel between processes and into JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from emulator.checks import Check

PASSED, FAILED, UNMEASURED = "passed", "failed", "unmeasured"


@dataclass
class Result:
    """What one scenario came to, over all its families."""

    name: str
    summary: str = ""
    families: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    violations: list[dict[str, str]] = field(default_factory=list)
    books: dict[str, Any] = field(default_factory=lambda: {"hosts": {}, "canaries": {}, "closed": True})
    steps: list[str] = field(default_factory=list)
    unmeasured: list[str] = field(default_factory=list)
    """Why nothing is known: no check was taken, a canary was lost, a feature is missing."""
    missing: list[str] = field(default_factory=list)
    """Of these reasons, those that the machine gives: no root, a feature or a program that is not there."""
    sections: list[tuple[str, str]] = field(default_factory=list)
    """What else is known about a scenario that did not pass: (title, text), such as a trace."""
    seconds: float = 0.0

    @property
    def status(self) -> str:
        """passed, failed, or unmeasured: then nothing failed, but nothing was shown either."""
        if any(not check.ok for check in self.checks):
            return FAILED
        return UNMEASURED if self.unmeasured or not self.checks else PASSED

    def as_dict(self) -> dict[str, Any]:
        """The scenario's part of the JSON document."""
        return {
            "name": self.name,
            "families": self.families,
            "status": self.status,
            "checks": [
                {"name": check.name, "ok": check.ok, "expected": check.expected, "seen": check.seen}
                for check in self.checks
            ],
            "violations": self.violations,
            "books": self.books,
        }

    def as_plain(self) -> dict[str, Any]:
        """Everything, as values that JSON can carry."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Result:
        """The result that `as_plain` was made from."""
        fields = dict(plain)
        fields["checks"] = [Check(**check) for check in fields["checks"]]
        fields["sections"] = [(title, text) for title, text in fields["sections"]]
        return cls(**fields)


def counts(results: Iterable[Result]) -> dict[str, int]:
    """How many passed, failed, were unmeasured."""
    found = {PASSED: 0, FAILED: 0, UNMEASURED: 0}
    for result in results:
        found[result.status] += 1
    return found


def exit_status(results: Iterable[Result], *, failed: int, cannot_run: int) -> int:
    """0 when everything was measured and passed; `cannot_run` when only this machine stood in the way."""
    bad = [result for result in results if result.status != PASSED]
    if not bad:
        return 0
    if all(result.status == UNMEASURED and result.unmeasured == result.missing != [] for result in bad):
        return cannot_run
    return failed
