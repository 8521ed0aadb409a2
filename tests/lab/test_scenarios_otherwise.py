"""Scenarios of the packet layers once more: with everything injected by sockets, and by the other queue."""

from __future__ import annotations

import pytest

from emulator.paths.queue import QueueBackend
from emulator.pytest_plugin import explained
from emulator.run.loading import built_in
from emulator.run.runner import Settings, run_family
from emulator.scenario import Scenario
from emulator.topology import HostOptions
from emulator.violations import Level
from emulator.wfptypes import AddressFamily

SCENARIOS = {item.name: item for item in built_in()}
GROUPS = ("answering", "fragments", "priorities", "proxying", "redirection", "routing", "several", "transport")
BY_SOCKET = [item for item in SCENARIOS.values() if item.group in GROUPS]
BY_NETFILTERQUEUE = [
    SCENARIOS[name]
    for name in (
        "clone_and_inject_at_every_layer",
        "clone_and_inject_in_transit",
        "nothing_shows_through_a_host",
        "nothing_shows_through_a_router",
    )
]


def named(items: list[Scenario]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("item", items, ids=lambda item: item.name)


def passes(item: Scenario, family: AddressFamily, options: HostOptions) -> None:
    result = run_family(item, family, Settings(host=options, timeout=None))
    if result.missing:
        pytest.skip("; ".join(result.missing))
    assert result.status == "passed", "\n".join(explained(result))


@named(BY_SOCKET)
@pytest.mark.rule("GE-4")
def test_what_injects_by_sockets_alone_is_no_different(item: Scenario, family: AddressFamily) -> None:
    passes(item, family, HostOptions(by_socket=True, level=Level.FULL))


@named(BY_NETFILTERQUEUE)
def test_what_takes_packets_by_the_other_queue_is_no_different(item: Scenario, family: AddressFamily) -> None:
    passes(item, family, HostOptions(backend=QueueBackend.NETFILTERQUEUE, level=Level.NORMAL))


def test_nothing_shows_of_injecting_by_sockets_alone() -> None:
    """The slowest way under the most traffic, once."""
    item = SCENARIOS["nothing_shows_through_a_host"]
    passes(item, AddressFamily.INET, HostOptions(by_socket=True, level=Level.NORMAL))
