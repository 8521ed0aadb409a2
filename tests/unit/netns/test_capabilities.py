"""Giving up capabilities: for good, for this thread alone, and never gaining one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from netns import syscalls
from netns.capabilities import CALLOUTS, LABS, Capability, keep


def in_a_thread(work: Callable[[], object]) -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def held(field: str) -> int:
    with open("/proc/thread-self/status", encoding="ascii") as lines:
        return next(int(line.split()[1], 16) for line in lines if line.startswith(field))


def mask(*kept: Capability) -> int:
    return sum(1 << capability for capability in kept)


def test_a_thread_keeps_what_is_named_and_the_others_keep_all() -> None:
    before = held("CapPrm"), held("CapEff"), held("CapBnd")
    few = mask(Capability.NET_ADMIN, Capability.KILL)

    def check() -> None:
        may_bound = held("CapEff") & mask(Capability.SETPCAP)
        keep([Capability.NET_ADMIN, Capability.KILL])
        assert held("CapPrm") == held("CapEff") == before[0] & few
        assert held("CapInh") == held("CapAmb") == 0
        assert held("CapBnd") == (before[2] & few if may_bound else before[2])

    in_a_thread(check)
    assert (held("CapPrm"), held("CapEff"), held("CapBnd")) == before


def test_nothing_comes_back() -> None:
    def check() -> None:
        keep([Capability.NET_RAW])
        keep(LABS)
        assert held("CapEff") & ~mask(Capability.NET_RAW) == 0
        with pytest.raises(OSError, match="not permitted"):
            syscalls.set_capabilities(mask(Capability.SYS_ADMIN))

    in_a_thread(check)


def test_where_callouts_run_there_is_less_than_where_labs_are_made() -> None:
    assert CALLOUTS < LABS
    for power in (Capability.SYS_ADMIN, Capability.SYS_PTRACE, Capability.SETUID, Capability.DAC_OVERRIDE):
        assert power not in CALLOUTS
    assert int(Capability.SYS_ADMIN) == 21
