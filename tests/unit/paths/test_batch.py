"""Packets gathered to leave together: which ones may be, and how many fit."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.checksums import fix_checksums, ipv4_header_checksum_ok
from emulator.headers import build_ip_header
from emulator.interfaces import AddressType, Interface, InterfaceTable
from emulator.octets import IpView, Malformed, flaw
from emulator.paths.batch import FULL, MOST, MOST_OCTETS, NOT_ORDINARY, TAKEN, SendBatch
from emulator.paths.sending import needs_scope

TELLING = (0, 1, 0x20, 0x45, 0x60, 0x7F, 0xE0, 0xFE, 0xFF)
"""Octets that mean something where some field of a header begins."""
OWN4, PEER4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
OWN6, PEER6 = bytes.fromhex("fd00" + "00" * 13 + "01"), bytes.fromhex("fd00" + "00" * 13 + "02")


def packet(version: int, payload: bytes = b"", source: bytes | None = None, remote: bytes | None = None) -> bytearray:
    own, peer = (OWN4, PEER4) if version == 4 else (OWN6, PEER6)
    datagram = b"\x10\0\x20\0" + (8 + len(payload)).to_bytes(2, "big") + b"\0\0" + payload
    return bytearray(build_ip_header(version, source or own, remote or peer, 17, datagram))


def edited(version: int, *changes: tuple[int, int], fix: bool = True) -> bytearray:
    """A packet with some octets set, and its header checksum right again with `fix`."""
    octets = packet(version, b"data")
    for where, value in changes:
        octets[where] = value
    if fix and version == 4:
        fix_checksums(octets)
    return octets


def taken(octets: bytes | bytearray, version: int) -> int:
    return SendBatch().take(octets, 0, len(octets), version)


@pytest.fixture(params=[4, 6])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_ordinary_packets_are_taken_wherever_they_lie(version: int) -> None:
    batch, octets = SendBatch(), packet(version, b"data")
    around = bytearray(7) + octets + b"behind"
    assert batch.take(octets, 0, len(octets), version) == TAKEN
    assert batch.take(bytes(octets), 0, len(octets), version) == TAKEN
    assert batch.take(around, 7, 7 + len(octets), version) == TAKEN
    assert batch.size == 3


@pytest.mark.rule("NS-2")
def test_what_is_no_packet_of_the_version_or_not_where_it_should_be_is_not_taken(version: int) -> None:
    octets = packet(version, b"data")
    other = 10 - version
    size = len(octets)
    assert taken(octets, other) == NOT_ORDINARY
    for start, end in ((0, size - 1), (1, size), (0, 0), (0, 19), (-1, size), (0, size + 1), (size, 0)):
        assert SendBatch().take(octets, start, end, version) == NOT_ORDINARY, (start, end)
    assert SendBatch().take(octets + b"more", 0, size + 4, version) == NOT_ORDINARY
    assert SendBatch().take(memoryview(octets), 0, size, version) == NOT_ORDINARY  # type: ignore[arg-type]
    assert taken(edited(version, (0, 0x75), fix=False), version) == NOT_ORDINARY


def ordinary(octets: bytes, version: int) -> bool:
    """The same in the words of what sends packets one by one."""
    if flaw(octets, version) is not None:
        return False
    view = IpView(octets)
    source, destination = view.source, view.destination
    kind = InterfaceTable().address_type(source)
    return (
        view.total_length == len(octets)
        and kind not in (AddressType.MULTICAST, AddressType.BROADCAST)
        and not needs_scope(destination)
        and (version == 6 or destination[0] != 127 or source[0] == 127)
        and (version == 6 or (ipv4_header_checksum_ok(view) and not (view.identification == 0 and view.is_fragment)))
    )


@pytest.mark.rule("NS-2", "NS-11", "NS-14", "NS-19")
@settings(max_examples=300, deadline=None)
@given(
    version=st.sampled_from([4, 6]),
    changes=st.lists(st.tuples(st.integers(0, 41), st.sampled_from(TELLING)), max_size=4),
    cut=st.integers(0, 60),
    fix=st.booleans(),
)
def test_what_is_taken_is_what_could_be_sent_one_by_one(
    version: int, changes: list[tuple[int, int]], cut: int, fix: bool
) -> None:
    octets = edited(version, *[(place % 32, value) for place, value in changes], fix=False)
    if cut > 50:
        octets = octets[: cut - 50]
    if fix and version == 4 and octets[0] >> 4 == 4 and len(octets) >= 20:
        with suppress(Malformed):
            fix_checksums(octets)
    assert (taken(octets, version) == TAKEN) is ordinary(bytes(octets), version)


@pytest.mark.rule("NS-19")
def test_what_the_kernel_would_repair_is_not_taken() -> None:
    assert taken(edited(4, (10, 0xAA), fix=False), 4) == NOT_ORDINARY
    assert taken(edited(4, (0, 0x44), fix=False), 4) == NOT_ORDINARY
    assert taken(edited(4, (4, 0), (5, 0), (6, 0x20), (7, 0)), 4) == NOT_ORDINARY  # a fragment without a number
    assert taken(edited(4, (4, 0), (5, 0), (6, 0), (7, 1)), 4) == NOT_ORDINARY
    assert taken(edited(4, (4, 0), (5, 0), (6, 0x40), (7, 0)), 4) == TAKEN
    assert taken(edited(4, (4, 0), (5, 1), (6, 0x20), (7, 1)), 4) == TAKEN


def test_headers_with_options_are_summed_to_their_end() -> None:
    octets = packet(4, b"data")
    with_options = bytearray(b"\x46" + octets[1:20] + b"\x01\x01\x01\x00" + octets[20:])
    with_options[2:4] = len(with_options).to_bytes(2, "big")
    fix_checksums(with_options)
    assert taken(with_options, 4) == TAKEN
    with_options[20] ^= 1
    assert taken(with_options, 4) == NOT_ORDINARY


@pytest.mark.rule("NS-11", "NS-14")
def test_sources_that_may_not_send_are_not_taken() -> None:
    broadcast = bytes((10, 0, 0, 255))
    assert taken(packet(4, source=bytes((224, 0, 0, 5))), 4) == NOT_ORDINARY
    assert taken(packet(4, source=b"\xff" * 4), 4) == NOT_ORDINARY
    assert taken(packet(6, source=b"\xff\x02" + bytes(14)), 6) == NOT_ORDINARY
    assert taken(packet(4, remote=bytes((127, 0, 0, 1))), 4) == NOT_ORDINARY
    assert taken(packet(4, source=bytes((127, 0, 0, 1)), remote=bytes((127, 0, 0, 2))), 4) == TAKEN
    batch, octets = SendBatch(), packet(4, source=broadcast)
    assert batch.take(octets, 0, len(octets), 4) == TAKEN
    batch.know(InterfaceTable((Interface(2, "eth0", broadcasts=frozenset({broadcast})),)))
    assert batch.take(octets, 0, len(octets), 4) == NOT_ORDINARY
    batch.know(InterfaceTable())
    assert batch.take(octets, 0, len(octets), 4) == TAKEN


def test_many_sources_are_told_apart() -> None:
    batch = SendBatch()
    for number in range(3000):
        source = bytes((224 if number % 3 == 0 else 10, 0, number >> 8, number & 0xFF))
        octets = packet(4, source=source)
        if batch.size == MOST:
            batch = SendBatch()
        assert batch.take(octets, 0, len(octets), 4) == (NOT_ORDINARY if number % 3 == 0 else TAKEN)


@pytest.mark.parametrize("remote", ["ff02::1", "fe80::1", "febf::1"])
def test_destinations_that_need_an_interface_are_not_taken(remote: str) -> None:
    address = socket.inet_pton(socket.AF_INET6, remote)
    assert taken(packet(6, remote=address), 6) == NOT_ORDINARY
    assert taken(packet(6, remote=b"\xfe\xc0" + address[2:]), 6) == TAKEN


def test_a_batch_is_full_by_number_and_by_octets(version: int) -> None:
    batch, octets = SendBatch(), packet(version)
    for _ in range(MOST):
        assert batch.take(octets, 0, len(octets), version) == TAKEN
    assert batch.take(octets, 0, len(octets), version) == FULL
    assert batch.size == MOST
    batch, large = SendBatch(), packet(version, bytes(60000))
    for _ in range(MOST_OCTETS // len(large)):
        assert batch.take(large, 0, len(large), version) == TAKEN
    assert batch.take(large, 0, len(large), version) == FULL


def test_only_what_was_taken_is_marked() -> None:
    with pytest.raises(IndexError):
        SendBatch().mark(1)


@pytest.mark.rule("CF-10", "OR-7")
def test_each_packet_is_refused_by_itself_and_the_batch_is_empty_then() -> None:
    batch, octets = SendBatch(), packet(4)
    for mark in (0xA6000001, 0xA6000002, 0xA6000003):
        batch.take(octets, 0, len(octets), 4)
        batch.mark(mark)
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.close()
    assert [tuple(item) for item in batch.send(closed, None)] == [
        (0, 9, 0xA6000001), (1, 9, 0xA6000002), (2, 9, 0xA6000003)
    ]  # fmt: skip
    assert batch.size == 0
    assert batch.send(closed, None) == []
    assert batch.take(octets, 0, len(octets), 4) == TAKEN
