"""What the rows say, in sentences that are made of them."""

from __future__ import annotations

import statistics

from sim.finetune.curves import TASK_NAMES, accumulator_of, range_of
from sim.finetune.rows import TWIN, Rows, difference_text, of, value_text

__all__ = ["of_perceptrons", "of_resnet20"]

#: Estimators that differ by no more points than this many standard deviations are called equal.
_DEVIATIONS = 2


def of_resnet20(rows: Rows) -> str:
    """Fine-tuned against the twin, with what both had before; empty where there are no such rows."""
    ours = of(rows, group="resnet20", label="two stages, recursive/of")
    twin = of(rows, group="resnet20", label=TWIN)
    if not ours or not twin:
        return ""
    number = accumulator_of(ours[0])
    return (
        f"ResNet-20 with {number.code_bits}-bit accumulators ({number.silicon_name}) under FP8 operands gets "
        f"{value_text(ours)} % of {ours[0]['n']} test images after fine-tuning, and its twin with float32 "
        f"accumulators {value_text(twin)} %: {difference_text(ours, twin)} points, {len(ours)} seeds. "
        f"Before, they had {value_text(ours, 'before')} and {value_text(twin, 'before')} %."
    )


def of_perceptrons(rows: Rows, task: str) -> str:
    """Where recursive/of is ahead of identity, and where it is not; empty where there are no such rows."""
    mine = [row for row in of(rows, group="mlp", task=task) if row["accumulators"] == "narrow"]
    ahead, equal = [], []
    for key in sorted({range_of(row) for row in mine}):
        here = [row for row in mine if range_of(row) == key]
        identity, recursive = (of(here, rule=rule) for rule in ("identity", "recursive/of"))
        seeds = {row["seed"] for row in identity} & {row["seed"] for row in recursive}
        if len(seeds) < 2:
            continue
        groups = [[100 * row["value"] for row in arm] for arm in (identity, recursive)]
        gain = statistics.mean(groups[1]) - statistics.mean(groups[0])
        spread = max(statistics.stdev(group) for group in groups)
        where = f"{key[0]} with sums up to {accumulator_of(here[0]).max_value:g}"
        (ahead if gain > _DEVIATIONS * spread else equal).append((where, gain))
    name = TASK_NAMES[task]
    sentences = []
    if ahead:
        gains = ", ".join(f"{gain:.1f} points in {where}" for where, gain in ahead)
        sentences.append(f"{name}, 8-bit accumulators: recursive/of is ahead of identity by {gains}.")
    if equal:
        gains = ", ".join(f"{where} ({gain:+.1f})" for where, gain in equal)
        begin = "In" if ahead else f"{name}, 8-bit accumulators: in"
        sentences.append(f"{begin} {gains} the two differ by no more than seeds do.")
    return " ".join(sentences)
