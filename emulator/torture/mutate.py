"""Cases made of good octets by a seed: changed, cut, doubled, spliced; and numbers put where lengths may be."""

from __future__ import annotations

import random
from collections.abc import Sequence

_TELLING = (0, 1, 2, 3, 4, 7, 8, 15, 16, 19, 20, 21, 31, 39, 40, 44, 51, 58, 59, 60, 63, 64, 127, 128, 240, 254, 255)
_MOST_CHANGES = 6


class Mutator:
    """Endless cases for one target; the same seed gives the same ones."""

    def __init__(self, seeds: Sequence[bytes], seed: int, *, longest: int) -> None:
        self._dice = random.Random(seed)
        self.corpus = list(seeds)
        self._longest = longest

    def next(self) -> bytes:
        """The next case: as a rule one of the corpus, changed a few times; sometimes any octets."""
        dice = self._dice
        if dice.random() < 0.05:
            return dice.randbytes(dice.randrange(96))
        made = bytearray(dice.choice(self.corpus))
        for _ in range(1 + int(dice.random() * _MOST_CHANGES)):
            self._change(made)
        return bytes(made[: self._longest])

    def keep(self, case: bytes) -> None:
        """Begin from this case too, in future."""
        if len(self.corpus) < 4096:
            self.corpus.append(case)

    def _change(self, made: bytearray) -> None:
        dice = self._dice
        what = int(dice.random() * 8)
        size = len(made)
        at = int(dice.random() * size) if size else 0
        if not size or what == 0:
            made[at:at] = dice.randbytes(1 + int(dice.random() * 8))
        elif what == 1:
            made[at] ^= 1 << int(dice.random() * 8)
        elif what in (2, 3):
            made[at] = dice.choice(_TELLING)
        elif what == 4:
            del made[at : at + 1 + int(dice.random() * 12)]
        elif what == 5:
            made[at:at] = made[at : at + 1 + int(dice.random() * 24)]
        elif what == 6:
            del made[at:]
        else:
            other = dice.choice(self.corpus)
            made[at:] = other[int(dice.random() * (len(other) + 1)) :]
