"""Errors by the law and by simulation, and points lost step by step: one figure, from the results alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.calibration.experiment import CUMULATIVE
from sim.figures import STYLE, svg_text

__all__ = ["plot"]

#: Accumulator -> colour, distinct to the colour-blind; others are black.
_COLORS = {"e4m7": "#0072b2", "e4m6": "#d55e00", "e4m5": "#009e73", "e5m7": "#cc79a7", "e5m6": "#999999"}

#: Accumulators in the left half: those of ample range, in which roundings are all the error there is.
_PREDICTED = ("e4m7", "e4m6", "e4m5")

_NETWORKS = {"resnet20": "ResNet-20", "resnet56": "ResNet-56", "minilm": "MiniLM"}


def plot(rows: Sequence[dict[str, Any]]) -> str:
    """Left: measured over predicted error of each layer. Right: points against float32, a panel a network."""
    networks = [name for name in _NETWORKS if any(_is_of(row, name) for row in rows)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.2 + 3.4 * len(networks), 3.9), layout="constrained")
        axes = figure.subplots(1, 1 + len(networks), squeeze=False)[0]
        _errors(axes[0], [row for row in rows if row["kind"] == "layers"])
        for axis, network in zip(axes[1:], networks, strict=True):
            _points(axis, [row for row in rows if _is_of(row, network)], _NETWORKS[network])
        return svg_text(figure)


def _is_of(row: dict[str, Any], network: str) -> bool:
    return row["kind"] == "network" and row["network"] == network


def _errors(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    ends = []
    for name in _PREDICTED:
        color = _COLORS[name]
        layers = [layer for row in rows if row["accumulator"] == name for layer in row["layers"]]
        for prefix, marker, what in (("", "o", ""), ("tapered_", "^", ", tapered")):
            x = [layer[f"{prefix}error_by_law"] for layer in layers]
            y = [layer[f"{prefix}error"] for layer in layers]
            if layers:
                axis.plot(x, y, marker, color=color, markersize=4, alpha=0.75, label=name + what)
            ends += x + y
    if ends:
        axis.plot([min(ends), max(ends)], [min(ends), max(ends)], color="#333333", linewidth=0.8)
        axis.legend(fontsize=7)
    axis.set(xscale="log", yscale="log", xlabel="error by the law", ylabel="error in simulation")
    axis.set_title("each layer: 1 - cos² to the exact product", fontsize=9)


def _points(axis: Axes, rows: Sequence[dict[str, Any]], title: str) -> None:
    steps = [
        *(name for name in CUMULATIVE if any(row["calibration"] == name for row in rows)),
        "nearest even",
    ]
    accumulators = list(dict.fromkeys(row["accumulator"] for row in rows))
    for name in accumulators:
        color = _COLORS.get(name, "#000000")
        mine = [row for row in rows if row["accumulator"] == name]
        known = {
            "nearest even" if row["rounding"] == "rne" else row["calibration"]: 100 * row["difference"]
            for row in mine
        }
        places = [place for place, step in enumerate(steps) if step in known]
        axis.plot(
            places, [known[steps[place]] for place in places], "o-", color=color, markersize=4, label=name
        )
    axis.axhline(0, color="#333333", linewidth=0.8)
    axis.set_xticks(range(len(steps)), [step.replace("rule+", "+ ").replace("+", " + ") for step in steps])
    axis.tick_params(axis="x", labelrotation=60, labelsize=7)
    axis.set_ylabel("points against float32")
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7)
