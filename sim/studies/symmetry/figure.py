"""The study's figure: filters come apart, or do not, and what that is worth."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.figures import STYLE, svg_text
from sim.studies.symmetry.tables import all_runs, find_run

__all__ = ["figures"]

#: What is drawn: label, colour, line; and which run it is. Colours are distinct to the colour-blind.
_CURVES = (
    ("one order for all columns (chunked)", "#0072b2", "-", {"dataflow": "chunked"}),
    ("rotated by column", "#d55e00", "-", {"dataflow": "rotated"}),
    ("by tiles of columns", "#009e73", "--", {"dataflow": "tiled"}),
    ("shuffled by column", "#cc79a7", "-.", {"dataflow": "shuffled by column"}),
    ("stochastic, a word an output", "#000000", ":", {"accumulator": "e8m7 sr8", "backend": "by-column"}),
    ("dropout", "#e69f00", (0, (5, 1, 1, 1)), {"dropout": "elements"}),
)


_STEPS = (1, 2, 5, 10, 20, 50, 100, 200)


def figures(data: dict) -> dict[str, str]:
    """Name of the file -> SVG; none before the runs that it shows are there."""
    if "alike" not in data or "apart" not in data:
        return {}
    runs = all_runs(data)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 3.5))
        counts, correlations, accuracies = figure.subplots(1, 3)
        for label, color, line, wanted in _CURVES:
            run = find_run(runs, **({"accumulator": "e8m7"} | wanted))
            if run is not None:
                shown = run["shown"]
                style = {"color": color, "linestyle": line, "linewidth": 1.5, "label": label}
                counts.plot(shown["steps"], shown["distinct"], drawstyle="steps-post", **style)
                correlations.plot(shown["steps"], shown["correlation"], **style)
        _label(counts, "training step", "distinct filters of a layer")
        _label(correlations, "training step", "mean correlation of two filters")
        for axis in (counts, correlations):
            axis.set_xscale("log")
            axis.set_xticks(_STEPS, map(str, _STEPS))
            axis.minorticks_off()
            axis.set_title("e8m7, toward zero unless stochastic", fontsize=9)
        counts.set_ylim(0, 8.5)
        _accuracies(accuracies, runs)
        figure.legend(
            *counts.get_legend_handles_labels(),
            loc="lower left",
            bbox_to_anchor=(0.08, -0.17),
            ncols=3,
            fontsize=8,
        )
        figure.subplots_adjust(wspace=0.3)
        return {"symmetry-filters.svg": svg_text(figure)}


def _label(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def _accuracies(axis: Axes, runs: list[dict]) -> None:
    """Accuracy over the accumulator, a mark a run: what no order breaks, and what the rotated one does."""
    names = ["e8m4", "e8m7", "e8m10", "e8m23", "fixed20"]
    groups = (
        (
            "one order for all columns",
            "#0072b2",
            "o",
            ("sequential", "chunked", "split-K", "strided", "shuffled, one for all"),
        ),
        ("an order a column", "#d55e00", "s", ("tiled", "rotated")),
    )
    for label, color, marker, flows in groups:
        points = [
            (i, 100 * run["accuracy"])
            for i, name in enumerate(names)
            for flow in flows
            if (run := find_run(runs, dataflow=flow, accumulator=name)) is not None
        ]
        axis.plot(
            *zip(*points, strict=True),
            color=color,
            marker=marker,
            linestyle="",
            markersize=4.5,
            alpha=0.75,
            label=label,
        )
    exact = find_run(runs, accumulator="float32")
    if exact is not None:
        axis.axhline(100 * exact["accuracy"], color="#555555", linewidth=0.9, linestyle="--")
        axis.text(
            *(2.5, 100 * exact["accuracy"] - 5), "float32 by torch", ha="center", fontsize=7, color="#555555"
        )
    axis.set_xticks(range(len(names)), names)
    axis.set_xlim(-0.4, len(names) - 0.6)
    axis.set_ylim(0, 100)
    _label(axis, "accumulator", "test accuracy (%)")
    axis.legend(fontsize=8, loc="lower right")
