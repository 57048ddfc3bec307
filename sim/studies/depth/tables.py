"""The tables of the depth study's page, as Markdown."""

from __future__ import annotations

from sim.markdown import table

__all__ = [
    "bits_table",
    "case_of",
    "exponent_table",
    "field_table",
    "layer_table",
    "reach_table",
    "signal_table",
    "trained_table",
    "worst_difference",
]

#: Mode of an accumulator -> what the reader sees.
_MODES = {
    "rz": "toward zero",
    "rz repaired": "toward zero, weights by `init_`",
    "rne": "nearest even",
    "sr8": "stochastic, 8 bits",
}


def case_of(data: dict, name: str) -> dict:
    """The trajectory of that name."""
    return next(row for row in data["signal"]["rows"] if row["name"] == name)


def worst_difference(theory: dict) -> float:
    """Between 1 - chi and the least error of a quantizer."""
    return max(abs(row["one_minus_chi"] - row["quantizer_error"]) for row in theory["rows"])


def field_table(theory: dict) -> str:
    """Of each number of levels, what it is best at."""
    head = [
        "N",
        "spacing D/s",
        "σ_w",
        "slope backward",
        "ξ, layers",
        "L_max, layers",
        "1 - χ",
        "least quantizer error",
    ]
    rows = [
        [
            str(row["levels"]),
            f"{row['spacing']:.5f}",
            f"{row['sigma_w']:.5f}",
            f"{row['slope']:.5f}",
            f"{row['depth_scale']:.4g}",
            f"{row['max_depth']:.0f}",
            f"{row['one_minus_chi']:.10f}",
            f"{row['quantizer_error']:.10f}",
        ]
        for row in theory["rows"]
    ]
    return table(head, rows, words=0)


def exponent_table(theory: dict) -> str:
    """Local exponents, far out."""
    rows = [
        [
            str(row["levels"]),
            f"{row['exponent']:.3f}",
            f"{row['asymptotic']:.3f}",
            f"{row['over_asymptote']:.3f}",
        ]
        for row in theory["local"]
    ]
    return table(["N", "exponent from N to 2N", "-2 + 1/ln N", "(1 - χ) over 4 ln N / 3N²"], rows, words=0)


def layer_table(theory: dict) -> str:
    """Correlations of random layers."""
    rows = [
        [
            str(row["levels"]),
            f"{row['before']:g}",
            f"{row['after']:.5f} ± {row['standard_error']:.5f}",
            f"{row['predicted']:.5f}",
            str(row["pairs"]),
        ]
        for row in theory["layers"]
    ]
    head = ["N", "correlation before", "after one layer", "by the theory", "pairs of inputs"]
    return table(head, rows, words=0)


def signal_table(signal: dict) -> str:
    """Where variance and correlation are after the last layer."""
    names = {
        "exact": "exact",
        "rz": "toward zero",
        "rz repaired": "toward zero, weights by `init_`",
        "rz, first law": "toward zero, σ_w over the first form of the law",
        "rne": "nearest even",
    }
    rows = [
        [
            names[row["name"]],
            f"{row['sigma_w']:.4f}",
            f"{row['variance'][-1]:.3f} ({row['predicted_variance'][-1]:.3f})",
            f"{row['correlation'][-1]:.3f} ({row['predicted_correlation'][-1]:.3f})",
            f"{row['settled_variance']:.3f}",
            f"{row['max_depth']:.0f}",
        ]
        for row in signal["rows"]
    ]
    head = ["sums", "σ_w", f"variance after {signal['depth']} layers (theory)", "correlation (theory)"]
    return table([*head, "variance settles at", "L_max, layers"], rows)


def reach_table(reach: dict) -> str:
    """Layers that a correlation survives, measured and predicted, one row for each accumulator."""
    levels = sorted({row["levels"] for row in reach["rows"]})
    cases = list(dict.fromkeys((row["mode"], row["man_bits"]) for row in reach["rows"]))
    rows = []
    for mode, man_bits in cases:
        mine = {r["levels"]: r for r in reach["rows"] if (r["mode"], r["man_bits"]) == (mode, man_bits)}
        gain = mine[levels[-1]]
        rows.append(
            [
                _MODES.get(mode, mode),
                "" if man_bits is None else str(man_bits),
                f"{gain['deviation']:.3f} ({gain['predicted_deviation']:.3f})",
                f"{gain['predicted_noise']:.1e}",
                *(_layers(mine[n], reach["deepest"]) for n in levels),
            ]
        )
    head = ["sums", "M", "gain (law)", "noise ν by the law", *(f"N = {n}: layers (theory)" for n in levels)]
    return table(head, rows)


def _layers(row: dict, deepest: int) -> str:
    both = [
        f"over {deepest}" if value is None else f"{value:.1f}"
        for value in (row["reach"], row["predicted_reach"])
    ]
    return f"{both[0]} ({both[1]})"


def bits_table(bits: dict) -> str:
    """Mantissa bits by length of sums and levels."""
    rows = [
        [
            str(row["fan_in"]),
            str(row["levels"]),
            *(_number_of_bits(row[mode], *bits["tried"]) for mode in _MODES),
        ]
        for row in bits["rows"]
    ]
    return table(["products in a sum", "N", *_MODES.values()], rows, words=0)


def _number_of_bits(bits: float | None, least: int, most: int) -> str:
    if bits is None:
        return f"over {most}"
    return f"at most {least}" if bits == least else f"{bits:.1f}"


def trained_table(trained: dict) -> str:
    """Accuracies of networks trained on the accumulator."""
    rows = [
        [
            str(row["depth"]),
            _MODES[row["mode"]],
            str(row["man_bits"]),
            f"{row['max_depth']:.0f}",
            f"{100 * row['train']:.1f}",
            f"{100 * row['test']:.1f}",
        ]
        for row in trained["rows"]
    ]
    head = [
        "layers",
        "sums",
        "M",
        "L_max by theory",
        "training accuracy, %",
        f"test, % of {trained['n_test']}",
    ]
    return table(head, rows, words=2)
