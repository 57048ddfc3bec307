"""Certificates as tables: on a terminal, and in the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

__all__ = ["layer_rows", "printed", "section"]

_FIXED = """\
Widths in bits that no input can exceed, the least and the greatest of a network's products. *Types*
knows formats and K alone, the others know the weights. In accumulators of the width under *signs*
nothing overflows in any order and chunk, and in one bit less something does for some input; *inner sums
in order* is for an inner accumulator of the configuration's chunks under a wider outer one. *Observed*
is what test inputs needed."""
_FLOAT = """\
Float accumulators: the products of a network in which nothing can overflow (or underflow), those for
which the certificate has inputs on which it does, and how far a result can be from the exact one where
nothing overflows."""
_TIGHT = """\
How near the bound errors come: `python -m sim.certify.measure`."""
_PROOFS = """\
Bounds proved again on the overflow flags of the RTL, MAC by MAC and chunk adder by chunk adder, for all
inputs, and inputs on which the flag is raised in one bit less."""

#: Widths at which layers are counted.
_WIDTHS = (12, 16, 20, 24)


def printed(certificate: dict[str, Any]) -> str:
    """The certificate's layers, for a terminal."""
    rows = [_line(certificate["certificate"], row) for row in layer_rows(certificate)]
    texts = [list(rows[0]), *([_text(each) for each in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(
            each.ljust(size) if i == 0 else each.rjust(size)
            for i, (each, size) in enumerate(zip(line, widths, strict=True))
        )
        for line in texts
    )


def _line(kind: str, row: dict[str, Any]) -> dict[str, Any]:
    about = {key: row[key] for key in ("layer", "K", "channels")}
    if kind == "fixed":
        return about | {
            "types": row["types"],
            "l1 norm": row["l1"],
            "signs": row["signs"],
            "calibrated": row["calibrated"],
            "chunks": row["chunks"],
            "observed": row["observed"],
            "channels' widths": f"{row['channel_widths'][0]} to {row['channel_widths'][-1]}",
            "lossless": "any order" if row["lossless"] else "in order" if row["lossless_in_order"] else "no",
        }
    return about | {
        "error <= x sum|x||w|": row["gamma"],
        "+": row["eta"],
        "overflow": _verdict(row, "overflow"),
        "underflow": _verdict(row, "underflow"),
        "seen": f"{row['overflows']}, {row['underflows']}",
        "error / bound": row["largest_ratio"],
    }


def _verdict(row: dict[str, Any], event: str) -> str:
    """Of products, inner and outer sums: excluded, shown to happen on some input, or neither."""
    possible = [each for each in row["possible"] if each.endswith(event)]
    if not possible:
        return "excluded"
    return ", ".join(
        each.removesuffix(f" {event}") + ("" if each in row["shown"] else " (open)") for each in possible
    )


def layer_rows(certificate: dict[str, Any]) -> list[dict[str, Any]]:
    """What tables show of each layer, by column."""
    return [
        (_fixed_row if certificate["certificate"] == "fixed" else _float_row)(layer)
        for layer in certificate["layers"]
    ]


def _fixed_row(layer: dict[str, Any]) -> dict[str, Any]:
    claim, observed = layer["claims"]["format"], layer.get("observed", {})
    return {
        "layer": layer["name"],
        "K": layer["length"],
        "channels": layer["channels"],
        "weights": layer["tensor"] is not None,
        **layer["summary"],
        "observed": observed.get("outer_width"),
        "observed_chunks": observed.get("chunk_width"),
        "outside": observed.get("outside_calibrated"),
        "lossless": claim["fits"],
        "lossless_in_order": claim["chunk_fits"] and claim["outer_fits"],
        "channel_widths": sorted(claim["widths"]),
    }


def _float_row(layer: dict[str, Any]) -> dict[str, Any]:
    claim, observed = layer["claims"]["format"], layer.get("observed", {})
    return {
        "layer": layer["name"],
        "K": layer["length"],
        "channels": layer["channels"],
        "weights": layer["tensor"] is not None,
        "gamma": claim["gamma"],
        "eta": claim["eta"],
        "possible": claim["possible"],
        "shown": sorted(layer["witnesses"]),
        "possible_calibrated": layer["claims"]["calibrated"]["possible"],
        "overflows": observed.get("overflow"),
        "underflows": observed.get("underflow"),
        "largest_ratio": observed.get("largest_ratio"),
        "median_ratio": observed.get("median_ratio"),
    }


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(rows: Sequence[dict[str, str]]) -> str:
    lines = [list(rows[0]), ["---", *["---:"] * (len(rows[0]) - 1)], *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _span(layers: Sequence[dict[str, Any]], key: str) -> str:
    found = [layer[key] for layer in layers if layer[key] is not None]
    return f"{min(found)}-{max(found)}" if found else "-"


def _fixed_line(row: dict[str, Any]) -> dict[str, str]:
    layers = row["layers"]
    gaps = [each["signs"] - each["observed"] for each in layers if each["observed"] is not None]
    lossless = [sum(each["signs"] <= bits for each in layers) for bits in _WIDTHS]
    return {
        "command": f"`{row['command']}`",
        "products": str(len(layers)),
        "types": _span(layers, "types"),
        "l1 norm (A2Q)": _span(layers, "l1"),
        "signs": _span(layers, "signs"),
        "signs, inputs as calibrated": _span(layers, "calibrated"),
        "inner sums in order": _span(layers, "chunks"),
        "observed": _span(layers, "observed"),
        "signs over observed, mean": f"{mean(gaps):.1f}" if gaps else "-",
        f"lossless at {', '.join(map(str, _WIDTHS))}": ", ".join(map(str, lossless)),
        "lossless as configured": str(sum(each["lossless"] for each in layers)),
        "n": f"{row['n']} {row['unit']}",
        "checker": _checked(row),
    }


def _float_line(row: dict[str, Any]) -> dict[str, str]:
    layers = row["layers"]

    def excluded(*events: str) -> str:
        return str(sum(not set(events) & set(each["possible"]) for each in layers))

    def shown(event: str) -> str:
        return str(sum(any(name.endswith(event) for name in each["shown"]) for each in layers))

    ratios = [each["largest_ratio"] for each in layers if each["largest_ratio"] is not None]
    gammas = [each["gamma"] for each in layers]
    return {
        "command": f"`{row['command']}`",
        "products": str(len(layers)),
        "error at most, share of Σ\\|x\\|\\|w\\|": f"{min(gammas):.3f}-{max(gammas):.3f}",
        "overflow excluded": excluded("product overflow", "inner overflow", "outer overflow"),
        "in any order": excluded("product overflow", "any order"),
        "overflow shown": shown("overflow"),
        "underflow excluded": excluded("product underflow", "inner underflow", "outer underflow"),
        "underflow shown": shown("underflow"),
        "overflows seen": str(sum(each["overflows"] or 0 for each in layers)),
        "largest error over its bound": f"{max(ratios):.3f}" if ratios else "-",
        "n": f"{row['n']} {row['unit']}",
        "checker": _checked(row),
    }


def _checked(row: dict[str, Any]) -> str:
    checker = row["checker"]
    return f"{checker['holds']} of {checker['layers']} hold, {checker['seconds']:.1f} s"


def _tightness_line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "configuration": f"`{row['config']}`",
        "K": str(row["length"]),
        "inputs": row["inputs"],
        "dot products": f"{row['n']:,}",
        "largest error over its bound": f"{row['largest_ratio']:.3f}",
    }


def _proof_line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "command": f"`{row['command']}`",
        "layer": row["layer"],
        "RTL": f"`{row['rtl']}`",
        "channels": str(row["channels"]),
        "steps proved": f"{row['steps']:,}",
        "AND gates": f"{row['gates']:,}",
        "s": f"{row['seconds']:.0f}",
        "one bit less": row["converse"],
        "a chunk, in one query": row.get("chunk_converse", "not asked"),
    }


def _part(
    title: str, rows: Sequence[dict[str, Any]], line: Callable[[dict[str, Any]], dict[str, str]]
) -> str:
    return f"{title}\n\n{_table([line(row) for row in rows])}" if rows else ""


def section(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = results.get("rows", [])
    parts = [
        "## Certificates",
        _part(_FIXED, [row for row in rows if row["certificate"] == "fixed"], _fixed_line),
        _part(_FLOAT, [row for row in rows if row["certificate"] == "float"], _float_line),
        _part(_TIGHT, results.get("tightness", []), _tightness_line),
        _part(_PROOFS, results.get("proofs", []), _proof_line),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
