"""Deliberately wrong callouts: each mistake is found, under its rule; and its correct twin is silent."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import tests.lab.wrong.deciding
import tests.lab.wrong.handing_over
import tests.lab.wrong.injecting
import tests.lab.wrong.lists
import tests.lab.wrong.rarer
import tests.lab.wrong.streams  # noqa: F401  importing them writes their cases down
from emulator.advice import ADVICE
from emulator.schedule import INLINE, Schedule
from emulator.topology import HostOptions, Pair
from emulator.verifier import Finding, detach, findings
from emulator.wfptypes import AddressFamily
from tests.lab.wrong.scene import CASES, Case, Scene

LEAST = 30
OPTIONS = {
    "": HostOptions(),
    "inline": HostOptions(schedule=Schedule(always=INLINE)),
    "offload": HostOptions(checksum_offload=True),
}


class Shared:
    """Pairs that all cases use, one for each kind; after a case that fails the next one gets a new pair."""

    def __init__(self) -> None:
        self.made: dict[str, Pair] = {}

    @contextmanager
    def bed(self, kind: str) -> Iterator[Pair]:
        if kind not in self.made:
            self.made[kind] = Pair(OPTIONS[kind])
        try:
            yield self.made[kind]
        except BaseException:
            self.made.pop(kind).close()
            raise

    def close(self) -> None:
        for bed in self.made.values():
            bed.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    gc.collect()  # what earlier tests left in cycles goes before this bed's descriptors are opened
    made = Shared()
    yield made
    made.close()


def played(case: Case, pair: Pair, family: AddressFamily, *, right: bool) -> list[Finding]:
    """Run a case, and tell what was found: at once, and when the driver was gone."""
    log = pair.host.stack.core.violations
    log.entries.clear()
    scene = Scene(pair, family)
    with scene.later:
        case.run(scene, right)
        scene.close()
        for core in scene.cores():
            detach(core)
        found = [finding for core in scene.cores() for finding in findings(core)]
    left = [line for core in scene.cores() for line in core.leaks()]
    assert left == [], "a case cleans up after itself"
    log.entries.clear()
    return found


def told(found: list[Finding]) -> str:
    return "\n".join(finding.text() for finding in found)


@pytest.mark.case("A10", "A11", "B08", "C16", "C19", "D04", "D12", "D14", "G02", "G06", "H06", "H07", "H09")
@pytest.mark.parametrize(
    ("case", "version"),
    [
        pytest.param(case, version, id=f"{case.name}-ipv{version}", marks=pytest.mark.rule("GE-9", *case.rules))
        for case in CASES
        for version in case.versions
    ],
)
def test_a_mistake_is_found_and_its_correct_twin_is_silent(case: Case, version: int, shared: Shared) -> None:
    family = AddressFamily.of_version(version)
    with shared.bed(case.bed) as pair:
        found = played(case, pair, family, right=False)
        assert found, "nothing was found"
        assert {finding.rule for finding in found} == set(case.rules), told(found)
        assert any(case.says in finding.sentence for finding in found), told(found)
        assert all(finding.advice for finding in found)
        right = played(case, pair, family, right=True)
        assert right == [], told(right)


def test_there_are_enough_of_them_and_each_names_another_mistake() -> None:
    assert len(CASES) >= LEAST
    assert {rule for case in CASES for rule in case.rules} <= set(ADVICE), "each says what to do"
    assert len({case.name for case in CASES}) == len(CASES)
