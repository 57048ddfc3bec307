"""What the page says in numbers, taken from the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sim.calibration.law import best_chunk, truncation_loss
from sim.studies.chunk.operands import of_rows

__all__ = [
    "CLOSE",
    "LAWS",
    "NETWORKS",
    "best_chunks",
    "chunk_summary",
    "even_ratios",
    "grid_rows",
    "holds",
    "longest",
    "loss_exponent",
    "network_name",
    "one",
    "percent",
    "quantiles",
    "walks",
]

#: A law holds where it is this close to the measured gain.
CLOSE = 0.02

#: Column of the grid -> what the page calls the law.
LAWS = {"first": "first form", "place": "by place", "step": "by step"}

#: Part of the study -> what readers call the network.
NETWORKS = {"resnet20": "ResNet-20", "resnet56": "ResNet-56", "minilm": "MiniLM"}

Row = dict[str, Any]


def grid_rows(data: dict, kind: str | None = None, number: str | None = None) -> list[Row]:
    """Rows of the grid, of one kind and format or of all."""
    rows = []
    for name, part in data["law"]["grid"].items():
        of_kind, of_number = name.split(" ")
        if kind in (None, of_kind) and number in (None, of_number):
            zeros = data["law"]["zeros"][of_kind]
            rows += [{"kind": of_kind, "format": of_number, "z": zeros, **row} for row in of_rows(part)]
    return rows


def walks(data: dict) -> list[Row]:
    """Settings whose products are of either sign."""
    return [row for row in grid_rows(data) if row["kind"] != "positive"]


def network_name(name: str) -> str:
    """For readers."""
    return NETWORKS.get(name, f"a perceptron for {name}")


def loss_exponent(row: Row) -> float:
    """Loss of one truncation times the steps an average product goes through, chunks and zeros counted."""
    inner = max((1 - row["z"]) * row["c"] - 1, 0) / 2
    outer = max(row["K"] / row["c"] - 1, 0) / 2
    return truncation_loss(row["M"]) * (inner + outer + 1)


def holds(rows: Sequence[Row], law: str) -> tuple[float, float]:
    """The share of rows in which the law is close, and its largest distance."""
    off = [abs(row[law] - row["gain"]) for row in rows]
    return sum(each <= CLOSE for each in off) / len(off), max(off)


def one(rows: Iterable[Row], **known: Any) -> Row:
    """The row with these values."""
    return next(row for row in rows if all(row[name] == value for name, value in known.items()))


def best_chunks(rows: Sequence[Row]) -> list[Row]:
    """For each K and M: the chunks of largest gain and least noise, the law's, and gains at some chunks."""
    found = []
    for length, man_bits in dict.fromkeys((row["K"], row["M"]) for row in rows):
        mine = [row for row in rows if (row["K"], row["M"]) == (length, man_bits)]
        by_chunk = {row["c"]: row for row in mine}
        root = best_chunk(length, mine[0]["z"])
        taken = min(by_chunk, key=lambda c, root=root: abs(c / root - 1) + abs(root / c - 1))
        top = max(mine, key=lambda row: row["gain"])
        found.append(
            {
                **{"K": length, "M": man_bits, "root": root, "taken": taken},
                **{"gain_chunk": top["c"], "noise_chunk": min(mine, key=lambda row: row["noise"])["c"]},
                **{"gain": top["gain"], "gain_at_root": by_chunk[taken]["gain"]},
                "gain_at_16": by_chunk[16]["gain"],
                "deviation": top["deviation"],
            }
        )
    return found


def chunk_summary(rows: Sequence[Row]) -> Row:
    """How good the law's chunk is.

    ``near``: how often the best is the power of two nearest to it, or next to that; ``within``: how often it
    is within a factor of two of it; ``lost``: the most gain that it gives away.
    """
    found = [row for kind in _kinds(rows) for row in best_chunks(kind)]
    near, within = (
        sum(0.5 <= row["gain_chunk"] / row[law] <= 2 for row in found) / len(found)
        for law in ("taken", "root")
    )
    return {
        "settings": len(found),
        "near": near,
        "within": within,
        "lost": max(row["gain"] - row["gain_at_root"] for row in found),
        "lost_at_16": max(row["gain"] - row["gain_at_16"] for row in found),
    }


def _kinds(rows: Sequence[Row]) -> list[list[Row]]:
    names = dict.fromkeys((row["kind"], row["format"]) for row in rows)
    return [[row for row in rows if (row["kind"], row["format"]) == name] for name in names]


def longest(rows: Sequence[Row]) -> int:
    """K of the longest sums."""
    return max(row["K"] for row in rows)


def even_ratios(rows: Sequence[Row], column: str) -> list[float]:
    """Toward zero over nearest even by M: longest sums, chunks of 16."""
    mine = [row for row in rows if row["K"] == longest(rows) and row["c"] == 16]
    widths = sorted({row["M"] for row in mine})
    return [one(mine, M=m, rounding="rz")[column] / one(mine, M=m, rounding="rne")[column] for m in widths]


def quantiles(values: Iterable[float]) -> tuple[float, float, float]:
    """The ends of the middle nine tenths, and the median between them."""
    ordered = sorted(values)
    low, middle, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.05, 0.5, 0.95))
    return low, middle, high


def percent(share: float) -> str:
    """Of a share; what is not all of it does not read like all of it."""
    digits = 1 if 0.995 <= share < 1 else 0
    return f"{100 * share:.{digits}f} %"
