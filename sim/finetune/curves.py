"""Curves of the perceptrons on 8-bit accumulators: accuracy over the overflow range, by estimator."""

from __future__ import annotations

import statistics
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from golden.catalog import find
from golden.config import FloatFormat
from sim.figures import STYLE, svg_text

__all__ = ["CURVES", "TASK_NAMES", "accumulator_of", "accuracy_over_bias", "range_of"]

Rows = list[dict[str, Any]]

TASK_NAMES = {"digits": "Digits", "fashion-mnist": "Fashion-MNIST"}

#: Colour and marker of an estimator's curve, distinct to the colour-blind.
CURVES = {
    "identity": ("#0072b2", "o"),
    "immediate/of": ("#d55e00", "s"),
    "recursive/of": ("#009e73", "D"),
    "immediate/diff": ("#cc79a7", "^"),
    "recursive/diff": ("#999999", "v"),
}


def accumulator_of(row: dict) -> FloatFormat:
    """The format of a row's sums."""
    return find(row["config"]).accumulator.format


def range_of(row: dict) -> tuple[str, int]:
    """Format and bias, by which rows are sorted."""
    number = accumulator_of(row)
    return number.silicon_name, number.bias


def accuracy_over_bias(task: str, rows: Rows) -> str:
    """SVG: a panel a format; one curve an estimator, and the spread of its seeds."""
    narrow = [row for row in rows if row["group"] == "mlp" and row["accumulators"] == "narrow"]
    twin = [row for row in rows if row["group"] == "mlp" and row["accumulators"] == "float32"]
    numbers = sorted({range_of(row)[0] for row in narrow})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(numbers), 3.6))
        for axis, number in zip(figure.subplots(1, len(numbers), squeeze=False)[0], numbers, strict=True):
            for rule, (color, marker) in CURVES.items():
                here = [row for row in narrow if row["rule"] == rule and range_of(row)[0] == number]
                biases = sorted({range_of(row)[1] for row in here})
                groups = [[100 * row["value"] for row in here if range_of(row)[1] == b] for b in biases]
                if groups:
                    axis.errorbar(
                        biases,
                        [statistics.mean(group) for group in groups],
                        [statistics.stdev(group) if len(group) > 1 else 0.0 for group in groups],
                        color=color,
                        marker=marker,
                        markersize=3.5,
                        linewidth=1.1,
                        capsize=2,
                        label=rule,
                    )
            if twin:
                axis.axhline(
                    100 * statistics.mean(row["value"] for row in twin), color="#555555", linewidth=0.8
                )
            axis.set_title(f"{TASK_NAMES[task]}, {number} accumulator")
            axis.set_xlabel("b, the accumulator's bias (range halves with each step)")
        figure.axes[0].set_ylabel(f"right (%), {narrow[0]['n']} test images")
        figure.axes[0].legend(loc="lower left", fontsize=7)
        figure.tight_layout()
        return svg_text(figure)
