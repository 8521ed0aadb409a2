"""The least that shows a netfilter queue at work: bind one, take one packet, let it go.

For probing only. It has no buffer to speak of, and knows no verdict but accept.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Self

NETLINK_NETFILTER = 12
ACKNOWLEDGED_REQUEST, REQUEST = 5, 1
MESSAGE_VERDICT, MESSAGE_CONFIGURE = 0x301, 0x302
CONFIG_COMMAND, CONFIG_COPY, CONFIG_MASK, CONFIG_FLAGS = 1, 2, 4, 5
COMMAND_BIND, COPY_PACKET, WHOLE_PACKET = 1, 2, 0xFFFF
ATTRIBUTE_HEADER, ATTRIBUTE_VERDICT, NF_ACCEPT = 1, 2, 1
HEADERS_OCTETS = 20
TIMEOUT_SECONDS = 5.0

FLAGS = {"fail-open": 1, "conntrack": 2, "gso": 4, "uid-gid": 8}


class ProbeQueue:
    """Queue `number` of the calling thread's namespace; closed by whoever opened it."""

    def __init__(self, number: int, *, flag: str | None = None) -> None:
        """Bind it, with one of FLAGS if named. Raises OSError (EOPNOTSUPP: no such flag on this kernel)."""
        self._number = number
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        try:
            self._socket.settimeout(TIMEOUT_SECONDS)
            self._configure(_attribute(CONFIG_COMMAND, struct.pack("!BxH", COMMAND_BIND, 0)))
            self._configure(_attribute(CONFIG_COPY, struct.pack("!IB", WHOLE_PACKET, COPY_PACKET)))
            if flag is not None:
                bit = struct.pack("!I", FLAGS[flag])
                self._configure(_attribute(CONFIG_MASK, bit) + _attribute(CONFIG_FLAGS, bit))
        except BaseException:
            self._socket.close()
            raise

    def accept_one(self) -> bytes:
        """Wait for one packet, accept it, and return the message that brought it. Raises OSError."""
        message = self._socket.recv(1 << 17)
        verdict = struct.pack("!I", NF_ACCEPT) + _attribute_of(message, ATTRIBUTE_HEADER)[:4]
        self._send(MESSAGE_VERDICT, REQUEST, _attribute(ATTRIBUTE_VERDICT, verdict))
        return message

    def close(self) -> None:
        """Unbind; what is still held is dropped by the kernel."""
        self._socket.close()

    def _configure(self, attributes: bytes) -> None:
        self._send(MESSAGE_CONFIGURE, ACKNOWLEDGED_REQUEST, attributes)
        code = -struct.unpack_from("=i", self._socket.recv(4096), 16)[0]
        if code:
            raise OSError(code, os.strerror(code))

    def _send(self, kind: int, flags: int, attributes: bytes) -> None:
        header = struct.pack("=IHHII", HEADERS_OCTETS + len(attributes), kind, flags, 0, 0)
        self._socket.send(header + struct.pack("!BBH", socket.AF_UNSPEC, 0, self._number) + attributes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust(4 + len(value) + -len(value) % 4, b"\0")


def _attribute_of(message: bytes, wanted: int) -> bytes:
    offset = HEADERS_OCTETS
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if kind & 0x3FFF == wanted:
            return message[offset + 4 : offset + length]
        offset += max(4, (length + 3) & ~3)
    raise OSError(0, "the queue's message holds no packet header")
