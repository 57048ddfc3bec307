"""The page's second half: real layers, other roundings, RTL, and accuracy foretold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sim.markdown import table
from sim.studies.chunk.findings import (
    CLOSE,
    LAWS,
    NETWORKS,
    even_ratios,
    longest,
    network_name,
    percent,
    quantiles,
)
from sim.studies.chunk.networks import WAYS
from sim.studies.chunk.operands import of_rows
from sim.studies.chunk.page_law import held

__all__ = ["accuracy_section", "layers_section", "roundings_section", "rtl_section"]

_ROUNDINGS = {
    "rz": "toward zero",
    "rne": "nearest even",
    "sr8": "stochastic, 8 bits",
    "sr2": "stochastic, 2 bits",
}

_WAYS = {
    "places": "by place",
    "both": "gain and noise",
    "gain": "gain alone",
    "noise": "noise alone",
    "operands": "neither",
}


#: Network -> why a form of the law is far from it.
_MISSED = {
    "resnet20": (
        "What the closed forms miss in ResNet-20 is that zeros come in runs (a channel that is off is off "
        "for its nine places, so whole chunks stay empty), differ from output to output, and fall on outputs "
        "that matter little."
    ),
    "minilm": (
        "In MiniLM's product 7, out of the first block's 1536 hidden units, a few sums have almost all the "
        "energy, and in each of them one product has; such a sum is no walk, and no form of the law has it."
    ),
}


def layers_section(data: dict) -> str:
    """The laws on the operands of real layers."""
    part = data["layers"]
    groups = [(network_name(name), of_rows(rows)) for name, rows in part["networks"].items()]
    lines = [
        "## On layers of real networks",
        "",
        f"e3m4 operands fitted to each tensor, {part['rows']} rows of every layer (of MiniLM, all products "
        f"of the first and the last block), chunks {_each(groups, 'c')}, M {_each(groups, 'M')}. Within "
        f"{CLOSE}, and the largest distance:",
        "",
        table(["network", "settings", *LAWS.values()], held(groups)),
        "",
    ]
    lines += [f"* {_layers_line(name, rows)}" for name, rows in groups]
    lines += [f"* {network_name(name)} is missing: {why}" for name, why in part["missing"].items()]
    reasons = [why for name, why in _MISSED.items() if name in part["networks"]]
    return "\n".join([*lines, "", " ".join(reasons)]).rstrip()


def _each(groups: Sequence[tuple[str, list[dict]]], column: str) -> str:
    *values, last = sorted({row[column] for _, rows in groups for row in rows})
    return " and ".join([", ".join(map(str, values)), str(last)] if values else [str(last)])


def _layers_line(name: str, rows: Sequence[dict]) -> str:
    low, middle, high = quantiles([row["noise"] / row["noise_by_step"] for row in rows])
    bad = sorted({row["layer"] for row in rows if abs(row["step"] - row["gain"]) > CLOSE})
    outside = (
        f" Outside {CLOSE} somewhere: products {', '.join(map(str, bad))}, counted from 0." if bad else ""
    )
    least, most = ([pick(row[x] for row in rows) for x in ("correlation", "zeros")] for pick in (min, max))
    return (
        f"{name}: noise is {middle:.2f} times the law's in the median, {low:.2f} to {high:.2f} in nine of "
        f"ten; E y² / Σ E p² from {least[0]:.1f} to {most[0]:.1f}, zeros {percent(least[1])} to "
        f"{percent(most[1])}.{outside}"
    )


def roundings_section(data: dict) -> str:
    """What a scale repairs, and what other roundings leave."""
    part = data["roundings"]["roundings"]
    rows = of_rows(part["normal"])
    length = longest(rows)
    error, noise = (even_ratios(rows, column) for column in ("error", "noise"))
    titles = ("M", "c", "rounding", "gain", "by step", "error", "noise", "noise by step", "by place")
    return "\n".join(
        [
            "## Noise against gain, and other roundings",
            "",
            "![Error energy by rounding and repair](chunk-noise.svg)",
            "",
            "*Error* is the energy of got - exact as it comes, *noise* what one scale leaves, *by place* "
            "what is left with weights over the gains of their places ([the "
            "taper](../calibration.md#the-taper)); error over the energy of the exact sums. Normal "
            f"operands, e8m7, K = {length}:",
            "",
            table(titles, _rounding_cells(rows, length), words=3),
            "",
            f"Toward zero, in chunks of 16, the error as it comes is {min(error):.0f} to {max(error):.0f} "
            f"times that of nearest even, after one scale {min(noise):.0f} to {max(noise):.0f} times, over "
            "the M that were tried.",
            "",
            "A stochastic rounding with r random bits cuts to M + r bits first, and that is a gain again, "
            "of at most δ/2^r a step: with 8 bits there is none to see. Nearest even loses nothing on a "
            "walk until many products are below half a unit. On a straight line it swamps as truncation "
            "does, only later, and stochastic rounding alone keeps the mean. Where a thousand steps lose "
            "nothing, the law's average over pairs has an error of its own, which shows as gains around 1. "
            f"All positive, K = {length}:",
            "",
            table(titles, _rounding_cells(of_rows(part["positive"]), length), words=3),
        ]
    )


def _rounding_cells(rows: Sequence[dict], length: int) -> list[list[str]]:
    return [
        [
            *(str(row["M"]), str(row["c"]), _ROUNDINGS[row["rounding"]]),
            *(f"{row['gain']:.3f}", f"{row['step']:.3f}", f"{row['error']:.1e}", f"{row['noise']:.1e}"),
            *(f"{row['noise_by_step']:.1e}", _scientific(row["tapered_noise"])),
        ]
        for row in rows
        if row["K"] == length and row["M"] in (4, 7)
    ]


def _scientific(value: Any) -> str:
    return "" if value == "-" else f"{value:.1e}"


def rtl_section(data: dict) -> str:
    """Gains of the hardware."""
    rows = of_rows(data["rtl"]["runs"])
    cells = [
        [
            *(f"`{row['config'].partition('_p_')[2]}`", str(row["K"]), f"{row['gain']:.4f}"),
            *(f"{row['kernel_gain']:.4f}", f"{row['wide_gain']:.4f}", f"{row['step']:.4f}"),
            *(str(row["words"]), str(row["differ"])),
        ]
        for row in rows
    ]
    titles = [
        *("products and sums", "K", "RTL", "kernels", "8 exponent bits"),
        *("law by step", "words", "differ"),
    ]
    return "\n".join(
        [
            "## The same from RTL",
            "",
            f"Normal operands of e3m4 on the Verilated {data['rtl']['tile']} tile, with 4 exponent bits, "
            f"compared word by word with the kernels: {sum(row['differ'] for row in rows)} of "
            f"{sum(row['words'] for row in rows)} differ. *8 exponent bits* is the kernels' gain with the "
            "range of the rest of this page.",
            "",
            table(titles, cells),
        ]
    )


def accuracy_section(data: dict) -> str:
    """Predicted and measured accuracy, network by network."""
    lines = [
        "## Accuracy, foretold",
        "",
        "![Predicted against measured accuracy](chunk-accuracy.svg)",
        "",
        "A network runs in float32 on the operands that the accumulator would get, and each product's "
        "result is changed as the law has it; the law knows some rows of each layer, on calibration inputs. "
        "No narrow sum is computed. *Measured* is bit for bit, from docs/results/calibration.json and "
        "zero-shot.json: on the same inputs where those keep them one by one, otherwise on as many as the "
        "row has. Rows are named by accumulator, rounding, and where biases and chunks come from "
        "([calibration.md](../calibration.md)); f32 has "
        "float32 operands. " + "; ".join(f"*{name}*: {WAYS[way]}" for way, name in _WAYS.items()) + ". In "
        "parentheses: float32's score less the 95 % interval of the loss, which is paired by input.",
        "",
    ]
    for name in NETWORKS:
        if name in data:
            lines += _network_table(data[name])
    return "\n".join(lines)


def _network_table(part: dict) -> list[str]:
    unit = "%" if part["metric"] == "accuracy" else f"{part['metric']} × 100"
    cells = [
        [
            row["row"],
            f"{min(row['gains']):.2f} to {max(row['gains']):.2f}",
            f"**{100 * row['measured']:.1f}**" + _count(row, part),
            *(f"{100 * row['predicted'][way]:.1f}" + _interval(row, part, way) for way in _WAYS),
        ]
        for row in part["rows"]
    ]
    return [
        f"{NETWORKS[part['network']]}, {part['n']} inputs, {unit}; float32 {100 * part['float32']:.1f}:",
        "",
        table(["row", "gains of layers", "measured", *_WAYS.values()], cells),
        "",
    ]


def _interval(row: dict, part: dict, way: str) -> str:
    """Where it is kept: float32's value and the interval of what is lost."""
    ends = [100 * (part["float32"] + end) for end in row["predicted"].get(f"{way}_interval", [])]
    return f" ({ends[0]:.1f} to {ends[1]:.1f})" if ends else ""


def _count(row: dict, part: dict) -> str:
    return "" if row["measured_n"] == part["n"] else f" (of {row['measured_n']})"
