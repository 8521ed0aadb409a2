"""Several drivers on one host, and ports of real ones: what they see of each other, and how they loop."""

from __future__ import annotations

import socket
import threading
from collections import Counter

import pytest

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.topology import TwoDrivers
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, InjectionState, InjectionType
from tests.lab.bulk import bulk
from tests.lab.conftest import Strict
from tests.lab.network_packets import PORT
from tests.lab.putting_back import forgiven

V4, V6 = AddressFamily.INET, AddressFamily.INET6
LINUX = {V4: socket.AF_INET, V6: socket.AF_INET6}
NETWORK, TRANSPORT = InjectionType.NETWORK, InjectionType.TRANSPORT
MINE = (InjectionState.INJECTED_BY_SELF, InjectionState.PREVIOUSLY_INJECTED_BY_SELF)


@pytest.fixture(params=["verdict", "socket"])
def two(request: pytest.FixtureRequest, beds: Strict) -> TwoDrivers:
    """A pair whose host has two drivers; each way of injecting."""
    bed = beds.make(TwoDrivers)
    bed.host.stack.injector.verdicts = request.param == "verdict"
    return bed


class Inject(Callout):
    """Injects what it is shown at OUTBOUND_IPPACKET, by clone or by copy, and remembers the states it saw."""

    def __init__(self, driver: Driver, family: AddressFamily, *, copy: bool = False) -> None:
        self.driver = driver
        self.copy = copy
        self.handle = driver.create_handle(family, NETWORK)
        self.states: list[str] = []

    def classify(self, seen: Indication) -> None:
        item = seen.net_buffer_list
        assert item is not None
        if PORT not in (seen.view.destination_port, seen.view.source_port):
            return seen.continue_()
        if not seen.may_decide:
            return None
        state = self.handle.state(item)[0]
        self.states.append(state.name)
        if state in MINE:
            return seen.permit()
        made = self.driver.create(item.octets) if self.copy else seen.clone()
        self.handle.network_send(made, self.driver.done)
        return seen.block(absorb=True)


def unload(bed: TwoDrivers) -> None:
    for driver in (bed.a, bed.b):
        driver.unload()
    bed.drivers.clear()


@pytest.mark.case("G02")
@pytest.mark.rule("GE-14", "QS-8")
def test_two_drivers_that_copy_loop_until_they_are_stopped(two: TwoDrivers, family: AddressFamily) -> None:
    """The chain is told, the last injection fails, and the wire sees no storm."""
    stack, traffic = two.host.stack, Datagrams(two.host, two.peer, family)
    a, b = Inject(two.a, family, copy=True), Inject(two.b, family, copy=True)
    two.a.add(a, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
    two.b.add(b, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
    wire = two.peer.wire()
    assert traffic.exchange([b"round and round"]) == []
    assert wire.packets(port=PORT) == []
    assert len(a.states) + len(b.states) > 32
    [violation] = [item for item in stack.core.violations if item.rule == "GE-14"]
    first, second = a.handle.number, b.handle.number
    assert f"handle {first} → handle {second} → handle {first} → handle {second}" in violation.message
    failed = Counter(status.name for driver in (two.a, two.b) for status in driver.done.statuses)
    assert failed["HOPLIMIT_EXCEEDED"] == 1
    forgiven(stack, "GE-14")
    unload(two)
    assert traffic.exchange([b"after"]) == [b"after"]


@pytest.mark.rule("GE-13", "QS-10")
def test_a_driver_that_does_not_ask_for_the_state_is_stopped(two: TwoDrivers, family: AddressFamily) -> None:
    stack, traffic = two.host.stack, Datagrams(two.host, two.peer, family)
    handle = two.a.create_handle(family, NETWORK)
    count = [0]

    def again(seen: Indication) -> None:
        if seen.view.destination_port != PORT:
            return seen.permit()
        count[0] += 1
        handle.network_send(seen.clone(), two.a.done)
        return seen.block(absorb=True)

    two.a.add(again, "OUTBOUND_IPPACKET", family)
    assert traffic.exchange([b"for ever"]) == []
    assert count == [33]
    forgiven(stack, "GE-13")
    assert two.a.done.counted() == {"SUCCESS": 32, "HOPLIMIT_EXCEEDED": 1}
    unload(two)


@pytest.mark.rule("GE-14", "QS-8")
def test_equal_packets_of_an_application_are_no_loop(two: TwoDrivers, family: AddressFamily) -> None:
    """A copying driver above a blocking one, and an application that sends the same thing 100 times."""
    traffic = Datagrams(two.host, two.peer, family)
    copying = Inject(two.a, family, copy=True)
    two.a.add(copying, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)

    def firewall(seen: Indication) -> None:
        if seen.may_decide:
            return seen.block() if seen.view.destination_port == PORT else seen.continue_()
        return None

    two.b.add(firewall, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
    for _ in range(100):
        traffic.send(b"the same")
        two.host.stack.settle()
    assert traffic.arrived() == []
    assert two.a.done.counted() == {"DATA_NOT_ACCEPTED": 100}
    unload(two)


@pytest.mark.rule("FI-7", "CO-2")
def test_filters_come_and_go_under_traffic_and_nothing_is_lost(two: TwoDrivers, family: AddressFamily) -> None:
    """Hooks are added and given up while packets wait in the queue for their verdicts."""
    traffic = Datagrams(two.host, two.peer, family)
    driver = Inject(two.a, family)
    two.a.add(driver, "OUTBOUND_IPPACKET", family, action=Action.CALLOUT_UNKNOWN)
    changing = [True]

    def change() -> None:
        while changing[0]:
            two.b.remove(*two.b.add(None, "INBOUND_TRANSPORT", family, action=Action.PERMIT))

    changer = threading.Thread(target=change)
    changer.start()
    payloads = [b"%d" % number for number in range(bulk(2000))]
    for payload in payloads:
        traffic.send(payload)
    changing[0] = False
    changer.join()
    assert traffic.arrived() == payloads
    unload(two)
