"""The kernels' figures as a plot: made from the results alone, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.figures import STYLE, svg_text

__all__ = ["plot"]

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_MARKERS = ("o", "s", "D", "^")


def plot(results: dict) -> str:
    """GMAC/s on one thread, as SVG text: all rows by shape, and by instruction set."""
    panels, sets = results["panels"], results["machine"]["instruction_sets"]

    def one_thread(panel: dict) -> list[dict]:
        return [row for row in panel["rows"] if row["threads"] == 1 and not row["statistics"]]

    shapes = [
        (panel["label"], [row for row in one_thread(panel) if row["isa"] in (None, sets[0])])
        for panel in panels
    ]
    narrower = {row["what"] for row in one_thread(panels[0]) if row["isa"] in sets[1:]}
    by_set = [
        (isa, [row for row in one_thread(panels[0]) if row["isa"] == isa and row["what"] in narrower])
        for isa in sets
    ]
    halves = [(shapes, f"one thread, {sets[0]}")]
    if narrower:
        halves.append((by_set, f"one thread, {panels[0]['label']}"))
    with matplotlib.rc_context(STYLE):
        names = [_distinct(series) for series, _ in halves]
        figure = Figure(figsize=(9, 1.2 + 0.24 * sum(map(len, names)) + 0.8 * (len(halves) - 1)))
        heights = {"height_ratios": [max(1, len(each)) for each in names], "hspace": 0.3}
        grid = figure.subplots(len(halves), 1, squeeze=False, gridspec_kw=heights)[:, 0]
        for axis, (series, title), labels in zip(grid, halves, names, strict=True):
            _dots(axis, series, labels, title)
        return svg_text(figure)


def _distinct(series: Sequence[tuple[str, list[dict]]]) -> list[str]:
    return list(dict.fromkeys(row["what"] for _, rows in series for row in rows))


def _dots(axis: Axes, series: Sequence[tuple[str, list[dict]]], labels: Sequence[str], title: str) -> None:
    places = {label: -i for i, label in enumerate(labels)}
    for (name, rows), color, marker in zip(series, _COLORS, _MARKERS, strict=False):
        middle = [row["gmacs"]["median"] for row in rows]
        below = [row["gmacs"]["median"] - row["gmacs"]["min"] for row in rows]
        above = [row["gmacs"]["max"] - row["gmacs"]["median"] for row in rows]
        axis.errorbar(
            middle,
            [places[row["what"]] for row in rows],
            xerr=[below, above],
            fmt=marker,
            color=color,
            markersize=4,
            linewidth=0.8,
            label=name,
        )
    axis.set_yticks(list(places.values()), list(places))
    axis.set_xscale("log")
    axis.set_xlabel("GMAC/s (median, least and most)")
    axis.set_title(title)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
