"""The figures of the study, from its results alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.figures import STYLE, svg_text
from sim.studies.chunk.findings import CLOSE, NETWORKS, best_chunks, grid_rows, longest
from sim.studies.chunk.operands import of_rows

__all__ = ["figures"]

#: Distinct to the colour-blind, also when printed in grey.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#555555")

#: Law -> label, colour, marker.
_LAWS = {
    "first": ("first form", "#d55e00", "x"),
    "place": ("by place", "#e69f00", "^"),
    "step": ("by step", "#0072b2", "o"),
}

_M = 7


def figures(data: dict) -> dict[str, str]:
    """Name -> SVG."""
    drawn = {}
    with matplotlib.rc_context(STYLE):
        if "law" in data:
            drawn["chunk-law.svg"] = _law(data)
        if "roundings" in data:
            drawn["chunk-noise.svg"] = _noise(data["roundings"])
        networks = [data[name] for name in NETWORKS if name in data]
        if networks:
            drawn["chunk-accuracy.svg"] = _accuracy(networks)
    return drawn


def _law(data: dict) -> str:
    figure = Figure(figsize=(10.4, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.35, 1]})
    rows = [row for row in grid_rows(data, "normal", "e3m4") if row["M"] == _M]
    for length, color in zip(sorted({row["K"] for row in rows}), _COLORS, strict=False):
        mine = sorted((row for row in rows if row["K"] == length), key=lambda row: row["c"])
        chunks = [row["c"] for row in mine]
        left.plot(
            chunks, [row["gain"] for row in mine], "o", color=color, markersize=4.5, label=f"K = {length}"
        )
        left.plot(chunks, [row["step"] for row in mine], color=color, linewidth=1.3)
        left.plot(chunks, [row["first"] for row in mine], "--", color=color, linewidth=0.8)
        root = best_chunks(mine)[0]["root"]
        if chunks[0] <= root <= chunks[-1]:
            left.axvline(root, ymax=0.04, color=color, linewidth=2.5)
    left.set_xscale("log", base=2)
    left.set(xlabel="chunk (products)", ylabel=f"gain of the sum, M = {_M}", ylim=(0, 1.02))
    ticks = sorted({row["c"] for row in rows})
    left.set_xticks(ticks, [str(c) for c in ticks])
    left.set_title("measured (dots), law by step (lines), first form (dashed); bars at √K", fontsize=9)
    left.legend(fontsize=7.5, loc="lower center", ncols=2)
    _distances(right, grid_rows(data))
    return svg_text(figure)


def _distances(axis: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for name, (label, color, marker) in _LAWS.items():
        axis.plot(
            [row["gain"] for row in rows],
            [max(abs(row[name] - row["gain"]), 1e-5) for row in rows],
            marker,
            color=color,
            markersize=2.6,
            alpha=0.45,
            label=label,
            markeredgewidth=0.7,
        )
    axis.axhline(CLOSE, color="#333333", linewidth=0.9)
    axis.annotate(f"{CLOSE}", (1.0, CLOSE), ha="right", va="bottom", fontsize=8)
    axis.set(yscale="log", xlabel="gain as measured", ylabel="distance of the law", ylim=(1e-5, 1))
    axis.set_title(f"all {len(rows)} settings", fontsize=9)
    axis.legend(fontsize=7.5, loc="lower left", markerscale=2)


def _noise(part: dict) -> str:
    rows = of_rows(part["roundings"]["normal"])
    length = longest(rows)
    chunks = sorted({row["c"] for row in rows if row["K"] == length})
    figure = Figure(figsize=(11.4, 3.6), layout="constrained")
    axes = figure.subplots(1, len(chunks), sharey=True, squeeze=False)[0]
    lines = (
        ("rz", "error", "toward zero, as it comes", _COLORS[1], "s-"),
        ("rz", "noise", "toward zero, one scale", _COLORS[4], "^-"),
        ("rz", "tapered_noise", "toward zero, a scale for each place", _COLORS[2], "D-"),
        ("sr8", "error", "stochastic, 8 random bits", _COLORS[3], "v-"),
        ("rne", "error", "nearest even", _COLORS[0], "o-"),
    )
    for axis, chunk in zip(axes, chunks, strict=True):
        for rounding, column, label, color, style in lines:
            mine = [r for r in rows if (r["K"], r["c"], r["rounding"]) == (length, chunk, rounding)]
            mine.sort(key=lambda row: row["M"])
            widths, values = [r["M"] for r in mine], [r[column] for r in mine]
            axis.plot(widths, values, style, color=color, markersize=4, linewidth=1.1, label=label)
        axis.set(yscale="log", xlabel="mantissa bits M of products and sums")
        axis.set_title(f"K = {length}, chunks of {chunk}", fontsize=9)
        axis.set_xticks(sorted({r["M"] for r in rows}))
    axes[0].set_ylabel("error energy / energy of exact sums")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7.5, loc="outside right upper")
    return svg_text(figure)


_MARKERS = {"resnet20": "o", "resnet56": "s", "minilm": "^"}


def _accuracy(networks: Sequence[dict]) -> str:
    figure = Figure(figsize=(10.4, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1.35]})
    points = []
    for data in networks:
        name, marker = NETWORKS[data["network"]], _MARKERS[data["network"]]
        for way, filled in (("both", False), ("places", True)):
            x = [100 * row["measured"] for row in data["rows"]]
            y = [100 * row["predicted"][way] for row in data["rows"]]
            what = "a gain for each place" if filled else "one gain and noise a layer"
            face = _COLORS[0] if filled else "white"
            left.plot(
                *(x, y, marker),
                color=_COLORS[0],
                markersize=6,
                markerfacecolor=face,
                label=f"{name}, {what}",
            )
            points += x + y
    ends = min(points) - 2, max(points) + 2
    left.plot(ends, ends, color="#333333", linewidth=0.8)
    left.set(xlabel="measured, bit for bit (%, or Spearman × 100)", ylabel="predicted by the law")
    left.legend(fontsize=7)
    _shares(right, networks[0])
    return svg_text(figure)


def _shares(axis: Axes, data: dict) -> None:
    """Points against float32: what gain alone, noise alone and both would cost, beside what was measured."""
    ways = {"noise": "noise alone", "gain": "gain alone", "both": "gain and noise", "places": "gain by place"}
    rows = data["rows"]
    width = 0.8 / (len(ways) + 1)
    series = [(label, [row["predicted"][way] for row in rows]) for way, label in ways.items()]
    series.append(("measured", [row["measured"] for row in rows]))
    for i, ((label, values), color) in enumerate(
        zip(series, (_COLORS[4], _COLORS[1], _COLORS[3], _COLORS[0], "#333333"), strict=True)
    ):
        axis.bar(
            [j + (i - 2) * width for j in range(len(rows))],
            [100 * (value - data["float32"]) for value in values],
            width=0.9 * width,
            color=color,
            label=label,
        )
    axis.axhline(0, color="#333333", linewidth=0.8)
    axis.set_xticks(range(len(rows)), [row["row"].replace(", ", "\n") for row in rows], fontsize=7)
    axis.set_ylabel("points against float32")
    axis.set_title(f"{NETWORKS[data['network']]}, {data['n']} inputs", fontsize=9)
    axis.legend(fontsize=7.5, loc="lower right")
