"""What each packet layer shows, in which order, on real packets."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from emulator.callout import Callout
from emulator.filters import Condition, MatchType
from emulator.fragments import fragment
from emulator.indication import Indication
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_of
from emulator.netbuffer import NetBufferList
from emulator.octets import IpView
from emulator.stack import Stack
from emulator.topology import Alone, Host, Pair, Routed
from emulator.traffic import Datagrams
from emulator.wfptypes import Action, AddressFamily, ConditionFlag, InjectionType
from emulator.wfptypes import MetadataField as M
from tests.lab.conftest import Completions
from tests.lab.network_packets import PORT, Decide, at, between, udp
from tests.lab.putting_back import ALL_TYPES, PutBack, inspect

V4, V6 = AddressFamily.INET, AddressFamily.INET6
LINUX = {V4: socket.AF_INET, V6: socket.AF_INET6}
ALE = ("ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED")
TRANSPORT = ("INBOUND_TRANSPORT", "OUTBOUND_TRANSPORT")
IP = ("INBOUND_IPPACKET", "OUTBOUND_IPPACKET")
TCP_PORT = 7000


def by_port(seen: Indication, *ports: int) -> bool:
    wanted = ports or (PORT, TCP_PORT)
    return any(port in wanted for port in (seen.view.destination_port, seen.view.source_port))


class Log:
    """The layers that packets of some ports were shown at, in order; `look` adds something to each."""

    def __init__(
        self,
        stack: Stack,
        family: AddressFamily,
        *groups: str,
        look: Callable[[Indication], Any] | None = None,
        wanted: Callable[[Indication], bool] = by_port,
    ) -> None:
        self.entries: list[Any] = []

        def note(seen: Indication) -> None:
            if wanted(seen):
                self.entries.append(seen.info.layer.name if look is None else look(seen))

        for group in groups:
            discard = group.endswith("_DISCARD")
            layer = layer_of(group.removesuffix("_DISCARD"), family.version, discard=discard)
            registered = stack.register(_Look(note))
            stack.add_filter(layer, registered, action=Action.CALLOUT_INSPECTION, weight=2**60)
        self.suffix = f"_V{family.version}"

    def take(self) -> list[Any]:
        taken, self.entries[:] = list(self.entries), []
        return [entry.replace(self.suffix, "") if isinstance(entry, str) else entry for entry in taken]


class _Look(Callout):
    def __init__(self, look: Callable[[Indication], Any]) -> None:
        self.look = look

    def classify(self, seen: Indication) -> None:
        self.look(seen)


def finish(stack: Stack, *handles: Any) -> None:
    for number in list(stack.core.engine.filters):
        stack.core.engine.delete_filter(number)
    for handle in handles:
        handle.destroy()


def connected(client: Host, server: Host, family: AddressFamily) -> tuple[socket.socket, socket.socket]:
    """A TCP connection between two hosts: the client's and the server's socket."""
    listener = server.socket(family, socket.SOCK_STREAM, port=TCP_PORT)
    listener.listen()
    near = client.socket(family, socket.SOCK_STREAM)
    near.connect((server.address(family), TCP_PORT))
    far, _ = listener.accept()
    listener.close()
    far.settimeout(10)
    return near, far


def tcp_flows(stack: Stack) -> list[Any]:
    return [flow for flow in stack.core.engine.flows.table if flow.key.protocol == 6]


# -- TCP --------------------------------------------------------------------------------------------------------


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


@pytest.mark.rule("LA-11", "LA-3", "FL-8", "MD-7")
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
    client.settimeout(0.3 if blocked else 5)
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


# -- UDP --------------------------------------------------------------------------------------------------------


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
def test_a_datagram_with_a_wrong_checksum_ends_at_the_ip_layer(pair: Pair, family: AddressFamily) -> None:
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


# -- fragments --------------------------------------------------------------------------------------------------


def four_fragments(pair: Pair, family: AddressFamily) -> list[bytes]:
    whole = udp(pair.peer.octets(family), pair.host.octets(family), bytes(range(256)) * 12, identification=0x1234)
    pieces = fragment(whole, 900)
    assert len(pieces) == 4
    return pieces


def send_raw(host: Host, family: AddressFamily, to: str, *packets: bytes) -> None:
    raw = host.namespace.open_in(lambda: socket.socket(LINUX[family], socket.SOCK_RAW, 255))
    with raw:
        for packet in packets:
            raw.sendto(packet, (to, 0))


def kind(seen: Indication) -> tuple[str, Any]:
    flags = seen.flags
    if flags & ConditionFlag.IS_FRAGMENT:
        name = "fragment"
    elif flags & ConditionFlag.IS_REASSEMBLED:
        name = "reassembled"
    else:
        name = "plain"
    has = seen.metadata.has(M.FRAGMENT_DATA)
    return name, seen.metadata.fragment_data[1:] if has else None


@pytest.mark.rule("LA-20", "LA-21", "LA-22", "LA-37", "MD-2")
def test_a_datagram_in_four_fragments_is_shown_nine_times(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)

    def udp_only(seen: Indication) -> bool:
        return seen.view.protocol == 17 and not by_port(seen, 40999)

    log = Log(stack, family, "INBOUND_IPPACKET", look=kind, wanted=udp_only)
    pieces = four_fragments(pair, family)
    send_raw(pair.peer, family, pair.host.address(family), *pieces)
    assert [len(octets) for octets in traffic.arrived()] == [3072]
    data = [(IpView(piece).fragment_offset, int(IpView(piece).more_fragments)) for piece in pieces]
    expected = [(name, item) for item in data for name in ("plain", "fragment")]
    assert log.take() == [*expected, ("reassembled", None)]
    finish(stack)
    counted: list[int] = []
    stack.add_filter(
        layer_of("INBOUND_IPPACKET", family.version),
        stack.register(_Look(lambda seen: counted.append(1) if udp_only(seen) else None)),
        action=Action.CALLOUT_INSPECTION,
        conditions=[Condition("FLAGS", MatchType.FLAGS_NONE_SET, int(ConditionFlag.IS_FRAGMENT))],
    )
    send_raw(pair.peer, family, pair.host.address(family), *pieces)
    assert [len(octets) for octets in traffic.arrived()] == [3072]
    assert len(counted) == 5
    finish(stack)


@pytest.mark.rule("LA-21")
def test_blocking_one_fragment_leaves_nothing_to_reassemble(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    log = Log(stack, family, "INBOUND_IPPACKET", look=kind,
              wanted=lambda seen: seen.view.protocol == 17 and not by_port(seen, 40999))  # fmt: skip
    pieces = four_fragments(pair, family)
    second = IpView(pieces[1]).fragment_offset

    class Second(Callout):
        def classify(self, seen: Indication) -> None:
            return seen.block() if seen.view.fragment_offset == second else seen.permit()

    stack.add_filter(layer_of("INBOUND_IPPACKET", family.version), stack.register(Second()))
    send_raw(pair.peer, family, pair.host.address(family), *pieces)
    assert traffic.arrived() == []
    names = Counter(name for name, _ in log.take())
    assert names == {"plain": 4, "fragment": 3}
    finish(stack)


@pytest.mark.rule("NR-16", "NR-1", "QS-8")
@pytest.mark.parametrize("by_verdict", [True, False])
def test_fragments_put_back_one_by_one_arrive_once(pair: Pair, family: AddressFamily, by_verdict: bool) -> None:
    """B12: at the fragment indication alone; the reassembled packet counts as injected."""
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    stack.injector.verdicts = by_verdict
    handle = stack.create_handle(family, ALL_TYPES)
    states: list[tuple[str, str]] = []

    def only(seen: Indication) -> bool:
        if seen.view.protocol != 17 or by_port(seen, 40999):
            return False
        state = handle.state(seen.net_buffer_list)[0].name
        states.append((kind(seen)[0], state))
        return bool(seen.flags & ConditionFlag.IS_FRAGMENT)

    callout = PutBack(stack, handle, only=only)
    at(stack, callout, "INBOUND_IPPACKET", family=family)
    send_raw(pair.peer, family, pair.host.address(family), *four_fragments(pair, family))
    assert [len(octets) for octets in traffic.arrived()] == [3072]
    counted = Counter(states)
    assert counted["fragment", "NOT_INJECTED"] == counted["fragment", "INJECTED_BY_SELF"] == 4
    assert counted["reassembled", "INJECTED_BY_SELF"] == 1
    assert counted["reassembled", "NOT_INJECTED"] == 0
    assert callout.done.names == ["SUCCESS"] * 4
    finish(stack, handle)


# -- metadata, flags and data starts ----------------------------------------------------------------------------


@pytest.mark.rule("MD-1", "MD-2", "MD-3", "MD-4", "MD-5", "MD-6", "LA-1", "DC-13")
def test_headers_are_where_the_metadata_says(pair: Pair, family: AddressFamily) -> None:
    """At every layer and for every kind of packet: no bit outside its row, and retreats that land on headers."""
    stack = pair.host.stack
    groups = (*IP, *TRANSPORT, "DATAGRAM_DATA", "INBOUND_ICMP_ERROR", "OUTBOUND_ICMP_ERROR", "STREAM_PACKET", *ALE[1:])
    visited: Counter[str] = Counter()

    def check(seen: Indication) -> None:
        metadata, item, info = seen.metadata, seen.net_buffer_list, seen.info
        visited[info.group] += 1
        assert int(metadata.current_metadata_values) & ~int(info.metadata) == 0
        assert not metadata.has(M.SOURCE_INTERFACE_INDEX)
        if item is None:
            return
        view = IpView(bytes(seen.memory), seen.ip_start, seen.ip_end)
        start = item.start
        if info.group == "OUTBOUND_IPPACKET":
            assert start == view.start
            assert metadata.ip_header_size == view.header_size
            assert metadata.transport_header_size == view.transport_header_size
            assert metadata.path_mtu == 1500
        elif not seen.inbound:
            assert start == view.transport_offset
        elif "FLOW" not in info.group:
            back = metadata.ip_header_size
            if metadata.has(M.TRANSPORT_HEADER_SIZE):
                back += metadata.transport_header_size
            assert seen.memory[start - back] >> 4 == view.version
            assert start - back == view.start
        if info.group not in ("ALE_FLOW_ESTABLISHED", "STREAM_PACKET"):
            assert metadata.compartment_id == 1

    inspect(stack, check, *groups, family=family)
    traffic = Datagrams(pair.peer, pair.host, family)
    assert traffic.exchange([b"in"]) == [b"in"]
    traffic.receiver.sendto(b"out", traffic.sender.getsockname()[:2])
    assert traffic.sender.recv(5) == b"out"
    pair.peer.run("ping", "-c1", "-W2", pair.host.address(family))
    pair.host.run("ping", "-c1", "-W2", pair.peer.address(family))
    for a, b in ((pair.host, pair.peer), (pair.peer, pair.host)):
        near, far = connected(a, b, family)
        near.sendall(b"x")
        far.recv(1)
        near.close()
        far.close()
        sender = a.socket(family)
        sender.connect((b.address(family), 9))
        sender.send(b"closed port")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)
    stack.settle()
    assert set(visited) == set(groups)
    finish(stack)


@pytest.mark.rule("LA-36", "LA-1", "TR-2", "DC-13")
@pytest.mark.parametrize("by_verdict", [True, False])
def test_an_icmp_error_is_about_the_packet_inside(pair: Pair, family: AddressFamily, by_verdict: bool) -> None:
    """Shown at the inner IP header, put back from the outer one; the application hears of it."""
    stack = pair.host.stack
    stack.injector.verdicts = by_verdict
    handle = stack.create_handle(family, ALL_TYPES)
    fields: list[Any] = []

    def only(seen: Indication) -> bool:
        item = seen.net_buffer_list
        assert item is not None
        assert item.octets[0] >> 4 == family.version
        fields.append((
            seen.value("EMBEDDED_PROTOCOL"), seen.value("EMBEDDED_REMOTE_PORT"), seen.value("EMBEDDED_LOCAL_PORT"),
            seen.value("ICMP_TYPE"), seen.endpoint is not None,
        ))  # fmt: skip
        return True

    callout = PutBack(stack, handle, only=only)
    at(stack, callout, "INBOUND_ICMP_ERROR", family=family)
    sender = pair.host.socket(family)
    sender.connect((pair.peer.address(family), 9))
    sender.send(b"closed port")
    with pytest.raises(ConnectionRefusedError):
        sender.recv(1)
    stack.settle()
    local = sender.getsockname()[1]
    assert fields[0] == (17, 9, local, 3 if family == V4 else 1, True)
    assert callout.states == {"NOT_INJECTED": 1, "INJECTED_BY_SELF": 1}
    finish(stack, handle)


@pytest.mark.rule("LA-1", "LA-2", "TS-15")
@pytest.mark.parametrize("by_verdict", [True, False])
def test_an_icmp_error_of_this_host_is_put_back(pair: Pair, family: AddressFamily, by_verdict: bool) -> None:
    stack = pair.host.stack
    stack.injector.verdicts = by_verdict
    handle = stack.create_handle(family, ALL_TYPES)
    callout = PutBack(stack, handle)
    at(stack, callout, "OUTBOUND_ICMP_ERROR", family=family)
    sender = pair.peer.socket(family)
    sender.connect((pair.host.address(family), 9))
    sender.send(b"closed port")
    with pytest.raises(ConnectionRefusedError):
        sender.recv(1)
    stack.settle()
    assert callout.states == {"NOT_INJECTED": 1, "INJECTED_BY_SELF": 1}
    assert callout.done.names == ["SUCCESS"]
    finish(stack, handle)


@pytest.mark.rule("LA-37", "NS-15", "NS-16")
def test_loopback_carries_its_flag_at_every_layer(alone: Alone, family: AddressFamily) -> None:
    stack, traffic = alone.host.stack, Datagrams(alone.host, alone.host, family)
    log = Log(stack, family, *IP, *TRANSPORT, "DATAGRAM_DATA", *ALE,
              look=lambda seen: (seen.info.group, bool(seen.flags & ConditionFlag.IS_LOOPBACK)))  # fmt: skip
    assert traffic.exchange([b"x"]) == [b"x"]
    entries = log.take()
    assert {flag for _, flag in entries} == {True}
    assert [group for group, _ in entries] == [
        "ALE_AUTH_CONNECT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET",
        "INBOUND_IPPACKET", "INBOUND_TRANSPORT", "ALE_AUTH_RECV_ACCEPT", "ALE_FLOW_ESTABLISHED", "DATAGRAM_DATA",
    ]  # fmt: skip
    finish(stack)


@pytest.mark.rule("MD-12")
def test_the_path_mtu_is_that_of_the_route(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    log = Log(stack, family, "OUTBOUND_IPPACKET", look=lambda seen: seen.metadata.path_mtu)
    assert traffic.exchange([b"x"]) == [b"x"]
    assert log.take() == [1500]
    prefix = "10.0.0.2/32" if family == V4 else "fd00::2/128"
    pair.host.namespace.run(["ip", "route", "add", prefix, "dev", "eth0", "mtu", "1300"])
    stack.routing.forget()
    assert traffic.exchange([b"x"]) == [b"x"]
    assert log.take() == [1300]
    finish(stack)


@pytest.mark.rule("NS-10", "MD-9")
def test_an_invented_packet_has_the_shape_of_a_raw_send(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)

    def look(seen: Indication) -> Any:
        metadata = seen.metadata
        return seen.info.group, metadata.has(M.TRANSPORT_ENDPOINT_HANDLE), metadata.header_include_header_length

    log = Log(stack, family, "OUTBOUND_TRANSPORT", "DATAGRAM_DATA", look=look)
    done = Completions(stack)
    size = 20 if family == V4 else 40
    with stack.create_handle(family, InjectionType.NETWORK) as handle:
        packet = between(pair.host, pair.peer, family, b"invented")
        handle.network_send(stack.core.ownership.create_from(packet), done)
        assert traffic.arrived() == [b"invented"]
        assert log.take() == [("DATAGRAM_DATA", False, size), ("OUTBOUND_TRANSPORT", False, size)]
        assert traffic.exchange([b"of a socket"]) == [b"of a socket"]
        assert log.take() == [("DATAGRAM_DATA", True, 0), ("OUTBOUND_TRANSPORT", True, 0)]
    finish(stack)


@pytest.mark.rule("CO-17", "MD-13")
def test_what_is_blocked_silently_is_not_shown_as_discarded(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    log = Log(stack, family, "DATAGRAM_DATA_DISCARD", look=lambda seen: seen.metadata.discard_metadata)
    absorb = [False]
    added = stack.register(
        _Look(lambda seen: seen.block(absorb=absorb[0]) if by_port(seen) else seen.permit())
    )
    item = stack.add_filter(layer_of("DATAGRAM_DATA", family.version), added)
    assert traffic.exchange([b"x"]) == []
    assert log.take() == [(2, 0, item.filter_id)]
    absorb[0] = True
    assert traffic.exchange([b"x"]) == []
    assert log.take() == []
    finish(stack)


# -- redirection -------------------------------------------------------------------------------------------------


@pytest.mark.rule("LA-13", "TR-7")
def test_an_answer_redirected_at_inbound_transport_matches_no_socket(pair: Pair, family: AddressFamily) -> None:
    """B10: outbound 10.0.0.2 -> 10.0.0.9, the way back at INBOUND_TRANSPORT: too late, no endpoint."""
    from emulator.construct import construct_ip_header

    stack = pair.host.stack
    other = "10.0.0.9" if family == V4 else "fd00::9"
    pair.link.ends[1].add_address(f"{other}/{24 if family == V4 else 64}")
    octets = socket.inet_pton(LINUX[family], other)
    handle, done = stack.create_handle(family, ALL_TYPES), Completions(stack)

    def out(seen: Indication, item: NetBufferList) -> None:
        if handle.is_mine(item):
            return seen.permit()
        clone, view = stack.core.ownership.deep_clone(item), seen.view
        construct_ip_header(stack.core, clone, view.header_size, family, view.source, octets, view.protocol)
        handle.network_send(clone, done)
        return seen.block(absorb=True)

    stack.add_filter(
        layer_of("OUTBOUND_IPPACKET", family.version), stack.register(Decide(out, port=TCP_PORT)),
        conditions=[Condition("IP_REMOTE_ADDRESS", MatchType.EQUAL, pair.peer.address(family))],
    )  # fmt: skip
    log = Log(stack, family, "INBOUND_TRANSPORT", "INBOUND_TRANSPORT_DISCARD", "OUTBOUND_TRANSPORT")
    listener = pair.peer.socket(family, socket.SOCK_STREAM, port=TCP_PORT, address=other)
    listener.listen()
    client = pair.host.socket(family, socket.SOCK_STREAM)
    client.settimeout(0.5)
    with pytest.raises((TimeoutError, ConnectionRefusedError)):
        client.connect((pair.peer.address(family), TCP_PORT))
    client.close()
    stack.settle()
    entries = log.take()
    assert "INBOUND_TRANSPORT_DISCARD" in entries
    assert "INBOUND_TRANSPORT" not in entries
    finish(stack, handle)


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
