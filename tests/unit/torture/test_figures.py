"""What a torture run came to: numbers, complaints, and an exit status that forgives nothing."""

from __future__ import annotations

import io
import json

import pytest

from emulator.run.loading import BadTarget
from emulator.torture.command import Asked, run
from emulator.torture.figures import Figures, as_json, as_text, exit_status


def told(*complaints: str, missing: str = "") -> Figures:
    figures = Figures("soak", {"packets": 3, "rate": 1.5}, list(complaints), missing)
    figures.add("packets", 2)
    return figures


def test_only_a_run_without_complaints_is_a_success() -> None:
    assert exit_status([told()]) == 0
    assert exit_status([told(), told("one packet is missing")]) == 1
    assert exit_status([told(), told(missing="no queue")]) == 77
    assert exit_status([told("lost"), told(missing="no queue")]) == 1


def test_both_forms_say_the_same() -> None:
    out = io.StringIO()
    as_json([told("lost")], out)
    document = json.loads(out.getvalue())
    assert document["ok"] is False
    assert document["runs"][0]["figures"] == {"packets": 5, "rate": 1.5}
    out = io.StringIO()
    as_text([told("lost"), told(missing="no queue")], out)
    assert out.getvalue().splitlines() == [
        "soak: FAILED (0.0 s)", "    packets: 5", "    rate: 1.50", "    ! lost",
        "soak: could not run: no queue (0.0 s)", "    packets: 5", "    rate: 1.50",
    ]  # fmt: skip


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadTarget, match="there is no torture floods; there are faults, overload"):
        run(["floods"], Asked(), out=io.StringIO(), err=io.StringIO())
