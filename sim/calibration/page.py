"""Tables and a figure of the results of ``python -m sim.calibration``, for docs/results.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sim.statistics import paired_interval

__all__ = ["TOPIC", "figures", "headline", "section"]

#: The name of the results file and of the figure, in docs/results/.
TOPIC = "calibration"

Row = dict[str, Any]

_NETWORKS = {
    "resnet20": ("ResNet-20", "images of the JPEG copy of CIFAR-10", "right, %"),
    "resnet56": ("ResNet-56", "images of the JPEG copy of CIFAR-10", "right, %"),
    "minilm": ("MiniLM", "pairs of the STS benchmark", "Spearman × 100"),
}

_BASELINE, _TAPER, _ALL = "named", "rule+taper", "rule+taper+gain+bias"
_HEADLINE = {_BASELINE, _TAPER, _ALL}

#: The accumulator whose chunks are listed layer by layer: the paper's.
_CHUNKS_OF = "e4m7"


def section(results: dict) -> str:
    """Markdown: what each step recovers, and how well the law predicts and chooses."""
    rows = results["rows"]
    parts = [
        "## Calibration without training",
        "",
        "FP8 operands (e3m4, one bias a tensor); products and sums in the accumulator's format, toward zero "
        "unless a row says nearest even; nothing is trained. [calibration.md](calibration.md) derives the "
        "law and says what the steps are: *named* has the biases that a configuration starts from (the "
        "paper's 12 and 10 for e4), *rule* those of least error by the law; *taper* divides the weights of "
        "each place in a sum by what the law says truncation leaves of it; *gain* is measured by output "
        "channel and multiplies results, *bias* restores the means, which alone does harm: it adds what "
        "truncation took on average to sums that are too small by a factor. All but *chunk* (the law's one "
        "for the network) and *chunks* (one a layer) leave the multiply-accumulate and its "
        "chunks of 16 as they are.",
        "",
        f"![Predicted and measured errors, and points lost](results/{TOPIC}.svg)",
        "",
        *_networks([row for row in rows if row["kind"] == "network"]),
        *_layers([row for row in rows if row["kind"] == "layers"]),
        *_made_by(rows),
    ]
    return "\n".join(parts).rstrip() + "\n"


def headline(results: dict) -> str:
    """What the weights alone, and all steps, recover of ResNet-20, accumulator by accumulator."""
    rows = [
        row
        for row in results["rows"]
        if row["kind"] == "network" and row["network"] == "resnet20" and row["rounding"] == "rz"
    ]
    n = max(row["n"] for row in rows)
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["n"] == n:
            found.setdefault(row["accumulator"], {})[row["calibration"]] = row
    clauses, float32 = [], 0.0
    for accumulator, of in sorted(found.items()):
        if of.keys() >= _HEADLINE:
            before, taper, all_steps = (of[name]["value"] for name in (_BASELINE, _TAPER, _ALL))
            float32 = of[_BASELINE]["float32_value"]
            clauses.append(
                f"{100 * before:.2f} % become {100 * taper:.2f} and {100 * all_steps:.2f} % in {accumulator}"
            )
    return (
        f"Without training, ResNet-20 on {n} images of the JPEG copy of CIFAR-10, FP8 operands, sums toward "
        f"zero: weights tapered against truncation alone, and with gain and bias correction as well: "
        f"{'; '.join(clauses)}. Float32 gets {100 * float32:.2f} %."
    )


def figures(results: dict) -> dict[str, str]:
    """File name -> SVG."""
    from sim.calibration.plot import plot  # matplotlib is for pages only

    return {f"{TOPIC}.svg": plot(results["rows"])}


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]], *, words: int) -> list[str]:
    """Markdown; the first ``words`` columns and those called command are text."""
    ruler = ["---" if i < words or title == "command" else "---:" for i, title in enumerate(titles)]
    rows = (titles, ruler, *lines)
    return [*("| " + " | ".join(row) + " |" for row in rows), ""]


def _networks(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for network, (title, unit, column) in _NETWORKS.items():
        mine = [row for row in rows if row["network"] == network]
        if not mine:
            continue
        counts = sorted({(row["n"], row["float32_value"]) for row in mine})
        stated = "; ".join(f"{n} {unit}, float32 gets {100 * value:.2f}" for n, value in counts)
        lines += [f"### {title}: what each step recovers", "", f"{stated}.", ""]
        titles = ["accumulator", "calibration", "chunk", "n", column, "against float32 [95 % interval]"]
        titles += [f"recovered, against {_BASELINE}", "command"]
        lines += _table(titles, (_network_line(row, mine) for row in _ordered(mine)), words=2)
    return lines


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """By accumulator; each in the order of measurement, nearest even last."""
    accumulators = list(dict.fromkeys(row["accumulator"] for row in rows))
    return sorted(rows, key=lambda row: (accumulators.index(row["accumulator"]), row["rounding"] == "rne"))


def _network_line(row: Row, rows: Sequence[Row]) -> list[str]:
    low, high = (100 * end for end in row["interval"])
    even = ", nearest even" if row["rounding"] == "rne" else ""
    chunks = row["chunks"]
    return [
        f"`{row['accumulator']}`{even}",
        row["calibration"].replace("+", " + "),
        str(chunks[0]) if len(chunks) == 1 else f"{chunks[0]} to {chunks[-1]}",
        str(row["n"]),
        f"{100 * row['value']:.2f}",
        f"{100 * row['difference']:+.2f} [{low:+.2f}, {high:+.2f}]",
        _recovered(row, rows),
        f"`{row['command']}`",
    ]


def _recovered(row: Row, rows: Sequence[Row]) -> str:
    """Points above the same accumulator as it is named, and their interval where answers are known."""
    same = ("accumulator", "n", "seed")
    baseline = next(
        (
            other
            for other in rows
            if other["calibration"] == _BASELINE and all(other[name] == row[name] for name in same)
        ),
        None,
    )
    if baseline is None or baseline is row:
        return ""
    points = f"{100 * (row['value'] - baseline['value']):+.2f}"
    if "correct" not in row:
        return points
    ours, theirs = (_unpacked(each["correct"], row["n"]) for each in (row, baseline))
    low, high = (100 * end for end in paired_interval(ours, theirs))
    return f"{points} [{low:+.2f}, {high:+.2f}]"


def _unpacked(digits: str, n: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))[:n].astype(bool)


def _layers(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for network, (title, *_) in _NETWORKS.items():
        mine = [row for row in rows if row["network"] == network]
        if mine:
            lines += [
                f"### {title}: the law, layer by layer",
                "",
                *_law(mine),
                *_biases(mine),
                *_chunks(mine),
            ]
    return lines


def _geometric(values: Iterable[float]) -> float:
    return math.exp(statistics.mean(math.log(value) for value in values))


def _law(rows: Sequence[Row]) -> list[str]:
    """Predictions against simulation, by accumulator."""
    lines = []
    for row in rows:
        layers = row["layers"]
        off = [100 * abs(each["gain"] - each["gain_by_law"]) for each in layers]
        simple = [100 * abs(each["gain"] - each["gain_by_simple_law"]) for each in layers]
        ratios = [each["error"] / each["error_by_law"] for each in layers]
        tapered = [each["tapered_error"] / each["error"] for each in layers]
        lines.append(
            [
                f"`{row['accumulator']}`",
                str(len(layers)),
                f"{min(each['gain'] for each in layers):.3f}",
                f"{statistics.mean(off):.2f} ({max(off):.2f})",
                f"{statistics.mean(simple):.2f} ({max(simple):.2f})",
                f"{_geometric(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                f"{100 * (1 - _geometric(tapered)):.0f} % ({100 * (1 - max(tapered)):.0f} to "
                f"{100 * (1 - min(tapered)):.0f})",
                f"{_geometric(each['tapered_error'] / each['nearest_error'] for each in layers):.2f}",
                f"`{row['command']}`",
            ]
        )
    titles = ["accumulator", "layers", "least gain", "gain off the law, points (most)"]
    titles += [
        "off the law without corrections",
        "error over predicted (from, to)",
        "error that taper removes (least to most)",
        "what is left, over nearest even's",
    ]
    return [
        "An error is 1 - cos² between the accumulator's output and the exact one, on sampled rows of "
        "training images, at the rule's biases; means over layers are of logarithms.",
        "",
        *_table([*titles, "command"], lines, words=1),
    ]


def _biases(rows: Sequence[Row]) -> list[str]:
    """Errors over the least of all pairs of biases."""
    lines = []
    for row in rows:
        each = [layer["biases"] for layer in row["layers"]]
        cells = []
        for name in ("named_error", "search_error", "paper_distance_error", "rule_error"):
            ratios = [biases[name] / biases["best_error"] for biases in each]
            cells.append(f"{_geometric(ratios):.3f} ({max(ratios):.2f})")
        distance = statistics.mean(biases["best"][0] - biases["best"][1] for biases in each)
        pairs = str(max(biases["pairs"] for biases in each))
        lines.append([f"`{row['accumulator']}`", *cells, f"{distance:.1f}", pairs, f"`{row['command']}`"])
    titles = ["accumulator", "as named", "search", "best of b_acc = b_prod - ½ log2(chunk)", "rule"]
    return [
        "Biases: error over the least of all pairs (b_prod, b_acc) around the rule's, mean over layers and "
        "the most; *search* tries seven offsets at the paper's distance (sim.calibrate). Then the mean "
        "b_prod - b_acc of the best pairs.",
        "",
        *_table([*titles, "best distance", "pairs", "command"], lines, words=1),
    ]


def _chunks(rows: Sequence[Row]) -> list[str]:
    """By layer, for one accumulator; and for the network, for all."""
    lines = []
    for row in rows:
        totals = _totals(row)
        best = min(totals, key=totals.get)
        ruled = row["network_chunk"]
        cells = [f"{size}: {1e3 * totals[size]:.2f}" for size in sorted(totals)]
        lines.append([f"`{row['accumulator']}`", str(ruled), str(best), "; ".join(cells)])
    text = [
        "Chunks for the whole network, since the chunk is silicon: the law's, the best, and the sum of all "
        "layers' errors × 1000 by chunk.",
        "",
        *_table(["accumulator", "law", "best", "errors"], lines, words=1),
    ]
    for row in rows:
        if row["accumulator"] == _CHUNKS_OF:
            text += [f"Layer by layer, `{_CHUNKS_OF}`, errors × 1000:", "", *_by_layer(row)]
    return text


def _totals(row: Row) -> dict[int, float]:
    """Sum of errors by chunk; a layer shorter than a chunk has one chunk."""
    errors = [
        {int(size): error for size, error in layer["chunks"]["errors"].items()} for layer in row["layers"]
    ]
    sizes = {size for each in errors for size in each}
    return {size: sum(each[min(size, max(each))] for each in errors) for size in sizes}


def _by_layer(row: Row) -> list[str]:
    lines = []
    for place, layer in enumerate(row["layers"]):
        chunks = layer["chunks"]
        errors = {int(size): error for size, error in chunks["errors"].items()}
        best = min(errors, key=errors.get)
        lines.append(
            [
                str(place),
                str(layer["length"]),
                f"{100 * layer['zeros']:.0f} %",
                f"{chunks['law']:.0f}",
                str(chunks["rule"]),
                str(best),
                *(f"{1e3 * errors[size]:.3f}" for size in (16, chunks["rule"], best)),
            ]
        )
    titles = [
        "layer",
        "K",
        "zeros",
        "√(K/(1-z))",
        "law",
        "best",
        "error at 16",
        "at the law's",
        "at the best",
    ]
    return _table(titles, lines, words=0)


def _made_by(rows: Sequence[Row]) -> list[str]:
    found = {}
    for row in rows:
        made = row["made_by"]
        packages = ", ".join(f"{name} {made[name]}" for name in ("torch", "numpy", "scipy"))
        found[f"backend {made['backend']}, {made['processor']}, Python {made['python']}, {packages}"] = None
    seeds = ", ".join(sorted({str(row["seed"]) for row in rows}))
    return [f"Measured with {'; '.join(found)}. Seed {seeds}.", ""]
