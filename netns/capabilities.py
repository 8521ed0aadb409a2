"""What of root's power a thread keeps: a list, and nothing that is not on it.

Capabilities are a thread's own. What a thread starts (threads, programs) has at most what the thread has.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import cache

from netns import syscalls
from netns.errors import refused

_LAST = "/proc/sys/kernel/cap_last_cap"


class Capability(IntEnum):
    """Those that are used here, by the kernel's numbers."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_BIND_SERVICE = 10
    NET_ADMIN = 12
    NET_RAW = 13
    SYS_PTRACE = 19
    SYS_ADMIN = 21


CALLOUTS = frozenset({
    Capability.NET_ADMIN,  # verdicts, marks, transparent sockets, ending sockets
    Capability.NET_RAW,  # packets with headers of one's own
    Capability.NET_BIND_SERVICE,  # the far leg of a spliced connection has the near end's port
    Capability.DAC_READ_SEARCH,  # Python reads a module when it is first needed, from wherever it lies
})  # fmt: skip
"""Of the thread on which callouts run."""

LABS = CALLOUTS | {
    Capability.SYS_ADMIN,  # making, mounting and entering namespaces
    Capability.SETUID,  # programs in hosts become an ordinary user's
    Capability.SETGID,
    Capability.SETPCAP,  # giving the rest up, here and in programs
    Capability.KILL,  # and are ended
    Capability.SYS_PTRACE,  # finding out who lives in a namespace that a dead run left
    Capability.DAC_OVERRIDE,  # writing reports into a user's folder
    Capability.CHOWN,  # and giving them to that user
}
"""Of a process that makes labs."""


def keep(kept: Iterable[Capability]) -> None:
    """Have the calling thread give up, for good, all that is not in `kept`; it gets nothing that it had not.

    Raises NotPermitted, KernelRefused.
    """
    mask = sum(1 << capability for capability in set(kept))
    try:
        permitted = syscalls.permitted_capabilities()
        if permitted >> Capability.SETPCAP & 1:
            for number in range(_last() + 1):
                if not mask >> number & 1:
                    syscalls.drop_from_bounding_set(number)
        syscalls.set_capabilities(permitted & mask)
    except OSError as error:
        raise refused("giving up capabilities", error) from error


@cache
def _last() -> int:
    with open(_LAST, encoding="ascii") as file:
        return int(file.read())
