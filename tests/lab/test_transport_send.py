"""Transport send on real packets: by the verdict of the held packet, and by a socket."""

from __future__ import annotations

import socket

import pytest

from emulator.checksums import fix_checksums, transport_checksum_ok
from emulator.errors import FwpInvalidParameter
from emulator.headers import build_ip_header
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.octets import IpView
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily
from emulator.wfptypes import MetadataField as M
from netns.patience import patient
from tests.lab.conftest import Completions
from tests.lab.network_packets import PORT, Decide, at, between, udp
from tests.lab.putting_back import ALL_TYPES, PutBack, Worker, forgiven, inspect
from tests.lab.sending import (
    LINUX,
    TRANSPORT,
    V4,
    by_port,
    datagram,
    finish,
    made,
    send,
    upper,
    used,
)


@pytest.mark.rule("TS-1", "TS-2", "LA-1", "GE-12", "CF-2")
def test_what_begins_at_the_transport_header_gets_the_stacks_ip_header(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    assert traffic.exchange([b"before"]) == [b"before"]
    handle = stack.create_handle(family, TRANSPORT)
    callout = PutBack(stack, handle, only=by_port, edit=upper)
    at(stack, callout, "OUTBOUND_TRANSPORT", family=family)
    wire = pair.peer.wire()
    assert traffic.exchange([b"one", b"two", b"three"]) == [b"ONE", b"TWO", b"THREE"]
    packets = wire.packets(port=PORT)
    assert [transport_checksum_ok(IpView(packet)) for packet in packets] == [True] * 3
    assert {IpView(packet).source for packet in packets} == {pair.host.octets(family)}
    assert callout.states == {"NOT_INJECTED": 3, "INJECTED_BY_SELF": 3}
    assert callout.done.names == ["SUCCESS"] * 3
    used(pair, way)
    finish(pair, handle)
    assert traffic.exchange([b"after"]) == [b"after"]


@pytest.mark.rule("TS-3", "TS-14")
def test_without_send_arguments_the_data_begins_at_the_ip_header(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    assert send(pair, family, made(pair, datagram(b"no header")), None) == "INVALID_PARAMETER"
    assert traffic.arrived() == []
    whole = between(pair.host, pair.peer, family, b"whole packet")
    assert send(pair, family, made(pair, whole), None) == "SUCCESS"
    assert traffic.arrived() == [b"whole packet"]
    two = pair.host.stack.core.ownership.create(Mdl(bytearray(whole)), 0, len(whole))
    two.first_net_buffer.next = NetBuffer(Mdl(bytearray(whole)), 0, len(whole))
    with pytest.raises(FwpInvalidParameter):
        send(pair, family, two, None)
    pair.host.stack.core.ownership.free_list(two)
    assert traffic.arrived() == []
    forgiven(pair.host.stack, "TS-3")


@pytest.mark.rule("TS-2")
def test_an_ip_header_beside_send_arguments_makes_no_good_packet(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    wire = pair.peer.wire()
    whole = between(pair.host, pair.peer, family, b"twice")
    send(pair, family, made(pair, whole), SendParams(pair.peer.octets(family)))
    assert traffic.arrived() == []
    [packet] = [octets for octets in wire.packets() if b"twice" in octets]
    view = IpView(packet)
    assert packet[view.transport_offset :] == whole, "the caller's header became payload"
    forgiven(pair.host.stack, "TS-2")


@pytest.mark.rule("TS-17", "OR-7")
def test_a_list_of_several_packets_sends_each_and_completes_once(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    item = pair.host.stack.core.ownership.create(Mdl(bytearray(datagram(b"0"))), 0, 9)
    item.protocol = 17
    buffer = item.first_net_buffer
    for number in (b"1", b"2"):
        buffer.next = NetBuffer(Mdl(bytearray(datagram(number))), 0, 9)
        buffer = buffer.next
    assert send(pair, family, item, SendParams(pair.peer.octets(family))) == "SUCCESS"
    assert traffic.arrived() == [b"0", b"1", b"2"]


@pytest.mark.rule("TS-18")
def test_ports_may_be_changed_and_the_answer_comes_back_to_the_sender(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack = pair.host.stack
    server = pair.peer.socket(family, port=6000)
    handle = stack.create_handle(family, TRANSPORT)

    def to_6000(seen: Indication, clone: NetBufferList) -> None:
        clone.write(2, (6000).to_bytes(2, "big"))
        clone.write(6, b"\0\0")

    at(stack, PutBack(stack, handle, only=by_port, edit=to_6000), "DATAGRAM_DATA", family=family)
    sender = pair.host.socket(family)
    sender.sendto(b"to 5000", (pair.peer.address(family), PORT))
    octets, source = server.recvfrom(100)
    assert (octets, source[:2]) == (b"to 5000", sender.getsockname()[:2])
    server.sendto(b"back", source)
    assert sender.recv(100) == b"back"
    finish(pair, handle)


@pytest.mark.rule("TS-19", "NS-13")
@pytest.mark.parametrize("layer", ["OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET"])
def test_a_datagram_larger_than_the_path_is_cut_after_all_layers(
    pair: Pair, family: AddressFamily, way: str, layer: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle = stack.create_handle(family, ALL_TYPES)
    lengths: list[int] = []

    def note(seen: Indication) -> None:
        if by_port(seen) and seen.net_buffer_list is not None and seen.net_buffer_list.history:
            lengths.append(seen.ip_end)

    inspect(stack, note, "OUTBOUND_IPPACKET", family=family)
    callout = PutBack(stack, handle, only=by_port)
    at(stack, callout, layer, family=family)
    payload = bytes(range(250)) * 16
    wire = pair.peer.wire()
    assert traffic.exchange([payload]) == [payload]
    fragments = [packet for packet in wire.packets() if IpView(packet).is_fragment]
    assert len(fragments) == 3
    assert lengths == [len(payload) + (28 if family == V4 else 48)], "one packet, before it was cut"
    assert callout.done.names == ["SUCCESS"]
    finish(pair, handle)


@pytest.mark.rule("TS-20", "GE-16")
def test_a_wrong_checksum_stays_wrong_and_a_missing_one_is_filled_in(
    pair: Pair, family: AddressFamily, way: str
) -> None:
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle = stack.create_handle(family, TRANSPORT)
    checksum = [b"\x12\x34"]

    def with_checksum(seen: Indication, clone: NetBufferList) -> None:
        clone.write(6, checksum[0])

    at(stack, PutBack(stack, handle, only=by_port, edit=with_checksum), "OUTBOUND_TRANSPORT", family=family)
    wire = pair.peer.wire()
    assert traffic.exchange([b"wrong"]) == []
    [packet] = wire.packets(port=PORT)
    at_checksum = IpView(packet).transport_offset + 6
    assert packet[at_checksum : at_checksum + 2] == b"\x12\x34"
    checksum[0] = b"\0\0"
    assert traffic.exchange([b"none"]) == [b"none"]
    [packet] = wire.packets(port=PORT)
    assert transport_checksum_ok(IpView(packet)) is True
    assert packet[at_checksum : at_checksum + 2] != b"\0\0"
    forgiven(stack, "GE-16")
    finish(pair, handle)


@pytest.mark.rule("TS-1", "NB-22")
def test_a_protocol_that_nobody_knows_cannot_be_sent(pair: Pair, family: AddressFamily) -> None:
    params = SendParams(pair.peer.octets(family))
    assert send(pair, family, made(pair, datagram(b"x"), protocol=0), params) == "INVALID_PARAMETER"


@pytest.mark.rule("TS-12", "TS-13", "MD-9", "LA-37")
def test_the_senders_own_ip_header_goes_with_the_packet(pair: Pair, family: AddressFamily) -> None:
    """A raw sender's datagram at DATAGRAM_DATA, put back by both versions of the call: identical packets."""
    from emulator.wfptypes import ConditionFlag

    stack = pair.host.stack
    traffic = Datagrams(pair.host, pair.peer, family)
    handle, done = stack.create_handle(family, TRANSPORT), Completions(stack)
    versions, flags = iter((0, 1)), []

    def decide(seen: Indication, item: NetBufferList) -> None:
        if handle.is_mine(item):
            return seen.permit()
        metadata = seen.metadata
        flags.append(bool(seen.flags & ConditionFlag.IS_RAW_ENDPOINT))
        assert metadata.has(M.IP_HEADER_SIZE)
        assert metadata.ip_header_size > 0
        header = metadata.header_include_header
        assert len(header) == metadata.header_include_header_length == metadata.ip_header_size
        clone = seen.clone()
        if next(versions) == 0:
            clone.retreat(len(header))
            clone.write(0, header)
            handle.transport_send(clone, done, family=family, send_params=None)
        else:
            params = SendParams(seen.view.destination, header_include_header=header)
            handle.transport_send(clone, done, family=family, send_params=params)
        return seen.block(absorb=True)

    raw = pair.host.namespace.open_in(lambda: socket.socket(LINUX[family], socket.SOCK_RAW, 255))
    wire = pair.peer.wire()
    at(stack, Decide(decide), "DATAGRAM_DATA", family=family)
    packet = udp(pair.host.octets(family), pair.peer.octets(family), b"raw", hop_limit=33, identification=0x4711)
    where = (pair.peer.address(family), 0)
    with raw:
        for _ in range(2):
            raw.sendto(packet, where)
            assert traffic.arrived() == [b"raw"]
    assert flags == [True, True]
    assert wire.packets(port=PORT) == [packet, packet]
    assert done.names == ["SUCCESS", "SUCCESS"]
    finish(pair, handle)


def tcp_talk(pair: Pair, family: AddressFamily, octets: bytes) -> bytes:
    """Send octets from the host to a server on the peer, and read them back."""
    listener = pair.peer.socket(family, socket.SOCK_STREAM, port=7000)
    listener.listen()
    client = pair.host.socket(family, socket.SOCK_STREAM)
    client.connect((pair.peer.address(family), 7000))
    server, _ = listener.accept()
    with server, client, listener:
        server.settimeout(patient(10))
        client.sendall(octets)
        got = b""
        while len(got) < len(octets):
            got += server.recv(65536)
        server.sendall(got)
        back = b""
        while len(back) < len(octets):
            back += client.recv(65536)
    return back


@pytest.mark.case("C19")
@pytest.mark.rule("TS-16", "OR-1")
@pytest.mark.parametrize("inline", [False, True])
def test_tcp_is_injected_out_of_band_or_reported(
    pair: Pair, family: AddressFamily, way: str, inline: bool
) -> None:
    """Either way the connection works on."""
    stack = pair.host.stack
    handle = stack.create_handle(family, TRANSPORT)
    with Worker() as worker:
        callout = PutBack(
            stack, handle, only=lambda seen: seen.view.protocol == 6, worker=None if inline else worker
        )
        at(stack, callout, "OUTBOUND_TRANSPORT", family=family)
        octets = bytes(range(256)) * 512
        assert tcp_talk(pair, family, octets) == octets
        stack.settle()
        finish(pair)
    handle.destroy()
    assert set(callout.done.names) == {"SUCCESS"}
    assert callout.states["NOT_INJECTED"] == len(callout.done.names) > 50
    rules = set(stack.core.violations.rules())
    assert rules == ({"TS-16"} if inline else set())
    stack.core.violations.entries.clear()


@pytest.mark.rule("GE-16")
def test_a_checksum_of_the_drivers_own_is_sent_as_given(pair: Pair, family: AddressFamily) -> None:
    traffic = Datagrams(pair.host, pair.peer, family)
    whole = bytearray(
        build_ip_header(
            family.version or 4, pair.host.octets(family), pair.peer.octets(family), 17, datagram(b"sum")
        )
    )
    fix_checksums(whole)
    offset = IpView(whole).transport_offset
    item = made(pair, bytes(whole[offset:]))
    assert send(pair, family, item, SendParams(pair.peer.octets(family))) == "SUCCESS"
    assert traffic.arrived() == [b"sum"]


@pytest.mark.rule("OR-1")
def test_what_goes_by_verdict_and_what_goes_by_a_socket_keep_their_order(pair: Pair, family: AddressFamily) -> None:
    """The third of four datagrams is made anew, so it cannot go on as the held one; none overtakes another."""
    stack, traffic = pair.host.stack, Datagrams(pair.host, pair.peer, family)
    handle, count = stack.create_handle(family, TRANSPORT), iter(range(1000))

    class Mixed(PutBack):
        def _cloned(self, seen: Indication, retreat: int) -> NetBufferList:
            if next(count) % 4 != 2:
                return super()._cloned(seen, retreat)
            assert seen.net_buffer_list is not None
            return made(pair, datagram(seen.net_buffer_list.octets[8:], source_port=seen.view.source_port or 0))

    inspect(stack, lambda seen: None, "OUTBOUND_IPPACKET", family=family)
    at(stack, Mixed(stack, handle, only=by_port), "OUTBOUND_TRANSPORT", family=family)
    payloads = [b"%d" % number for number in range(200)]
    for first in range(0, 200, 4):
        traffic.send(*payloads[first : first + 4])
        stack.settle()
    assert traffic.arrived() == payloads
    book = stack.books.injections
    assert book.by_verdict >= 50
    assert book.by_injector >= 50
    finish(pair, handle)
