"""How much a test of bulk moves: all of it, or in an emulated machine a share, the same for all; and no floor there."""

from __future__ import annotations

import os

SHARE = int(os.environ.get("WFPLAB_BULK_SHARE", "1"))
"""1 for all of it, 8 for an eighth. `wfplab vm test` sets it where software emulates the processors."""


def bulk(amount: int, least: int = 1) -> int:
    """A number of packets, octets or connections, in this machine's share; never under what the test needs."""
    return max(least, amount // SHARE)


def floor(amount: int) -> int:
    """What has to be moved in a given time, at least: nothing, where the machine is emulated."""
    return amount if SHARE == 1 else 0
