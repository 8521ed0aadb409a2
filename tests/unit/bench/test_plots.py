"""The plots are drawn of whatever was measured, and are text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from emulator.bench.plots import draw
from emulator.bench.row import Reading, Row, Skipped, measured
from emulator.bench.scale import SERIES, Point, middle
from netns.errors import MissingFeature


def test_each_series_and_the_rows_have_a_plot_and_the_points_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra [bench] is not installed")
    row = Row("some-row", "peer", "packets/s", 1.0, lambda: Reading(2.0), lambda: Reading(1.0), rounds=1)
    points = {item.name: [Point(number, 100.0, 1.0) for number in item.numbers] for item in SERIES}
    written = draw(tmp_path / "plots", [measured(row), Skipped("other", "peer", "missing")], points, {"kernel": "6.1"})
    assert {path.name for path in written} == {"rows.svg", "scale.json", *(f"{item.name}.svg" for item in SERIES)}
    drawn = (tmp_path / "plots" / "rows.svg").read_text()
    assert "some-row" in drawn
    assert "other" not in drawn
    assert all("<svg" in path.read_text() for path in written if path.suffix == ".svg")
    kept = json.loads((tmp_path / "plots" / "scale.json").read_text())
    assert kept["machine"] == {"kernel": "6.1"}
    assert [point["number"] for point in kept["series"]["hosts"]] == [2, 10, 50, 100, 200]


def test_a_point_of_the_scale_counts_by_its_medians() -> None:
    turns = [Point(100, rate, memory) for rate, memory in ((900.0, 5.0), (10.0, 2.0), (800.0, 3.0))]
    assert middle(turns) == Point(100, 800.0, 3.0)


def test_without_matplotlib_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingFeature, match="matplotlib"):
        draw(tmp_path, [], {}, {})
