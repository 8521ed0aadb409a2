"""How much bulk is moved: all of it, or in an emulated machine a share, the same for all."""

from __future__ import annotations

import os

SHARE = int(os.environ.get("WFPLAB_BULK_SHARE", "1"))
"""1 for all of it, 8 for an eighth. `wfplab vm test` sets it where software emulates the processor."""


def bulk(amount: int, least: int = 1) -> int:
    """A number of packets, octets or connections, in this machine's share; never under `least`."""
    return max(least, amount // SHARE)
