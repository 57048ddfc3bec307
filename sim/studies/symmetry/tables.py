"""Runs found by what they did, and the tables that are made of them."""

from __future__ import annotations

from collections.abc import Sequence

from sim.markdown import table
from sim.studies.symmetry.dataflows import DATAFLOWS

__all__ = [
    "all_runs",
    "array_table",
    "by_seeds",
    "dataflow_table",
    "find_run",
    "leaky_tables",
    "mean_accuracy",
    "products_table",
    "random_table",
    "spread",
    "torch_table",
    "words_table",
]

#: What a run is unless it is asked for otherwise.
_USUAL = {
    "network": "ConstNet",
    "dataflow": "chunked",
    "accumulator": "e8m7",
    "backward": None,
    "backend": "by-column",
    "only": None,
    "dropout": None,
    "start": "alike",
}

_ACCUMULATORS = ("e8m4", "e8m7", "e8m10", "e8m23", "fixed20")


def all_runs(data: dict) -> list[dict]:
    """The training runs of all parts."""
    return [run for part in data.values() for run in part.get("runs", ())]


def find_run(runs: Sequence[dict], **wanted: str | None) -> dict | None:
    """The first run that is as wanted and usual otherwise; None where there is none."""
    wanted = _USUAL | wanted
    return next((run for run in runs if all(run[key] == value for key, value in wanted.items())), None)


def _percent(run: dict | None) -> str:
    return "" if run is None else f"{100 * run['accuracy']:.1f}"


def _first(run: dict) -> str:
    step = run["first_difference"]
    return "never" if step is None else f"step {step}"


def _firsts(runs: Sequence[dict]) -> str:
    """When filters first differ in these runs, and in which ones later."""
    steps = sorted({run["first_difference"] or float("inf") for run in runs})
    by_step = {
        step: [run for run in runs if (run["first_difference"] or float("inf")) == step] for step in steps
    }
    parts = [
        _first(some[0]) if i == 0 else f"{', '.join(run['accumulator'] for run in some)} {_first(some[0])}"
        for i, some in enumerate(by_step.values())
    ]
    return "; ".join(parts)


def _filters(runs: Sequence[dict]) -> str:
    """The number of filters after all these runs, or the range of them."""
    counts = sorted({run["distinct"] for run in runs})
    return "" if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def dataflow_table(data: dict) -> str:
    """Each dataflow: why it is, what it does to the filters, and the accuracy by accumulator."""
    runs = all_runs(data)
    rows = []
    steps = find_run(runs)["steps"]
    for flow in DATAFLOWS.values():
        found = [find_run(runs, dataflow=flow.name, accumulator=name) for name in _ACCUMULATORS]
        whole = [run if run is not None and run["steps"] == steps else None for run in found]
        known = [run for run in found if run is not None]
        rows.append(
            [
                f"**{flow.name}**",
                flow.hardware,
                "yes" if flow.alike else "no",
                _filters(known),
                _firsts(known),
                *map(_percent, whole),
            ]
        )
    head = [
        "dataflow",
        "hardware that adds so",
        "same for all columns",
        "filters at the end",
        "first difference",
    ]
    return table([*head, *_ACCUMULATORS], rows, words=3)


_PRODUCTS = {
    "forward": "y = x w, a column an output channel",
    "of_w": "dw = xᵀ dy, a column an output channel",
    "of_x": "dx = dy wᵀ, a column an input channel and tap",
    "of_x of convolutions": "the same without the classifier's",
}


def products_table(data: dict) -> str:
    """The rotated order in one product alone."""
    rows = [
        [f"{run['only']}", _PRODUCTS[run["only"]], _filters([run]), _first(run)]
        for run in data["products"]["runs"]
    ]
    return table(["the rotated order in", "", "filters", "first difference"], rows, words=2)


def _word_names(run: dict) -> str:
    if run["dropout"] is not None:
        return {"elements": "dropout of elements", "pixels": "dropout of pixels, in all channels at once"}[
            run["dropout"]
        ]
    where = {
        ("e8m7 sr8", None): "everywhere",
        ("e8m7 sr8", "e8m7"): "forward only",
        ("e8m7", "e8m7 sr8"): "backward only",
    }[run["accumulator"], run["backward"]]
    words = {"by-column": "a word an output", "shared-words": "a word a row, for all columns"}[run["backend"]]
    return f"stochastic rounding {where}, {words}"


def words_table(data: dict) -> str:
    """Stochastic rounding and dropout."""
    rows = [
        [
            _word_names(run),
            _filters([run]),
            ", ".join(str(count) for count in run["of_layers"].values()),
            _first(run),
        ]
        for run in data["words"]["runs"]
    ]
    return table(["random numbers", "filters", "by layer", "first difference"], rows)


def by_seeds(data: dict) -> dict[tuple[str, str], list[dict]]:
    """Runs from random weights, by accumulator and dataflow."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for run in data["random"]["runs"]:
        groups.setdefault((run["accumulator"], run["dataflow"]), []).append(run)
    return groups


def mean_accuracy(runs: Sequence[dict]) -> float:
    """Per cent, over the runs."""
    return 100 * sum(run["accuracy"] for run in runs) / len(runs)


def spread(runs: Sequence[dict]) -> str:
    """The least and the greatest accuracy of the runs, per cent."""
    values = [100 * run["accuracy"] for run in runs]
    return f"{min(values):.1f} to {max(values):.1f}"


def random_table(data: dict) -> str:
    """From random weights: accuracies over seeds, and what is lost against float32."""
    groups = by_seeds(data)
    base = mean_accuracy(groups["float32", "chunked"])
    rows = []
    for (accumulator, flow), runs in groups.items():
        exact = accumulator == "float32"
        rows.append(
            [
                accumulator,
                "torch's" if exact else flow,
                f"{mean_accuracy(runs):.1f}",
                spread(runs),
                "" if exact else f"{mean_accuracy(runs) - base:+.1f}",
            ]
        )
    return table(["accumulator", "dataflow", "mean (%)", "of seeds", "against float32"], rows, words=2)


def array_table(data: dict) -> str:
    """What the probe read off the RTL."""
    rows = [
        [
            f"{row['kind']}, {row['rows']} x {row['cols']}, {row['stages']} stages",
            str(row["length"]),
            str(row["columns"]),
            str(row["probes"]),
            str(row["distinct"]),
            "yes" if row["contract"] and row["ascending"] else "**no**",
        ]
        for row in data["array"]["found"]
    ]
    head = [
        "hardware",
        "K",
        "output columns",
        "probes",
        "orders found",
        "ascending k in the contract's chunks",
    ]
    return table(head, rows)


def torch_table(data: dict) -> str:
    """What torch does by channel, in float32 on a processor."""
    part = data["torch"]
    rows = [[name, f"{count} of {part['draws']}"] for name, count in part["unequal"].items()]
    for taps, counts in part["optimizer"].items():
        for name, count in counts.items():
            rows.append([f"torch.optim.SGD, {name}, {taps} weights", f"{count} of {part['draws']}"])
    return table(["alike channels in", "draws that came out different"], rows)


def leaky_tables(data: dict) -> tuple[str, str]:
    """Pairs that are linear, and training."""
    part = data["leaky"]
    slopes = list(part["pairs"]["rows"][0]["differing"])
    pairs = table(
        ["accumulator", *(f"rho = {rho}" for rho in slopes)],
        [
            [row["accumulator"], *(f"{100 * row['differing'][rho]:.1f} %" for rho in slopes)]
            for row in part["pairs"]["rows"]
        ],
    )
    training = table(
        ["accumulator", "dataflow", "filters", "first difference", "correlation at the end", "accuracy (%)"],
        [
            [
                run["accumulator"],
                run["dataflow"],
                _filters([run]),
                _first(run),
                f"{run['shown']['correlation'][-1]:.3f}",
                _percent(run),
            ]
            for run in part["runs"]
        ],
        words=2,
    )
    return pairs, training
