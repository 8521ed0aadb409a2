from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from netns.errors import BadName, MissingFeature
from netns.process import child_environment, find_program, owned_argv

ROOT = Path(__file__).resolve().parents[3]


def test_children_are_started_behind_a_shim_that_dies_with_us() -> None:
    argv = owned_argv(["true", "-x"])
    assert argv[0].endswith("/setpriv")
    assert argv[1:4] == ["--pdeathsig", "KILL", "--"]
    assert argv[4].endswith("/true")
    assert argv[5:] == ["-x"]


def test_a_user_comes_with_its_groups() -> None:
    argv = owned_argv(["true"], "nobody")
    assert argv[argv.index("--reuid") + 1] == "65534"
    assert "--regid" in argv
    assert "--init-groups" in argv


def test_an_unknown_user_or_program_is_named() -> None:
    with pytest.raises(BadName, match="no-such-user"):
        owned_argv(["true"], "no-such-user")
    with pytest.raises(MissingFeature, match="no-such-program"):
        find_program("no-such-program")


def test_another_user_gets_none_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WFPLAB_SECRET", "x")
    assert child_environment(None, None)["WFPLAB_SECRET"] == "x"
    assert "WFPLAB_SECRET" not in child_environment("nobody", None)
    assert child_environment("nobody", {"A": "b"})["A"] == "b"


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def test_netns_does_not_know_the_emulator() -> None:
    files = list((ROOT / "netns").rglob("*.py"))
    assert len(files) > 10
    for path in files:
        assert "emulator" not in imported(path), path


def test_heavy_libraries_are_not_imported_before_they_are_used() -> None:
    code = (
        "import sys; import netns.lab, netns.rules, netns.capture, netns.features; "
        "print([name for name in ('pyroute2', 'scapy', 'asyncio', 'rich') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=30
    )
    assert found.stdout.strip() == "[]"
