"""Tuples are kept in order of time, however many, and what is too much is counted."""

from __future__ import annotations

import pytest

from emulator.evidence.recordfile import MEMORY_OCTETS, RecordFile
from emulator.evidence.trace import ARRIVE, LOSS, WIRE


def test_tuples_come_back_by_time_and_those_of_one_time_as_they_came() -> None:
    with RecordFile() as kept:
        for record in ((LOSS, 3, 0, "c", 1), (WIRE, 1, 0, b"\x00\xff"), (ARRIVE, 2, 1, ("x", 2)), (LOSS, 1, 0, "b", 2)):
            kept.append(record)
        expected = [(WIRE, 1, 0, b"\x00\xff"), (LOSS, 1, 0, "b", 2), (ARRIVE, 2, 1, ["x", 2]), (LOSS, 3, 0, "c", 1)]
        assert list(kept.in_order()) == expected
        assert list(kept.in_order()) == expected
        assert len(kept) == 4


def test_what_does_not_fit_in_memory_goes_to_disk_and_comes_back() -> None:
    octets = bytes(1 << 20)
    with RecordFile() as kept:
        for number in range(2 * MEMORY_OCTETS // len(octets)):
            kept.append((WIRE, 100 - number, 0, octets))
        assert kept._file._rolled  # type: ignore[attr-defined]
        assert [record[1] for record in kept.in_order()] == list(range(85, 101))


def test_too_many_and_too_much_are_left_out_and_counted_by_kind() -> None:
    with RecordFile(records_most=2) as kept:
        for kind in (WIRE, WIRE, WIRE, LOSS, WIRE):
            kept.append((kind, 1, 0))
        assert (len(kept), kept.left_out) == (2, {"wire": 2, "loss": 1})
    with RecordFile(octets_most=100) as kept:
        for _ in range(3):
            kept.append((WIRE, 1, 0, bytes(80)))
        assert (len(kept), kept.left_out) == (2, {"wire": 1})


def test_nothing_is_left_after_closing() -> None:
    kept = RecordFile()
    kept.close()
    kept.close()
    with pytest.raises(ValueError, match="closed"):
        kept.append((WIRE, 1, 0))
