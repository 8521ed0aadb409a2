"""A source tree of its own, whose tests name rules."""

from __future__ import annotations

import pytest

from emulator.contract.results import load
from emulator.contract.rules import Status, join, load_contract

HEAD = "import pytest\nrule = pytest.mark.rule\n"


class Tree:
    """A source tree with tests that name rules, whose pytest loads the plugin."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        # What is not under test costs a second per run: other plugins, and collecting garbage five times.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        self.configure("")
        pytester.makeini("[pytest]\npythonpath = .\naddopts = --strict-markers -p no:unraisableexception\n")

    def write(self, **files: str) -> None:
        """Write `name`.py for each keyword; pytest and `rule` are at hand in it."""
        self.pytester.makepyfile(**{name: HEAD + text for name, text in files.items()})

    def configure(self, text: str) -> None:
        """Make `text` the conftest, which also loads the plugin."""
        self.pytester.makeconftest(f'pytest_plugins = ["emulator.contract.plugin"]\n{text}')

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in this process."""
        return self.pytester.runpytest_inprocess(*arguments)

    def outcomes(self) -> dict[str, str]:
        """Each recorded test with the value of its outcome."""
        return {node: proof.outcome.value for node, proof in load(self.pytester.path).items()}

    def statuses(self, *ids: str) -> list[Status]:
        """The status of each of the rules."""
        reports = join(load_contract(), load(self.pytester.path).values(), self.pytester.path)
        by_id = {report.rule.id: report.status for report in reports}
        return [by_id[id] for id in ids]


@pytest.fixture
def tree(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Tree:
    return Tree(pytester, monkeypatch)
