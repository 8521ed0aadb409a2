"""Capture files as the draft wants them, read here block by block."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest

from emulator.evidence.pcapng import COMMENT_OCTETS, PcapngWriter


def blocks(octets: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each block; the lengths in front and behind agree and are multiples of 4."""
    found = []
    while octets:
        kind, size = struct.unpack_from("<II", octets)
        assert size % 4 == 0
        assert struct.unpack_from("<I", octets, size - 4) == (size,)
        found.append((kind, octets[8 : size - 4]))
        octets = octets[size:]
    return found


def options(octets: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while octets:
        code, length = struct.unpack_from("<HH", octets)
        found[code] = octets[4 : 4 + length]
        octets = octets[4 + length + -length % 4 :]
        if not code:
            assert octets == b""
            return found
    return found


def test_a_file_has_its_section_its_interfaces_and_its_frames() -> None:
    out = BytesIO()
    writer = PcapngWriter(out, comment="all of it")
    eth0, eth1 = writer.interface("host eth0", "a bed"), writer.interface("peer eth0", "a bed")
    assert (eth0, eth1, writer.interface("host eth0", "a bed")) == (0, 1, 0)
    writer.frame(eth1, 1_700_000_000_123_456_789, b"12345", outgoing=True, comment="§ handle 3")
    section, first, second, frame = blocks(out.getvalue())
    assert section[0] == 0x0A0D0D0A
    assert struct.unpack_from("<IHHq", section[1]) == (0x1A2B3C4D, 1, 0, -1)
    assert options(section[1][16:])[1] == b"all of it"
    assert [kind for kind, _ in (first, second)] == [1, 1]
    assert options(second[1][8:]) == {2: b"peer eth0", 3: b"a bed", 9: b"\x09", 0: b""}
    number, high, low, captured, length = struct.unpack_from("<IIIII", frame[1])
    assert (frame[0], number, high << 32 | low, captured, length) == (6, 1, 1_700_000_000_123_456_789, 5, 5)
    assert frame[1][20:25] == b"12345"
    assert options(frame[1][28:]) == {1: "§ handle 3".encode(), 2: b"\x02\0\0\0", 0: b""}


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1500])
def test_frames_of_any_size_are_padded(size: int) -> None:
    out = BytesIO()
    writer = PcapngWriter(out)
    writer.frame(writer.interface("x"), 1, bytes(size), length=size + 7)
    _, _, (_, body) = blocks(out.getvalue())
    assert struct.unpack_from("<II", body, 12) == (size, size + 7)


def test_a_comment_that_is_too_long_is_cut_between_characters() -> None:
    out = BytesIO()
    writer = PcapngWriter(out)
    writer.frame(writer.interface("x"), 1, b"", comment="x" + "ä" * COMMENT_OCTETS)
    _, _, (_, body) = blocks(out.getvalue())
    comment = options(body[20:])[1]
    assert len(comment) == COMMENT_OCTETS - 1
    assert comment.decode() == "x" + "ä" * (COMMENT_OCTETS // 2 - 1)
