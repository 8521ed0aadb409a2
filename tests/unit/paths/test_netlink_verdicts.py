"""The buffer of verdicts against a model of the kernel: no packet gets another verdict than the one given."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.paths.netlink_verdicts import FLUSH_OCTETS, VerdictBuffer
from emulator.paths.queue import AlreadySettled, Arrival, NotRewritable, QueuedPacket, RareQueuedPacket, Verdict

QUEUES = (7, 300)
ARRIVALS = {(queue, hook): Arrival(queue, hook, 0x0800) for queue in QUEUES for hook in (1, 3)}


class Effect(NamedTuple):
    """What happened to one packet in the kernel."""

    queue: int
    number: int
    verdict: int
    mark: int | None = None
    payload: bytes | None = None


class Kernel:
    """Holds ids in order; obeys verdict messages as nfnetlink_queue does."""

    def __init__(self) -> None:
        self.held: dict[int, list[int]] = {queue: [] for queue in QUEUES}
        self.effects: list[Effect] = []

    def obey(self, octets: bytes) -> int:
        """Carry out a send; the number of messages in it."""
        count = 0
        while octets:
            length, kind, flags, sequence, port = struct.unpack_from("=IHHII", octets)
            family, version, queue = struct.unpack_from(">BBH", octets, 16)
            assert (flags, sequence, port, family, version) == (1, 0, 0, 0, 0)
            found = dict(self.attributes(octets[20:length]))
            verdict, number = struct.unpack(">II", found.pop(2))
            mark = struct.unpack(">I", found.pop(3))[0] if 3 in found else None
            payload = found.pop(10, None)
            assert not found
            held = self.held[queue]
            settled = [n for n in held if n <= number] if kind == 0x303 else [n for n in held if n == number]
            assert settled, f"ENOENT for {number}"
            for n in settled:
                held.remove(n)
                self.effects.append(Effect(queue, n, verdict, mark, payload))
            octets = octets[length + 3 & ~3 :]
            count += 1
        return count

    @staticmethod
    def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
        while data:
            length, kind = struct.unpack_from("=HH", data)
            assert 4 <= length <= len(data)
            yield kind, data[4:length]
            data = data[length + 3 & ~3 :]


class Buffer(VerdictBuffer):
    """A buffer on the model."""

    def __init__(self) -> None:
        self.tally: Counter[str] = Counter()
        super().__init__(QUEUES, self.tally)
        self.kernel = Kernel()
        self.numbers = dict.fromkeys(QUEUES, 0)
        self.messages = 0

    def send(self, number: int, octets: bytes) -> None:
        self.messages += self.kernel.obey(octets)

    def arrive(self, *ways: tuple[int, int]) -> list[QueuedPacket]:
        packets = []
        for way in ways:
            self.numbers[way[0]] += 1
            number = self.numbers[way[0]]
            packet = QueuedPacket()
            (packet.token,) = struct.unpack("=I", struct.pack(">I", number))
            packet.payload, packet.arrival, packet.mark = bytearray(b"x" * (number % 9 + 1)), ARRIVALS[way], 0
            self.kernel.held[way[0]].append(number)
            packets.append(packet)
        for number, queue in self._verdicts.items():
            queue.admit([packet for packet in packets if packet.arrival.queue == number], ranges=True)
        return packets

    def expect(self, effects: list[Effect]) -> None:
        """Exactly these, and for each queue in this order."""
        for number in QUEUES:
            assert [e for e in self.kernel.effects if e.queue == number] == [e for e in effects if e.queue == number]


def number_of(packet: QueuedPacket) -> int:
    return int.from_bytes(struct.pack("=I", packet.token), "big")


def test_what_is_accepted_in_order_is_one_message() -> None:
    buffer = Buffer()
    for packet in buffer.arrive(*[(7, 1)] * 60):
        buffer.settle(packet)
    buffer.flush()
    assert [effect[:3] for effect in buffer.kernel.effects] == [(7, n, 1) for n in range(1, 61)]
    assert buffer.messages == 1


def test_queues_in_turn_keep_their_order_and_their_ids() -> None:
    buffer = Buffer()
    for packet in buffer.arrive((7, 1), (7, 3), (300, 1), (300, 1), (7, 1), (300, 3)):
        buffer.settle(packet)
    buffer.flush()
    settled = [(effect.queue, effect.number) for effect in buffer.kernel.effects]
    assert settled == [(7, 1), (7, 2), (7, 3), (300, 1), (300, 2), (300, 3)]
    assert buffer.messages == 2


def test_accepting_around_a_held_packet_leaves_it_held() -> None:
    buffer = Buffer()
    first, held, third = buffer.arrive((7, 1), (7, 1), (7, 1))
    buffer.settle(first)
    buffer.settle(third)
    buffer.flush()
    assert [effect.number for effect in buffer.kernel.effects] == [1, 3]
    (late,) = buffer.arrive((7, 1))
    buffer.settle(late)
    buffer.flush()
    assert buffer.kernel.held[7] == [2]
    buffer.settle(held, Verdict.DROP)
    buffer.flush()
    assert buffer.kernel.effects[-1] == Effect(7, 2, Verdict.DROP)


def test_ranges_return_once_nothing_is_held() -> None:
    buffer = Buffer()
    first, second = buffer.arrive((7, 1), (7, 1))
    buffer.settle(second)
    buffer.settle(first)
    buffer.flush()
    assert buffer.messages == 2
    for packet in buffer.arrive(*[(7, 1)] * 10):
        buffer.settle(packet)
    buffer.flush()
    assert buffer.messages == 3


def test_no_range_while_an_id_is_unknown() -> None:
    buffer = Buffer()
    buffer._verdicts[7].admit([], ranges=False)
    packets = buffer.arrive((7, 1), (7, 1))
    buffer._verdicts[7].admit([], ranges=False)
    for packet in packets:
        buffer.settle(packet)
    buffer.flush()
    assert buffer.messages == 2


@given(st.data())
def test_every_packet_gets_its_own_verdict_in_the_order_of_settling(data: st.DataObject) -> None:
    buffer = Buffer()
    held: list[QueuedPacket] = []
    expected: list[Effect] = []
    for _ in range(data.draw(st.integers(1, 6))):
        held += buffer.arrive(*data.draw(st.lists(st.sampled_from(list(ARRIVALS)), max_size=8)))
        for _ in range(data.draw(st.integers(0, len(held)))):
            at = data.draw(st.sampled_from([0, 0, 0, 0, len(held) // 2, len(held) - 1]))
            packet = held.pop(at)
            verdict = data.draw(st.sampled_from([Verdict.ACCEPT] * 4 + [Verdict.DROP, Verdict.REPEAT]))
            mark = data.draw(st.sampled_from([None, None, None, 0, 0x8100_0002]))
            payload = data.draw(st.sampled_from([None, None, packet.payload, b"1", b"22", b"333", memoryview(b"4444")]))
            expected.append(
                Effect(
                    packet.arrival.queue,
                    number_of(packet),
                    verdict,
                    mark,
                    None if payload is None else bytes(payload),
                )
            )
            buffer.settle(packet, verdict, payload, mark)
        if data.draw(st.booleans()):
            buffer.flush()
            buffer.expect(expected)
    buffer.flush()
    buffer.expect(expected)
    assert sum(map(len, buffer.kernel.held.values())) == len(held)


def test_a_settled_packet_is_refused_and_nothing_is_sent() -> None:
    buffer = Buffer()
    (packet,) = buffer.arrive((7, 1))
    buffer.settle(packet, Verdict.DROP)
    with pytest.raises(AlreadySettled):
        buffer.settle(packet)
    buffer.flush()
    assert buffer.kernel.effects == [Effect(7, 1, Verdict.DROP)]


@pytest.mark.parametrize("octets", [0, 65532])
def test_a_payload_that_fits_no_message_is_refused_and_counted(octets: int) -> None:
    buffer = Buffer()
    (packet,) = buffer.arrive((7, 1))
    with pytest.raises(NotRewritable, match=f"a payload of {octets} octets"):
        buffer.settle(packet, payload=bytes(octets))
    assert +buffer.tally == Counter(rewrites_refused=1)
    buffer.settle(packet, payload=bytes(65531))
    buffer.flush()
    assert [len(effect.payload or b"") for effect in buffer.kernel.effects] == [65531]


def test_a_cut_packet_is_not_rewritten() -> None:
    buffer = Buffer()
    (packet,) = buffer.arrive((7, 1))
    cut = RareQueuedPacket()
    cut.token, cut.payload, cut.arrival, cut.mark = packet.token, packet.payload, packet.arrival, 0
    cut.original_octets, cut.stamp = 9000, b""
    with pytest.raises(NotRewritable, match="it has 9000 octets and only 2 were shown"):
        buffer.settle(cut, payload=cut.payload)
    assert cut.token is not None


def test_much_is_sent_without_waiting_for_a_flush() -> None:
    buffer = Buffer()
    for packet in buffer.arrive(*[(7, 1)] * 4):
        buffer.settle(packet, payload=bytes(FLUSH_OCTETS // 3))
    assert [effect.number for effect in buffer.kernel.effects] == [1, 2, 3, 4]


def test_what_could_not_be_sent_stays_pending() -> None:
    buffer = Buffer()
    a, b = buffer.arrive((7, 1), (7, 3))
    buffer.settle(a)
    queue = buffer._verdicts[7]
    assert queue.pending() == queue.pending() != b""
    buffer.settle(b, mark=1)
    buffer.flush()
    assert buffer.kernel.effects == [Effect(7, 1, 1), Effect(7, 2, 1, 1)]
