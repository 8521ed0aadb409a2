"""A pytest plugin that records which contract rules were proved: `@pytest.mark.rule("NB-1", ...)`.

An unknown id, or a marker without ids, is a collection error. Under pytest-xdist the workers tell what they
collected, and the controlling session alone writes. A run of some tests replaces the outcomes of those and
keeps the others. A test that was begun, or stood behind one that was, and did not come to its end counts as
unfinished: nothing is ever covered by a test that did not run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

import pytest

from emulator.contract.results import RESULTS, Digests, Outcome, Proof, update
from emulator.contract.rules import load_contract
from emulator.contract.sources import Sources


class Named(TypedDict):
    """A collected test that names rules or cases; plain data, for it travels between processes."""

    node: str
    rules: list[str]
    cases: list[str]
    file: str
    rests_on: list[str]
    digest: str


_NAMED = pytest.StashKey[Named]()
_WORKER_KEY = "contract_collected"

# When reports of one test disagree (setup, call, teardown, subtests), the earlier in this list wins.
_WORST_FIRST = (Outcome.FAILED, Outcome.XFAILED, Outcome.SKIPPED, Outcome.XPASSED, Outcome.PASSED)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, what collects, and in the session that writes also what records."""
    told = {"rule": "the contract rules this test proves", "case": "the acceptance cases it stands for"}
    for marker, what in told.items():
        if not any(line.startswith(f"{marker}(") for line in config.getini("markers")):
            config.addinivalue_line("markers", f"{marker}(*ids): {what}")
    collector = _Collector(config)
    config.pluginmanager.register(collector, "contract-collector")
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        config.pluginmanager.register(_Recorder(config, collector), "contract-recorder")


class _Collector:
    """Checks the markers, and knows every test that names rules, chosen for this run or not."""

    def __init__(self, config: pytest.Config) -> None:
        self.named: dict[str, Named] = {}
        self.whole_files: set[str] = set()
        """Files all of whose tests were collected: a recorded test they lack is no more."""
        self._config = config
        self._known: frozenset[str] | None = None
        self._digests = Digests(config.rootpath)
        self._sources = Sources(config.rootpath)

    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makeitem(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        """Check markers where a complaint becomes an error of this file."""
        made = yield
        for item in made if isinstance(made, list) else [made]:
            if isinstance(item, pytest.Item):
                complaint = self._complaint(item)
                if complaint:
                    raise collector.CollectError(f"{item.nodeid}: {complaint}")
        return made

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Take note of the tests, before others drop some or change their ids."""
        for item in items:
            rules, cases = _named_by(item, "rule"), _named_by(item, "case")
            if rules or cases:
                file, rests_on = self._file(item), self._sources.of(item)
                digest = self._digests.of((file, *rests_on)) or ""
                named = Named(
                    node=item.nodeid, rules=rules, cases=cases, file=file, rests_on=list(rests_on), digest=digest
                )
                item.stash[_NAMED] = self.named[item.nodeid] = named
        if not self._config.getoption("lf", False):
            picked = {argument.partition("::")[0] for argument in self._config.args if "::" in argument}
            partial = {(self._config.invocation_params.dir / path).resolve() for path in picked}
            self.whole_files = {self._file(item) for item in items if item.path.resolve() not in partial}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach what is known of the test to its reports, which go from a worker to the controller."""
        report = yield
        if _NAMED in item.stash:
            vars(report)["contract"] = item.stash[_NAMED]
        return report

    def pytest_sessionfinish(self) -> None:
        """In a worker: tell the controller what was collected, tests that never ran included."""
        output: dict[str, object] | None = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[_WORKER_KEY] = {"named": list(self.named.values()), "whole": sorted(self.whole_files)}

    def _complaint(self, item: pytest.Item) -> str | None:
        for marker in item.iter_markers("rule"):
            if not marker.args or marker.kwargs:
                return "its rule marker must name rules and nothing else, as @pytest.mark.rule('GE-1')"
            if self._known is None:
                self._known = frozenset(rule.id for rule in load_contract().rules)
            unknown = [id for id in marker.args if not isinstance(id, str) or id not in self._known]
            if unknown:
                return f"no such contract rule: {', '.join(map(repr, unknown))}"
        return None

    def _file(self, item: pytest.Item) -> str:
        return Path(os.path.relpath(item.path, self._config.rootpath)).as_posix()


class _Recorder:
    """Follows the run, and writes its outcomes; only in the session that the user started."""

    def __init__(self, config: pytest.Config, collector: _Collector) -> None:
        self._root = config.rootpath
        self._named: dict[str, Named] = collector.named
        self._collector = collector
        self._whole_files: set[str] = set()
        self._chosen: set[str] = set()
        self._unreadable_files: set[str] = set()
        self._outcomes: dict[str, Outcome] = {}
        self._ended: dict[str, float] = {}
        self._begun = False
        self._error: OSError | None = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember files that could not be collected: what they proved once they do not prove now."""
        if report.failed:
            self._unreadable_files.add(report.nodeid.partition("::")[0])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take note of the tests chosen for this run."""
        self._whole_files = self._collector.whole_files
        self._choose(item.stash[_NAMED]["node"] for item in session.items if _NAMED in item.stash)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """The same, told by a worker. `--dist loadgroup` appends @group to the ids."""
        for id in ids:
            self._choose({id, id.rpartition("@")[0] or id})

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Learn from a worker that ends what it had collected; one that crashed tells nothing."""
        collected = getattr(node, "workeroutput", {}).get(_WORKER_KEY)
        if collected:
            self._named.update({named["node"]: named for named in collected["named"]})
            self._whole_files.update(collected["whole"])

    def pytest_runtest_logstart(self) -> None:
        """Take back, before the first test, what earlier runs of the chosen tests proved.

        Were it done at the end only, a test that kills the process would leave its last pass on record.
        """
        if not self._begun:
            self._begun = True
            self._update(lambda old: self._unfinished(old, self._chosen))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the worst of what the parts of a test report."""
        named: Named | None = getattr(report, "contract", None)
        node = named["node"] if named else report.nodeid
        if named:
            self._named[node] = named
        outcome = _outcome(report)
        if outcome is not None:
            before = self._outcomes.get(node, outcome)
            self._outcomes[node] = min(before, outcome, key=_WORST_FIRST.index)
        if report.when == "teardown" or outcome is Outcome.FAILED:
            self._ended[node] = report.stop

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Write what became of the tests."""
        self._update(self._merged)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say so when the results could not be written; the tests' own result stands."""
        if self._error:
            terminalreporter.write_line(f"contract rules: {self._root / RESULTS} not written: {self._error}")

    def _choose(self, nodes: Iterable[str]) -> None:
        self._chosen.update(nodes)

    def _update(self, change: Callable[[Mapping[str, Proof]], Mapping[str, Proof]]) -> None:
        try:
            update(self._root, change)
        except OSError as error:
            self._error = error

    def _unfinished(self, old: Mapping[str, Proof], nodes: Iterable[str]) -> dict[str, Proof]:
        taken_back = {n: replace(old[n], outcome=Outcome.UNFINISHED, ended=None) for n in nodes if n in old}
        return {**old, **taken_back}

    def _merged(self, old: Mapping[str, Proof]) -> dict[str, Proof]:
        kept = {node: proof for node, proof in old.items() if self._exists(proof)}
        broken = [node for node, proof in kept.items() if proof.file in self._unreadable_files]
        new = self._unfinished(kept, broken)
        if not self._begun:
            return new
        for node in self._chosen | self._outcomes.keys():
            known = self._named.get(node)
            if known:
                new[node] = self._proof(known)
            elif node in new and self._outcomes.get(node) is Outcome.FAILED:
                new[node] = replace(new[node], outcome=Outcome.FAILED)
        return new

    def _exists(self, proof: Proof) -> bool:
        gone = proof.file in self._whole_files and proof.node not in self._named
        return not gone and (self._root / proof.file).is_file()

    def _proof(self, named: Named) -> Proof:
        # A test whose worker crashed failed at no known time: its report says 0.
        node, stop = named["node"], self._ended.get(named["node"])
        return Proof(
            node=node,
            rules=tuple(named["rules"]),
            cases=tuple(named["cases"]),
            file=named["file"],
            rests_on=tuple(named["rests_on"]),
            digest=named["digest"],
            outcome=Outcome.UNFINISHED if stop is None else self._outcomes.get(node, Outcome.UNFINISHED),
            ended=None if not stop else datetime.fromtimestamp(stop, UTC).isoformat(timespec="seconds"),
        )


def _named_by(item: pytest.Item, marker_name: str) -> list[str]:
    ids = (str(id) for marker in item.iter_markers(marker_name) for id in marker.args)
    return list(dict.fromkeys(ids))


def _outcome(report: pytest.TestReport) -> Outcome | None:
    """What one report says; None for a setup or teardown without trouble."""
    if report.failed:
        return Outcome.FAILED
    if hasattr(report, "wasxfail"):
        return Outcome.XFAILED if report.skipped else Outcome.XPASSED
    if report.skipped:
        return Outcome.SKIPPED
    return Outcome.PASSED if report.passed and report.when == "call" else None
