"""A pytest plugin (`-p emulator.vm.require`) for a guest: a skipped test fails, and what is left to the host is said.

A failure is said at once, and once more by pytest at the end: a guest is slow, and may not live until then.
A test marked `host_only("why")` is left out where tests are chosen by `-m "not host_only"`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

MARKER = "host_only"
_FROM_WORKER = "left_to_the_host"


class LeftOut:
    """What this session, or a worker of it, left out; by file and reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Count those that are for the host; what else is left out was asked for."""
        for item in items:
            marker = item.get_closest_marker(MARKER)
            if marker is not None:
                file = item.nodeid.partition("::")[0]
                self.counts[f"{file}: {' '.join(map(str, marker.args))}"] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker of pytest-xdist: tell the session that started it."""
        output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_FROM_WORKER] = dict(self.counts)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Take what a worker left out; each of them collects the same tests."""
        self.counts |= Counter(getattr(node, "workeroutput", {}).get(_FROM_WORKER, {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was left out, and why."""
        if self.counts:
            terminalreporter.section(f"{self.counts.total()} tests left to the host's own suite")
            for what, number in sorted(self.counts.items()):
                terminalreporter.write_line(f"{number:4}  {what}")


class AtOnce:
    """Says what failed when it fails."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a failed test's name, and the lines that say why."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if report.failed and terminal is not None:
            why = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
            terminal.write_line("\n".join(["", f"failed: {report.nodeid}, {report.when}", *why]))


def pytest_configure(config: pytest.Config) -> None:
    """Register what counts, and in the session that the user sees what says."""
    config.pluginmanager.register(LeftOut(), "wfplab-left-out")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(AtOnce(config), "wfplab-at-once")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport | None:
    """Report a test that skips itself, or is marked so, as failed; leave all others to pytest."""
    if call.excinfo is None or not call.excinfo.errisinstance(pytest.skip.Exception):
        return None
    report = pytest.TestReport.from_item_and_call(item, call)
    report.outcome = "failed"
    report.longrepr = f"skipped where nothing may be: {call.excinfo.value}"
    return report


def pytest_make_collect_report(collector: pytest.Collector) -> None:
    """Turn a module that skips itself while it is imported into one that cannot be imported."""
    collect = collector.collect

    def collected() -> object:
        try:
            return collect()
        except pytest.skip.Exception as skipped:
            raise pytest.Collector.CollectError(f"skipped where nothing may be: {skipped}") from skipped

    collector.collect = collected  # type: ignore[method-assign,assignment]
