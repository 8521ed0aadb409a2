"""Elements of a set of nftables, changed by netlink without a program: for what happens often.

Source: linux/netfilter/nf_tables.h, nfnetlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence

from netns.errors import refused
from netns.namespace import Namespace

NETLINK_NETFILTER = 12
SUBSYSTEM = 10
FAMILY_NETDEV = 5
ADD, DELETE = 12, 14
"""NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM."""
BATCH_BEGIN, BATCH_END = 0x10, 0x11
REQUEST, ACKNOWLEDGE, CREATE = 0x1, 0x4, 0x400
NESTED = 0x8000
NLMSG_ERROR = 2
TABLE, SET, ELEMENTS, ELEMENT, KEY, VALUE = 1, 2, 3, 1, 1, 1
ELEMENTS_MOST = 500
"""Of one message: the length of a nested attribute has 16 bits."""
TIMEOUT_SECONDS = 10.0


class SetElements:
    """Adds and deletes elements of the sets of one table of family netdev; closed by whoever made it."""

    def __init__(self, namespace: Namespace, table: str) -> None:
        """Raises KernelRefused, NotPermitted, Closed."""
        self._table = table
        try:
            self._socket = namespace.open_in(
                lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
            )
        except OSError as error:
            raise refused(f"opening a netfilter socket in {namespace.name}", error) from error
        self._socket.settimeout(TIMEOUT_SECONDS)
        self._sequence = 0

    def add(self, name: str, keys: Sequence[bytes]) -> None:
        """Add elements; those that are there are no fault. Raises KernelRefused."""
        self._change(ADD, name, keys)

    def delete(self, name: str, keys: Sequence[bytes]) -> None:
        """Delete elements; those that are not there are no fault. Raises KernelRefused."""
        self._change(DELETE, name, keys)

    def _change(self, kind: int, name: str, keys: Sequence[bytes]) -> None:
        for first in range(0, len(keys), ELEMENTS_MOST):
            some = keys[first : first + ELEMENTS_MOST]
            code = self._transact(kind, name, some)
            if kind == DELETE and code == errno.ENOENT and len(some) > 1:
                # One missing element undoes all: then each for itself.
                codes = {self._transact(kind, name, [key]) for key in some}
                code = max(codes - {errno.ENOENT}, default=0)
            if code and not (kind == DELETE and code == errno.ENOENT):
                error = OSError(code, os.strerror(code))
                raise refused(f"changing set {name} of {self._table}", error) from error

    def _transact(self, kind: int, name: str, keys: Sequence[bytes]) -> int:
        """Send one transaction; 0 or the errno it was refused with."""
        self._sequence += 1
        flags = REQUEST | ACKNOWLEDGE | (CREATE if kind == ADD else 0)
        messages = (
            _message(BATCH_BEGIN, REQUEST, self._sequence, struct.pack("!BBH", 0, 0, SUBSYSTEM)),
            _message(SUBSYSTEM << 8 | kind, flags, self._sequence, elements_body(self._table, name, keys)),
            _message(BATCH_END, REQUEST, self._sequence, struct.pack("!BBH", 0, 0, SUBSYSTEM)),
        )
        self._socket.send(b"".join(messages))
        while True:
            answer = self._socket.recv(1 << 16)
            length, got, _, sequence, _ = struct.unpack_from("=IHHII", answer)
            if got == NLMSG_ERROR and sequence == self._sequence and length >= 20:
                return -int(struct.unpack_from("=i", answer, 16)[0])

    def close(self) -> None:
        """Closing twice is allowed."""
        self._socket.close()


def elements_body(table: str, name: str, keys: Sequence[bytes]) -> bytes:
    """What names the elements of a set of family netdev."""
    elements = b"".join(_nest(ELEMENT, _nest(KEY, _attribute(VALUE, key))) for key in keys)
    return (
        struct.pack("!BBH", FAMILY_NETDEV, 0, 0)
        + _attribute(TABLE, table.encode() + b"\0")
        + _attribute(SET, name.encode() + b"\0")
        + _nest(ELEMENTS, elements)
    )


def concatenated(*fields: bytes) -> bytes:
    """A key of several fields: each begins at a register of 4 octets."""
    return b"".join(field.ljust((len(field) + 3) & ~3, b"\0") for field in fields)


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body.ljust((len(body) + 3) & ~3, b"\0")


def _attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust((len(value) + 7) & ~3, b"\0")


def _nest(kind: int, value: bytes) -> bytes:
    return _attribute(kind | NESTED, value)
