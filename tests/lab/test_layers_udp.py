"""What the packet layers show of datagrams, and of packets without an endpoint, on real packets."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from emulator.callout import Callout
from emulator.filters import Condition, MatchType
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_of
from emulator.paths.queue import QueueBackend
from emulator.topology import HostOptions, Pair, Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, ConditionFlag, InjectionType
from emulator.wfptypes import MetadataField as M
from tests.lab.conftest import Completions, Strict
from tests.lab.layer_log import (
    ALE,
    IP,
    LINUX,
    TRANSPORT,
    V4,
    V6,
    Log,
    by_port,
    finish,
)
from tests.lab.network_packets import PORT, between


@pytest.mark.rule("LA-14", "FL-7", "LA-3")
def test_datagrams_visit_their_layers_in_order_and_are_authorised_once(pair: Pair, family: AddressFamily) -> None:
    stack = pair.host.stack
    traffic = Datagrams(pair.host, pair.peer, family)
    log = Log(stack, family, *ALE, "DATAGRAM_DATA", *TRANSPORT, *IP)
    out = ["ALE_AUTH_CONNECT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET"]
    assert traffic.exchange([b"out"]) == [b"out"]
    assert log.take() == out
    assert traffic.exchange([b"out again"]) == [b"out again"]
    assert log.take() == out[2:]
    traffic.receiver.sendto(b"answer", traffic.sender.getsockname()[:2])
    assert traffic.sender.recv(10) == b"answer"
    stack.settle()
    assert log.take() == ["INBOUND_IPPACKET", "INBOUND_TRANSPORT", "DATAGRAM_DATA"], "an answer begins no flow"
    back = Datagrams(pair.peer, pair.host, family, port=PORT + 1)
    log = Log(stack, family, *ALE, "DATAGRAM_DATA", *TRANSPORT, *IP, wanted=lambda seen: by_port(seen, PORT + 1))
    assert back.exchange([b"in"]) == [b"in"]
    assert log.take() == [
        "INBOUND_IPPACKET", "INBOUND_TRANSPORT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA"
    ]  # fmt: skip
    finish(stack)


@pytest.mark.rule("LA-16", "MD-8", "FI-7", "LA-37")
@pytest.mark.parametrize("inbound", [False, True])
def test_a_flow_is_authorised_again_when_the_filters_have_changed(
    pair: Pair, family: AddressFamily, inbound: bool
) -> None:
    stack = pair.host.stack
    traffic = Datagrams(*((pair.peer, pair.host) if inbound else (pair.host, pair.peer)), family)
    group = "ALE_AUTH_RECV_ACCEPT" if inbound else "ALE_AUTH_CONNECT"
    layer = layer_of(group, family.version)

    def look(seen: Indication) -> Any:
        if "AUTH" not in seen.info.group:
            return seen.info.group
        metadata = seen.metadata
        direction = metadata.packet_direction if metadata.has(M.PACKET_DIRECTION) else None
        again = bool(seen.flags & ConditionFlag.IS_REAUTHORIZE)
        name = seen.info.layer.name.replace(f"_V{family.version}", "")
        return name, again, direction, metadata.has(M.IP_HEADER_SIZE)

    log = Log(stack, family, *ALE, f"{group}_DISCARD", "DATAGRAM_DATA", *TRANSPORT, look=look)
    received, sent = ["INBOUND_TRANSPORT"], ["OUTBOUND_TRANSPORT"]

    def visits(way_in: bool, *asked: Any) -> list[Any]:
        return [*received, *asked, "DATAGRAM_DATA"] if way_in else [*asked, "DATAGRAM_DATA", *sent]

    assert traffic.exchange([b"first"]) == [b"first"]
    assert log.take() == visits(inbound, (group, False, None, inbound), "ALE_FLOW_ESTABLISHED")
    with_filter = stack.add_filter(layer, action=Action.PERMIT)
    assert traffic.exchange([b"second", b"third"]) == [b"second", b"third"]
    assert log.take() == visits(inbound, (group, True, int(inbound), inbound)) + visits(inbound)
    stack.core.engine.delete_filter(with_filter.filter_id)
    traffic.receiver.sendto(b"answer", traffic.sender.getsockname()[:2])
    assert traffic.sender.recv(10) == b"answer"
    stack.settle()
    assert log.take() == visits(not inbound, (group, True, int(not inbound), False))
    here = Condition("IP_LOCAL_PORT" if inbound else "IP_REMOTE_PORT", MatchType.EQUAL, PORT)
    blocking = stack.add_filter(layer, action=Action.BLOCK, conditions=[here])
    assert traffic.exchange([b"refused"]) == []
    shown = [entry for entry in log.take() if entry not in received]
    assert [entry[:2] for entry in shown] == [(group, True), (f"{group}_DISCARD", True)]
    stack.core.engine.delete_filter(blocking.filter_id)
    assert traffic.exchange([b"anew"]) == [b"anew"]
    assert log.take() == visits(inbound, (group, False, None, inbound), "ALE_FLOW_ESTABLISHED")
    finish(stack)


@pytest.mark.rule("LA-15", "MD-13")
@pytest.mark.parametrize("blocked", [False, True])
def test_a_datagram_to_a_closed_port_is_discarded_and_answered_unless_that_is_blocked(
    pair: Pair, family: AddressFamily, blocked: bool
) -> None:
    stack = pair.host.stack
    canary = Datagrams(pair.peer, pair.host, family, port=PORT + 1)

    def wanted(seen: Indication) -> bool:
        return by_port(seen) or seen.view.is_icmp and seen.view.icmp_type in (1, 3)

    log = Log(stack, family, "INBOUND_IPPACKET", "INBOUND_IPPACKET_DISCARD", "INBOUND_TRANSPORT", "DATAGRAM_DATA",
              "OUTBOUND_ICMP_ERROR", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET", wanted=wanted)  # fmt: skip
    reasons: list[Any] = []

    class Discards(Callout):
        def classify(self, seen: Indication) -> None:
            if by_port(seen):
                reasons.append(seen.metadata.discard_metadata)
                return seen.block() if blocked else seen.permit()
            return seen.permit()

    stack.add_filter(layer_of("INBOUND_IPPACKET", family.version, discard=True), stack.register(Discards()))
    sender = pair.peer.socket(family)
    sender.connect((pair.host.address(family), PORT))
    sender.send(b"anybody?")
    canary.canary()
    if blocked:
        sender.setblocking(False)
        with pytest.raises(BlockingIOError):
            sender.recv(1)
    else:
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)
    stack.settle()
    answered = [] if blocked else ["OUTBOUND_ICMP_ERROR", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET"]
    assert log.take() == ["INBOUND_IPPACKET", "INBOUND_IPPACKET_DISCARD", *answered]
    assert reasons == [(0, 3, 0)], "module network, port unreachable"
    finish(stack)


@pytest.mark.rule("LA-15", "MD-7")
def test_the_endpoint_is_looked_for_anew_when_sockets_come_and_go(pair: Pair, family: AddressFamily) -> None:
    """Bound, wildcard, connected to somebody else, closed, dual-stack: what the kernel would deliver is shown."""
    stack = pair.host.stack
    log = Log(stack, family, "INBOUND_TRANSPORT", look=lambda seen: seen.net_buffer_list.octets)  # type: ignore[union-attr]
    sender, canary = pair.peer.socket(family), Datagrams(pair.peer, pair.host, family, port=PORT + 1)
    where = (pair.host.address(family), PORT)

    def shown(text: bytes) -> bool:
        sender.sendto(text, where)
        canary.canary()
        return text in log.take()

    def bound(kind: int, address: str) -> socket.socket:
        made = pair.host.namespace.open_in(lambda: socket.socket(kind, socket.SOCK_DGRAM))
        made.bind((address, PORT))
        return made

    own, anything = LINUX[family], {V4: "0.0.0.0", V6: "::"}[family]
    assert not shown(b"nobody")
    with bound(own, pair.host.address(family)):
        assert shown(b"bound")
    assert not shown(b"closed")
    with bound(own, anything) as wild:
        assert shown(b"wildcard")
        wild.connect((pair.peer.address(family), 9))
        assert not shown(b"connected to another port")
        wild.connect((pair.peer.address(family), sender.getsockname()[1]))
        assert shown(b"connected to us")
    with bound(socket.AF_INET6, "::"):
        assert shown(b"dual stack")
    finish(stack)


@pytest.mark.rule("NR-7", "GE-16")
@pytest.mark.parametrize("backend", list(QueueBackend))
def test_a_datagram_with_a_wrong_checksum_ends_at_the_ip_layer(
    beds: Strict, family: AddressFamily, backend: QueueBackend
) -> None:
    pair = beds.make(Pair, HostOptions(backend=backend))
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    log = Log(stack, family, "INBOUND_IPPACKET", "INBOUND_TRANSPORT", "DATAGRAM_DATA", "INBOUND_TRANSPORT_DISCARD")
    packet = bytearray(between(pair.peer, pair.host, family, b"spoiled"))
    packet[-1] ^= 0xFF
    raw = pair.peer.namespace.open_in(lambda: socket.socket(LINUX[family], socket.SOCK_RAW, 255))
    with raw:
        raw.sendto(bytes(packet), (pair.host.address(family), 0))
    assert traffic.arrived() == []
    assert log.take() == ["INBOUND_IPPACKET", "INBOUND_TRANSPORT_DISCARD"]
    assert traffic.exchange([b"good"]) == [b"good"]
    assert log.take() == ["INBOUND_IPPACKET", "INBOUND_TRANSPORT", "DATAGRAM_DATA"]
    finish(stack)


@pytest.mark.rule("FW-3", "NR-11")
@pytest.mark.parametrize("forwards", [True, False])
def test_received_for_somebody_else_is_forwarded_where_that_is_on(
    routed: Routed, family: AddressFamily, forwards: bool
) -> None:
    stack, traffic = routed.mid.stack, Datagrams(routed.left, routed.right, family)
    key = "net.ipv4.ip_forward" if family == V4 else "net.ipv6.conf.all.forwarding"
    log = Log(stack, family, "INBOUND_IPPACKET", "IPFORWARD", "INBOUND_TRANSPORT")
    routed.mid.namespace.sysctl(key, int(forwards))
    done = Completions(stack)
    with stack.create_handle(family, InjectionType.NETWORK) as handle:
        item = stack.core.ownership.create_from(between(routed.left, routed.right, family, b"passing"))
        handle.network_receive(item, done, interface=routed.mid.interface("eth0"), sub_interface=SUB_INTERFACE)
        stack.settle()
    routed.mid.namespace.sysctl(key, 1)
    assert traffic.arrived() == ([b"passing"] if forwards else [])
    assert log.take() == ["INBOUND_IPPACKET", "IPFORWARD"][: 1 + forwards]
    finish(stack)
