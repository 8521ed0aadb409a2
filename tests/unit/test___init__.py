"""The public names: all there, the same for people and for type checkers, and costing nothing until used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import emulator

SOURCE = Path(emulator.__file__)


def declared() -> set[str]:
    """The names that a type checker sees."""
    tree = ast.parse(SOURCE.read_text())
    return {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            for alias in node.names if alias.asname}  # fmt: skip


def test_type_checkers_and_programs_see_the_same_names() -> None:
    assert declared() == set(emulator.__all__)
    assert set(emulator.__all__) <= set(dir(emulator))


@pytest.mark.parametrize("name", emulator.__all__)
def test_every_public_name_says_what_it_is(name: str) -> None:
    found = getattr(emulator, name)
    assert found.__name__ == name
    assert found.__doc__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Packet'"):
        emulator.Packet  # noqa: B018


@pytest.mark.parametrize("first", ["import emulator.scenario", "from emulator.run.loading import chosen", "pass"])
def test_scenario_is_the_decorator_whatever_was_imported_before(first: str) -> None:
    script = f"{first}\nfrom emulator import scenario\nassert scenario.__module__ == 'emulator.scenario'"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=SOURCE.parents[1])


def test_the_package_alone_imports_no_core() -> None:
    script = "import sys, emulator\nprint(*(n for n in sys.modules if n.startswith(('emulator.', 'netns'))))"
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=SOURCE.parents[1], capture_output=True, text=True
    )
    assert not {"emulator.core", "emulator.stack", "netns"} & set(ran.stdout.split())
