"""What stands before the octets of a packet in netlink messages: compared, read and made; pure.

These are the twins in pure Python; compiled modules use those of the .pxd beside this, which go by pointers.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

HOST_LONG: Final = struct.Struct("=I").unpack_from
NETWORK_LONG: Final = struct.Struct(">I").unpack_from
LENGTH_AND_TYPE: Final = struct.Struct("=HH").unpack_from
PLAIN: Final = struct.Struct("=I24sI").pack
MARKED: Final = struct.Struct("=I24sIHHI").pack
REWRITE: Final = struct.Struct("=I24sIHH").pack
MARKED_REWRITE: Final = struct.Struct("=I24sIHHIHH").pack
MARK: Final = 3
PAYLOAD: Final = 10
MARK_OCTETS: Final = 8
"""Of the attribute with a mark; source of all of them: linux/netfilter/nfnetlink_queue.h."""


def fits(
    buffer: bytearray, at: int, octets: int, start: bytes, middle: bytes, end: bytes, payload_at: int, marked: bool
) -> bool:
    """Whether a packet's message of so many octets, at a place in a buffer, came the same way as one before.

    `start` stands behind its length, `middle` behind the packet id, `end` behind the mark of one that is `marked`;
    its payload is `payload_at` octets in, and has all of the rest.
    """
    there = payload_at - 4
    return (
        buffer.startswith(start, at + 4)
        and buffer.startswith(middle, at + 28)
        and (not marked or buffer.startswith(end, at + 32 + len(middle)))
        and HOST_LONG(buffer, at)[0] == octets
        and octets >= payload_at
        and LENGTH_AND_TYPE(buffer, at + there) == (octets - there, PAYLOAD)
    )


def token(buffer: bytearray, at: int) -> int:
    """The packet id of the message at a place, its octets in the order in which they came."""
    number: int = HOST_LONG(buffer, at + 24)[0]
    return number


def mark(buffer: bytearray, at: int) -> int:
    """The mark that stands at a place."""
    number: int = NETWORK_LONG(buffer, at)[0]
    return number


def piece(buffer: bytearray, start: int, end: int) -> bytearray:
    """A copy of octets of a buffer."""
    return buffer[start:end]


def verdict(prefix: bytes, token: int, marked: bool, mark: int, octets: int) -> bytes:
    """The message of a verdict, up to its payload where `octets` is not negative.

    `prefix` is all before the packet id, which is given as it came; the length in it is made right.
    """
    rest = prefix[4:]
    if octets < 0:
        if not marked:
            return PLAIN(32, rest, token)
        return MARKED(40, rest, token, MARK_OCTETS, MARK, socket.htonl(mark))
    if not marked:
        return REWRITE(36 + octets, rest, token, 4 + octets, PAYLOAD)
    return MARKED_REWRITE(
        44 + octets, rest, token, MARK_OCTETS, MARK, socket.htonl(mark), 4 + octets, PAYLOAD
    )
