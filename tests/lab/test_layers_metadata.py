"""Where data starts, and what metadata and flags say, on real packets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from emulator.checksums import fix_checksums
from emulator.indication import Indication
from emulator.layers import layer_of
from emulator.octets import IpView
from emulator.topology import Alone, Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, ConditionFlag, InjectionType
from emulator.wfptypes import MetadataField as M
from tests.lab.conftest import Completions
from tests.lab.layer_log import (
    ALE,
    IP,
    TRANSPORT,
    V4,
    Log,
    Look,
    by_port,
    connected,
    finish,
)
from tests.lab.network_packets import PORT, at, between
from tests.lab.putting_back import ALL_TYPES, PutBack, inspect


def talk(pair: Pair, family: AddressFamily) -> None:
    """Packets of every kind, both ways."""
    traffic = Datagrams(pair.peer, pair.host, family)
    assert traffic.exchange([b"in"]) == [b"in"]
    traffic.receiver.sendto(b"out", traffic.sender.getsockname()[:2])
    assert traffic.sender.recv(5) == b"out"
    pair.peer.run("ping", "-c1", "-W2", pair.host.address(family), user="root")
    pair.host.run("ping", "-c1", "-W2", pair.peer.address(family), user="root")
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
    talk(pair, family)
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


@pytest.mark.rule("NB-15", "LA-1", "MD-4", "MD-5")
def test_a_retreat_finds_the_headers_inbound_and_zeroes_outbound(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.peer, pair.host, family)
    ip_header = 20 if family == V4 else 40

    def whole(seen: Indication) -> tuple[bytes, int]:
        item = seen.net_buffer_list
        assert item is not None
        metadata = seen.metadata
        transport = metadata.transport_header_size if "TRANSPORT" in seen.info.group else 0
        size = metadata.ip_header_size + transport if seen.inbound else ip_header
        item.retreat(size)
        octets, pieces = item.octets, len(list(item.first_net_buffer.spans(0, size)))
        item.advance(size)
        return octets, pieces

    logs = {group: Log(stack, family, group, look=whole) for group in ("INBOUND_IPPACKET", *TRANSPORT)}
    wires = pair.peer.wire(), pair.host.wire()
    assert traffic.exchange([b"in"]) == [b"in"]
    traffic.receiver.sendto(b"out", traffic.sender.getsockname()[:2])
    assert traffic.sender.recv(5) == b"out"
    (came,), (went,) = (
        [packet for packet in wire.packets(port=PORT) if packet.endswith(payload)]
        for wire, payload in zip(wires, (b"in", b"out"), strict=True)
    )
    whole_checksum = bytearray(came)  # on the cable it is a partial one
    fix_checksums(whole_checksum)
    for group in ("INBOUND_IPPACKET", "INBOUND_TRANSPORT"):
        assert logs[group].take() == [(bytes(whole_checksum), 1)]
    ((made, _),) = logs["OUTBOUND_TRANSPORT"].take()
    whole_checksum[:] = went
    fix_checksums(whole_checksum)
    assert made == bytes(ip_header) + whole_checksum[ip_header:]
    finish(stack)


@pytest.mark.rule("GE-17")
def test_local_packets_are_shown_with_whole_checksums_and_no_offload(pair: Pair, family: AddressFamily) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)

    def field(seen: Indication) -> tuple[object, bytes]:
        item = seen.net_buffer_list
        assert item is not None
        at = 6 if seen.info.group == "OUTBOUND_TRANSPORT" else 26 if family == V4 else 46
        return item.info, item.read(at, 2)

    log = Log(stack, family, *(group for group in (*IP, *TRANSPORT) if group.startswith("OUTBOUND")), look=field)
    wire = pair.peer.wire()
    assert traffic.exchange([b"x"]) == [b"x"]
    (packet,) = wire.packets(port=PORT)
    fix = bytearray(packet)
    fix_checksums(fix)
    at = 26 if family == V4 else 46
    assert log.take() == [(None, bytes(fix[at : at + 2]))] * 2
    finish(stack)


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
        Look(lambda seen: seen.block(absorb=absorb[0]) if by_port(seen) else seen.permit())
    )
    item = stack.add_filter(layer_of("DATAGRAM_DATA", family.version), added)
    assert traffic.exchange([b"x"]) == []
    assert log.take() == [(2, 0, item.filter_id)]
    absorb[0] = True
    assert traffic.exchange([b"x"]) == []
    assert log.take() == []
    finish(stack)
