"""Tables and curves of the results of ``python -m sim.finetune run``, for docs/results.md."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Sequence

from sim.finetune.curves import CURVES, TASK_NAMES, accumulator_of, accuracy_over_bias, range_of
from sim.finetune.experiments import GROUPS
from sim.finetune.findings import of_perceptrons, of_resnet20
from sim.finetune.rows import TWIN, Rows, complete, difference_text, of, value_text

__all__ = ["TOPIC", "figures", "headline", "section"]

#: The name of the results file and of the figures, in docs/results/.
TOPIC = "finetune"


def section(results: dict) -> str:
    """Markdown: what was trained, from how many seeds, and what it got."""
    rows = complete(results["rows"])
    parts = [
        "## Fine-tuning through the accumulator",
        "",
        "Every product of the forward pass, in training as in the test, goes through the accumulator bit for "
        "bit; operands are FP8 (e3m4) with a bias a tensor. A twin has float32 accumulators and everything "
        "else alike: operands, start, schedule, images, and rates tried. Values are means over the seeds, "
        "with the standard deviation.",
        "",
        *_resnet20(rows),
        *_rates(rows, "resnet20"),
        *_conv(rows),
        *_minilm(rows),
        *_mlp(rows),
        *_diff(rows),
        *_backward(rows),
        *_made_by(rows),
    ]
    return "\n".join(parts).rstrip() + "\n"


def headline(results: dict) -> str:
    """The findings in a few sentences, as far as there are rows."""
    rows = complete(results["rows"])
    found = [of_resnet20(rows), *(of_perceptrons(rows, task) for task in TASK_NAMES)]
    return " ".join(sentence for sentence in found if sentence)


def figures(results: dict) -> dict[str, str]:
    """File name -> SVG: accuracy over the accumulator's bias, for each task of the perceptrons."""
    rows = complete(results["rows"])
    return {
        _figure_name(task): accuracy_over_bias(task, [row for row in rows if row["task"] == task])
        for task in TASK_NAMES
        if any(row["task"] == task and row["group"] == "mlp" for row in rows)
    }


def _figure_name(task: str) -> str:
    return f"{TOPIC}-{task}.svg"


def _command(group: str, labels: Iterable[str], rows: Rows, *, config: str | None = None) -> str:
    """What makes these rows again."""
    words = ["python", "-m", "sim.finetune", "run", *(f"{group}:{label}" for label in dict.fromkeys(labels))]
    if config is not None:
        words += ["--configs", config]
    words += ["--device", "cuda"] * any(row["made_by"]["backend"] == "cuda" for row in rows)
    return f"`{shlex.join(words)}`"


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]], *, words: int) -> list[str]:
    """Markdown; the first ``words`` columns and the last are text."""
    ruler = ["---" if i < words or i == len(titles) - 1 else "---:" for i in range(len(titles))]
    return [
        "| " + " | ".join(titles) + " |",
        "| " + " | ".join(ruler) + " |",
        *("| " + " | ".join(line) + " |" for line in lines),
        "",
    ]


def _by_label(rows: Rows) -> dict[str, Rows]:
    """In the order in which they are declared."""
    groups = dict.fromkeys(row["group"] for row in rows)
    declared = [run.label for group in groups for run in GROUPS.get(group, [])]
    found: dict[str, Rows] = {label: [] for label in declared}
    for row in rows:
        found.setdefault(row["label"], []).append(row)
    return {label: arm for label, arm in found.items() if arm}


def _arms(rows: Rows, group: str, unit: str) -> list[str]:
    """One line an arm, and its difference to the twin, seed by seed."""
    mine = of(rows, group=group)
    twin = of(mine, label=TWIN)
    lines = [
        (
            label,
            f"`{arm[0]['config']}`" if arm[0]["accumulators"] == "narrow" else "",
            f"{arm[0]['schedule']}; {arm[0]['rate']:g}",
            str(len(arm)),
            value_text(arm, "before"),
            value_text(arm),
            "" if label == TWIN else difference_text(arm, twin),
            f"{statistics.mean(row['seconds'] for row in arm):.0f}",
            _command(group, [label], arm),
        )
        for label, arm in _by_label(mine).items()
    ]
    titles = ["", "accumulator", "epochs; rate", "seeds", f"before, {unit}", f"after, {unit}"]
    return _table([*titles, "against the twin", "seconds", "command"], lines, words=3)


def _counts(rows: Rows) -> str:
    """What they were trained on and judged by; several where rows differ."""
    counts = {(row["trained_on"], len(row["losses"]), row["n"], row["unit"]) for row in rows}
    return "; ".join(
        f"trained on {trained // parts}{f' in each of {parts} folds' * (parts > 1)}, judged by {n} {unit}"
        for trained, parts, n, unit in sorted(counts, reverse=True)
    )


def _resnet20(rows: Rows) -> list[str]:
    mine = of(rows, group="resnet20")
    if not mine:
        return []
    return [
        "### ResNet-20",
        "",
        f"From the published weights, {_counts(mine)} of the JPEG copy of CIFAR-10. Batch norm stays apart "
        "and is trained. Points against the twin are of the same seeds. Without underflow means with "
        "exponents extended downward: the same largest values, and nothing small is lost.",
        "",
        *_arms(rows, "resnet20", "%"),
        of_resnet20(rows),
        "",
    ]


def _rates(rows: Rows, group: str) -> list[str]:
    """How the rate of a group's runs was found."""
    mine = of(rows, group=f"{group}-rates")
    if not mine:
        return []
    lines = [
        (
            row["label"].split()[0],
            f"{row['rate']:g}",
            f"{100 * row['value']:.2f}",
            _command(row["group"], [row["label"]], [row]),
        )
        for row in sorted(mine, key=lambda row: (row["accumulators"], row["rate"]))
    ]
    return [
        "The rate of each was found on training images that were put aside, by the same trials: "
        f"{_counts(mine)}.",
        "",
        *_table(["accumulators", "rate", "right, %", "command"], lines, words=1),
    ]


def _conv(rows: Rows) -> list[str]:
    mine = of(rows, group="conv")
    if not mine:
        return []
    return [
        "### A small convolutional network, 8-bit accumulators",
        "",
        "Two 3x3 convolutions (8 and 16 channels, batch norm) and two linear layers on Fashion-MNIST, from "
        f"float32 training of the same seed: {_counts(mine)}.",
        "",
        *_arms(rows, "conv", "%"),
        *_rates(rows, "conv"),
    ]


def _minilm(rows: Rows) -> list[str]:
    mine = of(rows, group="minilm")
    if not mine:
        return []
    return [
        "### MiniLM",
        "",
        f"From the published weights, {_counts(mine)} of the STS benchmark; the cosines of sentences are "
        "trained to correlate with how alike people find them. Spearman's correlation times 100.",
        "",
        *_arms(rows, "minilm", "Spearman × 100"),
    ]


def _mlp(rows: Rows) -> list[str]:
    parts: list[str] = []
    for task, name in TASK_NAMES.items():
        mine = [row for row in of(rows, group="mlp", task=task) if row["accumulators"] == "narrow"]
        twin = of(rows, group="mlp", label=f"{task}, {TWIN}")
        if not mine:
            continue
        rules = [rule for rule in CURVES if any(row["rule"] == rule for row in mine)]
        lines = []
        for key in sorted({range_of(row) for row in mine}):
            here = [row for row in mine if range_of(row) == key]
            cells = [of(here, rule=rule) for rule in rules]
            lines.append(
                (
                    f"{key[0]}, b = {key[1]}",
                    f"{accumulator_of(here[0]).max_value:g}",
                    *(value_text(cell) if cell else "" for cell in cells),
                    _command("mlp", (f"{task}, {rule}" for rule in rules), here, config=here[0]["config"]),
                )
            )
        reference = f"; float32 accumulators get {value_text(twin)}" if twin else ""
        seeds = len({row["seed"] for row in mine})
        parts += [
            f"### {name}, 8-bit accumulators",
            "",
            f"A perceptron of two hidden layers of 256, from nothing, {mine[0]['epochs']} epochs, up to "
            f"{seeds} seeds: {_counts(mine)}{reference}. Right, %, by the gradient's estimator; b is the "
            "accumulator's bias, and products have b + 2. Ten percent is chance, nothing learned: DIFF lets "
            "no gradient pass where a sum stays what it was, so a network whose sums are all flushed to zero "
            "at the start stays there.",
            "",
            *_table(["accumulator", "largest sum", *rules, "command"], lines, words=1),
            of_perceptrons(rows, task),
            "",
            f"![accuracy over the accumulator's bias, {name}](results/{_figure_name(task)})",
            "",
        ]
    return parts


def _diff(rows: Rows) -> list[str]:
    mine = of(rows, group="diff")
    if not mine:
        return []
    lines = [
        (f"`{arm[0]['rule']}`", str(len(arm)), value_text(arm), _command("diff", [label], arm))
        for label, arm in _by_label(mine).items()
    ]
    return [
        "### The threshold of DIFF",
        "",
        f"Digits on `{mine[0]['config']}`: {_counts(mine)}. A step counts where it changes the sum by more "
        "than this share of its product.",
        "",
        *_table(["rule", "seeds", "right, %", "command"], lines, words=1),
    ]


def _backward(rows: Rows) -> list[str]:
    mine = of(rows, group="backward")
    if not mine:
        return []
    lines = [
        (
            f"`{arm[0]['backward']}`",
            str(len(arm)),
            value_text(arm),
            _command("backward", [label], arm),
        )
        for label, arm in _by_label(mine).items()
    ]
    return [
        "### Gradients by a narrow accumulator",
        "",
        f"Digits on `{mine[0]['config']}`, the products of the backward pass by another configuration, whose "
        f"FP8 operands are fitted to each gradient: {_counts(mine)}.",
        "",
        *_table(["backward products", "seeds", "right, %", "command"], lines, words=1),
    ]


def _made_by(rows: Rows) -> list[str]:
    """One sentence for each machine and set of versions, with what was measured there."""
    groups: dict[str, dict[str, None]] = {}
    for row in rows:
        made = row["made_by"]
        where = (
            f"{made['device']}, {made['processor']}; Python {made['python']}, torch {made['torch']}, "
            f"numpy {made['numpy']}, Pillow {made['pillow']}"
        )
        groups.setdefault(where, {})[row["group"]] = None
    return [f"Measured on {where}: {', '.join(names)}." for where, names in groups.items()] + [""]
