"""The reader of queue messages: many forms in one burst, and messages that are not what they should be."""

from __future__ import annotations

import struct
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.paths.netlink_packets import ARRIVALS_KEPT, LAYOUTS_KEPT, PacketReader
from emulator.paths.queue import QueuedPacket

SLOT = 4096
ERROR = struct.pack("=IHHIIi16x", 36, 2, 0, 0, 0, -2)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(
    number: int,
    *,
    queue: int = 7,
    hook: int = 1,
    mark: int = 0,
    address: bytes = b"",
    extra: bytes = b"",
    data: bytes = b"data",
) -> bytes:
    """A packet message with the packet id `number`."""
    body = attribute(1, struct.pack(">IHB", number, 0x0800, hook)) + attribute(5, struct.pack(">I", 2))
    if mark:
        body += attribute(3, struct.pack(">I", mark))
    if address:
        body += attribute(9, struct.pack(">H2x", len(address)) + address.ljust(8, b"\0"))
    body += extra + struct.pack("=HH", 4 + len(data), 10) + data
    return struct.pack("=IHHII", 20 + len(body), 0x300, 0, 0, 0) + struct.pack(">BBH", 2, 0, queue) + body


def read(reader: PacketReader, *datagrams: bytes, dirt: bytes = b"\xff") -> list[QueuedPacket]:
    buffer = bytearray(dirt * SLOT * (len(datagrams) + 1))
    offsets = [n * SLOT for n in range(len(datagrams))]
    for at, data in zip(offsets, datagrams, strict=True):
        buffer[at : at + len(data)] = data
    packets = reader.read(buffer, offsets, [len(data) for data in datagrams])
    buffer[:] = bytes(len(buffer))  # what was read is no part of it
    return packets


def identity(packet: QueuedPacket) -> int:
    return int.from_bytes(struct.pack("=I", packet.token), "big")


def told(packets: list[QueuedPacket]) -> list[tuple[int, int, int, int, bytes]]:
    return [(identity(p), p.arrival.queue, p.arrival.hook, p.mark, bytes(p.payload)) for p in packets]


def test_packets_of_many_ways_and_lengths_are_read_in_order() -> None:
    tally: Counter[str] = Counter()
    reader = PacketReader([7, 8], tally)
    sent = [(n, 7 + n % 2, n % 3, n % 5 and 0x8100_0000 + n, b"x" * n) for n in range(64)]
    datagrams = [message(n, queue=q, hook=h, mark=m, data=d) for n, q, h, m, d in sent]
    assert told(read(reader, *datagrams)) == sent
    assert told(read(reader, *datagrams)) == sent
    assert not +tally


def test_packets_that_came_one_way_share_the_arrival() -> None:
    reader = PacketReader([7], Counter())
    a, b, c = read(reader, message(1), message(2, hook=3), message(3, data=b"other"))
    assert a.arrival is c.arrival
    assert a.arrival is not b.arrival
    assert read(reader, message(4))[0].arrival is a.arrival


def test_each_packet_owns_its_octets() -> None:
    a, b = read(PacketReader([7], Counter()), message(1), message(1))
    a.payload[0:1] = b"D"
    assert (bytes(a.payload), bytes(b.payload)) == (b"Data", b"data")


@pytest.mark.parametrize(
    "bad",
    [
        message(2)[:-1],
        message(2) + bytes(4),
        struct.pack("=I", 99) + message(2)[4:],
        message(2, queue=9),
        message(2, queue=7 + 256),
        message(2)[:30],
        message(2)[:16],
        b"\0",
        ERROR[:17],
        struct.pack("=IHHIIi", 20, 3, 0, 0, 0, 0),  # NLMSG_DONE
        message(2).replace(struct.pack("=HH", 8, 10), struct.pack("=HH", 7, 10)),
        message(2).replace(struct.pack("=HH", 8, 10), struct.pack("=HH", 8, 11)),
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["first", "after-its-like"])
@pytest.mark.parametrize("dirt", [b"\0", b"\xff", b"\x04"])
def test_a_bad_message_is_counted_and_the_others_are_read(bad: bytes, known: bool, dirt: bytes) -> None:
    tally: Counter[str] = Counter()
    reader = PacketReader([7], tally)
    before = [message(1)] if known else []
    packets = read(reader, *before, bad, message(3), dirt=dirt)
    assert [identity(packet) for packet in packets] == [1, 3] if known else [3]
    assert tally["malformed"] == 1


def test_refusals_are_counted_and_acknowledgements_are_not() -> None:
    tally: Counter[str] = Counter()
    acknowledgement = struct.pack("=IHHIIi16x", 36, 2, 0, 0, 0, 0)
    packets = read(PacketReader([7], tally), message(1), ERROR, acknowledgement, message(2), ERROR)
    assert [identity(packet) for packet in packets] == [1, 2]
    assert +tally == Counter(refused=2)


def test_addresses_that_change_with_every_packet_cost_no_memory() -> None:
    reader = PacketReader([7], Counter())
    for n in range(2 * ARRIVALS_KEPT + 2):
        address = n.to_bytes(6, "big")
        (packet,) = read(reader, message(n, address=address))
        assert (identity(packet), packet.arrival.hardware_address) == (n, address)
    assert [len(layout.arrivals) for layout in reader._layouts.values()] == [2]


def test_forms_that_change_with_every_packet_cost_no_memory() -> None:
    reader = PacketReader([7], Counter())
    for n in range(2 * LAYOUTS_KEPT + 3):
        (packet,) = read(reader, message(n, extra=attribute(11, bytes(4 * n))))
        assert (identity(packet), bytes(packet.payload)) == (n, b"data")
    assert len(reader._layouts) <= LAYOUTS_KEPT


@given(st.lists(st.one_of(st.binary(max_size=120), st.sampled_from([message(1), message(2, mark=3), ERROR]))))
def test_no_datagrams_break_the_reader(datagrams: list[bytes]) -> None:
    tally: Counter[str] = Counter()
    packets = read(PacketReader([7], tally), *datagrams)
    good = [data for data in datagrams if data in (message(1), message(2, mark=3))]
    assert len(packets) + tally["malformed"] + tally["refused"] == len(datagrams)
    assert len(packets) >= len(good)


@given(st.integers(0, 255), st.integers(0, 75))
def test_a_changed_octet_never_yields_octets_of_another_packet(value: int, at: int) -> None:
    whole = message(5, mark=9, data=b"abcdefgh")
    at %= len(whole)
    changed = whole[:at] + bytes([value]) + whole[at + 1 :]
    packets = read(PacketReader([7], Counter()), whole, changed, dirt=b"\x5a")
    assert identity(packets[0]) == 5
    for packet in packets[1:]:
        assert bytes(packet.payload) == changed[-len(packet.payload) :] if packet.payload else True
        assert len(packet.payload) <= 8
