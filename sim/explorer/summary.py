"""What the explorer shows first, without a browser: a figure and a short table for a README."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim.explorer.axes import AXES, value
from sim.explorer.export import default_view
from sim.explorer.front import pareto_front
from sim.figures import STYLE, svg_text
from sim.plots import KINDS

__all__ = ["FIGURE", "shown_points", "summary", "summary_files"]

#: Name of the summary's figure.
FIGURE = "summary.svg"

#: The figure goes down to so many points below the best accuracy.
_SHOWN_LOSS = 5.0

_AXIS = {axis.key: axis for axis in AXES}

Point = Mapping[str, Any]


def shown_points(export: dict[str, Any]) -> tuple[list[Point], dict[str, Any]]:
    """The points that the explorer shows at first, and its view: one technology, one clock, and that met."""
    points, view = export["points"], default_view(export["points"])
    here = [
        point
        for point in points
        if point.get("technology") == view["technology"] and point.get("clock_ns") == view["clock_ns"]
    ]
    return [point for point in here if point.get("met") is not False] or here, view


def summary(export: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Markdown that shows the figure, and the figure by its name, of a tidied export."""
    points, view = shown_points(export)
    network = view["network"]
    with matplotlib.rc_context(STYLE):
        figure = svg_text(_figure(points, network))
    costs = [cost for cost in ("um2", "energy_pj") if any(point.get(cost) is not None for point in points)]
    lines = [f"{_scope(points, view)}", "", f"![Accuracy against area and energy]({FIGURE})", ""]
    if network is not None and costs:
        front = pareto_front(points, costs[0], "accuracy", network)
        best = max((value(point, "accuracy", network) for point in front), default=0)
        close = [point for point in front if value(point, "accuracy", network) >= best - _SHOWN_LOSS]
        words = f"{_AXIS['accuracy'].label.lower()} against {_AXIS[costs[0]].label.lower()}"
        left = f", less {further} further down" if (further := len(front) - len(close)) else ""
        lines += [f"The front of {words}{left}:", "", *_table(close, network)]
    return "\n".join(lines).rstrip() + "\n", {FIGURE: figure}


def summary_files(export: dict[str, Any]) -> dict[str, str | bytes]:
    """The summary as files: Markdown, and the figure as SVG and as PNG."""
    text, figures = summary(export)
    points, view = shown_points(export)
    image = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        _figure(points, view["network"]).savefig(
            image, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None}
        )
    return {"summary.md": text, **figures, "summary.png": image.getvalue()}


def _name(point: Point) -> str:
    stages = point.get("stages")
    return f"`{point['label']}`" + (f" ({stages:g} {'stage' if stages == 1 else 'stages'})" if stages else "")


def _scope(points: Sequence[Point], view: Mapping[str, Any]) -> str:
    clock, network = view["clock_ns"], view["network"]
    parts = [f"{len(points)} designs"]
    if view["technology"] is not None:
        parts.append(view["technology"])
    parts.append("no clock target" if clock is None else f"at {clock:g} ns ({1000 / clock:.0f} MHz)")
    if network is not None:
        counts = {n for point in points if (n := value(point, "n", network)) is not None}
        parts.append(network + (f", {counts.pop():,.0f} images" if len(counts) == 1 else ""))
    return "; ".join(parts) + "."


def _figure_text(number: float | None) -> str:
    """Four significant digits, or as many as the whole part has."""
    if number is None:
        return "–"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def _table(front: Sequence[Point], network: str) -> list[str]:
    """The front of accuracy against cost; columns that no design of it has a figure for are left out."""
    keys = [axis.key for axis in AXES if axis.key not in ("leakage_uw", "throughput_per_area")]
    keys = [key for key in keys if any(value(point, key, network) is not None for point in front)]
    heads = [f"{_AXIS[key].label} ({_AXIS[key].unit})" for key in keys]
    lines = [
        "| design | kind | " + " | ".join(heads) + " |",
        "| --- | --- |" + " ---: |" * len(keys),
    ]
    for point in front:
        kind = KINDS[point["kind"]][0] if point.get("kind") in KINDS else point.get("kind", "–")
        lines.append(
            f"| {_name(point)} | {kind} | " + " | ".join(_cell(point, key, network) for key in keys) + " |"
        )
    return lines


def _cell(point: Point, key: str, network: str) -> str:
    number = value(point, key, network)
    if number is not None and key in ("accuracy", "loss"):
        return f"{number:+.2f}" if key == "loss" else f"{number:.2f}"
    return _figure_text(number)


def _figure(points: Sequence[Point], network: str | None) -> Figure:
    """Accuracy against area, and against energy beside it, each with its front a kind."""
    figure = Figure(figsize=(10.5, 4.2))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, cost in ((left, "um2"), (right, "energy_pj")):
        _panel(axes, points, cost, network)
    left.set_ylabel("accuracy (%)" if network is None else f"{network}: accuracy (%)")
    handles, labels = max(
        (axes.get_legend_handles_labels() for axes in (left, right)), key=lambda each: len(each[0])
    )
    if handles:
        figure.legend(handles, labels, loc="upper center", ncols=len(labels), bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    return figure


def _panel(axes: Axes, points: Sequence[Point], cost: str, network: str | None) -> None:
    label = _AXIS[cost].label[0].lower() + _AXIS[cost].label[1:]
    axes.set_xlabel(f"{label} ({_AXIS[cost].unit})")
    there = [
        point
        for point in points
        if value(point, cost, network) is not None and value(point, "accuracy", network) is not None
    ]
    if not there:
        axes.text(0.5, 0.5, f"no {label} with an accuracy yet", ha="center", transform=axes.transAxes)
        return
    best = max(value(point, "accuracy", network) for point in there)
    close = [point for point in there if value(point, "accuracy", network) >= best - _SHOWN_LOSS]
    for kind, (words, color, marker) in KINDS.items():
        some = [point for point in close if point.get("kind") == kind]
        if not some:
            continue
        front = pareto_front(some, cost, "accuracy", network)
        for members, strong in ((some, False), (front, True)):
            axes.scatter(
                [point[cost] for point in members],
                [value(point, "accuracy", network) for point in members],
                marker=marker,
                s=24 if strong else 15,
                color=color,
                alpha=1 if strong else 0.35,
                linewidths=0,
                label=words if strong else None,
                zorder=3 if strong else 2,
            )
        axes.step(
            [point[cost] for point in front],
            [value(point, "accuracy", network) for point in front],
            where="post",
            color=color,
            linewidth=1,
            zorder=2.5,
        )
    if below := len(there) - len(close):
        axes.set_title(f"{below} designs lie further down", fontsize=8, color="#555555", loc="right")
