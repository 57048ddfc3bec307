"""The microscope's figures, as SVG text; the same profile gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sim.figures import STYLE, svg_text

__all__ = ["figures"]

_STYLE = {**STYLE, "font.size": 8, "axes.grid": False}

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#777777"

#: Shares of steps that the colours of the heat maps tell apart; 0 is white.
_SHARES = (1e-5, 1.0)

#: Channels that a row of a heat map has at most; of more, the largest of neighbours is shown.
_COLUMNS = 512


def _drawn(draw: Callable[[Figure], None], *, size: tuple[float, float]) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        return svg_text(figure)


def figures(profile: dict) -> dict[str, str]:
    """The figures of a profile's JSON by name, those that there is something for."""
    unit = "points" if profile["score_unit"] == "%" else profile["metric"]
    drawn = {"events": _heat_maps(profile["layers"]), "sums": _sum_histograms(profile["histograms"])}
    if profile["ranking"]:
        drawn["ranking"] = _ranking(profile["ranking"], unit, profile["angle_errors"]["accumulators"])
    if profile["finding"] is not None:
        drawn["wrong-sum"] = _running_sum(profile["finding"])
    return drawn


def _heat_maps(layers: Sequence[dict]) -> str:
    """Events by layer and channel: a row a layer, a column a channel. ``layers``: of a profile's JSON."""
    kinds = ["overflow", "underflow", "swamping", "chunk overflow", "chunk swamping"]

    step = -(-max(layer["channels"] for layer in layers) // _COLUMNS)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(2, 3, sharex=True, sharey=True).flat
        for axis, kind in zip(axes, kinds, strict=False):
            grid = _grid([layer["share_by_channel"][kind] for layer in layers])
            most = np.nanmax(grid)
            axis.set_title(f"{kind}: {'none' if most == 0 else f'at most {100 * most:.2g} %'}")
            _image(figure, axis, np.where(grid == 0, -np.inf, grid), LogNorm(*_SHARES), "viridis_r")
        last = figure.axes[5]
        reach = _grid([layer["reach_by_channel"] for layer in layers])
        with np.errstate(divide="ignore"):
            reach = np.log2(reach)
        last.set_title("largest partial sum, log2 of its share of R_OF")
        _image(figure, last, reach, Normalize(-8, 0), "cividis")
        for axis in figure.axes[:6]:
            axis.set_yticks(range(len(layers)), [layer["layer"] for layer in layers], fontsize=6)
        for axis in figure.axes[3:6]:
            axis.set_xlabel("channel" if step == 1 else f"channel / {step}, the largest of {step}")

    return _drawn(draw, size=(11, 1.6 + 0.26 * max(len(layers), 4)))


def _grid(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Rows of different lengths, missing ones NaN."""
    widest = max(map(len, rows))
    step = -(-widest // _COLUMNS)
    grid = np.full((len(rows), -(-widest // step) * step), np.nan)
    for line, row in zip(grid, rows, strict=True):
        line[: len(row)] = row
    if step == 1:
        return grid
    parts = grid.reshape(len(rows), -1, step)
    return np.fmax.reduce(parts, axis=2)


def _image(figure: Figure, axis: Axes, grid: np.ndarray, norm: Normalize, colours: str) -> None:
    """White: -inf, where nothing happened. Grey: NaN, where there is no such channel."""
    axis.imshow(~np.isnan(grid), aspect="auto", interpolation="nearest", cmap="gray", vmin=-9, vmax=1)
    shown = np.where(np.isfinite(grid), grid, np.nan)
    image = axis.imshow(shown, aspect="auto", interpolation="nearest", norm=norm, cmap=colours)
    figure.colorbar(image, ax=axis, pad=0.02).minorticks_off()


def _sum_histograms(histograms: Sequence[dict]) -> str:
    """Partial sums by binade, a panel a layer, with R_UF and R_OF. ``histograms``: of a profile's JSON."""
    columns = min(4, len(histograms))
    rows = -(-len(histograms) // columns)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
        for axis, each in zip(axes, histograms, strict=False):
            _panel(axis, each)
        for axis in axes[len(histograms) :]:
            axis.set_visible(False)
        for axis in axes[max(0, len(histograms) - columns) : len(histograms)]:
            axis.set_xlabel("log2 of the magnitude, format's units")
            axis.tick_params(labelbottom=True)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=5)

    return _drawn(draw, size=(2.9 * columns, 0.6 + 1.35 * rows))


def _panel(axis: Axes, each: dict) -> None:
    edges = np.arange(len(each["counts"]["inner"]) + 1) + each["first_binade"]

    def shares(kind: str) -> np.ndarray:
        counts = np.array(each["counts"][kind])
        return 100 * counts / max(counts.sum() + each["zeros"][kind], 1)

    axis.stairs(shares("inner"), edges, fill=True, color=_BLUE, alpha=0.55, label="sums in chunks")
    axis.stairs(shares("exact"), edges, color="black", linewidth=0.8, label="the same, exact")
    axis.stairs(shares("outer"), edges, color=_ORANGE, linewidth=0.9, label="sums of chunks")
    ranges = [("inner_range", _BLUE), ("outer_range", _ORANGE)]
    if each["inner_range"] == each["outer_range"]:
        ranges = [("inner_range", _GREEN)]
    for place, (name, colour) in enumerate(ranges):
        for value, style, what in zip(each[name], (":", "--"), ("R_UF", "R_OF"), strict=True):
            if value > 0:
                axis.axvline(
                    math.log2(value),
                    color=colour,
                    linestyle=style,
                    linewidth=1.1,
                    label=None if place else what,
                )
    zeros = each["zeros"]["inner"] / max(each["zeros"]["inner"] + sum(each["counts"]["inner"]), 1)
    axis.set_title(f"{each['layer']}  (zero: {100 * zeros:.0f} %)", fontsize=7)
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_locator(MaxNLocator(3))
    axis.tick_params(labelsize=6)


def _ranking(rows: Sequence[dict], unit: str, unrestored: float) -> str:
    """What each layer's exact accumulator brings, with 95 % intervals where there are any.

    ``unrestored``: the error of the outputs with no layer exact.
    """

    def draw(figure: Figure) -> None:
        axis, error = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        places = np.arange(len(rows))[::-1]
        gains = np.array([row["gain"] for row in rows])
        spans = [row["interval"] or (row["gain"], row["gain"]) for row in rows]
        below, above = (np.abs(gains - np.array(each)) for each in zip(*spans, strict=True))
        axis.errorbar(gains, places, xerr=(below, above), fmt="o", color=_BLUE, markersize=3.5, linewidth=0.9)
        axis.axvline(0, color=_GREY, linewidth=0.8)
        axis.set_yticks(places, [row["layer"] for row in rows], fontsize=7)
        axis.set_xlabel(f"gain with this layer exact ({unit}), 95 % interval")
        error.barh(places, [row["angle_error"] for row in rows], color=_ORANGE, height=0.6)
        error.axvline(unrestored, color=_GREY, linewidth=0.8, linestyle="--")
        error.set_xlabel("error left in the outputs, 1 - cos·|cos|")

    return _drawn(draw, size=(8.5, 0.7 + 0.2 * max(len(rows), 4)))


def _running_sum(finding: dict) -> str:
    """A dot product's sum beside the exact one, and its error, product by product."""
    steps = [step for step in finding["steps"] if step["stage"] == "inner"]
    chunk_ends = [step for step in finding["steps"] if step["stage"] == "outer"]

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True)
        k = [step["k"] for step in steps]
        upper.plot(k, [step["exact"] for step in steps], color="black", linewidth=0.9, label="exact")
        upper.plot(k, [step["total"] for step in steps], color=_BLUE, linewidth=0.9, label="accumulator")
        upper.legend(loc="best")
        upper.set_ylabel("sum so far")
        lower.plot(k, [step["error"] for step in steps], color=_ORANGE, linewidth=0.9)
        lower.plot(
            [s["k"] for s in chunk_ends], [s["error"] for s in chunk_ends], ".", color=_ORANGE, markersize=3
        )
        lower.axhline(0, color=_GREY, linewidth=0.6)
        lower.set_ylabel("error so far")
        lower.set_xlabel("k")
        for axis in (upper, lower):
            axis.axvline(finding["k"], color=_GREEN, linestyle="--", linewidth=1)
        upper.annotate(f" k = {finding['k']}", (finding["k"], upper.get_ylim()[1]), va="top", color=_GREEN)

    return _drawn(draw, size=(8.5, 3.2))
