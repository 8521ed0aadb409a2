"""What tests of bulk move, and how quickly at least: there is no floor in an emulated machine."""

from __future__ import annotations

from emulator.scenarios.bulk import SHARE, bulk


def floor(amount: int) -> int:
    """What has to be moved in a given time, at least: nothing, where the machine is emulated."""
    return amount if SHARE == 1 else 0


__all__ = ["bulk", "floor"]
