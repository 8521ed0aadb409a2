"""Lists, owners and completions of network send, on real packets."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.errors import FwpInvalidParameter, WfpError
from emulator.indication import Indication
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.stack import Stack
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionType
from tests.lab.conftest import Completions, Strict, expected_violations
from tests.lab.network_packets import PORT, Decide, Watch, at, between

NETWORK = InjectionType.NETWORK


def several(stack: Stack, packets: list[bytes]) -> NetBufferList:
    """One list that holds several packets."""
    buffers = [NetBuffer(Mdl(bytearray(octets)), 0, len(octets)) for octets in packets]
    for before, after in zip(buffers, buffers[1:], strict=False):
        before.next = after
    item = stack.core.ownership.create(Mdl(bytearray(1)), 0, 1)
    item.first_net_buffer = buffers[0]
    return item


@pytest.mark.rule("NS-17", "CF-5", "CF-3")
def test_every_buffer_of_a_list_is_a_packet_and_the_list_completes_once(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    returned: list[NetBufferList] = []

    def done(context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        returned.append(item)

    with stack.create_handle(family, NETWORK) as handle:
        item = several(stack, [between(pair.host, pair.peer, family, b"%d" % number) for number in range(3)])
        handle.network_send(item, done)
        assert traffic.arrived() == [b"0", b"1", b"2"]
    assert [one is item for one in returned] == [True]
    stack.core.ownership.free_list(item)


@pytest.mark.rule("OR-7", "NS-17")
def test_one_failing_buffer_fails_the_list_and_not_the_others(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done = Completions(stack)
    with stack.create_handle(family, NETWORK) as handle:
        payloads = [b"first", b"x" * 3000, b"third"]
        handle.network_send(several(stack, [between(pair.host, pair.peer, family, p) for p in payloads]), done)
        assert traffic.arrived() == [b"first", b"third"]
    assert done.names == ["INVALID_BUFFER_SIZE"]


@pytest.mark.rule("NS-18")
def test_a_chain_of_lists_is_refused(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    first, second = (stack.core.ownership.create_from(between(pair.host, pair.peer, family, b"")) for _ in range(2))
    first.next = second
    with stack.create_handle(family, NETWORK) as handle, pytest.raises(FwpInvalidParameter):
        handle.network_send(first, Completions(stack))
    first.next = None
    for item in (first, second):
        stack.core.ownership.free_list(item)


@pytest.mark.rule("GE-2", "NB-9", "HD-4")
def test_a_refused_list_is_still_the_callers(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    done = Completions(stack)
    item = stack.core.ownership.create_from(between(pair.host, pair.peer, family, b"x"))
    with stack.create_handle(family, InjectionType.TRANSPORT) as handle, pytest.raises(WfpError):
        handle.network_send(item, done)
    assert stack.core.ownership.counters().created == 1
    stack.core.ownership.free_list(item)
    assert stack.core.ownership.counters().clean
    assert traffic.arrived() == []
    assert done.names == []


@pytest.mark.rule("GE-20")
def test_the_indicated_original_is_not_the_drivers_to_inject(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    refused: list[WfpError] = []
    with stack.create_handle(family, NETWORK) as handle:

        def decide(seen: Indication, item: NetBufferList) -> None:
            try:
                handle.network_send(item, Completions(stack))
            except WfpError as error:
                refused.append(error)
            seen.permit()

        at(stack, Decide(decide), "OUTBOUND_IPPACKET", family=family)
        assert traffic.exchange([b"x"]) == [b"x"]
    assert [error.rule for error in refused] == ["GE-20"]
    expected_violations(stack, "GE-20")


@pytest.mark.rule("GE-19", "QS-3", "QS-14", "HC-16", "HC-1")
def test_other_callouts_see_the_injected_packet_as_anothers(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    with stack.create_handle(family, NETWORK) as mine, stack.create_handle(family, InjectionType.STREAM) as theirs:
        first = Watch(lambda seen: mine.state(seen.net_buffer_list)[0].name)
        second = Watch(lambda seen: theirs.state(seen.net_buffer_list)[0].name)
        for watch in (first, second):
            registered = stack.register(watch)
            _inspect(stack, registered, family)
        done = Completions(stack)
        mine.network_send(stack.core.ownership.create_from(between(pair.host, pair.peer, family, b"")), done)
        stack.settle()
    assert first.seen == ["INJECTED_BY_SELF"]
    assert second.seen == ["INJECTED_BY_OTHER"]


def _inspect(stack: Stack, registered: Any, family: AddressFamily) -> None:
    from emulator.layers import layer_of
    from emulator.wfptypes import Action

    stack.add_filter(
        layer_of("OUTBOUND_IPPACKET", family.version), registered, action=Action.CALLOUT_INSPECTION
    )


@pytest.mark.rule("QS-9")
def test_the_state_is_local_to_the_host(beds: Strict, family: AddressFamily) -> None:
    pair = beds.make(Pair)
    with Stack(pair.peer.namespace) as far:
        near = pair.host.stack
        receiver = pair.peer.socket(family, port=PORT)
        with near.create_handle(family, NETWORK) as ours, far.create_handle(family, NETWORK) as theirs:
            watch = Watch(lambda seen: theirs.state(seen.net_buffer_list)[0].name)
            at(far, watch, "INBOUND_IPPACKET", family=family)
            done = Completions(near)
            ours.network_send(near.core.ownership.create_from(between(pair.host, pair.peer, family, b"x")), done)
            assert receiver.recv(10) == b"x"
        assert watch.seen == ["NOT_INJECTED"]


@pytest.mark.rule("CF-9", "NR-8")
@pytest.mark.parametrize(("absorb", "status"), [(False, "DATA_NOT_ACCEPTED"), (True, "SUCCESS")])
def test_a_blocked_reindication_fails_the_injection_unless_absorbed(
    pair: Pair, family: AddressFamily, absorb: bool, status: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    with stack.create_handle(family, NETWORK) as handle:

        def decide(seen: Indication, item: NetBufferList) -> None:
            seen.block(absorb=absorb)

        at(stack, Decide(decide), "OUTBOUND_IPPACKET", family=family)
        done = Completions(stack)
        handle.network_send(stack.core.ownership.create_from(between(pair.host, pair.peer, family, b"x")), done)
        assert traffic.arrived() == []
    assert done.names == [status]


@pytest.mark.rule("OR-1", "CF-7")
def test_a_thousand_from_one_thread_arrive_in_order(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    left = list(range(1000))
    statuses: list[str] = []
    with stack.create_handle(family, NETWORK) as handle:

        def next_one(context: Any, item: NetBufferList, dispatch_level: bool) -> None:
            statuses.append(item.status.name)
            stack.core.ownership.free_list(item)
            inject()

        def inject() -> None:
            if left:
                packet = between(pair.host, pair.peer, family, b"%d" % left.pop(0))
                handle.network_send(stack.core.ownership.create_from(packet), next_one)

        inject()
        assert traffic.receiver.recv(10) == b"0"
        rest = [traffic.receiver.recv(10) for _ in range(999)]
    assert rest == [b"%d" % number for number in range(1, 1000)]
    assert statuses == ["SUCCESS"] * 1000


