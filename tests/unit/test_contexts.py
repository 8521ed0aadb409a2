"""Flow contexts: hung on flows, seen by classify, given back exactly once and never under a classify."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from emulator.errors import (
    FwpInvalidParameter,
    FwpNotFound,
    InvalidParameter,
    ObjectNameExists,
    Unsuccessful,
    WfpError,
)
from emulator.flows import Flow
from emulator.indication import Indication
from emulator.ntstatus import NtStatus, nt_success
from tests.unit.fakehost import PATIENCE, join
from tests.unit.flowbench import HERE, KEY, THERE, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- associating ----------------------------------------------------------------------------------------------


@pytest.mark.rule("FL-1", "FL-3", "CO-11")
def test_a_classify_sees_the_context_of_its_callout_at_its_layer(bench: Bench) -> None:
    other = bench.host.callout(lambda seen: None, flow_delete=bench.delete)
    bench.associate(0x5678, layer=THERE)
    bench.show()
    bench.associate(0x1234)
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
