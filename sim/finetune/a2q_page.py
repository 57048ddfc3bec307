"""The comparison with accumulator-aware integers as a page, from its results file."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean, stdev
from typing import Any

from golden.config import FixedAccumulator, MacConfig
from sim.finetune.a2q_methods import METHODS

__all__ = ["EXACT_INTEGER", "FLOAT32", "headline", "section"]

#: CIFAR-10, ResNet-18, W4A4, top-1 in percent: brevitas' README of these models.
_PUBLISHED = (
    ("float network", 95.0, None),
    ("int16, A2Q", 94.2, "2308.13504"),
    ("int16, A2Q+", 94.2, "2401.10432"),
    ("int12, A2Q", 83.9, "2308.13504"),
    ("int12, A2Q+", 90.6, "2401.10432"),
)

_HEAD = """\
## Accumulator-aware integers and narrow accumulators, side by side

ResNet-20 on the JPEG copy of CIFAR-10, W4A4. All start from the same pretrained float weights and are
trained alike: {epochs} epochs of {train_images} images, batches of {batch_size}, Adam from `rate` on one
cosine to 0, crops and mirror images; the rate was tuned for none. Accuracy is that of the last epoch on {n}
test images, computed by the accumulator itself, bit for bit; ± is the standard deviation over seeds.

Hidden layers have int4 weights (without -8) with a scale for each output channel, and uint4 activations,
which the residual connections carry, too. The first layer has int8 weights and the 8-bit pixels, the last
one int8 weights and uint8 means, both with wide sums, as brevitas' published networks have them. A2Q and
A2Q+ are the quantizers of brevitas {brevitas}, started by its Euclidean projection and trained with its
regularizer: no input can make a sum of theirs overflow, so that their hardware is the wrapping accumulator.
Ours are plain weights with learned scales, trained through the accumulator: an overflow is unlikely, and not
excluded. Scales start where all but a thousandth of a channel's sums on training images are in range. Where
the accumulator wraps, a channel of which more than that leave the range in one step gets coarser weights in
the next (without, wrapping to 8 bits does not learn the digits); where it saturates in fewer than 12 bits,
steps that overflow hand on no gradient (immediate/OF).

`guaranteed` is the narrowest accumulator that no input could overflow, in any order of addition, from the
trained weights in exact integers. `changed` is the share of sums on the test images that the accumulator
gave another value than the exact one. `start` is the accuracy before training, on {start_n} images: so
short a training favours what starts near the float network.

Commands: {commands}; areas: `python -m sim.finetune.a2q area`. Computed by: {machines}."""

_AREAS = """\
Areas: one MAC with uint4 and int4 operands and its output register, {library}, mapped for least area, offsets
wired in, each netlist proved on golden vectors. 17 bits hold every sum of this network; the same MAC with a
float32 accumulator takes {float32} µm². The sum of a chunk of 16 products never leaves 12 bits here
(16 × 15 × 7 = 1680): what saturates or wraps in 12 bits is the sum of the chunks."""

_PUBLISHED_HEAD = """\
As published, not comparable in size (ResNet-18, sums of up to 4608 products, the original CIFAR-10, all 50
000 training images; figures of brevitas' model list):"""

#: Accumulators that hold every sum of 576 products, the most here: float32, and the fewest bits.
FLOAT32 = "uint4_int4_p_exact_a_e8m23_rz_c16"
EXACT_INTEGER = "uint4_int4_p_exact_a_int17_floor_wrap_c16"


def section(results: dict[str, Any]) -> str:
    """Markdown: our table, who wins at each width, and what was published."""
    groups = _groups(results["rows"])
    if not groups:
        return "## Accumulator-aware integers\n\nNo training is finished.\n"
    areas = {row["config"]: row for row in results["areas"]}
    parts = [_head(groups), _table(groups, areas), *_winners(groups, areas), _area_note(areas), _published()]
    return "\n\n".join(filter(None, parts)) + "\n"


def headline(results: dict[str, Any]) -> str:
    """The best of ours against A2Q+ in 12 bits, with areas; where both start, and what is promised."""
    groups, areas = _groups(results["rows"]), {row["config"]: row for row in results["areas"]}
    ours = [name for name in ("wrapping12", "saturating12") if name in groups]
    if not ours or "a2q+12" not in groups:
        return ""
    best = max(ours, key=lambda name: mean(row["value"] for row in groups[name]))
    aware = groups["a2q+12"]
    needed = max(layer["guaranteed_bits"] for row in groups[best] for layer in row["layers"])
    epochs, images = aware[0]["settings"]["epochs"], aware[0]["n"]
    starts = [round(100 * mean(row["start_value"] for row in group)) for group in (groups[best], aware)]
    return (
        f"With W4A4 integers, 12-bit accumulators and {epochs} epochs alike, ResNet-20 classifies "
        f"{_percent(groups[best])} % of {images} images ({len(aware)} seeds) with a "
        f"{best.removesuffix('12')} accumulator{_area_of(best, areas)} and {_percent(aware)} % with "
        f"brevitas' A2Q+{_area_of('a2q+12', areas)}. They start at {starts[0]} and {starts[1]} %, so a "
        "budget as short as this favours the former. Only A2Q+ guarantees that no sum overflows: the other's "
        f"weights need {needed} bits for that, and of its sums on these images {_share(groups[best])} was "
        "not exact."
    )


def _share(group: list[dict[str, Any]]) -> str:
    """Of a method's sums, how many are not exact: in words that a reader can picture."""
    layers = [layer for row in group for layer in row["layers"]]
    changed, outputs = (sum(layer[what] for layer in layers) for what in ("changed", "outputs"))
    return f"one in {outputs / changed:,.0f}".replace(",", " ") if changed else "none"


def _groups(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows on test images by method, in the order of ``METHODS``; of several settings the best trained."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row["settings"]["held_out"]:
            found[row["method"]][row["key"].replace(f"seed {row['seed']}", "seed")].append(row)

    def effort(group: list[dict[str, Any]]) -> tuple[int, int, int]:
        settings = group[0]["settings"]
        return settings["train_images"] * settings["epochs"], group[0]["n"], len(group)

    return {name: max(found[name].values(), key=effort) for name in METHODS if name in found}


def _head(groups: dict[str, list[dict[str, Any]]]) -> str:
    row = next(iter(groups.values()))[0]
    commands = dict.fromkeys(row["command"] for group in groups.values() for row in group)
    return _HEAD.format(
        **row["settings"],
        n=row["n"],
        start_n=row["start_n"],
        brevitas=_brevitas(groups),
        machines="; ".join(_machines(groups)),
        commands=", ".join(f"`{each}`" for each in commands),
    )


def _brevitas(groups: dict[str, list[dict[str, Any]]]) -> str:
    versions = {row["made_by"]["brevitas"] for group in groups.values() for row in group}
    return ", ".join(sorted(filter(None, versions))) or "not installed"


def _machines(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Where each method was trained, with the versions that decide its pixels and sums."""
    of_machine: dict[str, dict[str, None]] = defaultdict(dict)
    for name, group in groups.items():
        for made_by in (row["made_by"] for row in group):
            where = made_by["gpu"] or made_by["processor"]
            machine = f"{where} (torch {made_by['torch']}, pillow {made_by['pillow']})"
            of_machine[machine][name] = None
    return [f"{machine}: {', '.join(names)}" for machine, names in of_machine.items()]


def _percent(group: list[dict[str, Any]]) -> str:
    values = [100 * row["value"] for row in group]
    spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{mean(values):.2f}{spread}"


def _table(groups: dict[str, list[dict[str, Any]]], areas: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| hidden layers' accumulator | rate | start, % | accuracy, % | seeds "
        "| guaranteed, bits | changed, % | MAC, µm² | vs exact int17 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, group in groups.items():
        method = METHODS[name]
        layers = [layer for row in group for layer in row["layers"]]
        guaranteed = max((layer["guaranteed_bits"] for layer in layers), default=None)
        outputs = sum(layer["outputs"] for layer in layers)
        changed = 100 * sum(layer["changed"] for layer in layers) / outputs if outputs else None
        cells = [
            f"{method.label} (`{name}`)",
            f"{group[0]['settings']['rate']:g}",
            f"{100 * mean(row['start_value'] for row in group):.0f}",
            _percent(group),
            str(len(group)),
            "" if guaranteed is None else str(guaranteed),
            "" if changed is None else f"{changed:.3g}",
            *_area_cells(method.config or (EXACT_INTEGER if layers else None), areas),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _area_cells(config: str | None, areas: dict[str, dict[str, Any]]) -> tuple[str, str]:
    area, whole = areas.get(config), areas.get(EXACT_INTEGER)
    if area is None:
        return "", ""
    return f"{area['um2']:.0f}", "" if whole is None else f"{area['um2'] / whole['um2'] - 1:+.0%}"


def _winners(groups: dict[str, list[dict[str, Any]]], areas: dict[str, dict[str, Any]]) -> list[str]:
    """A sentence for each width with several methods."""
    of_width: dict[int, list[str]] = defaultdict(list)
    for name in groups:
        if METHODS[name].config is not None:
            of_width[_width(METHODS[name].config)].append(name)
    sentences = []
    for width in sorted(of_width, reverse=True):
        names = of_width[width]
        if len(names) < 2:
            continue
        best = max(names, key=lambda name: mean(row["value"] for row in groups[name]))
        others = [
            f"{METHODS[name].label} {_against(groups, name, best)}{_area_of(name, areas)}"
            for name in names
            if name != best
        ]
        first = f"{METHODS[best].label} is the most accurate{_area_of(best, areas)}"
        sentences.append(f"**{width} bits:** {first}; against it {', '.join(others)}.")
    return sentences


def _against(groups: dict[str, list[dict[str, Any]]], name: str, best: str) -> str:
    """The difference of the means in points, and whether it is more than the seeds'."""
    ours, theirs = ([100 * row["value"] for row in groups[each]] for each in (name, best))
    points = mean(ours) - mean(theirs)
    if min(len(ours), len(theirs)) < 2:
        return f"{points:+.2f} points, of too few seeds to tell"
    error = (stdev(ours) ** 2 / len(ours) + stdev(theirs) ** 2 / len(theirs)) ** 0.5
    verdict = ", which is not more than chance," if abs(points) < 2 * error else ""
    return f"{points:+.2f} ± {error:.2f} points (standard error){verdict}"


def _area_of(name: str, areas: dict[str, dict[str, Any]]) -> str:
    area = areas.get(METHODS[name].config)
    return f" ({area['um2']:.0f} µm²)" if area else ""


def _width(config: str) -> int:
    accumulator = MacConfig.parse(config).accumulator
    is_fixed = isinstance(accumulator, FixedAccumulator)
    return accumulator.format.bits if is_fixed else accumulator.format.code_bits


def _area_note(areas: dict[str, dict[str, Any]]) -> str:
    if not areas:
        return ""
    float32 = f"{areas[FLOAT32]['um2']:.0f}" if FLOAT32 in areas else "not measured"
    return _AREAS.format(library=next(iter(areas.values()))["library"], float32=float32)


def _published() -> str:
    rows = [
        f"| {label} | {value:.1f} | {f'arXiv {paper}' if paper else ''} |"
        for label, value, paper in _PUBLISHED
    ]
    return "\n".join(
        [
            _PUBLISHED_HEAD,
            "",
            "| accumulator, W4A4 | top-1, % | method |",
            "| --- | ---: | --- |",
            *rows,
        ]
    )
