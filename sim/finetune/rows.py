"""Rows of the results: picking some, and their means with what they spread."""

from __future__ import annotations

import statistics
from typing import Any

__all__ = ["TWIN", "Rows", "complete", "difference_text", "of", "value_text"]

Rows = list[dict[str, Any]]

#: The label of runs with float32 accumulators.
TWIN = "float32 accumulators"


def complete(rows: Rows) -> Rows:
    """Those that are of all test inputs: trials are not for the page."""
    return [row for row in rows if ", limit " not in row["key"]]


def of(rows: Rows, **wanted: object) -> Rows:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def value_text(rows: Rows, name: str = "value") -> str:
    """Mean and standard deviation in percent, and how many diverged."""
    values = [100 * row[name] for row in rows]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else " (1 seed)"
    if name == "before" and len(set(values)) == 1:
        spread = ""  # one network, judged once
    diverged = sum(row["diverged"] for row in rows) if name == "value" else 0
    return f"{statistics.mean(values):.2f}{spread}" + (f" ({diverged} diverged)" if diverged else "")


def difference_text(rows: Rows, others: Rows) -> str:
    """Points above others of the same seeds: mean and standard deviation."""
    other = {row["seed"]: row["value"] for row in others}
    points = [100 * (row["value"] - other[row["seed"]]) for row in rows if row["seed"] in other]
    if not points:
        return ""
    spread = f" ± {statistics.stdev(points):.2f}" if len(points) > 1 else ""
    return f"{statistics.mean(points):+.2f}{spread}"
