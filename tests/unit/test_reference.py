"""The page of public names says something of each, and the one in the documents has them all."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

import emulator
from emulator import compiled, reference

pytestmark = pytest.mark.skipif(
    compiled.in_use, reason=f"compiled classes do not tell their arguments: set {compiled.PURE}"
)

ROOT = Path(__file__).parents[2]
HEADING = re.compile(r"^### (?:class )?`(\w+)", re.MULTILINE)


def page() -> str:
    out = io.StringIO()
    reference.write(out)
    return out.getvalue()


def test_every_public_name_has_a_heading_and_a_text() -> None:
    text = page()
    assert set(HEADING.findall(text)) == set(emulator.__all__)
    for part in re.split(r"^### .*$", text, flags=re.MULTILINE)[1:]:
        assert part.strip()


def test_methods_are_there_with_arguments_and_text_those_of_bases_too() -> None:
    text = page()
    assert "- **`network_send(net_buffer_list, completion, *, context=None" in text
    assert "- **`state(net_buffer_list)`** Whether this handle" in text
    assert "`_admit" not in text


def test_nothing_in_it_depends_on_the_run() -> None:
    assert page() == page()
    assert " at 0x" not in page()


def test_the_page_in_the_documents_has_the_same_names() -> None:
    written = (ROOT / "docs" / "reference.md").read_text()
    assert set(HEADING.findall(written)) == set(emulator.__all__), "write it again: python -m emulator.reference"
