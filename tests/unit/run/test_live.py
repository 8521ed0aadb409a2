"""The live view draws what it is told."""

from __future__ import annotations

import io

from rich.console import Console

from emulator.checks import Check
from emulator.run.live import LiveView, Running, picture
from emulator.run.results import Result
from emulator.run.snapshot import HostMoment, Snapshot, moment
from emulator.scenario import Scenario

ITEM = Scenario("redact", lambda: None, (), (), (), "group")
SNAPSHOT = Snapshot(
    "redact[ipv4]",
    [HostMoment("host", True, ["OUTBOUND_IPPACKET_V4"], {"offered": 12, "held": 3}), HostMoment("peer", False)],
    ["host OUTBOUND_IPPACKET_V4: IPv4 UDP; not injected: block, absorbed"],
    ["GE-9 it raised"],
)


def drawn(running: Running, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(picture(running))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_hosts_books_packets_checks_and_broken_rules_are_in_the_picture() -> None:
    text = drawn(Running(ITEM, "with the callout", 2, ["one: expected 1, seen 2"], SNAPSHOT))
    for expected in ("redact[ipv4]", "with the callout", "2 checks hold", "one: expected 1, seen 2", "(plain)",
                     "OUTBOUND_IPPACKET_V4", "not injected: block, absorbed", "broken rule: GE-9"):  # fmt: skip
        assert expected in text
    (row,) = [line for line in text.splitlines() if line.startswith("│ host  OUTBOUND")]
    assert "12 offered, 3 held" in row


def test_it_fits_a_narrow_terminal() -> None:
    text = drawn(Running(ITEM, last=SNAPSHOT), width=60)
    assert max(len(line) for line in text.splitlines()) <= 60
    assert "12 offered" in text


def test_before_anything_is_known_there_is_the_name() -> None:
    assert "redact" in drawn(Running(ITEM))


def test_text_from_packets_is_not_taken_for_markup() -> None:
    hostile = Snapshot("x", [], ["[red]not a colour[/red] [/]"], [])
    assert "[red]not a colour[/red] [/]" in drawn(Running(ITEM, last=hostile))


def test_what_has_ended_leaves_the_picture_and_becomes_a_line() -> None:
    out = io.StringIO()
    with LiveView(1, out) as view:
        view.begun(0, ITEM)
        view.step(0, "first")
        view.checked(0, Check("one", False, "1", "2"))
        view.snapshot(0, SNAPSHOT)
        view.ended(0, Result("redact", checks=[Check("one", False, "1", "2")]))
        with view.aside():
            out.write("in between")
    assert "[1/1] redact: failed" in out.getvalue()
    assert "in between" in out.getvalue()


def test_a_snapshot_comes_back_as_it_was() -> None:
    assert Snapshot.from_plain(SNAPSHOT.as_plain()) == SNAPSHOT


def test_a_plain_host_has_no_books() -> None:
    assert moment("peer", None) == HostMoment("peer", False)
