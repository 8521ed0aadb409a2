"""How long to wait: every time-out here is for an ordinary machine, and one factor makes all of them longer."""

from __future__ import annotations

import os

FACTOR = "WFPLAB_TIME_FACTOR"
"""The variable of the environment: 10 for a machine that is ten times slower, such as an emulated one."""


def patient(seconds: float) -> float:
    """`seconds`, times the factor. Raises ValueError for a factor that is no positive number."""
    told = os.environ.get(FACTOR)
    if not told:
        return seconds
    factor = float(told)
    if not 0 < factor < float("inf"):
        raise ValueError(f"{FACTOR}={told} is no positive number")
    return seconds * factor
