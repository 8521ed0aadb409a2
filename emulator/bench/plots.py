"""The plots: the ratios of the rows against their goals, and how speed and memory scale."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from emulator.bench.row import Failed, Result, Skipped
from emulator.bench.scale import SERIES, Point, Series
from netns.errors import MissingFeature

MET, MISSED, LINE, OTHER = "#2b7a4b", "#b3412e", "#1f5a92", "#8a8f98"
_SIZE: Final = (6.4, 3.2)
_HEIGHT_OF_ROW: Final = 0.3


def draw(
    folder: Path,
    outcomes: Sequence[Result | Skipped | Failed],
    series: Mapping[str, Sequence[Point]],
    facts: Mapping[str, Any],
) -> list[Path]:
    """Write `rows.svg`, a plot for each series, and `scale.json` with its points; what was written.

    Raises MissingFeature without matplotlib, OSError.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingFeature("matplotlib", detail="pip install 'wfplab[bench]'") from error
    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "wfplab", "font.size": 9, "axes.grid": True,
                         "grid.alpha": 0.3, "axes.spines.top": False, "axes.axisbelow": True})  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    written = [_rows(folder / "rows.svg", [item for item in outcomes if isinstance(item, Result)])]
    written += [_series(folder / f"{item.name}.svg", item, series[item.name]) for item in SERIES if item.name in series]
    points = {name: [asdict(point) for point in found] for name, found in series.items()}
    path = folder / "scale.json"
    path.write_text(json.dumps({"series": points, "machine": dict(facts)}, indent=1) + "\n")
    return [*written, path]


def shares(results: Sequence[Result]) -> list[tuple[str, float, float, float]]:
    """Name, and how far the ratio, and its least and greatest, are from the goal: 1 reaches it, more is better."""
    found = []
    for result in results:
        goal = result.row.goal
        values = [result.ratio, *result.spread]
        measured = [(goal / value if value else 0.0) if result.row.at_most else value / goal for value in values]
        found.append((result.row.name, measured[0], min(measured), max(measured)))
    return found


def _rows(path: Path, results: Sequence[Result]) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(_SIZE[0], 1 + _HEIGHT_OF_ROW * len(results)), layout="constrained")
    axes = figure.subplots()
    found = shares(results)[::-1]
    colours = [MET if result.met else MISSED for result in results][::-1]
    axes.barh([name for name, *_ in found], [share for _, share, _, _ in found], color=colours, height=0.6)
    for place, (_, _, low, high) in enumerate(found):
        axes.plot((low, high), (place, place), color="#333333", linewidth=1)
    axes.axvline(1, color="#333333", linewidth=1, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(2))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xlabel("ratio to the peer ÷ goal (1 reaches it; the line is the spread)")
    return _saved(figure, path)


def _series(path: Path, series: Series, points: Sequence[Point]) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    numbers = [point.number for point in points]
    axes.plot(numbers, [point.rate / points[0].rate for point in points], "o-", color=LINE)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_ylim(0, 1.1 * max(point.rate for point in points) / points[0].rate)
    axes.set_xlabel(series.counted)
    axes.set_ylabel(f"{series.unit},\nwith {numbers[0]} = 1", color=LINE)
    memory = axes.twinx()
    memory.plot(numbers, [point.memory for point in points], "s--", color=OTHER)
    memory.set_ylim(0, 1.1 * max(1.0, *(point.memory for point in points)))
    memory.grid(visible=False)
    memory.set_ylabel("memory, MiB", color=OTHER)
    return _saved(figure, path)


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    return path
