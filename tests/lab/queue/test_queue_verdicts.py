"""What a verdict of either queue backend does to a packet, as seen by who gets the packet."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import pytest

from emulator.checksums import fix_checksums
from emulator.paths.netlink_queue import NetlinkQueue
from emulator.paths.queue import BURST, AlreadySettled, HookNumber, QueueBackend, QueuedPacket, Verdict
from netns.patience import patient
from netns.rules import Hook, Mark

if TYPE_CHECKING:
    from tests.lab.queue.conftest import Bed

NUMBER = 5
PORT = 4000
ETHERTYPE = {4: 0x0800, 6: 0x86DD}
SENDER = {4: "192.0.2.1", 6: "2001:db8::1"}
PATIENCE_SECONDS = patient(10.0)
SO_TIMESTAMP = 29


def test_accepted_packets_arrive_and_dropped_ones_do_not(bed: Bed) -> None:
    queue, rules = bed.queue(), bed.divert()
    bed.send(b"a", b"b", b"c")
    a, b, c = bed.received(queue, 3)
    for packet, verdict in ((a, Verdict.ACCEPT), (b, Verdict.DROP), (c, Verdict.ACCEPT)):
        queue.settle(packet, verdict)
    queue.flush()
    assert bed.arrived(2) == [b"a", b"c"]
    counts = queue.counts()
    assert (counts.received, counts.settled, counts.held) == (3, 3, 0)
    assert rules.matched() == [3]


def test_a_packet_tells_where_it_came_from(bed: Bed) -> None:
    queue, _ = bed.queue(), bed.divert(Hook.INPUT)
    bed.send(b"hello")
    (packet,) = bed.received(queue, 1)
    arrival = packet.arrival
    assert (arrival.queue, arrival.hook, arrival.protocol) == (NUMBER, HookNumber.INPUT, ETHERTYPE[bed.version])
    assert (arrival.in_device, arrival.out_device) == (bed.host.index_of("eth0"), 0)
    assert arrival.hardware_address == bytes.fromhex(bed.lab["sender"].mac_of("eth0").replace(":", ""))
    assert not arrival.gso
    assert not arrival.checksum_pending
    assert (packet.mark, packet.original_octets) == (0, 0)
    assert bed.said(packet) == b"hello"


def test_a_sent_packet_tells_where_it_goes(bed: Bed) -> None:
    queue, _ = bed.queue(), bed.divert(Hook.OUTPUT)
    bed.udp("host").sendto(b"out", (SENDER[bed.version], PORT))
    arrival = bed.received(queue, 1)[0].arrival
    assert (arrival.hook, arrival.in_device) == (HookNumber.OUTPUT, 0)
    assert arrival.out_device == bed.host.index_of("eth0")
    assert arrival.hardware_address == b""


@pytest.mark.parametrize("data", [b"", b"x", b"longer than it was" * 50], ids=["empty", "shorter", "longer"])
def test_a_rewritten_packet_arrives_as_rewritten(bed: Bed, data: bytes) -> None:
    queue, _ = bed.queue(), bed.divert()
    bed.send(b"as it was", b"next")
    first, second = bed.received(queue, 2)
    queue.settle(first, Verdict.ACCEPT, bed.rewritten(first, data))
    queue.settle(second)
    queue.flush()
    assert bed.arrived(2) == [data, b"next"]


def test_octets_written_in_place_arrive(bed: Bed) -> None:
    queue, _ = bed.queue(), bed.divert()
    bed.send(b"in place")
    (packet,) = bed.received(queue, 1)
    packet.payload[-5:] = b"PLACE"
    fix_checksums(packet.payload)
    queue.settle(packet, payload=packet.payload)
    queue.flush()
    assert bed.arrived(1) == [b"in PLACE"]


@pytest.mark.parametrize("rewrite", [False, True], ids=["mark", "mark-and-rewrite"])
def test_a_mark_is_seen_at_a_later_hook_by_the_same_queue_object(bed: Bed, rewrite: bool) -> None:
    queue, _ = bed.queue(NUMBER, NUMBER + 1), bed.divert(Hook.PREROUTING, Hook.INPUT)
    bed.send(b"plain", b"other")
    first, second = bed.received(queue, 2)
    assert [p.arrival.hook for p in (first, second)] == [HookNumber.PREROUTING] * 2
    queue.settle(first, payload=bed.rewritten(first, b"changed") if rewrite else None, mark=0x8100_0002)
    queue.settle(second)
    queue.flush()
    first, second = bed.received(queue, 2)
    assert [p.arrival.hook for p in (first, second)] == [HookNumber.INPUT] * 2
    assert [p.arrival.queue for p in (first, second)] == [NUMBER + 1] * 2
    assert [p.mark for p in (first, second)] == [0x8100_0002, 0]
    queue.settle(second)
    queue.settle(first)
    queue.flush()
    assert bed.arrived(2) == [b"other", b"changed" if rewrite else b"plain"]


def test_a_busy_hook_does_not_starve_a_later_one(bed: Bed) -> None:
    queue, _ = bed.queue(NUMBER, NUMBER + 1), bed.divert(Hook.PREROUTING, Hook.INPUT)
    bed.send(*(b"%d" % n for n in range(3 * BURST)))
    hooks = []
    for _ in range(3):
        packets = queue.receive()
        hooks.append({packet.arrival.hook for packet in packets})
        for packet in packets:
            queue.settle(packet)
        queue.flush()
    assert HookNumber.INPUT in hooks[1]
    assert HookNumber.PREROUTING in hooks[2]


def test_a_repeated_packet_comes_back_unless_its_mark_is_exempt(bed: Bed) -> None:
    queue, _ = bed.queue(), bed.divert(exempt=Mark(2, 0xF))
    bed.send(b"again")
    (packet,) = bed.received(queue, 1)
    queue.settle(packet, Verdict.REPEAT, mark=1)
    queue.flush()
    (packet,) = bed.received(queue, 1)
    assert packet.mark == 1
    queue.settle(packet, Verdict.REPEAT, mark=2)
    queue.flush()
    assert bed.arrived(1) == [b"again"]
    assert queue.counts().received == 2


def test_packets_are_held_as_long_as_wanted_and_settled_in_any_order(bed: Bed) -> None:
    queue, _ = bed.queue(), bed.divert()
    bed.send(*(b"%d" % n for n in range(6)))
    packets = bed.received(queue, 6)
    queue.settle(packets[0])
    for n in (4, 2):  # 1 and 3 have lower ids, and stay
        queue.settle(packets[n])
    queue.flush()
    assert bed.arrived(3) == [b"0", b"4", b"2"]
    assert queue.counts().held == 3
    for n in (5, 3):
        queue.settle(packets[n])
    queue.settle(packets[1], Verdict.DROP)
    queue.flush()
    bed.send(b"canary")
    queue.settle(bed.received(queue, 1)[0])
    queue.flush()
    assert bed.arrived(3) == [b"5", b"3", b"canary"]
    assert queue.counts().refused == 0


def test_a_packet_that_could_not_be_read_is_never_let_pass(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    if bed.backend is not QueueBackend.NETLINK:
        return  # only our own backend reads messages itself
    queue, _ = bed.queue(), bed.divert()
    assert isinstance(queue, NetlinkQueue)
    reader = queue._bound[NUMBER].reader
    read = reader.read

    def blind(buffer: bytearray, offsets: Iterable[int], lengths: Iterable[int]) -> list[QueuedPacket]:
        packets = read(buffer, offsets, lengths)
        queue._tally["malformed"] += sum(bed.said(packet) == b"odd" for packet in packets)
        return [packet for packet in packets if bed.said(packet) != b"odd"]

    monkeypatch.setattr(reader, "read", blind)
    bed.send(b"a", b"odd", b"b")
    for packet in bed.received(queue, 2):
        queue.settle(packet)
    queue.flush()
    assert bed.arrived(2) == [b"a", b"b"]
    assert (queue.counts().malformed, queue.counts().unread) == (1, 1)


class QuickerPacket:
    """A socket on which a packet comes before the answer to the message that binds."""

    def __init__(self, real: socket.socket, packet: bytes) -> None:
        self.real = real
        self.datagrams = [packet, struct.pack("=IHHIIi16x", 36, 2, 0, 1, 0, 0)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def send(self, octets: bytes) -> int:
        return len(octets)

    def recv(self, octets: int) -> bytes:
        return self.datagrams.pop(0)


def test_a_packet_that_is_quicker_than_the_answer_is_not_lost(bed: Bed) -> None:
    if bed.backend is not QueueBackend.NETLINK:
        return  # the package's library does this for the other
    queue, _ = bed.queue(), bed.divert()
    assert isinstance(queue, NetlinkQueue)
    bed.send(b"quick", b"later")
    real = queue._bound[NUMBER].socket
    select.select([real], [], [], PATIENCE_SECONDS)
    queue._order.clear()
    queue._bind(NUMBER, queue.limits, cast(socket.socket, QuickerPacket(real, real.recv(65536))))
    for packet in bed.received(queue, 2):
        queue.settle(packet)
    queue._bound[NUMBER].socket = real
    queue.flush()
    assert bed.arrived(2) == [b"quick", b"later"]


def test_a_second_verdict_is_refused_and_changes_nothing(bed: Bed) -> None:
    queue, _ = bed.queue(), bed.divert()
    bed.send(b"once", b"next")
    once, after = bed.received(queue, 2)
    queue.settle(once)
    with pytest.raises(AlreadySettled):
        queue.settle(once, Verdict.DROP)
    queue.settle(after)
    queue.flush()
    assert bed.arrived(2) == [b"once", b"next"]
    assert queue.counts().settled == 2


def test_many_rewrites_in_one_flush_arrive_in_order(bed: Bed) -> None:
    queue, _ = bed.queue(), bed.divert()
    count = 500
    bed.send(*(b"%d" % n for n in range(count)))
    packets = bed.received(queue, count)
    said = [b"%d," % n * 300 for n in range(count)]
    for packet, data in zip(packets, said, strict=True):
        queue.settle(packet, payload=bed.rewritten(packet, data))
    queue.flush()
    assert bed.arrived(count) == said
    assert (queue.receive(), queue.counts().refused) == ([], 0)


def test_a_verdict_for_a_packet_the_kernel_no_longer_has_is_counted(bed: Bed) -> None:
    """The kernel drops what came from a device that goes away."""
    queue, _ = bed.queue(), bed.divert()
    subnet = {4: ("198.51.100.1", "198.51.100.2", 24), 6: ("2001:db8:9::1", "2001:db8:9::2", 64)}[bed.version]
    a, b = (f"{address}/{subnet[2]}" for address in subnet[:2])
    cable = bed.lab.link("sender", "host", names=("gone0", "gone0"), addresses=([a], [b]))
    bed.udp("sender").sendto(b"lost", (subnet[1], PORT))
    (packet,) = bed.received(queue, 1)
    cable.close()
    queue.settle(packet)
    queue.flush()
    assert queue.receive() == []
    assert queue.counts().refused == 1


def test_a_packet_says_when_it_came_if_somebody_asks_for_times(bed: Bed) -> None:
    queue, _ = bed.queue(), bed.divert()
    bed.sink.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
    begun = time.time()
    until = time.monotonic() + PATIENCE_SECONDS
    seconds = 0.0
    while not seconds and time.monotonic() < until:  # the kernel turns stamping on a little later
        bed.send(b"when")
        (packet,) = bed.received(queue, 1)
        seconds = packet.seconds
        assert (packet.mark, packet.original_octets, bed.said(packet)) == (0, 0, b"when")
        queue.settle(packet)
        queue.flush()
    assert begun - 1 <= seconds <= time.time() + 1
