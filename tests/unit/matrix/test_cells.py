"""The matrix has the cells that the sample has, none of which counts before it was measured."""

from __future__ import annotations

from collections import Counter

from emulator.layers import Layer
from emulator.matrix.cells import (
    FAILED,
    NOT_EMULATED,
    PASSED,
    STATUSES,
    UNMEASURED,
    all_cells,
    by_grade,
    counted,
    sample,
)
from emulator.matrix.rows import CLONE, EDITED, FAST, INLINE, NEW, TRIGGERS

INJECTING = ("S4", "S5", "S6", "S7")


def test_thirty_layers_are_injected_at_in_thirteen_ways_less_tcp_inline() -> None:
    cells = [cell for cell in all_cells() if cell.scenario in INJECTING]
    inline_tcp = 2 * (3 + 1)  # STREAM_PACKET has nothing but TCP
    assert len(cells) == 30 * (3 * 4 + 1) - inline_tcp
    assert len({(cell.layer, cell.family) for cell in cells}) == 30
    assert {cell.row for cell in cells} == {f"M{number}" for number in range(1, 31)}
    assert {cell.trigger for cell in cells if cell.source == FAST} == {INLINE}
    for source in (CLONE, NEW, EDITED):
        assert {cell.trigger for cell in cells if cell.source == source} == set(TRIGGERS)


def test_no_cell_injects_tcp_inline() -> None:
    packet_layers = [cell for cell in all_cells() if cell.scenario in INJECTING and cell.trigger == INLINE]
    assert [cell.name for cell in packet_layers if "tcp" in cell.protocols] == []
    assert all(cell.protocols for cell in packet_layers)


def test_verdicts_are_at_the_layers_of_the_sample() -> None:
    cells = all_cells()
    for scenario, layers in (("S1", 48), ("S2", 48), ("S3", 76)):
        mine = {(cell.layer, cell.family) for cell in cells if cell.scenario == scenario}
        assert len(mine) == layers, scenario


def test_every_cell_is_unlike_every_other() -> None:
    names = Counter(cell.name for cell in all_cells())
    assert [name for name, times in names.items() if times > 1] == []


def test_layers_have_the_names_that_the_engine_knows() -> None:
    for cell in all_cells():
        if cell.layer != "none":
            group = cell.layer.removesuffix("_DISCARD")
            suffix = {"ipv4": "_V4", "ipv6": "_V6", "any": ""}[cell.family]
            assert f"{group}{suffix}{cell.layer[len(group):]}" in Layer.__members__


def test_frames_switches_pending_and_redirection_are_not_emulated_and_say_why() -> None:
    for cell in all_cells():
        if "MAC_FRAME" in cell.layer or "VSWITCH" in cell.layer or cell.scenario in ("S10", "S11", "S14", "S15"):
            assert cell.status == NOT_EMULATED
        assert bool(cell.reason) is (cell.status == NOT_EMULATED), cell.name


def test_nothing_has_passed_before_it_was_measured() -> None:
    counts = counted(all_cells())
    assert counts[PASSED] == counts[FAILED] == 0
    assert counts[UNMEASURED] + counts[NOT_EMULATED] == counts["total"] == 815


def test_the_grades_add_up() -> None:
    cells = all_cells()
    for number, status in enumerate(STATUSES):
        cells[number].status = status
    whole, grades = counted(cells), by_grade(cells)
    for name in (*STATUSES, "total"):
        assert sum(counts[name] for counts in grades.values()) == whole[name]


def test_a_sample_has_every_scenario_at_every_layer_every_trigger_and_every_source() -> None:
    cells = [cell for cell in all_cells() if cell.status != NOT_EMULATED]
    some = [cell for cell in sample(all_cells(), 5) if cell.status != NOT_EMULATED]
    assert len(some) < len(cells) / 3
    assert {(cell.scenario, cell.layer) for cell in some} == {(cell.scenario, cell.layer) for cell in cells}
    for field in ("trigger", "source", "family", "grade"):
        assert {getattr(cell, field) for cell in some} == {getattr(cell, field) for cell in cells}


def test_a_sample_keeps_the_order_and_all_that_is_not_emulated() -> None:
    cells = all_cells()
    some = sample(cells, 5)
    left_out = counted(cells)[NOT_EMULATED]
    assert counted(some)[NOT_EMULATED] == left_out
    places = {cell.name: place for place, cell in enumerate(cells)}
    order = [places[cell.name] for cell in some]
    assert order == sorted(order)
