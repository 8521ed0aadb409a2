"""A packet socket that shows the SYNs coming into a splice namespace, and nothing else."""

from __future__ import annotations

import ctypes
import socket
import struct

from netns import buffers, syscalls
from netns.redirect import ETH_P_ALL
from netns.uplinkrules import RELEASED_MAC

SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
SO_ATTACH_FILTER = 26
BUFFER_OCTETS = 8 << 20
SHOWN_OCTETS = 2048
_RELEASED = bytes.fromhex(RELEASED_MAC.replace(":", ""))

# Source: linux/bpf_common.h.
_LOAD_WORD, _LOAD_HALF, _LOAD_OCTET = 0x20, 0x28, 0x30
_LOAD_OCTET_INDEXED, _LOAD_HEADER_SIZE = 0x50, 0xB1
_EQUAL, _ANY_SET, _JUMP, _AND, _RETURN = 0x15, 0x45, 0x05, 0x54, 0x06

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""

ONLY_SYNS: tuple[Instruction, ...] = (
    (_LOAD_WORD, 0, 0, 6),
    (_EQUAL, 0, 2, int.from_bytes(_RELEASED[:4])),
    (_LOAD_HALF, 0, 0, 10),
    (_EQUAL, 16, 0, int.from_bytes(_RELEASED[4:])),
    (_LOAD_HALF, 0, 0, 12),
    (_EQUAL, 0, 7, 0x0800),
    (_LOAD_OCTET, 0, 0, 23),
    (_EQUAL, 0, 12, socket.IPPROTO_TCP),
    (_LOAD_HALF, 0, 0, 20),
    (_ANY_SET, 10, 0, 0x1FFF),
    (_LOAD_HEADER_SIZE, 0, 0, 14),
    (_LOAD_OCTET_INDEXED, 0, 0, 27),
    (_JUMP, 0, 0, 4),
    (_EQUAL, 0, 6, 0x86DD),
    (_LOAD_OCTET, 0, 0, 20),
    (_EQUAL, 0, 4, socket.IPPROTO_TCP),
    (_LOAD_OCTET, 0, 0, 67),
    (_AND, 0, 0, 0x07),
    (_EQUAL, 0, 1, 0x02),
    (_RETURN, 0, 0, SHOWN_OCTETS),
    (_RETURN, 0, 0, 0),
)
"""TCP with SYN and neither FIN nor RST, so answers to SYNs too; but not those that we released."""


def open_tap() -> socket.socket:
    """Open one in the calling thread's namespace, for all devices. The caller closes it. Raises OSError."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in ONLY_SYNS))
        header = struct.pack("@HP", len(ONLY_SYNS), ctypes.addressof(program))
        made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, header)
        made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        buffers.widen(made, receive_octets=BUFFER_OCTETS)
        # Only now does it see anything: nothing came in unfiltered before.
        syscalls.bind_packet_everywhere(made.fileno(), ETH_P_ALL)
    except BaseException:
        made.close()
        raise
    return made
