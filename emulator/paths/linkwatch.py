"""Hearing of changes of a host's links and addresses."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from netns.namespace import Namespace

_RTM_GROUPS = 0x1 | 0x10 | 0x100
"""Link, IPv4 address and IPv6 address changes."""
_MOST_OCTETS = 65536


class LinkWatch:
    """A socket that becomes readable when links or addresses of a namespace change; its owner closes it.

    Raises KernelRefused.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._socket = namespace.open_in(_open)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Throw away what was said: that something was is enough."""
        try:
            while self._socket.recv(_MOST_OCTETS):
                pass
        except OSError:  # nothing more, or more than fitted: either way the tables are read anew
            pass

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    made.bind((0, _RTM_GROUPS))
    return made
