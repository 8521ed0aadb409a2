"""The xtables target NFQUEUE inside an nftables chain, for kernels without nft's own `queue`.

The `nft` program cannot write such a rule, but the kernel takes it (that is how iptables-nft works), and a
jump to a chain that holds it makes the rest of a rule set expressible by `nft` all the same.
Source: linux/netfilter/nf_tables.h, nf_tables_compat.h, xt_NFQUEUE.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

from netns.errors import refused
from netns.namespace import Namespace

NETLINK_NETFILTER = 12
NFT_SUBSYSTEM = 10
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NEW_TABLE, NEW_CHAIN, NEW_RULE = 0, 3, 6
TABLE_NAME = 1
CHAIN_TABLE, CHAIN_NAME = 1, 3
RULE_TABLE, RULE_CHAIN, RULE_EXPRESSIONS = 1, 2, 4
LIST_ELEMENT, EXPRESSION_NAME, EXPRESSION_DATA = 1, 1, 2
TARGET_NAME, TARGET_REVISION, TARGET_INFO = 1, 2, 3
NESTED = 0x8000
REQUEST, ACKNOWLEDGE, CREATE, APPEND = 1, 4, 0x400, 0x800
REVISION = 3
BYPASS = 1
ERROR = 2
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

QueueChain = tuple[int, bool]
"""A queue's number, and whether packets pass when nobody listens on it."""


def chain_name(chain: QueueChain) -> str:
    """The name of the chain whose only rule hands packets to that queue."""
    number, bypass = chain
    return f"queue-{number}{'-bypass' if bypass else ''}"


def add_queue_chains(namespace: Namespace, family: int, table: str, chains: Iterable[QueueChain]) -> None:
    """Make `table`, if need be, and in it one new chain for each queue, all in one transaction.

    Raises KernelRefused (ENOENT: the kernel has no nft_compat or no NFQUEUE target), NotPermitted, Closed.
    """
    new = CREATE | REQUEST | ACKNOWLEDGE
    messages = [_message(NEW_TABLE, new, FAMILY[family], _text(TABLE_NAME, table))]
    for chain in chains:
        name = chain_name(chain)
        described = _text(CHAIN_TABLE, table) + _text(CHAIN_NAME, name)
        messages.append(_message(NEW_CHAIN, new, FAMILY[family], described))
        rule = _text(RULE_TABLE, table) + _text(RULE_CHAIN, name) + _queue_expression(*chain)
        messages.append(_message(NEW_RULE, new | APPEND, FAMILY[family], rule))
    try:
        with namespace.open_in(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)) as sock:
            sock.setblocking(False)
            sock.send(_bound(BATCH_BEGIN) + b"".join(messages) + _bound(BATCH_END))
            _raise_first_error(sock)
    except OSError as error:
        raise refused(f"setting NFQUEUE chains in nft table {table} of {namespace.name}", error) from error


def _queue_expression(number: int, bypass: bool) -> bytes:
    # struct xt_NFQ_info_v3, padded to 8 octets as every xtables structure is.
    info = struct.pack("=HHHxx", number, 1, BYPASS if bypass else 0)
    target = (
        _text(TARGET_NAME, "NFQUEUE")
        + _attribute(TARGET_REVISION, struct.pack("!I", REVISION))
        + _attribute(TARGET_INFO, info)
    )
    expression = _text(EXPRESSION_NAME, "target") + _attribute(EXPRESSION_DATA | NESTED, target)
    return _attribute(RULE_EXPRESSIONS | NESTED, _attribute(LIST_ELEMENT | NESTED, expression))


def _raise_first_error(sock: socket.socket) -> None:
    # The kernel answers within `send`, so an empty socket means that all answers were read.
    with suppress(BlockingIOError):
        while answers := sock.recv(65536):
            offset = 0
            while offset + 20 <= len(answers):
                length, kind = struct.unpack_from("=IH", answers, offset)
                code = -struct.unpack_from("=i", answers, offset + 16)[0] if kind == ERROR else 0
                if code:
                    raise OSError(code, os.strerror(code))
                offset += (length + 3) & ~3


def _message(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    header = struct.pack("=IHHII", 20 + len(attributes), NFT_SUBSYSTEM << 8 | kind, flags, 0, 0)
    return header + struct.pack("!BBH", family, 0, 0) + attributes


def _bound(kind: int) -> bytes:
    return struct.pack("=IHHII", 20, kind, REQUEST, 0, 0) + struct.pack("!BBH", 0, 0, NFT_SUBSYSTEM)


def _attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust(4 + len(value) + -len(value) % 4, b"\0")


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")
