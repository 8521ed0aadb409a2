"""Octets in a buffer, read and written without anything made on the way but what is asked for.

These are the twins in pure Python; compiled modules use those of the .pxd beside this, which go by pointers.
"""

from __future__ import annotations

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What octets can lie in; a memoryview must be one of single octets."""


def span(buffer: Buffer, start: int, end: int) -> bytes:
    """A copy of the octets from `start` up to `end`, or to the buffer's end when that comes before."""
    return bytes(buffer[start:end])


def word(buffer: Buffer, at: int) -> int:
    """The 16-bit number at a place, in network order; IndexError past the end."""
    return buffer[at] << 8 | buffer[at + 1]


def alike(buffer: bytes | bytearray, at: int, octets: bytes) -> bool:
    """Whether just these octets lie at a place."""
    return buffer.startswith(octets, at)


def begins(buffer: bytes | bytearray, octets: bytes, size: int) -> bool:
    """Whether a buffer begins with the first `size` of some octets."""
    return buffer.startswith(octets[:size])


def overwrite(buffer: bytearray, at: int, octets: Buffer) -> None:
    """Write octets in place of as many others; the caller knows that they fit."""
    buffer[at : at + len(octets)] = octets
