"""Processor time, the kernel's work on one's behalf included."""

from __future__ import annotations

import resource


def thread_seconds() -> float:
    """Of the calling thread, since it began."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_utime + usage.ru_stime
