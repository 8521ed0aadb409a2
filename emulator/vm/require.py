"""A pytest plugin (`-p emulator.vm.require`) for where every feature must be there: a skipped test fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport | None:
    """Report a test that skips itself, or is marked so, as failed; leave all others to pytest."""
    import pytest

    if call.excinfo is None or not call.excinfo.errisinstance(pytest.skip.Exception):
        return None
    report = pytest.TestReport.from_item_and_call(item, call)
    report.outcome = "failed"
    report.longrepr = f"skipped where nothing may be: {call.excinfo.value}"
    return report


def pytest_make_collect_report(collector: pytest.Collector) -> None:
    """Turn a module that skips itself while it is imported into one that cannot be imported."""
    import pytest

    collect = collector.collect

    def collected() -> object:
        try:
            return collect()
        except pytest.skip.Exception as skipped:
            raise pytest.Collector.CollectError(f"skipped where nothing may be: {skipped}") from skipped

    collector.collect = collected  # type: ignore[method-assign,assignment]
