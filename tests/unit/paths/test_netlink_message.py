"""The queue protocol on literal octets: what the kernel sent, what we send, and what nobody should send."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.paths.netlink_heads import verdict
from emulator.paths.netlink_message import (
    Layout,
    Malformed,
    bind_message,
    prefix,
    read_answer,
    read_header,
    survey,
)
from emulator.paths.queue import QueueLimits, Verdict

pytestmark = pytest.mark.skipif(struct.pack("=H", 1) != b"\1\0", reason="the octets are those of a little-endian host")

# As a 6.18 kernel sent it: queue 7, id 41, forwarded from device 2 to 3, from 02:00:00:00:00:0a.
HEAD = bytes.fromhex("54000000 0003 0000 00000000 00000000 02 00 0007")
PACKET_HEADER = bytes.fromhex("0b00 0100 00000029 0800 02 00")
IN_DEVICE = bytes.fromhex("0800 0500 00000002")
OUT_DEVICE = bytes.fromhex("0800 0600 00000003")
MARK = bytes.fromhex("0800 0300 81000002")
ADDRESS = bytes.fromhex("1000 0900 0006 0000 02000000000a 0000")
STAMP = bytes.fromhex("1400 0400 0000000000000064 000000000007a120")
ORIGINAL = bytes.fromhex("0800 0d00 00002328")
INFO = bytes.fromhex("0800 0e00 00000007")
DATA = b"E\0\0\x15whatever it is"


def message(*parts: bytes, data: bytes = DATA) -> bytes:
    payload = struct.pack("=HH", 4 + len(data), 10) + data
    body = b"".join(parts) + payload
    return struct.pack("=I", len(HEAD) + len(body)) + HEAD[4:] + body


def test_a_message_of_the_kernel_tells_the_way_of_its_packet() -> None:
    data = message(PACKET_HEADER, IN_DEVICE, OUT_DEVICE, ADDRESS)
    found = survey(data)
    layout, arrival = Layout(found), found.arrival
    assert (arrival.queue, arrival.hook, arrival.protocol) == (7, 2, 0x0800)
    assert (arrival.in_device, arrival.out_device) == (2, 3)
    assert arrival.hardware_address == bytes.fromhex("02000000000a")
    assert not any((arrival.gso, arrival.checksum_pending, arrival.checksum_unverified))
    assert data[layout.payload_at :] == DATA
    assert layout.unpack_from(data)[2] == int.from_bytes(b"\0\0\0\x29", "little")
    assert not any((layout.marked, layout.rare))


def test_flags_of_a_message_are_told_apart() -> None:
    for value, name in ((1, "checksum_pending"), (2, "gso"), (4, "checksum_unverified")):
        info = INFO[:-1] + bytes([value])
        arrival = survey(message(PACKET_HEADER, IN_DEVICE, info)).arrival
        flags = {flag: getattr(arrival, flag) for flag in ("checksum_pending", "gso", "checksum_unverified")}
        assert flags == {flag: flag == name for flag in flags}


def test_mark_stamp_and_length_vary_within_one_layout() -> None:
    first = message(PACKET_HEADER, IN_DEVICE, MARK, ADDRESS, STAMP, ORIGINAL, INFO)
    found = survey(first)
    layout = Layout(found)
    assert layout.marked
    assert layout.rare
    packet = layout.fill(layout.unpack_from(first), bytearray(DATA), found.arrival)
    assert (packet.mark, packet.seconds, packet.original_octets) == (0x8100_0002, 100.5, 9000)
    other = bytearray(first)
    other[27] = 42
    other[first.index(MARK) + 7] = 3
    other[first.index(STAMP) + 11] = 101
    other[first.index(ORIGINAL) + 7] += 1
    fields = layout.unpack_from(other)
    assert fields[1::2] == layout.unpack_from(first)[1::2]
    packet = layout.fill(fields, bytearray(DATA), found.arrival)
    assert (packet.mark, packet.seconds, packet.original_octets) == (0x8100_0003, 101.5, 9001)


@pytest.mark.parametrize("at", [4, 18, 28, 30, 35, 39, 43])
def test_a_message_that_came_another_way_does_not_match(at: int) -> None:
    data = message(PACKET_HEADER, IN_DEVICE, OUT_DEVICE, ADDRESS)
    other = bytearray(data)
    other[at] ^= 1
    unpack_from = Layout(survey(data)).unpack_from
    assert unpack_from(other)[1::2] != unpack_from(data)[1::2]


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([], "packet header is not the first"),
        ([IN_DEVICE, PACKET_HEADER], "packet header is not the first"),
        ([PACKET_HEADER[:2] + b"\x02\0" + PACKET_HEADER[4:]], "packet header is not the first"),
        ([PACKET_HEADER, bytes.fromhex("0300 0500")], "is 3 octets long"),
        ([PACKET_HEADER, bytes.fromhex("0000 0000")], "is 0 octets long"),
        ([PACKET_HEADER, bytes.fromhex("ffff 0500")], "is 65535 octets long"),
        ([PACKET_HEADER, bytes.fromhex("0600 0300 0000 0000")], "attribute 3 is 2 octets long"),
        ([PACKET_HEADER, bytes.fromhex("1000 0500 ffffffff ffffffff ffffffff")], "attribute 5 is 12 octets long"),
        ([PACKET_HEADER, bytes.fromhex("1000 0900 0009 0000 02000000000a 0000")], "hardware address of 9 octets"),
        ([PACKET_HEADER, bytes.fromhex("0500 0900 ff000000")], "hardware address of"),
        ([PACKET_HEADER, STAMP, MARK], "mark is not the first"),
    ],
)
def test_a_message_of_another_shape_is_malformed(parts: list[bytes], complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        Layout(survey(message(*parts)))


def test_a_payload_must_end_the_message() -> None:
    whole = message(PACKET_HEADER)
    with pytest.raises(Malformed, match="payload is not the last"):
        survey(whole + IN_DEVICE)
    with pytest.raises(Malformed, match="payload is not the last"):
        survey(HEAD + PACKET_HEADER)
    with pytest.raises(Malformed):
        survey(whole[:-1])


@given(st.binary(max_size=200))
def test_no_octets_do_worse_than_be_malformed(noise: bytes) -> None:
    for data in (noise, HEAD + noise, message(PACKET_HEADER, noise)):
        try:
            layout = Layout(survey(data))
        except Malformed:
            continue
        assert layout.payload_at <= len(data)
        assert layout.unpack_from(data)[0::2]


def test_a_datagram_is_one_whole_message() -> None:
    whole = message(PACKET_HEADER)
    assert read_header(whole) == 0x300
    for broken in (b"", whole[:19], whole[:-1], whole + bytes(4), struct.pack("=I", 19) + whole[4:]):
        with pytest.raises(Malformed):
            read_header(broken)


def test_an_answer_tells_which_message_and_why() -> None:
    answer = bytes.fromhex("24000000 0200 0000 08000000 00000000 feffffff") + bytes(16)
    assert read_header(answer) == 2
    assert read_answer(answer) == (8, 2)


def test_binding_is_one_message_that_sets_everything() -> None:
    limits = QueueLimits(length=1024, copy_octets=4016, gso=True)
    assert bind_message(7, limits, 8) == bytes.fromhex(
        "40000000 0203 0500 08000000 00000000 00 00 0007"
        "0800 0100 01 00 0000"  # bind
        "0900 0200 00000fb0 02 000000"  # copy packets
        "0800 0300 00000400"  # length
        "0800 0400 00000005"  # of these flags
        "0800 0500 00000004"  # these
    )


def test_a_verdict_is_28_octets_and_the_id() -> None:
    token = int.from_bytes(b"\0\0\0\x29", "little")
    assert verdict(prefix(7, Verdict.DROP), token, False, 0, -1) == bytes.fromhex(
        "20000000 0103 0100 00000000 00000000 00 00 0007  0c00 0200 00000000 00000029"
    )
    assert verdict(prefix(7, Verdict.ACCEPT, up_to=True), token, False, 0, -1)[4:] == bytes.fromhex(
        "0303 0100 00000000 00000000 00 00 0007  0c00 0200 00000001 00000029"
    )


def test_a_rewrite_carries_mark_and_payload() -> None:
    token = int.from_bytes(b"\0\0\0\x29", "little")
    head = verdict(prefix(7, Verdict.ACCEPT), token, True, 0x81000002, 3)
    assert head == bytes.fromhex(
        "2f000000 0103 0100 00000000 00000000 00 00 0007  0c00 0200 00000001 00000029  0800 0300 81000002  0700 0a00"
    )
