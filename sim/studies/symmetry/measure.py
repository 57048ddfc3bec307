"""The study's training runs, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim.studies.symmetry.dataflows import DATAFLOWS
from sim.studies.symmetry.leaky import measure_pairs
from sim.studies.symmetry.runs import PRODUCTS, Run, in_parallel, perform

__all__ = [
    "ACROSS",
    "FLOATS",
    "measure_alike",
    "measure_apart",
    "measure_fixed",
    "measure_leaky",
    "measure_long",
    "measure_products",
    "measure_random",
    "measure_words",
]

Report = Callable[[str], None]

#: Of runs whose accuracy is told, of those that only show whether filters differ, and of quick ones.
STEPS, SHORT_STEPS, QUICK_STEPS = 320, 100, 12

LONG_STEPS = 450  #: As many as the first estimates were made with.
SEEDS = 3  #: Of random weights.

#: Accumulators of several widths, and of fixed point.
ACROSS = ("e8m4", "e8m7", "e8m10", "e8m23", "fixed20")
FLOATS = ("e8m4", "e8m7", "e8m23")


def _measured(runs: Sequence[Run], quick: bool, report: Report) -> dict:
    """All runs; the quick ones here, in one process."""
    results = []
    for result in map(perform, runs) if quick else in_parallel(runs):
        results.append(result)
        what = (result["network"], result["dataflow"], result["accumulator"], result["only"] or "")
        report(
            f"{' '.join(what)}: {result['distinct']} filters, first difference "
            f"{result['first_difference']}, accuracy {result['accuracy']:.3f}"
        )
    return {"runs": results}


def _steps(quick: bool) -> int:
    return QUICK_STEPS if quick else STEPS


def measure_alike(quick: bool, report: Report) -> dict:
    """ConstNet under every order that is the same for all columns, and by torch in float32."""
    steps = _steps(quick)
    flows = [flow.name for flow in DATAFLOWS.values() if flow.alike]
    pairs = [(flow, name) for flow in flows for name in FLOATS]
    pairs += [("chunked", name) for name in ("e8m10", "fixed20", "e8m7 rne", "e8m7 of FP8", "float32")]
    chosen = pairs[:: 5 if quick else 1]
    runs = [Run(dataflow=flow, accumulator=name, steps=steps) for flow, name in chosen]
    return _measured(runs, quick, report)


def measure_apart(quick: bool, report: Report) -> dict:
    """ConstNet under orders that differ from column to column."""
    steps = _steps(quick)
    pairs = [("rotated", name) for name in (*ACROSS, "e8m7 of FP8")] + [("tiled", "e8m7")]
    runs = [Run(dataflow=flow, accumulator=name, steps=steps) for flow, name in pairs[:: 3 if quick else 1]]
    # Every column of every product alone: slow.
    runs.append(Run(dataflow="shuffled by column", steps=QUICK_STEPS if quick else SHORT_STEPS))
    return _measured(runs, quick, report)


def measure_long(quick: bool, report: Report) -> dict:
    """One order for all columns, and the rotated one, for as many steps as the first estimates had."""
    steps = QUICK_STEPS if quick else LONG_STEPS
    return _measured([Run(dataflow=flow, steps=steps) for flow in ("chunked", "rotated")], quick, report)


def measure_fixed(quick: bool, report: Report) -> dict:
    """The rotated order in fixed point that is wide enough, and in fixed point that wraps."""
    steps = _steps(quick)
    runs = [Run(dataflow="rotated", accumulator=name, steps=steps) for name in ("fixed24", "fixed24 wrap")]
    return _measured(runs, quick, report)


def measure_products(quick: bool, report: Report) -> dict:
    """The rotated order in one of the three products alone."""
    steps = QUICK_STEPS if quick else SHORT_STEPS
    runs = [Run(dataflow="rotated", only=only, steps=steps) for only in PRODUCTS]
    return _measured(runs, quick, report)


def measure_words(quick: bool, report: Report) -> dict:
    """Stochastic rounding and dropout, with and without random numbers that channels share."""
    steps = QUICK_STEPS if quick else SHORT_STEPS
    runs = [
        Run(accumulator="e8m7 sr8", steps=steps),
        Run(accumulator="e8m7 sr8", backward="e8m7", steps=steps),
        Run(accumulator="e8m7", backward="e8m7 sr8", steps=steps),
        Run(accumulator="e8m7 sr8", backend="shared-words", steps=steps),
        Run(accumulator="e8m7 sr8", backward="e8m7", backend="shared-words", steps=steps),
        Run(dropout="elements", steps=steps),
        Run(dropout="pixels", steps=steps),
    ]
    return _measured(runs, quick, report)


def measure_random(quick: bool, report: Report) -> dict:
    """The same network from random weights: what an order is worth where no symmetry is to be broken."""
    steps = _steps(quick)
    flows = ("sequential", "chunked", "split-K", "rotated")
    pairs = [("chunked", "float32"), *((flow, name) for name in ("e8m4", "e8m7") for flow in flows)]
    runs = [
        Run(dataflow=flow, accumulator=name, start="random", steps=steps, seed=seed)
        for flow, name in pairs[: 2 if quick else None]
        for seed in range(1 if quick else SEEDS)
    ]
    return _measured(runs, quick, report)


def measure_leaky(quick: bool, report: Report) -> dict:
    """LeakyNet under the array's order and under the rotated one, and whether its pairs are linear."""
    pairs = [(flow, name) for name in ("e8m7", "e8m23") for flow in ("chunked", "rotated")]
    runs = [
        Run(network="LeakyNet", dataflow=flow, accumulator=name, steps=_steps(quick))
        for flow, name in pairs[: 2 if quick else None]
    ]
    return {"pairs": measure_pairs(quick, report), **_measured(runs, quick, report)}
