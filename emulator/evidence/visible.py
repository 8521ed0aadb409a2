"""Text from packets and callouts made fit to be shown: nothing in it can command a terminal, a page or a reader.

Control characters, those that turn the direction of text, and invisible ones become escapes such as `\\x1b`.
"""

from __future__ import annotations

import re
from typing import Final

_UNFIT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
_COLUMNS: Final = 16
_PRINTABLE: Final = bytes(octet if 0x20 <= octet < 0x7F else 0x2E for octet in range(256))


def visible(text: str) -> str:
    """The text with everything that is not plainly seen written as an escape; new lines and tabs stay."""
    return _UNFIT.sub(_escape, text)


def one_line(text: str) -> str:
    """As `visible`, and new lines and tabs too are escapes."""
    return visible(text).replace("\t", "\\t").replace("\n", "\\n")


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def hexdump(octets: bytes, *, most: int = 0, marked: frozenset[int] | set[int] = frozenset()) -> str:
    """Octets in lines of sixteen, in hexadecimal and as ASCII; those at the offsets in `marked` have a `*` behind.

    Of more than `most` octets (0: no limit) the rest is left out, and said to be.
    """
    shown = octets[:most] if most else octets
    lines = []
    for start in range(0, len(shown), _COLUMNS):
        row = shown[start : start + _COLUMNS]
        cells = "".join(_cell(octet, start + place in marked) for place, octet in enumerate(row))
        lines.append(f"{start:04x}  {cells:<{_COLUMNS * 3}} {row.translate(_PRINTABLE).decode('ascii')}".rstrip())
    if len(shown) < len(octets):
        lines.append(f"... {len(octets) - len(shown)} octets more")
    return "\n".join(lines)


def _cell(octet: int, marked: bool) -> str:
    return f"{octet:02x}*" if marked else f"{octet:02x} "


def changed(before: bytes, after: bytes) -> set[int]:
    """The offsets in `after` at which it differs from `before`."""
    same = min(len(before), len(after))
    return {at for at in range(same) if before[at] != after[at]} | set(range(same, len(after)))
