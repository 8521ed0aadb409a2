"""Which cells `wfplab matrix` measures, and with which status it ends."""

from __future__ import annotations

import pytest

from emulator.matrix.cells import FAILED, NOT_EMULATED, PASSED, UNMEASURED, all_cells, sample
from emulator.matrix.command import Asked, chosen, exit_status, run
from emulator.run.loading import BadTarget


def test_without_a_name_all_cells_are_measured_or_a_sample() -> None:
    assert [cell.name for cell in chosen([], quick=False)] == [cell.name for cell in all_cells()]
    assert [cell.name for cell in chosen([], quick=True)] == [cell.name for cell in sample(all_cells(), 5)]


def test_rows_scenarios_and_layers_are_names() -> None:
    assert {cell.row for cell in chosen(["M7"], quick=False)} == {"M7"}
    assert {cell.scenario for cell in chosen(["s13"], quick=False)} == {"S13"}
    assert {cell.layer for cell in chosen(["stream"], quick=False)} == {"STREAM"}
    both = chosen(["M31", "STREAM"], quick=False)
    assert len(both) == len({cell.name for cell in both})


def test_an_unknown_name_is_wrong_usage_and_nothing_is_done() -> None:
    def never() -> None:
        raise AssertionError("it went on")

    with pytest.raises(BadTarget, match="no row, scenario or layer M99"):
        run(["M99"], Asked(), before=never)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([PASSED, NOT_EMULATED], 0),
        ([PASSED, UNMEASURED], 77),
        ([PASSED, UNMEASURED, FAILED], 1),
    ],
)
def test_only_what_passed_or_is_not_emulated_is_a_success(statuses: list[str], expected: int) -> None:
    cells = all_cells()[: len(statuses)]
    for cell, status in zip(cells, statuses, strict=True):
        cell.status = status
    assert exit_status(cells) == expected
