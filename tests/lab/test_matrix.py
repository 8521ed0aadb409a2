"""`wfplab matrix`: cells of every kind pass on real packets, and fail when what they measure does not happen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.matrix import proxying, triggers, verdicts
from emulator.matrix.cells import FAILED, NOT_EMULATED, PASSED, UNMEASURED, Cell, all_cells
from emulator.matrix.running import run
from emulator.topology import HostOptions
from emulator.traffic import CanaryLost
from tests.lab.run_machine import Machine

NAMED = {cell.name: cell for cell in all_cells()}
# One of each measurement, all four triggers, all sources, both families.
SHORT = (
    "M1 S4 INBOUND_IPPACKET ipv4 inline clone", "M4 S5 OUTBOUND_IPPACKET ipv6 work item new list",
    "M5 S6 IPFORWARD ipv4 DPC edited", "M8 S7 INBOUND_TRANSPORT ipv6 inline fast",
    "M9 S6 OUTBOUND_TRANSPORT ipv4 threaded DPC edited", "M16 S5 OUTBOUND_ICMP_ERROR ipv6 DPC new list",
    "M19 S4 ALE_AUTH_RECV_ACCEPT ipv4 DPC clone", "M24 S5 STREAM_PACKET ipv6 work item new list",
    "M31 S8 STREAM ipv6 threaded DPC clone", "M38 S12 ALE_FLOW_ESTABLISHED ipv4 inline context",
    "M39 S13 OUTBOUND_TRANSPORT ipv6 work item rewritten", "M40 S13 INBOUND_IPPACKET ipv4 DPC rewritten",
    "M44 S1 DATAGRAM_DATA ipv4 filter block", "M44 S1 STREAM ipv6 callout block",
    "M45 S2 ALE_AUTH_CONNECT ipv6 callout random", "M46 S3 INBOUND_TRANSPORT_DISCARD ipv4 callout examined",
)  # fmt: skip


def measured(*names: str) -> list[Cell]:
    cells = [cell for cell in all_cells() if cell.name in names]
    assert len(cells) == len(names)
    told: list[Cell] = []
    run(cells, HostOptions(), begins=lambda cell: None, ended=told.append)
    assert told == cells
    return cells


def test_cells_of_every_kind_pass_and_say_what_arrived() -> None:
    cells = measured(*SHORT)
    assert {cell.name: (cell.status, cell.reason) for cell in cells} == dict.fromkeys(SHORT, (PASSED, ""))
    assert all(cell.measured for cell in cells)


def test_what_is_not_emulated_is_never_measured() -> None:
    name = "M25 S4 INBOUND_MAC_FRAME_ETHERNET any inline clone"
    cells = [NAMED[name]]
    told: list[Cell] = []
    run(cells, HostOptions(), begins=told.append, ended=told.append)
    assert told == []
    assert cells[0].status == NOT_EMULATED


@contextmanager
def replaced(owner: Any, name: str, by: Callable[[Any], Any]) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, by(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def freed(before: Any) -> Any:
    """In place of an injection: the list is completed, and nothing sent."""

    def free(self: InjectionHandle, item: Any, completion: Any, **_: Any) -> None:
        item.status = 0
        completion(None, item, False)

    return free


def twice(before: Any) -> Any:
    """In place of an injection: that, and a copy."""

    def both(self: InjectionHandle, item: Any, completion: Any, **named: Any) -> None:
        copy = self.core.ownership.create_from(item.octets)
        before(self, item, completion, **named)
        before(self, copy, completion, **named)

    return both


def lets_pass(before: Any) -> Any:
    """In place of a block: a permit."""
    return lambda self, **_: self.permit()


def permits(before: Any) -> Any:
    """In place of a classify: a permit."""
    return lambda self, seen: seen.permit()


def nothing(before: Any) -> Any:
    """In place of a callback: nothing."""
    return lambda self, *_: None


def inline(before: Any) -> Any:
    """In place of posting work: it is done at once."""
    return lambda self, work: self._run(work)


@pytest.mark.parametrize(
    ("cell", "owner", "name", "by", "reason"),
    [
        ("M3 S4 OUTBOUND_IPPACKET ipv4 inline clone", InjectionHandle, "network_send", freed, "arrived"),
        ("M7 S5 INBOUND_TRANSPORT ipv4 work item new list", InjectionHandle, "transport_receive", freed, "arrived"),
        ("M3 S5 OUTBOUND_IPPACKET ipv4 DPC new list", InjectionHandle, "network_send", twice, "arrived"),
        ("M1 S7 INBOUND_IPPACKET ipv4 inline fast", Indication, "block", lets_pass, "blocked and withheld"),
        ("M1 S4 INBOUND_IPPACKET ipv4 DPC clone", Indication, "block", lets_pass, "while the injections wait"),
        ("M1 S4 INBOUND_IPPACKET ipv4 DPC clone", triggers.Trigger, "_post", inline, "injected at"),
        ("M44 S1 INBOUND_IPPACKET ipv4 callout block", verdicts.Verdict, "classify", permits, "arrived"),
        ("M45 S2 INBOUND_IPPACKET ipv4 callout random", verdicts.Verdict, "classify", permits, "arrived"),
        ("M46 S3 IPFORWARD ipv4 callout examined", verdicts.Look, "classify", permits, "shown"),
        ("M31 S8 STREAM ipv4 inline clone", Indication, "block", lets_pass, "what arrived of the withheld"),
        ("M23 S4 STREAM_PACKET ipv4 DPC clone", Indication, "block", lets_pass, "connected while the injections wait"),
        ("M38 S12 ALE_FLOW_ESTABLISHED ipv4 inline context", proxying.Associate, "flow_delete", nothing, "given back"),
    ],
)
def test_a_cell_fails_when_what_it_measures_does_not_happen(
    cell: str, owner: Any, name: str, by: Callable[[Any], Any], reason: str
) -> None:
    with replaced(owner, name, by):
        (seen,) = measured(cell)
    assert (seen.status, seen.reason[: len(reason)]) == (FAILED, reason), seen.reason


def test_a_lost_canary_is_unmeasured_and_the_next_cell_gets_a_new_bed(monkeypatch: pytest.MonkeyPatch) -> None:
    from emulator.matrix.place import Canary

    come, times = Canary.come, []

    def lost_once(self: Canary) -> None:
        times.append(self)
        if len(times) == 1:
            raise CanaryLost("it did not come")
        come(self)

    monkeypatch.setattr(Canary, "come", lost_once)
    first, second = measured(SHORT[0], "M2 S4 INBOUND_IPPACKET ipv6 inline clone")
    assert (first.status, first.reason) == (UNMEASURED, "it did not come")
    assert second.status == PASSED
    assert times[0].way.sender is not times[-1].way.sender


@pytest.mark.host_only("starts the command, to read what it says")
def test_the_command_prints_one_document_and_leaves_nothing(tmp_path: Path) -> None:
    with Machine(tmp_path) as machine:
        ran = machine.wfplab("matrix", "M32", "--json")
        assert ran.returncode == 0, ran.stderr
        document = json.loads(ran.stdout)
        assert (document["passed"], document["total"], document["not_emulated"]) == (2, 2, 0)
        assert {cell["status"] for cell in document["cells"]} == {PASSED}
        assert machine.wfplab("matrix", "M99").returncode == 2
