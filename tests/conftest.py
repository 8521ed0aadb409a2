"""What all tests share: both address families, and a lab test's need of root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from emulator.wfptypes import AddressFamily

LAB = Path(__file__).parent / "lab"

# Records which rules were proved, for `wfplab contract`.
pytest_plugins = ["emulator.contract.plugin"]


@pytest.fixture(params=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> AddressFamily:
    """Each address family in turn."""
    from emulator.wfptypes import AddressFamily

    return {"ipv4": AddressFamily.INET, "ipv6": AddressFamily.INET6}[request.param]


@pytest.fixture(autouse=True, scope="module")
def capabilities_stay() -> Iterator[None]:
    """No test takes from this process, whose later tests need it, what root may do."""
    before = _capabilities()
    yield
    assert _capabilities() == before


def _capabilities() -> list[str]:
    with open("/proc/thread-self/status") as status:
        return [line for line in status if line.startswith("Cap")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in `tests/lab`, so that `-m "not lab"` and `-m lab` choose."""
    for item in items:
        if LAB in item.path.parents:
            item.add_marker("lab")
    # One bed serves all wrong callouts: they come first of the lab, before anything else was opened and closed.
    items.sort(key=lambda item: (LAB in item.path.parents) + (item.path.name != "test_wrong_callouts.py"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a lab test for anybody but root: were it skipped, a green run could have measured nothing."""
    if item.get_closest_marker("lab") and os.geteuid() != 0:
        pytest.fail("a lab test needs root: sudo ./wfplab test", pytrace=False)
