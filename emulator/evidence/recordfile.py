"""Records kept until a run is over: in memory while they are few, on disk when they are many, in order of time."""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

from msgspec.msgpack import Decoder, Encoder

from emulator.evidence.trace import KINDS, Record

MEMORY_OCTETS = 8 << 20
"""So much is kept in memory; more goes to an unnamed temporary file."""
RECORDS_MOST = 250_000
OCTETS_MOST = 64 << 20


class RecordFile:
    """Takes the tuples of one bed and gives them back in order of their times; its owner closes it.

    What comes on top of `records_most` or `octets_most` is not kept, but counted in `left_out`, by kind.
    """

    def __init__(self, *, records_most: int = RECORDS_MOST, octets_most: int = OCTETS_MOST) -> None:
        self.left_out: Counter[str] = Counter()
        self._records_most = records_most
        self._octets_most = octets_most
        self._octets = 0
        self._times = array("q")
        self._ends = array("q")
        self._encode = Encoder().encode
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_OCTETS)  # noqa: SIM115  closed by `close`

    def append(self, record: Record) -> None:
        """Keep one tuple; raises OSError when the disk is full."""
        if len(self._times) >= self._records_most or self._octets >= self._octets_most:
            self.left_out[KINDS[record[0]]] += 1
            return
        octets = self._encode(record)
        self._file.write(octets)
        self._octets += len(octets)
        self._times.append(record[1])
        self._ends.append(self._octets)

    def in_order(self) -> Iterator[Record]:
        """All kept tuples by time, those of one time in the order they came; may be asked several times."""
        decode = Decoder(tuple[Any, ...]).decode
        for number in sorted(range(len(self._times)), key=self._times.__getitem__):
            start = self._ends[number - 1] if number else 0
            self._file.seek(start)
            yield decode(self._file.read(self._ends[number] - start))

    def close(self) -> None:
        """Forget everything; closing twice is allowed."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._times)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
