"""FwpsStreamInjectAsync0: what it refuses, where octets come out, and when lists are completed."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.errors import (
    FwpIncompatibleLayer,
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNullPointer,
    InjectHandleClosing,
    InjectHandleStale,
    InvalidHandle,
    TcpipNotReady,
    WfpError,
)
from emulator.indication import Indication
from emulator.layerids import Layer
from emulator.netbuffer import DRIVER, FREED, IN_FLIGHT, Mdl, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.splice import Side
from emulator.stream import clone_stream_data
from emulator.stream_bench import StreamBench
from emulator.wfptypes import AddressFamily, InjectionState, InjectionType, WindowsVersion
from tests.unit.streamdriver import RECEIVE, RECEIVE_FIN, SEND, SEND_FIN, Driver, F

REFUSALS: list[tuple[str, type[WfpError], dict[str, Any]]] = [
    ("ST-7", FwpNullPointer, {"completion": None}),
    ("GE-6", FwpInvalidFlags, {"flags": 1}),
    ("ST-2", FwpIncompatibleLayer, {"layer": int(Layer.OUTBOUND_TRANSPORT_V4)}),
    ("ST-2", FwpIncompatibleLayer, {"layer": int(Layer.STREAM_V4_DISCARD)}),
    ("ST-2", FwpInvalidParameter, {"layer": int(Layer.STREAM_V6)}),
    ("ST-2", FwpInvalidParameter, {"flow_id": 4711}),
    ("ST-2", FwpInvalidParameter, {"callout_id": 4711}),
    ("ST-3", FwpInvalidParameter, {"stream_flags": 0}),
    ("ST-3", FwpInvalidParameter, {"stream_flags": SEND | RECEIVE}),
    ("ST-3", FwpInvalidParameter, {"stream_flags": int(F.SEND_NODELAY)}),
    ("ST-4", FwpInvalidParameter, {"stream_flags": int(F.SEND_DISCONNECT)}),
    ("ST-4", FwpInvalidParameter, {"stream_flags": int(F.RECEIVE_DISCONNECT)}),
    ("ST-4", FwpInvalidParameter, {"stream_flags": int(F.RECEIVE | F.SEND_DISCONNECT)}),
    ("ST-5", FwpInvalidParameter, {"stream_flags": int(F.SEND | F.SEND_ABORT)}),
    ("ST-5", FwpInvalidParameter, {"stream_flags": int(F.RECEIVE | F.RECEIVE_ABORT)}),
    ("ST-5", FwpInvalidParameter, {"stream_flags": int(F.RECEIVE | F.SEND_NODELAY)}),
    ("ST-5", FwpInvalidParameter, {"stream_flags": SEND | 0x200}),
    ("ST-9", FwpInvalidParameter, {"data_length": 5}),
    ("ST-9", FwpInvalidParameter, {"data_length": 0}),
    ("ST-9", FwpInvalidParameter, {"data_length": -1}),
]


@pytest.mark.rule("GE-2", "ST-2", "ST-3", "ST-4", "ST-5", "ST-7", "ST-9")
@pytest.mark.parametrize(("rule", "error", "changed"), REFUSALS)
def test_a_refused_call_changes_nothing(rule: str, error: type[WfpError], changed: dict[str, Any]) -> None:
    driver = Driver()
    item = driver.chain(b"abcd")
    with pytest.raises(error) as raised:
        driver.inject(item, **changed)
    assert raised.value.rule == rule
    assert item.state == DRIVER
    assert driver.completed == []
    assert not driver.handle.in_flight
    driver.free(item)
    assert driver.core.ownership.counters().clean
    assert driver.bench.read(Side.REMOTE) == driver.bench.read(Side.HOST) == b""


@pytest.mark.rule("ST-6", "ST-7")
def test_without_a_list_the_call_needs_a_disconnect_and_still_a_completion_function() -> None:
    driver = Driver()
    driver.bench.finish(Side.HOST)
    with pytest.raises(FwpNullPointer) as raised:
        driver.inject(None, SEND)
    assert raised.value.rule == "ST-6"
    with pytest.raises(FwpNullPointer):
        driver.inject(None, SEND_FIN, completion=None)
    assert not driver.bench.ended[Side.REMOTE]
    driver.inject(None, SEND_FIN)
    assert driver.bench.ended[Side.REMOTE]
    assert driver.completed == []
    assert not list(driver.core.violations)


@pytest.mark.rule("ST-13", "ER-1", "ER-2", "HC-18", "HD-4", "HD-6")
def test_what_the_handle_is_decides() -> None:
    driver = Driver()
    item = driver.chain(b"ab")
    stale = driver.core.create_handle(2, int(InjectionType.NETWORK))
    other = driver.core.create_handle(int(AddressFamily.INET6), int(InjectionType.STREAM))
    for handle, error in ((stale, InjectHandleStale), (other, FwpInvalidParameter)):
        with pytest.raises(error):
            driver.inject(item, handle=handle)
    driver.core.not_ready = True
    driver.core.readiness = lambda: "it is down"
    with pytest.raises(TcpipNotReady):
        driver.inject(item)
    driver.core.not_ready = False
    driver.handle.closing = True
    with pytest.raises(InjectHandleClosing):
        driver.inject(item)
    driver.handle.closing = False
    driver.handle.destroy()
    with pytest.raises(InvalidHandle):
        driver.inject(item)
    assert driver.completed == []


@pytest.mark.rule("GE-3", "GE-20", "NB-9")
def test_only_lists_of_the_drivers_own_are_accepted() -> None:
    driver = Driver()
    freed = driver.chain(b"ab")
    driver.free(freed)
    foreign = NetBufferList(bytearray(b"ab"), 0, 2, 0)
    flying = driver.chain(b"ab")
    flying.state = IN_FLIGHT
    for item, rule in ((freed, "NB-9"), (foreign, "GE-20"), (flying, "GE-3")):
        with pytest.raises(FwpInvalidParameter):
            driver.inject(item, data_length=2)
        assert driver.core.violations.rules()[-1] == rule


@pytest.mark.rule("ST-1", "ST-19", "GE-1")
@pytest.mark.parametrize(("flags", "reader"), [(SEND, Side.REMOTE), (RECEIVE, Side.HOST)])
def test_injected_octets_come_out_in_their_direction(flags: int, reader: Side) -> None:
    driver = Driver()
    item = driver.chain(b"X")
    driver.inject(item, flags, completion_context="mine")
    assert driver.bench.read(reader) == b"X"
    assert driver.bench.read(reader.other) == b""
    assert driver.completed == [("mine", item, NtStatus.SUCCESS)]
    driver.free(item)


@pytest.mark.rule("ST-1")
def test_a_callout_that_is_not_on_the_flow_cannot_inject() -> None:
    driver = Driver()
    stranger = driver.core.engine.callouts.register(lambda seen: None)
    with pytest.raises(FwpInvalidParameter) as raised:
        driver.inject(driver.chain(b"X"), callout_id=stranger.callout_id)
    assert raised.value.rule == "ST-1"


@pytest.mark.rule("QS-12", "ST-15")
def test_octets_of_a_stream_have_no_state_and_do_not_come_back_to_their_injector() -> None:
    driver = Driver()
    own: list[bytes] = []
    lower: list[tuple[bytes, InjectionState]] = []

    def watch(seen: Indication) -> None:
        data = seen.stream.stream_data
        assert seen.net_buffer_list is None
        lower.append((data.octets, driver.handle.state(data.net_buffer_list_chain)[0]))
        seen.permit()

    def decide(seen: Indication) -> None:
        own.append(seen.stream.stream_data.octets)
        if len(own) == 1:
            driver.inject(driver.chain(b"made"), flow_id=bench.flow.number)
        seen.permit()

    driver.on_classify = decide
    bench = StreamBench(core=driver.core, ports=(50001, 8888))
    bench.add_filter(driver.registered, weight=0x20)  # the same callout once more, where others see what it injects
    bench.add(watch, weight=0x10)
    bench.send(Side.HOST, b"sent")
    assert own == [b"sent", b"sent"]
    assert lower == [(b"made", InjectionState.NOT_INJECTED), (b"sent", InjectionState.NOT_INJECTED)]
    assert list(driver.core.violations) == []


@pytest.mark.rule("ST-8", "CF-3", "CF-5", "SD-3", "DC-17")
def test_a_chain_completes_list_by_list_with_the_same_context() -> None:
    driver = Driver()
    lists = list(driver.chain(b"abc", b"d", b"ef").lists())
    driver.inject(lists[0], completion_context="shared")
    assert driver.completed == [("shared", item, NtStatus.SUCCESS) for item in lists]
    assert driver.bench.read(Side.REMOTE) == b"abcdef"


@pytest.mark.rule("ST-9")
def test_fewer_octets_than_the_lists_hold_are_the_leading_ones() -> None:
    driver = Driver()
    lists = list(driver.chain(b"abc", b"def", b"ghi").lists())
    driver.inject(lists[0], data_length=4)
    assert driver.bench.read(Side.REMOTE) == b"abcd"
    assert sorted(lists.index(done) for _, done, _ in driver.completed) == [0, 1, 2]


@pytest.mark.rule("ST-9", "ST-10")
@pytest.mark.parametrize(("side", "flags"), [(Side.HOST, SEND_FIN), (Side.REMOTE, RECEIVE_FIN)])
def test_the_fin_comes_behind_the_octets(side: Side, flags: int) -> None:
    driver = Driver()
    driver.bench.finish(side)
    driver.bench.window[side.other] = 4
    item = driver.chain(b"abcdef")
    driver.inject(item, flags)
    assert not driver.bench.ended[side.other]
    assert driver.completed == []
    assert driver.bench.read(side.other) == b"abcd"
    assert driver.bench.read(side.other) == b"ef"
    assert driver.bench.ended[side.other]
    assert [status for _, _, status in driver.completed] == [NtStatus.SUCCESS]


@pytest.mark.rule("ST-9", "SD-5")
def test_an_empty_list_carries_a_pended_fin() -> None:
    driver = Driver()
    clones: list[NetBufferList] = []

    def pend(seen: Indication) -> None:
        clones.append(clone_stream_data(driver.core.ownership, seen.stream.stream_data))
        seen.block()

    driver.on_classify = pend
    driver.bench.finish(Side.HOST)
    assert not driver.bench.ended[Side.REMOTE]
    driver.inject(clones[0], SEND_FIN, data_length=0)
    assert driver.bench.ended[Side.REMOTE]
    assert [done for _, done, _ in driver.completed] == clones
    driver.core.ownership.free_clone(clones[0])
    assert not list(driver.core.violations)


@pytest.mark.rule("ST-11")
def test_expedited_octets_go_out_as_urgent_data() -> None:
    driver = Driver()
    driver.inject(driver.chain(b"ab"))
    driver.inject(driver.chain(b"!"), int(F.SEND | F.SEND_EXPEDITED))
    assert bytes(driver.bench.urgent[Side.REMOTE]) == b"!"
    assert driver.bench.read(Side.REMOTE) == b"ab!"


@pytest.mark.rule("ST-5", "ST-11")
def test_push_came_with_service_pack_1() -> None:
    flags = int(F.RECEIVE | F.RECEIVE_PUSH)
    driver = Driver(profile=WindowsVersion.VISTA)
    with pytest.raises(FwpInvalidParameter):
        driver.inject(driver.chain(b"a"), flags)
    later = Driver(profile=WindowsVersion.VISTA_SP1)
    later.inject(later.chain(b"a"), flags)
    assert later.bench.read(Side.HOST) == b"a"


@pytest.mark.rule("ST-12")
def test_nothing_can_be_injected_into_a_stream_that_was_reset() -> None:
    driver = Driver()
    errors: list[str] = []

    def late(seen: Indication) -> None:
        try:
            driver.inject(driver.chain(b"x"))
        except FwpInvalidParameter as error:
            errors.append(error.rule)

    driver.on_classify = late
    driver.bench.fail(Side.HOST)
    assert errors == ["ST-12"]
    assert driver.core.violations.rules() == ["ST-12"]


@pytest.mark.rule("ST-19", "CF-2")
def test_a_closed_window_delays_the_completion() -> None:
    driver = Driver()
    driver.bench.window[Side.REMOTE] = 3
    lists = list(driver.chain(b"ab", b"cd").lists())
    driver.inject(lists[0])
    assert [done for _, done, _ in driver.completed] == lists[:1]
    driver.bench.read(Side.REMOTE)
    assert [done for _, done, _ in driver.completed] == lists


@pytest.mark.rule("ST-2", "CF-4")
def test_a_connection_that_ends_fails_what_was_accepted() -> None:
    driver = Driver()
    driver.bench.window[Side.REMOTE] = 0
    item = driver.chain(b"ab")
    driver.inject(item)
    driver.bench.fail(Side.REMOTE)
    assert driver.completed == [(None, item, NtStatus.CONNECTION_RESET)]
    with pytest.raises(FwpInvalidParameter):
        driver.inject(driver.chain(b"c"), flow_id=1)


@pytest.mark.rule("ST-15", "CF-5")
def test_a_list_that_a_lighter_callout_takes_out_is_completed() -> None:
    driver = Driver()
    bench = StreamBench(core=driver.core, ports=(50001, 8888))
    bench.add(lambda seen: seen.block(), weight=0x10)
    item = driver.chain(b"ab")
    driver.inject(item, flow_id=bench.flow.number)
    assert bench.read(Side.REMOTE) == b""
    assert driver.completed == [(None, item, NtStatus.SUCCESS)]


@pytest.mark.rule("ST-1")
def test_a_list_of_many_descriptors_is_injected_whole() -> None:
    driver = Driver()
    mdls = [Mdl(bytearray(b"..abc"), 2, 3), Mdl(bytearray(b"de")), Mdl(bytearray(b"fgh"), 0, 2)]
    for before, after in zip(mdls, mdls[1:], strict=False):
        before.next = after
    item = driver.core.ownership.create(mdls[0], 1, 6)
    driver.inject(item)
    assert driver.bench.read(Side.REMOTE) == b"bcdefg"
    assert item.state != FREED
