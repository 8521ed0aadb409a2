"""FwpsStreamInjectAsync0: the order of what is injected, which callouts see it, and on which thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from emulator.indication import Indication
from emulator.splice import Side
from emulator.stream_bench import StreamBench
from tests.unit.streamdriver import RECEIVE, SEND, SEND_FIN, Driver


@pytest.mark.rule("ST-14")
def test_an_inline_callout_may_not_inject_from_elsewhere_unless_it_deferred() -> None:
    driver = Driver()
    driver.on_classify = lambda seen: seen.permit()
    driver.bench.send(Side.REMOTE, b"inline")
    driver.inject(driver.chain(b"!"), RECEIVE)
    assert driver.core.violations.rules() == ["ST-14"]
    driver.on_classify = lambda seen: seen.stream.defer()
    driver.bench.send(Side.REMOTE, b"deferred")
    driver.inject(driver.chain(b"?"), RECEIVE)
    assert driver.core.violations.rules() == ["ST-14"]


@pytest.mark.rule("ST-14")
def test_a_callout_may_inject_after_it_pended_the_fin() -> None:
    driver = Driver()
    driver.on_classify = lambda seen: seen.permit()
    driver.bench.send(Side.HOST, b"inline ")
    driver.on_classify = lambda seen: seen.block()
    driver.bench.finish(Side.HOST)
    driver.inject(driver.chain(b"and a last word"), SEND_FIN)
    assert driver.bench.read(Side.REMOTE) == b"inline and a last word"
    assert not list(driver.core.violations)


@pytest.mark.rule("SD-10", "ST-14")
def test_octets_injected_while_deferred_precede_the_deferred_ones() -> None:
    driver = Driver()
    driver.on_classify = lambda seen: seen.stream.defer()
    driver.bench.send(Side.REMOTE, b"deferred")
    driver.inject(driver.chain(b"first "), RECEIVE)
    driver.on_classify = lambda seen: seen.permit()
    driver.core.streams.resume(driver.bench.flow.number, driver.registered.callout_id, driver.bench.layer, RECEIVE)
    assert driver.bench.read(Side.HOST) == b"first deferred"
    assert not list(driver.core.violations)


@pytest.mark.rule("ST-38")
def test_switching_from_out_of_band_to_inline_is_a_violation() -> None:
    driver = Driver()
    driver.bench.send(Side.HOST, b"taken")
    driver.inject(driver.chain(b"given"))
    driver.on_classify = lambda seen: seen.permit()
    driver.bench.send(Side.HOST, b"passed")
    assert driver.core.violations.rules() == ["ST-38"]


@pytest.mark.rule("ST-39")
def test_a_fin_made_up_for_the_outbound_stream_is_a_violation() -> None:
    driver = Driver()
    driver.inject(None, SEND_FIN)
    assert driver.core.violations.rules() == ["ST-39"]


@pytest.mark.rule("ST-15")
def test_injected_octets_are_shown_to_lighter_sublayers_alone() -> None:
    driver = Driver()
    shown: dict[str, list[bytes]] = {"above": [], "beside": [], "below": []}

    def looker(name: str) -> Callable[[Indication], None]:
        def classify(seen: Indication) -> None:
            shown[name].append(seen.stream.stream_data.octets)
            seen.permit()

        return classify

    bench = StreamBench(core=driver.core, ports=(50001, 8888))
    bench.add(looker("above"), weight=0x90)
    bench.add(looker("beside"), sublayer=driver.filter.sublayer)
    bench.add(looker("below"), weight=0x10)
    driver.inject(driver.chain(b"new"), flow_id=bench.flow.number)
    assert shown == {"above": [], "beside": [], "below": [b"new"]}
    assert bench.read(Side.REMOTE) == b"new"


@pytest.mark.rule("ST-15")
def test_a_callout_in_two_sublayers_does_not_see_its_own_octets() -> None:
    driver = Driver()
    own: list[bytes] = []
    bench = StreamBench(core=driver.core, ports=(50001, 8888))
    bench.add_filter(driver.registered, weight=0x10)

    def classify(seen: Indication) -> None:
        own.append(seen.stream.stream_data.octets)
        if own == [b"in"]:
            driver.inject(driver.chain(b"new"), flow_id=bench.flow.number)
        seen.permit()

    driver.on_classify = classify
    bench.send(Side.HOST, b"in")
    assert own == [b"in", b"in"]
    assert bench.read(Side.REMOTE) == b"newin"


@pytest.mark.rule("ST-16")
@pytest.mark.parametrize("block", [True, False])
def test_inline_injections_come_in_call_order_where_the_data_is(block: bool) -> None:
    driver = Driver()

    def classify(seen: Indication) -> None:
        data = seen.stream.stream_data
        if data.octets.startswith(b"PAT"):
            driver.inject(driver.chain(b"1"))
            driver.inject(driver.chain(b"2"))
            seen.stream.count_bytes_enforced = 3
            if block:
                seen.block()
            else:
                seen.permit()
            return
        seen.permit()
        seen.stream.count_bytes_enforced = data.octets.find(b"PAT") if b"PAT" in data.octets else 0

    driver.on_classify = classify
    driver.bench.send(Side.HOST, b"abcPATdef")
    assert driver.bench.read(Side.REMOTE) == (b"abc12def" if block else b"abc12PATdef")
    assert not list(driver.core.violations)


@pytest.mark.rule("ST-17", "OR-1")
def test_out_of_band_injections_keep_their_order_and_directions_are_apart() -> None:
    driver = Driver()
    for number in range(100):
        driver.inject(driver.chain(b"%03d" % number), SEND if number % 3 else RECEIVE)
    numbers = [b"%03d" % number for number in range(100)]
    assert driver.bench.read(Side.REMOTE) == b"".join(n for i, n in enumerate(numbers) if i % 3)
    assert driver.bench.read(Side.HOST) == b"".join(n for i, n in enumerate(numbers) if not i % 3)


@pytest.mark.rule("CF-6", "ST-18")
def test_an_injection_runs_lighter_classifies_on_its_own_thread_before_it_returns() -> None:
    driver = Driver()
    bench = StreamBench(core=driver.core, ports=(50001, 8888))
    trace: list[tuple[str, int]] = []

    def lower(seen: Indication) -> None:
        trace.append(("classify", threading.get_ident()))
        assert driver.core.at_dispatch()
        seen.permit()

    bench.add(lower, weight=0x10)
    number = bench.flow.number

    def work() -> None:
        trace.append(("call", threading.get_ident()))
        driver.inject(driver.chain(b"ab"), flow_id=number)
        trace.append(("return", threading.get_ident()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [what for what, _ in trace] == ["call", "classify", "return"]
    assert len({where for _, where in trace}) == 1
    assert not driver.core.dispatch_threads


@pytest.mark.rule("ST-18", "ST-37")
def test_an_injection_during_a_classify_elsewhere_waits_its_turn_and_is_not_lost() -> None:
    driver = Driver()
    bench = StreamBench(core=driver.core, ports=(50001, 8888))
    entered, go = threading.Event(), threading.Event()
    order: list[bytes] = []

    def lower(seen: Indication) -> None:
        order.append(seen.stream.stream_data.octets)
        if order == [b"one"]:
            entered.set()
            assert go.wait(10)
        seen.permit()

    bench.add(lower, weight=0x10)
    number = bench.flow.number
    first = threading.Thread(target=lambda: driver.inject(driver.chain(b"one"), flow_id=number))
    first.start()
    assert entered.wait(10)
    driver.inject(driver.chain(b"two"), flow_id=number)
    assert order == [b"one"]
    go.set()
    first.join()
    assert order == [b"one", b"two"]
    assert bench.read(Side.REMOTE) == b"onetwo"
