"""Registering and unregistering callouts, and what they are told of filters."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import pytest

from emulator.callout import Callout
from emulator.errors import (
    CalloutNotFound,
    CalloutNotificationFailed,
    FilterNotFound,
    FwpAlreadyExists,
    FwpInUse,
    FwpNullPointer,
)
from emulator.filters import Filter
from emulator.flows import Flow, FlowKey
from emulator.indication import Indication
from emulator.layers import Layer
from emulator.ntstatus import NtStatus
from emulator.wfptypes import Action, CalloutFlag, FilterFlag, NotifyType
from tests.unit.fakehost import INSPECTION, PATIENCE, TERMINATING, UNKNOWN, FakeHost, join, on_thread

HERE = Layer.OUTBOUND_IPPACKET_V4


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def nothing(seen: Indication) -> None:
    """Decide nothing."""


def permit(seen: Indication) -> None:
    seen.permit()


class Notified:
    """A notify function that answers as told and notes what it hears."""

    def __init__(self, answer: NtStatus = NtStatus.SUCCESS) -> None:
        self.answer = answer
        self.heard: list[tuple[NotifyType, UUID | None, Filter]] = []

    def __call__(self, kind: NotifyType, key: UUID | None, item: Filter) -> NtStatus:
        self.heard.append((kind, key, item))
        return self.answer


def waiting_for(host: FakeHost, callout_id: int) -> tuple[threading.Thread, list[object]]:
    """A thread that unregisters a callout and has come to where it waits for running classifies."""
    callout = host.engine.callouts.by_id(callout_id)
    assert callout is not None
    waits = threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waits.set()
            return super().wait(timeout)

    callout.idle = Watched()
    thread, outcome = on_thread(lambda: host.engine.callouts.unregister(callout_id))
    assert waits.wait(PATIENCE)
    return thread, outcome


# -- registering ----------------------------------------------------------------------------------------------


@pytest.mark.rule("CO-1")
def test_a_callout_is_known_by_its_key_and_its_id(host: FakeHost) -> None:
    key = uuid4()
    first, second = host.callout(nothing, key=key), host.callout(nothing)
    registry = host.engine.callouts
    assert first.key == key
    assert registry.by_key(key) is registry.by_id(first.callout_id) is first
    assert registry.by_id(second.callout_id) is second
    assert first.callout_id != second.callout_id != 0
    assert (registry.by_key(None), registry.by_id(0)) == (None, None)
    assert repr(first) == f"<callout {first.callout_id} nothing>"


@pytest.mark.rule("CO-1", "GE-7")
def test_a_key_is_used_once_and_a_classify_function_is_needed(host: FakeHost) -> None:
    first = host.callout(nothing)
    with pytest.raises(FwpAlreadyExists) as refusal:
        host.callout(permit, key=first.key)
    assert refusal.value.status == 0xC0220009
    assert host.engine.callouts.by_key(first.key) is first
    with pytest.raises(FwpNullPointer):
        host.engine.callouts.register(None)
    host.engine.callouts.unregister(first.callout_id)
    assert host.callout(permit, key=first.key).callout_id != first.callout_id


def test_an_object_is_a_callout_too(host: FakeHost) -> None:
    class Mine(Callout):
        flags = CalloutFlag.ENABLE_COMMIT_ADD_NOTIFY
        heard = Notified()

        def classify(self, seen: Indication) -> None:
            seen.block()

        def notify(self, kind: NotifyType, filter_key: UUID | None, filter: Filter) -> NtStatus:
            return self.heard(kind, filter_key, filter)

    made = Mine()
    callout = host.engine.callouts.register_object(made, key=uuid4())
    item = host.filter(HERE, callout)
    assert not host.show(host.indication(HERE))
    assert [kind for kind, _, _ in made.heard.heard] == [NotifyType.ADD_FILTER, NotifyType.ADD_FILTER_POST_COMMIT]
    assert callout.flow_delete is None
    bare = Callout()
    assert bare.notify(NotifyType.ADD_FILTER, None, item) == NtStatus.SUCCESS
    with pytest.raises(NotImplementedError):
        bare.classify(host.indication(HERE))


@pytest.mark.rule("CO-2", "CO-3")
def test_a_filter_may_come_before_its_callout(host: FakeHost) -> None:
    key = uuid4()
    item = host.filter(HERE, action=TERMINATING, callout_key=key)
    assert item.callout is None
    assert not host.show(host.indication(HERE))
    callout = host.callout(permit, key=key)
    assert host.show(host.indication(HERE))
    host.engine.callouts.unregister(callout.callout_id)
    assert not host.show(host.indication(HERE))


UNREGISTERED = [
    (TERMINATING, FilterFlag(0), False),
    (TERMINATING, FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED, True),
    (UNKNOWN, FilterFlag(0), False),
    (UNKNOWN, FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED, True),
    (INSPECTION, FilterFlag(0), True),
    (INSPECTION, FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED, True),
]


@pytest.mark.rule("CO-3", "FI-5", "CO-5")
@pytest.mark.parametrize(("action", "flags", "passes"), UNREGISTERED)
@pytest.mark.parametrize("why", ["never", "no longer", "busy"])
def test_a_filter_without_its_callout_blocks_unless_told_otherwise(
    host: FakeHost, action: Action, flags: FilterFlag, passes: bool, why: str
) -> None:
    asked: list[Indication] = []
    key = uuid4()
    if why != "never":
        callout = host.callout(asked.append, key=key)
        if why == "busy":
            callout.unregistering = True
        else:
            host.engine.callouts.unregister(callout.callout_id)
    host.filter(HERE, action=action, flags=flags, callout_key=key)
    seen = host.indication(HERE)
    assert host.show(seen) is passes
    assert asked == []
    assert seen.rights == (1 if passes else 0)


@pytest.mark.rule("CO-3", "FI-1")
@pytest.mark.parametrize(
    ("action", "flags", "reached"),
    [
        (INSPECTION, FilterFlag(0), True),
        (UNKNOWN, FilterFlag(0), False),
        (UNKNOWN, FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED, False),
    ],
)
def test_a_filter_without_its_callout_ends_its_sublayer_but_for_inspection(
    host: FakeHost, action: Action, flags: FilterFlag, reached: bool
) -> None:
    asked: list[Indication] = []
    host.filter(HERE, action=action, flags=flags, callout_key=uuid4(), weight=2)
    host.filter(HERE, asked.append, weight=1)
    host.show(host.indication(HERE))
    assert bool(asked) is reached


# -- unregistering --------------------------------------------------------------------------------------------


@pytest.mark.rule("CO-4")
def test_only_known_callouts_are_unregistered(host: FakeHost) -> None:
    callout = host.callout(nothing)
    host.filter(HERE, callout)
    host.engine.callouts.unregister(callout.callout_id)  # although a filter names it
    for gone in (callout.callout_id, 99):
        with pytest.raises(CalloutNotFound) as refusal:
            host.engine.callouts.unregister(gone)
        assert refusal.value.status == 0xC0220001


@pytest.mark.rule("CO-6", "CO-4", "CO-3")
def test_unregistering_waits_for_running_classifies(host: FakeHost) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow(seen: Indication) -> None:
        inside.set()
        assert leave.wait(PATIENCE)
        seen.permit()

    callout = host.callout(slow)
    host.filter(HERE, callout)
    showing, passed = on_thread(lambda: host.show(host.indication(HERE)))
    assert inside.wait(PATIENCE)
    leaving, outcome = waiting_for(host, callout.callout_id)
    assert leaving.is_alive()
    assert not host.show(host.indication(HERE))  # no new classify begins: CO-3
    with pytest.raises(FwpInUse) as refusal:
        host.engine.callouts.unregister(callout.callout_id)
    assert refusal.value.status == 0xC022000A
    leave.set()
    join(showing)
    join(leaving)
    assert (passed, outcome) == ([True], [None])
    with pytest.raises(CalloutNotFound):
        host.engine.callouts.unregister(callout.callout_id)


@pytest.mark.rule("CO-6")
def test_a_classify_that_an_unregister_overtakes_does_not_begin(host: FakeHost) -> None:
    """The unregister comes when the classify has looked at the callout but not yet begun."""
    asked: list[Indication] = []
    callout = host.callout(asked.append, flow_delete=lambda layer, callout, context: None)
    host.filter(HERE, callout)
    flow = host.engine.flows.table.begin(FlowKey(17, bytes(4), 1, bytes(4), 2), outbound=True, now=0)
    enter = host.engine.flows.enter

    def entering(flow: Flow, callout_id: int) -> None:
        enter(flow, callout_id)
        host.engine.callouts.unregister(callout.callout_id)

    host.engine.flows.enter = entering  # type: ignore[method-assign]
    seen = host.indication(HERE)
    seen.flow = flow
    assert not host.show(seen)
    assert asked == []
    assert callout.running == 0


@pytest.mark.rule("CO-21", "CO-6")
def test_classifies_run_beside_each_other(host: FakeHost) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    def classify(seen: Indication) -> None:
        together.wait()

    callout = host.callout(classify)
    host.filter(HERE, callout)
    threads = [on_thread(lambda: host.show(host.indication(HERE))) for _ in range(3)]
    for thread, _ in threads:
        join(thread)
    assert [outcome for _, outcome in threads] == [[True]] * 3
    assert callout.running == 0
    host.engine.callouts.unregister(callout.callout_id)


@pytest.mark.rule("CO-6", "CO-3")
def test_unregistering_under_load_ends_all_classifies_first(host: FakeHost) -> None:
    gone = threading.Event()
    late: list[Indication] = []
    start = threading.Barrier(4, timeout=PATIENCE)

    def classify(seen: Indication) -> None:
        if gone.is_set():
            late.append(seen)

    callout = host.callout(classify)
    host.filter(HERE, callout, action=TERMINATING)
    blocked = [0] * 3

    def shower(number: int) -> None:
        start.wait()
        while blocked[number] < 20:
            if not host.show(host.indication(HERE)) and gone.is_set():
                blocked[number] += 1

    threads = [on_thread(lambda number=number: shower(number))[0] for number in range(3)]  # type: ignore[misc]
    start.wait()
    host.engine.callouts.unregister(callout.callout_id)
    gone.set()
    for thread in threads:
        join(thread)
    assert late == []


@pytest.mark.rule("CO-22")
@pytest.mark.parametrize(("took", "rules"), [(0.010, []), (0.011, ["CO-22"])])
@pytest.mark.parametrize("raises", [False, True])
def test_a_classify_that_takes_too_long_is_told(
    host: FakeHost, took: float, rules: list[str], raises: bool
) -> None:
    now = 0.0
    calls: list[Indication] = []

    def slow(seen: Indication) -> None:
        nonlocal now
        now += took
        calls.append(seen)
        if raises:
            raise KeyError("mine")

    before = host.callout(slow)
    host.engine.callouts.watch(lambda: now, limit=0.010)
    callout = host.callout(slow)
    host.filter(HERE, before, INSPECTION)
    host.show(host.indication(HERE))
    host.filter(HERE, callout, INSPECTION)
    told = list(host.rules)
    host.show(host.indication(HERE))
    assert len(calls) == 3
    assert [rule for rule in host.rules[len(told) :] if rule != "GE-9"] == rules
    assert "slow" in repr(callout)
    if rules:
        assert "slow took 11.0 ms" in str(host.core.violations.entries[-2 if raises else -1])


# -- notifying ------------------------------------------------------------------------------------------------


@pytest.mark.rule("CO-30")
@pytest.mark.parametrize("commit", [False, True])
def test_a_callout_hears_of_its_filters(host: FakeHost, commit: bool) -> None:
    notified = Notified()
    flags = CalloutFlag.ENABLE_COMMIT_ADD_NOTIFY if commit else CalloutFlag(0)
    callout = host.callout(nothing, notify=notified, flags=flags)
    item = host.filter(HERE, callout)
    added = [(NotifyType.ADD_FILTER, item.key, item)]
    if commit:
        added.append((NotifyType.ADD_FILTER_POST_COMMIT, item.key, item))
    assert notified.heard == added
    host.filter(HERE, host.callout(nothing))
    host.engine.delete_filter(item.filter_id)
    assert notified.heard == [*added, (NotifyType.DELETE_FILTER, None, item)]


@pytest.mark.rule("CO-30")
def test_a_refused_filter_is_not_there(host: FakeHost) -> None:
    asked: list[Indication] = []
    notified = Notified(NtStatus.UNSUCCESSFUL)
    callout = host.callout(asked.append, notify=notified, flags=CalloutFlag.ENABLE_COMMIT_ADD_NOTIFY)
    changes: list[None] = []
    host.engine.on_change = lambda: changes.append(None)
    with pytest.raises(CalloutNotificationFailed, match="UNSUCCESSFUL") as refusal:
        host.filter(HERE, callout)
    assert refusal.value.status == 0xC0220037
    assert (host.engine.filters, host.engine.at_layer, changes) == ({}, {}, [])
    host.show(host.indication(HERE))
    assert asked == []
    assert [kind for kind, _, _ in notified.heard] == [NotifyType.ADD_FILTER]


@pytest.mark.rule("CO-30")
def test_a_filter_goes_whatever_its_callout_says(host: FakeHost) -> None:
    notified = Notified()
    item = host.filter(HERE, host.callout(nothing, notify=notified))
    notified.answer = NtStatus.UNSUCCESSFUL
    host.engine.delete_filter(item.filter_id)
    assert host.engine.filters == {}
    with pytest.raises(FilterNotFound):
        host.engine.delete_filter(item.filter_id)


@pytest.mark.rule("CO-30")
def test_a_callout_does_not_hear_of_filters_older_than_itself(host: FakeHost) -> None:
    key = uuid4()
    host.filter(HERE, action=UNKNOWN, callout_key=key)
    notified = Notified()
    host.callout(nothing, key=key, notify=notified)
    assert notified.heard == []


@pytest.mark.rule("GE-9", "CO-30")
def test_a_notify_function_that_raises_is_told_and_refuses(host: FakeHost) -> None:
    def broken(kind: NotifyType, key: UUID | None, item: Filter) -> NtStatus:
        raise KeyError(key)

    callout = host.callout(nothing, notify=broken)
    with pytest.raises(CalloutNotificationFailed):
        host.filter(HERE, callout)
    assert host.rules == ["GE-9"]
    assert host.engine.filters == {}
