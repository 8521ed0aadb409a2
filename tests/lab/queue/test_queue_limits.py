"""The limits of either queue backend: sizes, overflow, flags, closing; nothing is lost without being counted."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from emulator.checksums import fix_checksums
from emulator.paths.queue import NotRewritable, PacketQueue, QueueBackend, QueuedPacket, QueueLimits
from netns.errors import Closed, KernelRefused, MissingFeature
from netns.patience import patient

if TYPE_CHECKING:
    from tests.lab.queue.conftest import Bed

NUMBER = 5
PORT = 4000
MTU = 9216
SO_TIMESTAMPNS = 35
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PATIENCE_SECONDS = patient(10.0)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def settle_and_flush(queue: PacketQueue, packet: QueuedPacket) -> None:
    queue.settle(packet)
    queue.flush()


def test_a_full_queue_drops_and_every_drop_is_counted(bed: Bed) -> None:
    queue, rules = bed.queue(limits=QueueLimits(length=16)), bed.divert()
    bed.send(*(b"%d" % n for n in range(50)))
    packets = bed.received(queue, 16)
    counts = queue.counts()
    assert (counts.queue_overflowed, counts.socket_overflowed, counts.unread) == (34, 0, 0)
    assert rules.matched() == [counts.received + counts.overflowed]
    for packet in packets:
        queue.settle(packet)
    queue.flush()
    bed.send(b"after")
    queue.settle(bed.received(queue, 1)[0])
    queue.flush()
    assert bed.arrived(17)[-1] == b"after"


def test_a_full_receive_buffer_drops_and_every_drop_is_counted(bed: Bed) -> None:
    queue, rules = bed.queue(limits=QueueLimits(receive_octets=16384)), bed.divert()
    bed.send(*(b"%d" % n for n in range(200)))
    assert rules.matched() == [200]
    came = 0
    while packets := queue.receive():
        came += len(packets)
    counts = queue.counts()
    assert 0 < came == counts.received < 200
    assert (counts.received + counts.socket_overflowed, counts.queue_overflowed) == (200, 0)
    assert counts.overruns >= 1


def test_what_waits_unread_is_in_the_books(bed: Bed) -> None:
    queue, rules = bed.queue(), bed.divert()
    bed.send(*(b"%d" % n for n in range(300)))
    packets = queue.receive()
    for packet in packets[:10]:
        queue.settle(packet)
    counts = queue.counts()  # before the flush: the kernel still has the ten
    assert 10 < counts.received < 300
    assert rules.matched() == [counts.received + counts.unread] == [300]
    queue.flush()
    assert queue.counts().unread == counts.unread


def test_a_packet_larger_than_a_page_is_never_lost_silently(bed: Bed) -> None:
    """9 kilo-octets, reassembled before INPUT: shown whole by one backend, cut by the other."""
    queue, _ = bed.queue(), bed.divert()
    data = bytes(range(256)) * 35
    bed.send(data)
    (packet,) = bed.received(queue, 1)
    whole = len(data) + bed.headers
    if bed.backend is QueueBackend.NETLINK:
        assert bed.said(packet) == data
        queue.settle(packet, payload=bed.rewritten(packet, data[::-1]))
        expected, cut = data[::-1], 0
    else:
        assert (packet.original_octets, len(packet.payload)) == (whole, 4016)
        with pytest.raises(NotRewritable, match=f"it has {whole} octets and only 4016 were shown"):
            queue.settle(packet, payload=packet.payload)
        queue.settle(packet)  # still held: the refusal decided nothing
        expected, cut = data, 1
    queue.flush()
    assert bed.arrived(1) == [expected]
    counts = queue.counts()
    assert (counts.truncated, counts.rewrites_refused) == (cut, cut)


def test_a_large_packet_with_all_that_may_come_with_it_is_shown(bed: Bed) -> None:
    """A time stamp, a mark and the length of what was cut leave the package's own buffer too little room."""
    queue, rules = bed.queue(), bed.divert()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stamping:
        stamping.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        until = time.monotonic() + PATIENCE_SECONDS
        stamped = False
        while not stamped:  # the kernel begins to note times a little after it is asked to
            assert time.monotonic() < until
            bed.send(b"small")
            (packet,) = bed.received(queue, 1)
            stamped = bool(getattr(packet, "stamp", b""))
            settle_and_flush(queue, packet)
        data = bytes(range(256)) * 35
        bed.send(data)
        (packet,) = bed.received(queue, 1)
    assert len(packet.payload) == min(len(data) + bed.headers, queue.limits.copy_octets)
    settle_and_flush(queue, packet)
    counts = queue.counts()
    assert rules.matched() == [counts.received]
    assert bed.arrived(counts.received)[-1] == data


def test_a_cut_packet_can_be_accepted_but_not_rewritten(bed: Bed) -> None:
    queue, _ = bed.queue(limits=QueueLimits(copy_octets=100)), bed.divert()
    assert queue.limits.copy_octets == 100
    bed.send(b"whole", bytes(200))
    small, large = bed.received(queue, 2)
    assert (small.original_octets, len(small.payload)) == (0, bed.headers + 5)
    assert (large.original_octets, len(large.payload)) == (bed.headers + 200, 100)
    with pytest.raises(NotRewritable):
        queue.settle(large, payload=large.payload)
    for packet in (small, large):
        queue.settle(packet)
    queue.flush()
    assert bed.arrived(2) == [b"whole", bytes(200)]
    assert queue.counts().truncated == 1


@pytest.mark.parametrize("octets", [0, 65532])
def test_a_payload_that_no_message_can_carry_is_refused(bed: Bed, octets: int) -> None:
    queue, _ = bed.queue(), bed.divert()
    bed.send(b"kept")
    (packet,) = bed.received(queue, 1)
    with pytest.raises(NotRewritable):
        queue.settle(packet, payload=bytes(octets))
    queue.settle(packet)
    queue.flush()
    assert bed.arrived(1) == [b"kept"]


def test_closing_drops_what_is_held_and_counts_it(bed: Bed) -> None:
    queue, rules = bed.queue(), bed.divert()
    bed.send(b"a", b"b", b"c")
    packets = bed.received(queue, 3)
    queue.settle(packets[1])
    bed.send(b"d")
    queue.close()
    counts = queue.counts()
    assert (counts.settled, counts.abandoned + counts.unread, counts.held) == (1, 3, 0)
    assert rules.matched() == [counts.received + counts.unread]
    queue.close()
    with bed.queue() as fresh:
        bed.send(b"canary")
        fresh.settle(bed.received(fresh, 1)[0])
        fresh.flush()
        assert bed.arrived(2) == [b"b", b"canary"]
    with pytest.raises(Closed):
        settle_and_flush(queue, packets[0])


def test_a_number_that_is_taken_is_refused_and_nothing_stays_open(bed: Bed) -> None:
    bed.queue(NUMBER + 1)
    bed.divert()
    before = descriptors()
    with pytest.raises(KernelRefused, match=f"binding queue {NUMBER + 1}: EBUSY") as caught:
        bed.queue(NUMBER, NUMBER + 1)
    assert caught.value.code == errno.EBUSY
    del caught
    assert descriptors() == before
    with bed.queue() as retried:  # the first of the two numbers is free again
        bed.send(b"free")
        retried.settle(bed.received(retried, 1)[0])
        retried.flush()
        assert bed.arrived(1) == [b"free"]


def test_opening_and_closing_leaves_no_descriptor(bed: Bed) -> None:
    bed.divert()
    before = descriptors()
    for _ in range(3):
        with bed.queue(NUMBER, NUMBER + 1) as queue:
            bed.send(b"held")
            held = bed.received(queue, 1)
        assert len(held) == 1  # still referred to, and yet no obstacle
    assert descriptors() == before


def test_the_limits_are_those_the_kernel_took(bed: Bed) -> None:
    limits = bed.queue(limits=QueueLimits(length=77, receive_octets=1 << 20)).limits
    assert limits.length == 77
    assert limits.receive_octets >= 1 << 20
    assert limits.copy_octets == (65531 if bed.backend is QueueBackend.NETLINK else 4016)


def transferred(bed: Bed, data: bytes, on_packets: Callable[[list[QueuedPacket]], None], queue: PacketQueue) -> bytes:
    """What arrives of `data` over TCP from the sender while `on_packets` settles what the queue takes."""
    listener = bed.host.open_in(lambda: socket.create_server((bed.address, PORT), family=FAMILY[bed.version]))
    client = bed.lab["sender"].open_in(lambda: socket.socket(FAMILY[bed.version]))
    with listener, client:
        client.setblocking(False)
        client.connect_ex((bed.address, PORT))
        accepted: socket.socket | None = None
        got, left = b"", memoryview(data)
        until = time.monotonic() + PATIENCE_SECONDS
        while len(got) < len(data):
            assert time.monotonic() < until, f"{len(got)} of {len(data)} octets came"
            source: Any = accepted or listener
            readable, writable, _ = select.select([queue, source], [client] if left else [], [], 1)
            if queue in readable:
                on_packets(queue.receive())
                queue.flush()
            if writable:
                left = left[client.send(left) :]
            if source in readable:
                if accepted is None:
                    accepted = bed.undo.enter_context(listener.accept()[0])
                else:
                    got += accepted.recv(1 << 20)
    return got


@pytest.mark.parametrize("gso", [False, True], ids=["segments", "gso"])
def test_tcp_comes_as_segments_or_with_the_flag_as_sent(bed: Bed, gso: bool) -> None:
    limits = QueueLimits(gso=gso)
    if gso and bed.backend is QueueBackend.NETFILTERQUEUE:
        with pytest.raises(MissingFeature, match="GSO"):
            bed.queue(limits=limits)
        return
    queue, _ = bed.queue(limits=limits), bed.divert(protocol="tcp")
    seen: list[tuple[int, bool, bool]] = []

    def settle(packets: Sequence[QueuedPacket]) -> None:
        for packet in packets:
            arrival = packet.arrival
            seen.append((len(packet.payload), arrival.gso, arrival.checksum_pending))
            if arrival.checksum_pending and len(packet.payload) > 100:
                fix_checksums(packet.payload)  # a rewritten packet is taken for finished
                queue.settle(packet, payload=packet.payload)
            else:
                queue.settle(packet)

    data = os.urandom(1 << 20)
    assert transferred(bed, data, settle, queue) == data
    largest = max(seen)
    if gso:
        assert largest[0] > MTU
        assert largest[1:] == (True, True)
    else:
        assert largest[0] <= MTU
        assert not any(large or pending for _, large, pending in seen)


def test_a_queue_that_fails_open_lets_pass_what_it_cannot_hold(bed: Bed) -> None:
    limits = QueueLimits(length=1, fail_open=True)
    if bed.backend is QueueBackend.NETFILTERQUEUE:
        with pytest.raises(MissingFeature, match="fail-open"):
            bed.queue(limits=limits)
        return
    queue, rules = bed.queue(limits=limits), bed.divert()
    bed.send(b"held", b"second", b"third")
    assert bed.arrived(2) == [b"second", b"third"]
    counts = queue.counts()
    assert rules.matched() == [3]
    assert (counts.received + counts.unread, counts.overflowed) == (1, 0)
