"""Contexts and the callouts that have them: seen only with them, gone only without, whatever runs beside."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

import pytest

from emulator.errors import (
    DeviceBusy,
)
from emulator.flows import Flow
from emulator.indication import Indication
from emulator.ntstatus import NtStatus
from emulator.wfptypes import CalloutFlag
from tests.unit.fakehost import PATIENCE, join, on_thread
from tests.unit.flowbench import HERE, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- callouts that are for flows only, and callouts that go ----------------------------------------------------


@pytest.mark.rule("FL-9", "CO-11")
def test_a_callout_for_flows_sees_only_flows_with_its_context() -> None:
    bench = Bench(flags=CalloutFlag.CONDITIONAL_ON_FLOW)
    bench.show()
    bench.host.show(bench.host.indication(HERE))
    assert bench.seen == []
    bench.associate("mine")
    bench.show()
    assert bench.seen == ["mine"]
    bench.remove()
    bench.show()
    assert bench.seen == ["mine"]
    assert bench.host.rules == []


@pytest.mark.rule("CO-4", "CO-5", "OR-5")
def test_a_callout_with_contexts_cannot_go_and_still_gets_them_back(bench: Bench) -> None:
    bench.associate("mine")
    with pytest.raises(DeviceBusy) as refusal:
        bench.host.engine.callouts.unregister(bench.callout.callout_id)
    assert refusal.value.status == 0x80000011
    bench.show()
    assert bench.seen == []
    assert bench.remove() == NtStatus.SUCCESS
    assert bench.gone("mine")
    bench.host.engine.callouts.unregister(bench.callout.callout_id)
    assert bench.host.engine.callouts.by_id(bench.callout.callout_id) is None


@pytest.mark.rule("CO-4", "CO-6")
def test_a_context_that_is_being_given_back_counts_until_its_function_returns(bench: Bench) -> None:
    bench.associate("mine")
    inside, leave = threading.Event(), threading.Event()

    def slow(layer: int, callout_id: int, context: Any) -> None:
        inside.set()
        assert leave.wait(PATIENCE)

    bench.callout.flow_delete = slow
    removing, outcome = on_thread(bench.remove)
    assert inside.wait(PATIENCE)
    with pytest.raises(DeviceBusy):
        bench.host.engine.callouts.unregister(bench.callout.callout_id)
    leave.set()
    join(removing)
    assert outcome == [NtStatus.SUCCESS]
    bench.host.engine.callouts.unregister(bench.callout.callout_id)


@pytest.mark.rule("FL-10")
def test_a_removal_that_meets_a_classify_half_way_never_shows_a_deleted_context(bench: Bench) -> None:
    """The removal comes when the classify has begun but not yet looked for its context."""
    statuses: list[NtStatus] = []
    bench.associate("mine")
    enter = bench.contexts.enter

    def entering(flow: Flow, callout_id: int) -> None:
        enter(flow, callout_id)
        statuses.append(bench.remove())

    bench.contexts.enter = entering  # type: ignore[method-assign]
    bench.show()
    assert statuses == [NtStatus.PENDING]
    assert bench.seen == [0]
    assert bench.gone("mine")


@pytest.mark.rule("FL-10")
def test_a_classify_that_returns_while_a_removal_looks_gives_the_context_back(bench: Bench) -> None:
    """It returns when the removal has seen it running but not yet answered PENDING."""
    number = bench.callout.callout_id

    class Classifying(defaultdict[int, int]):
        looks = 0

        def __getitem__(self, callout_id: int) -> int:
            running = super().__getitem__(callout_id)
            self.looks += 1
            if self.looks == 1:
                bench.contexts.leave(bench.flow, callout_id)
            return running

    bench.associate("mine")
    bench.contexts.enter(bench.flow, number)
    bench.flow.classifying = Classifying(int, bench.flow.classifying)
    assert bench.remove() == NtStatus.PENDING
    assert bench.gone("mine")
    assert bench.contexts.count(number) == 0


@pytest.mark.rule("FL-10")
def test_classifying_associating_and_removing_at_once_gives_every_context_back_once(bench: Bench) -> None:
    start = threading.Barrier(4, timeout=PATIENCE)
    rounds = 150
    alive: set[Any] = set()
    wrong: list[Any] = []

    def delete(layer: int, callout_id: int, context: Any) -> None:
        alive.discard(context)
        bench.delete(layer, callout_id, context)

    def classify(seen: Indication) -> None:
        context = seen.flow_context
        if context and context not in alive:
            wrong.append(context)

    bench.callout.flow_delete = delete
    bench.callout.classify = classify

    def shower() -> None:
        start.wait()
        for _ in range(rounds * 3):
            bench.show()

    def changer() -> None:
        start.wait()
        for number in range(1, rounds + 1):
            alive.add(number)
            bench.associate(number)
            bench.remove()

    threads = [on_thread(shower), on_thread(shower), on_thread(changer)]
    start.wait()
    for thread, _ in threads:
        join(thread)
    assert [outcome for _, outcome in threads] == [[None]] * 3
    assert wrong == []
    assert sorted(context for _, _, context in bench.deleted) == list(range(1, rounds + 1))
    assert bench.contexts.count(bench.callout.callout_id) == 0
