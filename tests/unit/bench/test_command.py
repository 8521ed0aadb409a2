"""Which rows are measured, what becomes of those that cannot be, and how the process ends."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from typing import Any, cast

import pytest

from emulator.bench import programs
from emulator.bench.clock import Profiled, Spent, limit
from emulator.bench.command import CANNOT_RUN, MET, MISSED, chosen, exit_status, one
from emulator.bench.place import Place
from emulator.bench.plots import shares
from emulator.bench.row import Failed, Reading, Result, Row, Run, Skipped, measured
from emulator.bench.streams import PACKAGES
from emulator.bench.table import as_json, as_text
from emulator.run.loading import BadTarget

FACTS = {"kernel": "6.1", "load": 0.5, "load_before": 0.4, "seconds": 3.0}


def row(name: str = "a-row", *, ours: Run = lambda: Reading(3.0), goal: float = 1.0, **more: Any) -> Row:
    return Row(name, "peer", "packets/s", goal, ours, lambda: Reading(2.0), rounds=1, **more)


class Limits:
    """What of a place a row needs whose goal was missed."""

    def limit(self, result: Result) -> str:
        return f"{result.ratio:.1f} of {result.row.goal}"


PLACE = cast(Place, Limits())


def test_rows_are_chosen_by_a_part_of_their_name() -> None:
    rows = [row("forward-permit"), row("forward-reinject"), row("latency")]
    assert [item.name for item in chosen(rows, ["permit", "lat"])] == ["forward-permit", "latency"]
    assert chosen(rows, []) == rows
    with pytest.raises(BadTarget, match="nothing.*forward-permit"):
        chosen(rows, ["permit", "nothing"])


def test_a_goal_that_is_missed_is_told_with_its_limit() -> None:
    found = one(PLACE, row(goal=2.0))
    assert isinstance(found, Result)
    assert found.limit == "1.5 of 2.0"
    own = one(PLACE, row(goal=2.0, limit=lambda result: "its own words"))
    assert isinstance(own, Result)
    assert own.limit == "its own words"
    met = one(PLACE, row())
    assert isinstance(met, Result)
    assert met.limit == ""


def test_a_peer_that_is_missing_skips_its_row_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with programs.Programs() as compiled:

        def needs_a_program() -> Reading:
            compiled.path("udpblast")
            return Reading(1.0)

        found = one(PLACE, row(ours=needs_a_program))
    assert isinstance(found, Skipped)
    assert "compiler" in found.why


def test_a_row_that_breaks_off_does_not_end_the_others() -> None:
    def breaks() -> Reading:
        raise TimeoutError("7 of 9 packets were handled")

    found = one(PLACE, row(ours=breaks))
    assert isinstance(found, Failed)
    assert "7 of 9" in found.why


def test_the_status_tells_missed_from_missing() -> None:
    met, missed = measured(row()), measured(row(goal=9.0))
    skipped, failed = Skipped("b", "peer", "not installed"), Failed("c", "peer", "broke")
    assert exit_status([met]) == MET
    assert exit_status([met, skipped]) == CANNOT_RUN
    assert exit_status([met, skipped, missed]) == MISSED
    assert exit_status([met, failed]) == MISSED
    assert exit_status([]) == CANNOT_RUN


def test_one_document_holds_rows_and_machine() -> None:
    out = io.StringIO()
    as_json([measured(row()), Skipped("b", "peer", "not installed")], FACTS, out)
    document = json.loads(out.getvalue())
    assert document.keys() == {"rows", "machine"}
    assert [item["name"] for item in document["rows"]] == ["a-row", "b"]
    assert document["machine"] == FACTS


def test_the_table_tells_what_was_missed_and_why() -> None:
    missed = one(PLACE, row("slow", goal=9.0))
    out = io.StringIO()
    as_text([measured(row("quick")), missed, Skipped("gone", "peer", "not installed")], FACTS, out)
    text = out.getvalue()
    assert "slow: 1.5 of 9.0" in text
    assert "gone: not installed" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "MISSED" not in lines["quick"]
    assert " met " in lines["quick"]


def test_the_launcher_installs_what_the_peers_are() -> None:
    launcher = (Path(__file__).parents[3] / "wfplab").read_text()
    (line,) = (line for line in launcher.splitlines() if line.startswith("for_bench="))
    assert {f"={name}" for name in PACKAGES} <= {item[item.index("=") :] for item in line.split() if "=" in item[1:]}


def test_plots_count_by_the_goal_whichever_way_is_better() -> None:
    least, most = measured(row(goal=3.0)), measured(row(goal=3.0, at_most=True))
    assert [share for _, share, *_ in shares([least, most])] == [0.5, 2.0]


def test_a_profile_names_functions_without_their_addresses() -> None:
    profiled = Profiled()
    profiled.begin()
    for _ in range(100):
        socket.socket(socket.AF_UNIX).close()
    told = profiled.told()
    assert "socket.close " in told
    assert " at 0x" not in told


def test_processor_time_adds_up_and_a_limit_names_it() -> None:
    assert Spent(2.0, 3.0).since(Spent(1.0, 1.0)).with_(Spent(0.5, 0.5)).all == 4.0
    told = limit((9.0, 3.0), (4.0, None), 5.0, lambda: "send 60%")
    assert "9.00 µs (4.00 the kernel's), the peer's 3.00 µs" in told
    assert "leaves 5.00 µs" in told
    assert told.endswith("profile of ours: send 60%")
