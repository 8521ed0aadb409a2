"""The arguments of `wfplab vm`."""

from __future__ import annotations

from typing import Any

import pytest

from emulator import checkout, cli
from emulator.vm import work
from emulator.vm.machine import Size
from emulator.vm.work import Wishes


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What would have been started; each returns status 5."""
    made: list[tuple[Any, ...]] = []

    def call(*what: Any) -> int:
        made.append(what)
        return 5

    monkeypatch.setattr(checkout, "give_back", lambda root: None)
    monkeypatch.setattr(work, "test", lambda arguments, wishes, out: call("test", arguments, wishes))
    monkeypatch.setattr(work, "run", lambda arguments, wishes, out: call("run", arguments, wishes))
    monkeypatch.setattr(work, "doctor", lambda arguments, wishes, out: call("doctor", arguments, wishes))
    monkeypatch.setattr(work, "build", lambda names, out, anew: call("build", names, anew))
    monkeypatch.setattr(work, "kernels", lambda out: call("kernels"))
    return made


def status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as left:
        cli.main(["vm", *arguments])
    return left.value.code


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["test"], ("test", (), Wishes())),
        (
            ["test", "--kernel", "trixie", "-k", "a or b", "--kernel", "all", "-x", "--minutes", "2"],
            ("test", ["-k", "a or b", "-x"], Wishes(("trixie", "all"), minutes=2.0)),
        ),
        (
            ["run", "a", "--json", "--accel", "kvm", "--memory", "2048"],
            ("run", ["a", "--json"], Wishes((), "kvm", size=Size(memory_mib=2048))),
        ),
        (["doctor", "--kernel", "all", "--json"], ("doctor", ["--json"], Wishes(("all",)))),
        (["build"], ("build", (), False)),
        (["build", "trixie", "--anew"], ("build", ["trixie"], True)),
        (["kernels"], ("kernels",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_starts_its_part_and_leaves_with_its_status(
    arguments: list[str], call: tuple[Any, ...], calls: list[tuple[Any, ...]]
) -> None:
    assert status(*arguments) == 5
    assert calls == [call]


@pytest.mark.parametrize("arguments", [["ruN"], ["build", "--no"], ["test", "--accel", "xen"]], ids=" ".join)
def test_wrong_usage_is_status_2(arguments: list[str], calls: list[tuple[Any, ...]]) -> None:
    assert status(*arguments) == 2
    assert calls == []
