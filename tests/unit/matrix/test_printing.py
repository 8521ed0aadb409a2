"""The table and the document of a matrix run say the same, and what is not emulated is not among what passed."""

from __future__ import annotations

import io
import json

from emulator.matrix.cells import FAILED, PASSED, UNMEASURED, Cell, all_cells
from emulator.matrix.printing import Progress, as_document, as_text


def some_cells() -> list[Cell]:
    """A clone that passed and one that failed, an edit that was not measured, a frame that nothing emulates."""
    cells = {cell.name: cell for cell in all_cells()}
    passed, failed, unmeasured, frame = (
        cells[name]
        for name in (
            "M1 S4 INBOUND_IPPACKET ipv4 inline clone", "M2 S4 INBOUND_IPPACKET ipv6 inline clone",
            "M13 S6 INBOUND_ICMP_ERROR ipv4 DPC edited", "M25 S4 INBOUND_MAC_FRAME_ETHERNET any inline clone",
        )
    )  # fmt: skip
    passed.status, passed.measured = PASSED, "in: 3 udp"
    failed.status, failed.reason = FAILED, "arrived: expected [1], seen []"
    unmeasured.reason = "a canary did not arrive"
    return [passed, failed, unmeasured, frame]


def test_the_document_has_every_cell_and_the_counts() -> None:
    out = io.StringIO()
    as_document(some_cells(), out, sampled=False)
    document = json.loads(out.getvalue())
    assert {name: document[name] for name in ("passed", "total", "failed", "unmeasured", "not_emulated")} == {
        "passed": 1, "total": 4, "failed": 1, "unmeasured": 1, "not_emulated": 1,
    }  # fmt: skip
    assert document["sampled"] is False
    assert [cell["status"] for cell in document["cells"]] == [PASSED, FAILED, UNMEASURED, "not emulated"]
    first = document["cells"][0]
    assert {name: first[name] for name in ("layer", "family", "trigger", "source")} == {
        "layer": "INBOUND_IPPACKET", "family": "ipv4", "trigger": "inline", "source": "clone",
    }  # fmt: skip
    assert document["grades"]["core"] == {
        "passed": 1, "failed": 1, "unmeasured": 0, "not emulated": 1, "total": 3,
    }  # fmt: skip


def test_the_text_scores_what_can_be_run_and_names_the_rest() -> None:
    out = io.StringIO()
    as_text(some_cells(), out, verbose=False)
    lines = out.getvalue().splitlines()
    assert "INBOUND_IPPACKET    1/2    -" in lines
    assert "INBOUND_ICMP_ERROR    -  0/1" in lines
    assert not any(line.startswith("INBOUND_MAC") for line in lines)
    assert any("1 cells, M25: the link layer is not emulated" in line for line in lines)
    assert ["all", "1", "1", "1", "1", "4"] in [line.split() for line in lines]
    assert "M2 S4 INBOUND_IPPACKET ipv6 inline clone: failed: arrived: expected [1], seen []" in lines
    assert lines[-1] == "1 of 3 cells passed; 1 are not emulated"


def test_progress_tells_each_layer_and_at_once_what_did_not_pass() -> None:
    out = io.StringIO()
    told = Progress(3, out, quiet=False)
    for cell in some_cells()[:3]:
        told.begins(cell)
        told.ended(cell)
    told.finished()
    assert out.getvalue().splitlines() == [
        "M2 S4 INBOUND_IPPACKET ipv6 inline clone: failed: arrived: expected [1], seen []",
        "[2/3] S4 INBOUND_IPPACKET: 1 of 2 passed",
        "M13 S6 INBOUND_ICMP_ERROR ipv4 DPC edited: unmeasured: a canary did not arrive",
        "[3/3] S6 INBOUND_ICMP_ERROR: 0 of 1 passed",
    ]
