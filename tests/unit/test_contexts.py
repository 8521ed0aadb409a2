"""Flow contexts: hung on flows, seen by classify, given back exactly once and never under a classify."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from emulator.callout import RegisteredCallout
from emulator.errors import (
    DeviceBusy,
    FwpInvalidParameter,
    FwpNotFound,
    InvalidParameter,
    ObjectNameExists,
    Unsuccessful,
    WfpError,
)
from emulator.flows import Flow, FlowKey
from emulator.indication import Indication
from emulator.layers import Layer
from emulator.ntstatus import NtStatus, nt_success
from emulator.wfptypes import CalloutFlag
from tests.unit.fakehost import PATIENCE, FakeHost, join, on_thread

HERE, THERE = Layer.OUTBOUND_TRANSPORT_V4, Layer.STREAM_V4
KEY = FlowKey(17, b"\x0a\0\0\1", 5000, b"\x0a\0\0\2", 53)


class Bench:
    """A host with a flow, a callout that has contexts, and what its functions were told."""

    def __init__(self, **options: Any) -> None:
        self.host = FakeHost()
        self.contexts = self.host.engine.flows
        self.flow = self.contexts.table.begin(KEY, outbound=True, now=0)
        self.seen: list[Any] = []
        self.deleted: list[tuple[int, int, Any]] = []
        self.during: Any = lambda: None
        self.callout = self.host.callout(self.classify, flow_delete=self.delete, **options)
        self.host.filter(HERE, self.callout)

    def classify(self, seen: Indication) -> None:
        self.seen.append(seen.flow_context)
        self.during()

    def delete(self, layer: int, callout_id: int, context: Any) -> None:
        self.deleted.append((layer, callout_id, context))

    def associate(self, context: Any, layer: int = HERE, callout: RegisteredCallout | None = None) -> None:
        self.contexts.associate(self.flow.number, layer, (callout or self.callout).callout_id, context)

    def remove(self, layer: int = HERE) -> NtStatus:
        return self.contexts.remove(self.flow.number, layer, self.callout.callout_id)

    def show(self, flow: Flow | None = None) -> None:
        seen = self.host.indication(HERE)
        seen.flow = flow or self.flow
        self.host.show(seen)

    def gone(self, *contexts: Any) -> bool:
        """True when exactly these contexts have been given back, in this order."""
        return self.deleted == [(HERE, self.callout.callout_id, context) for context in contexts]


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- associating ----------------------------------------------------------------------------------------------


@pytest.mark.rule("FL-1", "FL-3", "CO-11")
def test_a_classify_sees_the_context_of_its_callout_at_its_layer(bench: Bench) -> None:
    other = bench.host.callout(lambda seen: None, flow_delete=bench.delete)
    bench.show()
    bench.associate(0x1234)
    bench.associate(0x5678, layer=THERE)
    bench.associate(0x9999, callout=other)
    bench.show()
    elsewhere = bench.contexts.table.begin(KEY._replace(local_port=1), outbound=True, now=0)
    bench.show(elsewhere)
    assert bench.seen == [0, 0x1234, 0]
    bench.host.show(bench.host.indication(HERE))
    assert bench.seen[3] == 0
    assert bench.contexts.count(bench.callout.callout_id) == 2
    assert bench.contexts.count(other.callout_id) == 1


@pytest.mark.rule("FL-1")
@pytest.mark.parametrize(
    ("wrong", "refusal", "status"),
    [
        ("context", InvalidParameter, 0xC000000D),
        ("function", InvalidParameter, 0xC000000D),
        ("callout", InvalidParameter, 0xC000000D),
        ("flow", FwpNotFound, 0xC0220008),
    ],
)
def test_a_refused_association_changes_nothing(
    bench: Bench, wrong: str, refusal: type[WfpError], status: int
) -> None:
    without = bench.host.callout(lambda seen: None)
    flow = 99 if wrong == "flow" else bench.flow.number
    callout_id = {"function": without.callout_id, "callout": 99}.get(wrong, bench.callout.callout_id)
    with pytest.raises(refusal) as refused:
        bench.contexts.associate(flow, HERE, callout_id, 0 if wrong == "context" else 5)
    assert refused.value.status == status
    assert bench.flow.contexts == {}


@pytest.mark.rule("FL-1")
def test_a_flow_that_has_ended_takes_no_context(bench: Bench) -> None:
    bench.contexts.table.end(bench.flow)
    with pytest.raises(FwpNotFound):
        bench.associate(5)
    bench.contexts.table.number = lambda number: bench.flow  # type: ignore[method-assign]  # found just before
    with pytest.raises(FwpNotFound):
        bench.associate(5)


@pytest.mark.rule("FL-2", "ER-4")
def test_a_second_context_is_refused_with_a_status_that_looks_like_success(bench: Bench) -> None:
    bench.associate("first")
    with pytest.raises(ObjectNameExists) as refusal:
        bench.associate("second")
    assert refusal.value.status == 0x40000000
    assert nt_success(refusal.value.status)
    assert refusal.value.status != NtStatus.SUCCESS
    bench.contexts.table.end(bench.flow)
    assert bench.gone("first")


# -- removing -------------------------------------------------------------------------------------------------


@pytest.mark.rule("FL-4", "CO-31")
def test_a_removed_context_is_given_back_before_the_call_returns(bench: Bench) -> None:
    bench.associate("mine")
    bench.associate("other", layer=THERE)
    assert bench.remove() == NtStatus.SUCCESS
    assert bench.gone("mine")
    assert bench.contexts.count(bench.callout.callout_id) == 1
    bench.show()
    assert bench.seen == [0]


@pytest.mark.rule("FL-4")
@pytest.mark.parametrize("wrong", ["flow", "layer", "callout", "twice"])
def test_without_a_context_there_is_nothing_to_remove(bench: Bench, wrong: str) -> None:
    bench.associate("mine")
    if wrong == "twice":
        bench.remove()
    deleted = list(bench.deleted)
    with pytest.raises(Unsuccessful) as refusal:
        bench.contexts.remove(
            99 if wrong == "flow" else bench.flow.number,
            THERE if wrong == "layer" else HERE,
            99 if wrong == "callout" else bench.callout.callout_id,
        )
    assert refusal.value.status == 0xC0000001
    assert bench.deleted == deleted


@pytest.mark.rule("FL-4", "FL-10", "ER-4")
def test_a_removal_inside_of_classify_is_pending(bench: Bench) -> None:
    bench.associate("mine")
    outcome: list[tuple[NtStatus, bool, int]] = []
    bench.during = lambda: outcome.append(
        (bench.remove(), bench.gone(), bench.contexts.count(bench.callout.callout_id))
    )
    bench.show()
    assert outcome == [(NtStatus.PENDING, True, 1)]
    assert bench.gone("mine")
    assert bench.contexts.count(bench.callout.callout_id) == 0


@pytest.mark.rule("FL-4")
def test_a_classify_of_another_flow_or_callout_does_not_matter(bench: Bench) -> None:
    other = bench.contexts.table.begin(KEY._replace(local_port=1), outbound=True, now=0)
    statuses: list[NtStatus] = []
    bench.associate("mine")
    bench.during = lambda: statuses.append(bench.remove())
    bench.show(other)

    def second(seen: Indication) -> None:
        statuses.append(bench.remove())

    bench.during = lambda: None
    bench.associate("again")
    bench.host.filter(HERE, second)
    bench.show()
    assert statuses == [NtStatus.SUCCESS, NtStatus.SUCCESS]
    assert bench.gone("mine", "again")


@pytest.mark.rule("FL-10")
def test_of_two_classifies_the_last_to_return_gives_the_context_back(bench: Bench) -> None:
    bench.associate("mine")
    inside = threading.Barrier(3, timeout=PATIENCE)
    leave = {"first": threading.Event(), "second": threading.Event()}

    def during() -> None:
        inside.wait()
        assert leave[threading.current_thread().name].wait(PATIENCE)

    bench.during = during
    threads = {name: threading.Thread(target=bench.show, name=name, daemon=True) for name in leave}
    for thread in threads.values():
        thread.start()
    inside.wait()
    assert bench.remove() == NtStatus.PENDING
    leave["first"].set()
    join(threads["first"])
    assert bench.gone()
    leave["second"].set()
    join(threads["second"])
    assert bench.gone("mine")


@pytest.mark.rule("FL-5", "FL-10", "CO-31")
def test_the_end_of_a_flow_gives_all_contexts_back(bench: Bench) -> None:
    bench.associate("here")
    bench.associate("there", layer=THERE)
    bench.contexts.table.end(bench.flow)
    assert sorted(bench.deleted) == sorted(
        [(HERE, bench.callout.callout_id, "here"), (THERE, bench.callout.callout_id, "there")]
    )
    assert bench.contexts.leaks() == []
    with pytest.raises(Unsuccessful):
        bench.remove()


@pytest.mark.rule("FL-5", "FL-10")
def test_a_flow_that_ends_under_a_classify_gives_the_context_back_after_it(bench: Bench) -> None:
    bench.associate("mine")
    given: list[bool] = []

    def during() -> None:
        bench.contexts.table.end(bench.flow)
        given.append(bench.gone())

    bench.during = during
    bench.show()
    assert given == [True]
    assert bench.gone("mine")
    assert bench.contexts.count(bench.callout.callout_id) == 0


@pytest.mark.rule("FL-6")
def test_an_aborted_flow_is_reset_and_gives_its_contexts_back(bench: Bench) -> None:
    reset: list[Flow] = []
    bench.contexts.on_abort = reset.append
    bench.associate("mine")
    bench.contexts.abort(bench.flow.number)
    assert reset == [bench.flow]
    assert bench.flow.ended
    assert bench.gone("mine")
    with pytest.raises(FwpInvalidParameter) as refusal:
        bench.contexts.abort(bench.flow.number)
    assert refusal.value.status == 0xC0220035
    bench.contexts.on_abort = None
    again = bench.contexts.table.begin(KEY, outbound=True, now=0)
    bench.contexts.abort(again.number)
    assert again.ended


@pytest.mark.rule("GE-9", "CO-31")
def test_a_delete_function_that_raises_is_told(bench: Bench) -> None:
    def broken(layer: int, callout_id: int, context: Any) -> None:
        raise KeyError(context)

    bench.callout.flow_delete = broken
    bench.associate("mine")
    assert bench.remove() == NtStatus.SUCCESS
    assert bench.host.rules == ["GE-9"]
    assert bench.contexts.count(bench.callout.callout_id) == 0


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
