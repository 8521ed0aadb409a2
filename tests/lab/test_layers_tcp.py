"""What the packet layers show of TCP connections, in which order, on real packets."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from emulator.callout import Callout
from emulator.filters import Condition, MatchType
from emulator.indication import Indication
from emulator.layers import layer_of
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily
from emulator.wfptypes import ConditionFlag as C
from emulator.wfptypes import MetadataField as M
from netns.patience import patient
from tests.lab.layer_log import (
    ALE,
    IP,
    TCP_PORT,
    TRANSPORT,
    Log,
    by_port,
    connected,
    finish,
    tcp_flows,
)


@pytest.mark.rule("LA-10", "LA-3", "QS-11", "FL-8")
def test_an_active_open_visits_its_layers_in_order(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack

    def look(seen: Indication) -> tuple[str, bool, int]:
        return seen.info.group, seen.net_buffer_list is not None, seen.flow_handle

    log = Log(stack, family, *ALE, *TRANSPORT, *IP, look=look)
    near, far = connected(pair.host, pair.peer, family)
    with near, far:
        assert far.getpeername()[:2] == near.getsockname()[:2]
        near.sendall(b"data")
        assert far.recv(10) == b"data"
        stack.settle()
        entries = log.take()
    assert [entry[0] for entry in entries[:8]] == [
        "ALE_AUTH_CONNECT", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET",
        "INBOUND_IPPACKET", "INBOUND_TRANSPORT",
        "ALE_FLOW_ESTABLISHED", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET",
    ]  # fmt: skip
    assert [entry[1] for entry in entries[:3]] == [False, True, True], "a connect has no packet"
    numbers = {entry[2] for entry in entries if not entry[0].endswith("IPPACKET")}
    assert len(numbers) == 1
    assert numbers != {0}
    finish(stack)


@pytest.mark.rule("LA-11", "LA-3", "FL-8")
def test_a_passive_open_visits_its_layers_in_order(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack

    def look(seen: Indication) -> tuple[str, bytes, int]:
        item = seen.net_buffer_list
        assert item is not None
        return seen.info.group, item.octets, seen.flow_handle

    log = Log(stack, family, *ALE, *TRANSPORT, *IP, look=look)
    near, far = connected(pair.peer, pair.host, family)
    with near, far:
        stack.settle()
        entries = log.take()
    assert [entry[0] for entry in entries[:8]] == [
        "INBOUND_IPPACKET", "INBOUND_TRANSPORT", "ALE_AUTH_RECV_ACCEPT",
        "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET",
        "INBOUND_IPPACKET", "INBOUND_TRANSPORT", "ALE_FLOW_ESTABLISHED",
    ]  # fmt: skip
    assert entries[1][2] == 0, "the first SYN belongs to no flow yet"
    assert entries[2][2] == entries[3][2] == entries[7][2] != 0
    finish(stack)


@pytest.mark.rule("LA-16", "FI-7", "LA-37")
@pytest.mark.parametrize("outbound", [False, True])
def test_a_connection_is_authorised_again_and_stands_still_while_that_is_refused(
    pair: Pair, family: AddressFamily, outbound: bool
) -> None:
    stack = pair.host.stack
    group = "ALE_AUTH_CONNECT" if outbound else "ALE_AUTH_RECV_ACCEPT"
    ends = (pair.host, pair.peer) if outbound else (pair.peer, pair.host)
    log = Log(stack, family, *ALE, look=lambda seen: (seen.info.group, bool(seen.flags & C.IS_REAUTHORIZE)))
    near, far = connected(*ends, family)
    with near, far:
        stack.settle()
        assert log.take() == [(group, False), ("ALE_FLOW_ESTABLISHED", False)]
        here, there = (near, far) if outbound else (far, near)
        permit = stack.add_filter(layer_of(group, family.version), action=Action.PERMIT)
        there.sendall(b"in")
        assert here.recv(9) == b"in"
        stack.settle()
        assert log.take() == [(group, True)]
        stack.core.engine.delete_filter(permit.filter_id)
        port = Condition("IP_REMOTE_PORT" if outbound else "IP_LOCAL_PORT", MatchType.EQUAL, TCP_PORT)
        block = stack.add_filter(layer_of(group, family.version), action=Action.BLOCK, conditions=[port])
        there.sendall(b"held up")
        Datagrams(pair.peer, pair.host, family).canary()
        here.setblocking(False)
        with pytest.raises(BlockingIOError):
            here.recv(9)
        here.settimeout(patient(10))
        assert set(log.take()) == {(group, True)}
        stack.core.engine.delete_filter(block.filter_id)
        assert here.recv(9) == b"held up", "TCP sends it again"
    finish(stack)


@pytest.mark.rule("LA-13", "MD-13")
@pytest.mark.parametrize("blocked", [False, True])
def test_a_syn_to_a_closed_port_is_discarded_and_answered_unless_that_is_blocked(
    pair: Pair, family: AddressFamily, blocked: bool
) -> None:
    stack = pair.host.stack
    reasons: list[Any] = []
    log = Log(stack, family, "INBOUND_IPPACKET", "INBOUND_TRANSPORT", "INBOUND_TRANSPORT_DISCARD",
              "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET")  # fmt: skip

    class Discards(Callout):
        def classify(self, seen: Indication) -> None:
            if by_port(seen):
                reasons.append((seen.metadata.has(M.DISCARD_REASON), seen.metadata.discard_metadata))
                if blocked:
                    return seen.block()
            return seen.permit()

    stack.add_filter(layer_of("INBOUND_TRANSPORT", family.version, discard=True), stack.register(Discards()))
    client = pair.peer.socket(family, socket.SOCK_STREAM)
    client.settimeout(0.3 if blocked else patient(5))
    with pytest.raises(TimeoutError if blocked else ConnectionRefusedError):
        client.connect((pair.host.address(family), TCP_PORT))
    client.close()
    stack.settle()
    refused = ["INBOUND_IPPACKET", "INBOUND_TRANSPORT_DISCARD"]
    answered = [] if blocked else ["OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET"]
    assert log.take()[: 2 + len(answered)] == refused + answered
    assert reasons[0] == (True, (1, 4, 0)), "module transport, endpoint not found"
    finish(stack)


@pytest.mark.rule("CO-20", "FL-5")
@pytest.mark.parametrize("opener", ["host", "peer"])
def test_a_block_where_the_flow_is_established_resets_the_connection(
    pair: Pair, family: AddressFamily, opener: str
) -> None:
    stack = pair.host.stack
    client, server = (pair.host, pair.peer) if opener == "host" else (pair.peer, pair.host)
    stack.add_filter(
        layer_of("ALE_FLOW_ESTABLISHED", family.version), action=Action.BLOCK,
        conditions=[Condition("IP_PROTOCOL", MatchType.EQUAL, 6)],
    )  # fmt: skip
    listener = server.socket(family, socket.SOCK_STREAM, port=TCP_PORT)
    listener.listen()
    near = client.socket(family, socket.SOCK_STREAM)

    def talk() -> None:  # whether connect or the first read is told depends on who is quicker
        near.connect((server.address(family), TCP_PORT))
        near.recv(1)

    with pytest.raises((ConnectionResetError, ConnectionAbortedError)):
        talk()
    listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        listener.accept()
    near.close()
    listener.close()
    assert tcp_flows(stack) == []
    finish(stack)
    near, far = connected(client, server, family)
    near.close()
    far.close()


@pytest.mark.rule("FL-5", "FL-6", "CO-31")
@pytest.mark.parametrize("how", ["close", "abort", "reset"])
def test_a_flow_ends_with_its_connection(pair: Pair, family: AddressFamily, how: str) -> None:
    stack = pair.host.stack
    contexts = stack.core.engine.flows
    deleted: list[Any] = []
    numbers: list[int] = []

    class Attach(Callout):
        callout_id = 0

        def classify(self, seen: Indication) -> None:
            if by_port(seen):
                numbers.append(seen.flow_handle)
                contexts.associate(seen.flow_handle, int(seen.layer), self.callout_id, "mine")
            seen.permit()

        def flow_delete(self, layer: int, callout_id: int, context: Any) -> None:
            deleted.append(context)

    attach = Attach()
    registered = stack.register(attach)
    attach.callout_id = registered.callout_id
    stack.add_filter(layer_of("ALE_FLOW_ESTABLISHED", family.version), registered)
    near, far = connected(pair.host, pair.peer, family)
    near.sendall(b"x")
    assert far.recv(1) == b"x"
    stack.settle()
    assert len(numbers) == 1
    assert deleted == []
    if how == "abort":
        contexts.abort(numbers[0])
        for end in (near, far):
            with pytest.raises((ConnectionResetError, ConnectionAbortedError)):
                end.recv(1)
    elif how == "reset":
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        with pytest.raises(ConnectionResetError):
            near.recv(1)
    else:
        far.close()
        assert near.recv(1) == b""
    near.close()
    far.close()
    Datagrams(pair.peer, pair.host, family).canary()
    stack.settle()
    assert deleted == ["mine"]
    assert tcp_flows(stack) == []
    finish(stack)
    stack.unregister(registered)
