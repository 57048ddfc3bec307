"""The report's figures, as SVG text; the same rows give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hw.cost.area import PARTS
from sim.figures import STYLE, svg_text

__all__ = [
    "KINDS",
    "accuracy_against_width",
    "area_against_accuracy",
    "area_by_component",
    "denoising_against_width",
]

#: Kind of accumulator -> (what the reader sees, colour, marker). Colours are distinct to the colour-blind.
KINDS = {
    "float": ("float", "#0072b2", "o"),
    "fixed": ("fixed point", "#d55e00", "s"),
    "exact": ("exact", "#009e73", "D"),
    "int": ("integer", "#cc79a7", "^"),
}

_OFFSETS = {"registers": "; offsets in registers", "wired": "; offsets wired in", "none": ""}

#: A colour for each of ``PARTS``.
_PART_COLORS = [
    "#4477aa",
    "#99ddff",
    "#66ccee",
    "#88ccaa",
    "#44aa99",
    "#228833",
    "#ccbb44",
    "#ee8866",
    "#ee6677",
    "#aa3377",
    "#bbbbbb",
]

_WIDTH = "accumulator width (bits)"

#: The first figure goes down to so many points below float32; what is worse is of no use to anybody.
_SHOWN_LOSS = 12


def _family(row: dict) -> str:
    """The curve a row belongs to: all its policies, in words, without its width."""
    words = [
        f"{KINDS[row['kind']][0]} ({row['operands']})",
        {"rz": "toward zero", "rne": "nearest"}.get(row["rounding"], ""),
    ]
    if row["overflow"] == "wrap" and row["kind"] != "exact":
        words.append("wrapping")
    if row["alignment_bits"] is not None:
        words.append(f"g = {row['alignment_bits']}")
    if row["kind"] == "float" and row["product"] == "exact":
        words.append("exact product")
    return ", ".join(word for word in words if word)


def accuracy_against_width(rows: Sequence[dict], tasks: Sequence[str]) -> str:
    """One panel a task: accuracy in per cent over accumulator bits, one curve a policy."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(tasks), 3.8))
        axes = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axis, task in zip(axes, tasks, strict=True):
            _curves(axis, rows, lambda row, task=task: 100 * row["tasks"][task]["accuracy"])
            reference = 100 * rows[0]["tasks"][task]["float32_accuracy"]
            _level(axis, reference, "float32")
            axis.set_title(f"{task}, {rows[0]['tasks'][task]['n']} images")
            axis.set_xlabel(_WIDTH)
            axis.set_ylim(reference - _SHOWN_LOSS, reference + 1.5)
        axes[0].set_ylabel("top-1 accuracy (%)")
        _legend(figure, axes[0])
        return svg_text(figure)


def denoising_against_width(rows: Sequence[dict], denoising: dict) -> str:
    """PSNR of denoised images in dB over accumulator bits, one curve a policy, beside the noisy images."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.8))
        axis = figure.subplots()
        _curves(axis, rows, lambda row: row["denoising"]["psnr"])
        _level(axis, denoising["float32_psnr"], "float32")
        _level(axis, denoising["noisy_psnr"], "not denoised")
        axis.set_title(f"{denoising['name']}, {denoising['n']} images, noise of σ = {denoising['sigma']:g}")
        axis.set_xlabel(_WIDTH)
        axis.set_ylabel("PSNR (dB)")
        axis.set_ylim(denoising["noisy_psnr"] - 1, denoising["float32_psnr"] + 0.6)
        _legend(figure, axis)
        return svg_text(figure)


def _curves(axis: Axes, rows: Sequence[dict], value: Callable[[dict], float]) -> None:
    """A value of each row over accumulator bits, one curve a policy."""
    families: dict[str, list[dict]] = {}
    for row in rows:
        families.setdefault(_family(row), []).append(row)
    for name, members in families.items():
        _, color, marker = KINDS[members[0]["kind"]]
        members = sorted(members, key=lambda row: row["bits"])
        dashed = "--" if "wrapping" in name else ":" if "nearest" in name else "-"
        axis.plot(
            [row["bits"] for row in members],
            [value(row) for row in members],
            color=color,
            marker=marker,
            linestyle=dashed,
            linewidth=1.1,
            markersize=3.5,
            markerfacecolor="white" if "g =" in name else color,
            label=name,
        )


def _level(axis: Axes, value: float, words: str) -> None:
    """A value that no accumulator changes, as a line across with its name at the right."""
    axis.axhline(value, color="#555555", linewidth=0.8)
    axis.annotate(words, (32, value), ha="right", va="bottom", color="#555555")


def _legend(figure: Figure, axis: Axes) -> None:
    """The policies, right of all panels."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(0.92, 0.5))


def area_against_accuracy(rows: Sequence[dict], front: Sequence[dict], baseline: dict, floor: float) -> str:
    """Area of the MAC in um2 against accuracy lost, both panels of one figure; ``front`` is joined.

    The left panel has all rows, the right one those that lose at most ``floor`` points.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 4.4))
        for axis, limit in zip(figure.subplots(1, 2), (None, floor), strict=True):
            shown = [row for row in rows if limit is None or -100 * row["difference"] <= limit]
            for kind, (words, color, marker) in KINDS.items():
                for offsets, filled in (("registers", False), ("wired", True), ("none", True)):
                    some = [row for row in shown if row["kind"] == kind and row["offsets"] == offsets]
                    axis.scatter(
                        [row["area"]["um2"] for row in some],
                        [row["accuracy"] * 100 for row in some],
                        marker=marker,
                        s=26,
                        facecolors=color if filled else "white",
                        edgecolors=color,
                        label=words + _OFFSETS[offsets] if some else None,
                        zorder=3,
                    )
            steps = [row for row in front if limit is None or -100 * row["difference"] <= limit]
            axis.step(
                [row["area"]["um2"] for row in steps],
                [100 * row["accuracy"] for row in steps],
                where="post",
                color="#333333",
                linewidth=0.9,
                zorder=2,
            )
            for row in steps if limit is not None else ():
                axis.annotate(
                    row["label"],
                    (row["area"]["um2"], 100 * row["accuracy"]),
                    textcoords="offset points",
                    xytext=(-5, 2),
                    ha="right",  # left of the front there is nothing
                    fontsize=7,
                )
            if limit is not None and shown:  # room for the names
                left, right = axis.get_xlim()
                axis.set_xlim(left - (right - left) / 5, right)
            axis.axvline(baseline["area"]["um2"], color="#999999", linewidth=0.8, linestyle="--")
            axis.set_xlabel("area of the MAC (µm²)")
            axis.set_ylabel("top-1 accuracy, all images (%)")
            axis.set_title("all rows" if limit is None else f"rows that lose at most {limit:g} points")
        figure.axes[0].legend(loc="lower right", fontsize=7)
        figure.tight_layout()
        return svg_text(figure)


def area_by_component(rows: Sequence[dict]) -> str:
    """Stacked bars of the parts mapped alone, and the flattened whole as a line across each bar."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 0.5 + 0.24 * len(rows)))
        axis = figure.subplots()
        places = list(range(len(rows)))[::-1]
        start = [0.0] * len(rows)
        for part, color in zip(PARTS, _PART_COLORS, strict=True):
            widths = [row["area"]["parts"].get(part, 0.0) for row in rows]
            if not any(widths):
                continue
            axis.barh(places, widths, left=start, color=color, height=0.7, label=part.replace("_", " "))
            start = [a + b for a, b in zip(start, widths, strict=True)]
        axis.scatter(
            [row["area"]["um2"] for row in rows],
            places,
            marker="|",
            s=90,
            color="black",
            label="flattened whole",
            zorder=3,
        )
        axis.set_yticks(places, [row["label"] for row in rows])
        axis.set_xlabel("area (µm²)")
        axis.grid(axis="y", visible=False)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return svg_text(figure)
