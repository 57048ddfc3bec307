"""The figures of the depth study."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.figures import STYLE, svg_text
from sim.theory.mean_field import TRAINABLE

__all__ = ["bits", "frontier", "signal"]

#: Distinct to the colour-blind.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")

#: Case of the trajectories -> (what the reader sees, colour).
_CASES = {
    "exact": ("exact sums", "#444444"),
    "rz": ("truncating, weights for exact sums", "#d55e00"),
    "rz repaired": ("truncating, weights by init_", "#0072b2"),
    "rne": ("to nearest even", "#009e73"),
}


def frontier(data: dict) -> str:
    """Accuracy over levels and depth, and multiples of the depth that correlations survive."""
    levels = sorted({row["levels"] for row in data["rows"]})
    depths = sorted({row["depth"] for row in data["rows"]})
    values = np.full((len(depths), len(levels)), np.nan)
    for row in data["rows"]:
        values[depths.index(row["depth"]), levels.index(row["levels"])] = 100 * row["train"]
    scales = {each["levels"]: each["depth_scale"] for each in data["frontiers"]}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.2, 5.0), layout="constrained")
        axis = figure.subplots()
        axis.grid(visible=False)
        image = axis.imshow(values, origin="lower", aspect="auto", cmap="cividis", vmin=10, vmax=100)
        for (y, x), value in np.ndenumerate(values):
            color = "white" if value < 55 else "black"
            axis.text(x, y, f"{value:.0f}", ha="center", va="center", color=color, fontsize=8)
        for factor, style in ((TRAINABLE / 2, ":"), (TRAINABLE, "-"), (2 * TRAINABLE, "--")):
            heights = [_row_of(factor * scales[n], depths) for n in levels]
            axis.plot(range(len(levels)), heights, style, color="#d55e00", linewidth=2, label=f"{factor:g} ξ")
        axis.set_xticks(range(len(levels)), levels)
        axis.set_yticks(range(len(depths)), depths)
        axis.set(xlim=(-0.5, len(levels) - 0.5), ylim=(-0.5, len(depths) - 0.5))
        axis.set(xlabel="levels of the activation, N", ylabel="linear layers")
        figure.legend(loc="outside upper center", ncols=3)
        figure.colorbar(image, label=f"training accuracy after {data['steps']} steps, %")
        return svg_text(figure)


def _row_of(depth: float, depths: list[int]) -> float:
    """Where a depth lies among the rows, logarithms between them; beyond the last as between the last two."""
    places = np.log(depths)
    last = len(depths) - 1
    if depth > depths[-1]:
        return last + (math.log(depth) - places[-1]) / (places[-1] - places[-2])
    if depth < depths[0]:
        return (math.log(depth) - places[0]) / (places[1] - places[0])
    return float(np.interp(math.log(depth), places, range(len(depths))))


def signal(data: dict) -> str:
    """Variance and correlation against depth: dots measured, lines predicted."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for row in data["rows"]:
            if row["name"] in _CASES:
                label, color = _CASES[row["name"]]
                for axis, name in ((left, "variance"), (right, "correlation")):
                    axis.plot(row[f"predicted_{name}"], color=color, linewidth=1.2)
                    axis.plot(row[name], "o", color=color, markersize=3.5, label=label)
        left.set(xlabel="layer", ylabel="second moment of activations over its aim", ylim=(0, 1.2))
        right.set(xlabel="layer", ylabel="correlation of two inputs", ylim=(0.3, 0.85))
        right.legend(loc="lower left", fontsize=8)
        return svg_text(figure)


def bits(data: dict) -> str:
    """Layers that a correlation survives against mantissa bits, a colour for each number of levels."""
    exact = {row["levels"]: row for row in data["rows"] if row["mode"] == "exact"}
    panels = (
        ("weights for exact sums", (("rz", "o", "-", "toward zero"),)),
        (
            "weights by init_, or nearest even",
            (("rz repaired", "o", "-", "toward zero, by init_"), ("rne", "s", "--", "to nearest even")),
        ),
    )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.0), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True, width_ratios=(5, 3))
        for axis, (title, modes) in zip(axes, panels, strict=True):
            for color, levels in zip(_COLORS, sorted(exact), strict=False):
                axis.axhline(exact[levels]["predicted_reach"], color=color, linewidth=0.8, linestyle=":")
                for mode, marker, style, _ in modes:
                    _curve(
                        axis,
                        [r for r in data["rows"] if (r["levels"], r["mode"]) == (levels, mode)],
                        color,
                        marker,
                        style,
                    )
            axis.set(yscale="log", xlabel="mantissa bits of products and sums")
            axis.set_xticks(sorted({r["man_bits"] for r in data["rows"] if r["mode"] == modes[0][0]}))
            axis.set_title(title, fontsize=9)
            for _, marker, style, label in modes:
                axis.plot([], [], marker + style, color="#444444", markersize=4, label=label)
            axis.legend(loc="lower right", fontsize=8)
        for color, levels in zip(_COLORS, sorted(exact), strict=False):
            height = exact[levels]["predicted_reach"] * 1.06
            place = {"transform": axes[0].get_yaxis_transform(), "color": color, "fontsize": 8}
            axes[0].text(0.01, height, f"N = {levels}, exact", **place)
        axes[0].set_ylabel(f"layers until a correlation of {data['start']:g} falls by e")
        return svg_text(figure)


def _curve(axis: Axes, rows: list[dict], color: str, marker: str, style: str) -> None:
    known = [row for row in rows if row["reach"] is not None]
    axis.plot(
        [row["man_bits"] for row in rows],
        [row["predicted_reach"] for row in rows],
        style,
        color=color,
        linewidth=1.1,
    )
    axis.plot(
        [row["man_bits"] for row in known],
        [row["reach"] for row in known],
        marker,
        color=color,
        markersize=4.5,
    )
