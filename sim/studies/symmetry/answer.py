"""The study's answer: in a sentence, in a paragraph, and beside what was known before."""

from __future__ import annotations

import math

from sim.studies.study import Expected
from sim.studies.symmetry.dataflows import CHUNK, DATAFLOWS
from sim.studies.symmetry.runs import CHANNELS, RHO
from sim.studies.symmetry.tables import all_runs, by_seeds, find_run, mean_accuracy, spread

__all__ = ["answer", "expected", "headline", "losses", "percent", "when"]


def _alike(data: dict) -> list[dict]:
    """ConstNet's runs by the accumulator under orders that are the same for all columns."""
    return [
        run
        for run in data["alike"]["runs"]
        if DATAFLOWS[run["dataflow"]].alike and run["accumulator"] != "float32"
    ]


def percent(run: dict) -> str:
    """The accuracy."""
    return f"{100 * run['accuracy']:.1f} %"


def _most(runs: list[dict]) -> int:
    return max(run["most_distinct"] for run in runs)


def when(*runs: dict) -> str:
    """From which steps filters differ in these runs."""
    steps = sorted({run["first_difference"] or math.inf for run in runs})
    first, *others = ("never" if step == math.inf else str(step) for step in steps)
    return " or ".join([first if first == "never" else f"from step {first}", *others])


def _of_orders(data: dict, accumulator: str) -> str:
    """From random weights in chunks: accuracy by the array's order and by the rotated one, and of seeds."""
    groups = by_seeds(data)
    chunked, rotated = (groups[accumulator, flow] for flow in ("chunked", "rotated"))
    return (
        f"{mean_accuracy(chunked):.1f} % chunked ({spread(chunked)} over {len(chunked)} seeds) and "
        f"{mean_accuracy(rotated):.1f} % rotated ({spread(rotated)}) at {accumulator}"
    )


def _gap(data: dict, accumulator: str) -> float:
    """Mean accuracy from random weights in chunks less that of the rotated order, in points."""
    groups = by_seeds(data)
    return mean_accuracy(groups[accumulator, "chunked"]) - mean_accuracy(groups[accumulator, "rotated"])


def losses(data: dict) -> str:
    """Accuracy from random weights less float32's, in points: where sums are longer than the array's."""
    groups = by_seeds(data)
    exact = mean_accuracy(groups["float32", "chunked"])
    return ", ".join(
        f"{flow} {accumulator} {mean_accuracy(runs) - exact:+.1f}"
        for (accumulator, flow), runs in groups.items()
        if DATAFLOWS[flow].chunk > CHUNK
    )


def headline(data: dict) -> str:
    """One sentence for the README."""
    alike, rotated = (find_run(all_runs(data), dataflow=flow) for flow in ("chunked", "rotated"))
    kept = _alike(data)
    return (
        f"A network whose filters begin equal keeps {_most(kept)} distinct filter a layer through "
        f"{alike['steps']} steps on {len({run['accumulator'] for run in kept})} accumulators if all columns "
        f"add in one order, as this array's do; in an order a column they differ {when(rotated)} "
        f"({percent(rotated)} accuracy, not {percent(alike)})."
    )


def answer(data: dict) -> str:
    """The study in one paragraph."""
    runs = all_runs(data)
    alike, rotated = find_run(runs), find_run(runs, dataflow="rotated")
    kept = _alike(data)
    widths, flows = ({run[key] for run in kept} for key in ("accumulator", "dataflow"))
    floats = [run for run in data["apart"]["runs"] if "fixed" not in run["accumulator"]]
    words = [run for run in data["words"]["runs"] if run["dropout"] is None and run["backend"] == "by-column"]
    dropout = find_run(runs, dropout="elements")
    narrow, wide, wraps = (
        find_run(runs, dataflow="rotated", accumulator=name)
        for name in ("fixed20", "fixed24", "fixed24 wrap")
    )
    arrays = data["array"]["found"]
    shapes = {(row["kind"], row["rows"], row["cols"], row["stages"]) for row in arrays}
    ascending = [row for row in arrays if row["distinct"] == 1 and row["ascending"] and row["contract"]]
    exact = mean_accuracy(by_seeds(data)["float32", "chunked"])
    sentences = [
        "What tells filters apart is not that sums are short, nor that their order changes, but that two "
        "output columns have *different* orders.",
        f"In {len(kept)} runs of ConstNet with every product, forward and backward, bit-accurate "
        f"({len(widths)} accumulators, {len(flows)} dataflows that have one order for all columns), a layer "
        f"of {CHANNELS} filters had at most {_most(kept)} distinct one, as numbers (+0 and -0 alike), after "
        f"each of {alike['steps']} steps, even where the order was shuffled anew for each product.",
        f"Filters differed {when(*floats)} in {len(floats)} runs of float accumulators whose order depends "
        f"on the column, {when(*words)} by stochastic rounding with a word an output, and {when(dropout)} by "
        f"dropout of elements.",
        f"In fixed point the rotated order made them differ {when(narrow)} with 20 bits that saturate, "
        f"{when(wide)} with 24 that saturate and {when(wraps)} with 24 that wrap.",
        f"Read off the Verilated RTL, in {len(ascending)} of {len(arrays)} probes of {len(shapes)} arrays "
        "and tiles, all columns of this project's array add in one order, ascending k in the contract's "
        "chunks.",
        f"A network that begins symmetric reaches {percent(alike)} of the digits in that order at e8m7, and "
        f"{percent(rotated)} rotated by column.",
        f"From random weights it reaches {_of_orders(data, 'e8m7')}, {_of_orders(data, 'e8m4')}; "
        f"against {exact:.1f} % in float32, sums of more than {CHUNK} products give {losses(data)} points.",
        "So a network must not count on its hardware to break a symmetry; where its weights do, one order "
        f"for all columns, against the rotated one, is worth {_gap(data, 'e8m7'):+.1f} points at e8m7 and "
        f"{_gap(data, 'e8m4'):+.1f} at e8m4.",
    ]
    return " ".join(sentences)


def expected(data: dict) -> list[Expected]:
    """What was known before, beside what came out."""
    runs, kept = all_runs(data), _alike(data)
    alike, rotated = data["long"]["runs"]
    widths = {run["accumulator"] for run in kept}
    rows = data["leaky"]["pairs"]["rows"]
    floats = [row["differing"][str(RHO)] for row in rows if not row["accumulator"].startswith("fixed")]
    exact = find_run(runs, accumulator="float32")
    counts = zip(rotated["shown"]["steps"], rotated["shown"]["distinct"], strict=True)
    all_differ = next((step for step, n in counts if n == CHANNELS), None)
    return [
        Expected(
            "ConstNet, one order for all columns: distinct filters, at any width",
            "1 after 450 steps",
            f"{_most([alike])} after each of {alike['steps']} steps at e8m7, {_most(kept)} after each of "
            f"{kept[0]['steps']} in {len(kept)} runs of {len(widths)} accumulators",
        ),
        Expected(
            "ConstNet, an order rotated by column: distinct filters",
            "8 of 8 from step 2",
            f"differ {when(rotated)}; {CHANNELS} of {CHANNELS} at step {all_differ}",
        ),
        Expected(
            "accuracy on digits, M = 7, symmetric",
            "65.8 %",
            percent(alike),
            f"of {alike['images']} images; the estimate names neither operands nor rate; float32 gives "
            f"{percent(exact)} after {exact['steps']} steps",
        ),
        Expected(
            "accuracy on digits, M = 7, rotated by column",
            "93.0 %",
            percent(rotated),
            "the same; two points are a dozen images",
        ),
        Expected(
            "what breaks ConstNet's symmetry in float32",
            "the order of a GPU's sums (arXiv 2007.01038)",
            f"on a processor nothing: {exact['distinct']} filter after {exact['steps']} steps",
            "its convolutions add in one order for all channels, and no additions are atomic",
        ),
        Expected(
            "LeakyNet: a pair of layers is linear",
            "exactly",
            f"{100 * max(floats):.0f} % of outputs differ in float, ρ = {RHO}",
            "in fixed point it is not exact",
        ),
    ]
