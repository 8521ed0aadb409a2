"""Capture files in the pcapng form: named interfaces, nanoseconds, and comments on packets.

Written here because scapy's writer (2.8) begins with an interface of no name, keeps microseconds as floating
point numbers, and has no comment for the whole file.  Source: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

from struct import Struct
from typing import IO, Final

ETHERNET: Final = 1
INBOUND, OUTBOUND = 1, 2
COMMENT_OCTETS: Final = 4096
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_MAGIC: Final = 0x1A2B3C4D
_OPTION_COMMENT, _OPTION_NAME, _OPTION_DESCRIPTION, _OPTION_RESOLUTION = 1, 2, 3, 9
_OPTION_APPLICATION, _OPTION_FLAGS = 4, 2
_NANOSECONDS: Final = b"\x09"
_head = Struct("<II").pack
_length = Struct("<I").pack
_option = Struct("<HH").pack
_section_body = Struct("<IHHq").pack
_interface_body = Struct("<HHI").pack
_packet_body = Struct("<IIIII").pack


class PcapngWriter:
    """Writes frames of several interfaces into one open file, which stays its owner's.  All raise OSError."""

    def __init__(self, out: IO[bytes], *, comment: str = "", application: str = "wfplab") -> None:
        """Begin the file; `comment` is on the whole of it."""
        self._out = out
        self._interfaces: dict[tuple[str, str], int] = {}
        options = _text(_OPTION_COMMENT, comment) + _text(_OPTION_APPLICATION, application)
        self._block(_SECTION, _section_body(_MAGIC, 1, 0, -1), options)

    def interface(self, name: str, description: str = "") -> int:
        """The number of an interface, introduced when it is new."""
        known = self._interfaces.get((name, description))
        if known is not None:
            return known
        number = self._interfaces[name, description] = len(self._interfaces)
        options = _text(_OPTION_NAME, name) + _text(_OPTION_DESCRIPTION, description)
        options += _bytes(_OPTION_RESOLUTION, _NANOSECONDS)
        self._block(_INTERFACE, _interface_body(ETHERNET, 0, 0), options)
        return number

    def frame(
        self, interface: int, time: int, octets: bytes, *, length: int = 0, outgoing: bool = False, comment: str = ""
    ) -> None:
        """Add one frame: `time` in nanoseconds since the epoch, `length` the octets it had, if these are fewer."""
        body = _packet_body(interface, time >> 32, time & 0xFFFFFFFF, len(octets), max(length, len(octets)))
        options = _text(_OPTION_COMMENT, comment)
        options += _bytes(_OPTION_FLAGS, _length(OUTBOUND if outgoing else INBOUND))
        self._block(_PACKET, body + _padded(octets), options)

    def _block(self, kind: int, body: bytes, options: bytes) -> None:
        if options:
            options += _option(0, 0)
        size = 12 + len(body) + len(options)
        self._out.write(_head(kind, size) + body + options + _length(size))


def _text(code: int, text: str) -> bytes:
    octets = text.encode("utf-8", "replace")[:COMMENT_OCTETS]
    # A character that was cut in two is left out.
    return _bytes(code, octets.decode("utf-8", "ignore").encode()) if text else b""


def _bytes(code: int, octets: bytes) -> bytes:
    return _option(code, len(octets)) + _padded(octets)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
