"""What is shown obeys nobody: neither a terminal nor a reader's eye is turned."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as some

from emulator.evidence.visible import changed, hexdump, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ⟶ text, ümlaut, 漢字\n\t", "plain ⟶ text, ümlaut, 漢字\n\t"),
        ("\x1b[2J\r\x00\x7f\x9b", "\\x1b[2J\\x0d\\x00\\x7f\\x9b"),
        ("a\u202eb\u2066c\u200fd\u061c", "a\\u202eb\\u2066c\\u200fd\\u061c"),
        ("zero\u200bwidth\ufeff\xad", "zero\\u200bwidth\\ufeff\\xad"),
        ("tag\U000e0041 half\ud800", "tag\\U000e0041 half\\ud800"),
        ("line\u2028separator", "line\\u2028separator"),
    ],
)
def test_what_is_not_plainly_seen_becomes_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(some.text(some.characters(exclude_categories=())))
def test_nothing_invisible_is_left(text: str) -> None:
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for character in visible(text):
        assert character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"}, repr(character)
        assert unicodedata.bidirectional(character) not in turning
    assert "\n" not in one_line(text)


def test_octets_are_shown_in_rows_and_what_changed_is_marked() -> None:
    octets = bytes(range(0x1C, 0x2E))
    assert hexdump(octets, marked={0, 17}) == (
        '0000  1c*1d 1e 1f 20 21 22 23 24 25 26 27 28 29 2a 2b  .... !"#$%&\'()*+\n'
        "0010  2c 2d*                                           ,-"
    )
    assert hexdump(b"") == ""
    assert hexdump(bytes(40), most=16).splitlines()[1:] == ["... 24 octets more"]


def test_what_changed_is_told_by_offset() -> None:
    assert changed(b"abc", b"abc") == set()
    assert changed(b"abc", b"aXcd") == {1, 3}
    assert changed(b"abc", b"a") == set()
