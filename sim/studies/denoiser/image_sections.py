"""Sections of the study's page, Markdown, on denoisers of images, and what follows for a designer."""

from __future__ import annotations

from sim.markdown import table
from sim.studies.denoiser.setting import least_winning
from sim.studies.denoiser.tables import NOISE, WIDTH, least_of, level_of

__all__ = ["images", "least_close", "limits"]

_CLOSE = 0.1  # dB by which repaired truncation may be behind rounding to nearest


def _tasks(data: dict) -> list[dict]:
    return [*data["digits"]["levels"], *([data["fashion"]] if "fashion" in data else [])]


def _behind(data: dict) -> dict[str, float]:
    """Decibels that repaired truncation is behind nearest even, in the worst task, by width."""
    tasks = [task["by_width"] for task in _tasks(data)]
    return {
        bits: max(
            task["nearest even"][bits]["repaired"]["psnr"] - task["toward zero"][bits]["repaired"]["psnr"]
            for task in tasks
        )
        for bits in tasks[0]["toward zero"]
    }


def least_close(data: dict) -> int | None:
    """The least width from which on repaired truncation is less than ``_CLOSE`` dB behind nearest even, in
    every task.
    """
    return least_winning(_behind(data), _CLOSE)


def images(data: dict) -> str:
    """Trained denoisers of digits and of Fashion-MNIST, by width and by order."""
    digits, tasks = data["digits"], _tasks(data)
    ahead = sum(task["float32_psnr"] > task["empirical_psnr"] for task in tasks)
    levels = table(
        ["task", "images", "σ", "noisy, dB", "float32, dB", "empirical MMSE, dB", "Σ of sizes / size of Σ"],
        [
            [
                level["name"],
                str(level["n"]),
                f"{level['sigma']:g}",
                *(f"{level[key]:.2f}" for key in ("noisy_psnr", "float32_psnr", "empirical_psnr")),
                " and ".join(f"{each:.1f}" for each in level["cancellation"]),
            ]
            for level in tasks
        ],
    )
    widths = sorted(map(int, tasks[0]["by_width"]["toward zero"]))
    losses = []
    for level in tasks:
        for rounding, by_bits in level["by_width"].items():
            for kind in ("plain", "repaired"):
                losses.append(
                    [
                        f"{level['name']}, σ = {level['sigma']:g}",
                        rounding,
                        kind,
                        *(f"{by_bits[str(bits)][kind]['difference']:+.2f}" for bits in widths),
                    ]
                )
    spread = max(
        (high - low) / 2
        for level in tasks
        for by_bits in level["by_width"].values()
        for each in by_bits.values()
        for low, high in [each["repaired"]["interval"]]
    )
    orders = [
        [chunks, rounding, order, *(f"{by_bits[str(bits)]['difference']:+.2f}" for bits in widths)]
        for chunks, part in (("one chunk", "orders"), ("chunks of 16", "chunked_orders"))
        for rounding, by_order in digits[part].items()
        for order, by_bits in by_order.items()
    ]
    heads = [f"{bits} bits" for bits in widths]
    return f"""## Denoisers of real images

Perceptrons with one hidden layer of 256, trained in float32 with new noise in every epoch: all digits of
scikit-learn in three folds, and Fashion-MNIST where it is there. FP8 operands, every product through the
accumulator, offsets calibrated as in the report (the report has σ = 0.25, every row). PSNR is
-10 log10 of the mean squared error; the last column is how much larger the terms of a sum are than the sum,
in the first and the second layer, of the first fold.

{levels}

In float32 the network is better than the empirical MMSE denoiser, which knows the same training images, in
{ahead} of {len(tasks)} tasks; the more noise, the less of that is left, as on the line.

![PSNR against the width of the accumulator](denoiser-digits.svg)

dB against float32, chunks of 16, operands rounded as well. *Repaired*: one factor and one offset by channel,
measured on 256 training images and folded into weights and biases. Half of a 95 % interval is at most
{spread:.2f} dB of a repaired row.

{table(["task", "rounding", "", *heads], losses, words=3)}

By the order of terms, from their mean sizes on training images; digits, σ = {NOISE:g}, exact products, not
repaired. Each output has an order of its own, but where it is *shared* by all.

{table(["", "rounding", "order", *heads], orders, words=3)}"""


def limits(data: dict) -> str:
    """What follows for a designer, what does not, and how the library is used."""
    digits, least = data["digits"], data["errors"]["whole"]["least"]["toward zero"]
    chunked = level_of(digits)["by_width"]["toward zero"][WIDTH]["plain"]["difference"]
    behind = _behind(data)
    narrowest = min(behind, key=int)
    one = {name: by_bits[WIDTH]["difference"] for name, by_bits in digits["orders"]["toward zero"].items()}
    shared = "smallest first, shared"
    sorted_chunks = digits["chunked_orders"]["toward zero"][shared][WIDTH]["difference"]
    return f"""## What a designer takes along, and limits

* A sum that cancels should keep its partial sums small. On the line that takes {least["smallest first"]}
  mantissa bits toward zero with small terms first, {least["random"]} shuffled, {least["alternating"]}
  alternating and {least["grouped"]} grouped. Where the hardware's order is fixed by k, neurons can be sorted
  before the weights are loaded, by the mean size of what they add: *shared* above, a permutation that needs
  no hardware, takes {WIDTH} bits toward zero, in one chunk, from {one["ascending"]:+.2f} to
  {one[shared]:+.2f} dB. An order for each output
  ({one["smallest first"]:+.2f} dB) needs hardware that feeds each column in its own order.
* Chunks of 16 bound the partial sums, too: {chunked:+.2f} dB as neurons come, {sorted_chunks:+.2f} dB sorted.
* A regression feels truncation's gain, which is to be repaired. Then truncation is within {_CLOSE:g} dB of
  nearest even in every task from this width on: {least_of(least_close(data))} bits. With {narrowest} it is up
  to {behind[narrowest]:.2f} dB behind.
* Training is compared with the closed form for the line and the equilateral triangle only. *Random* is one
  shuffle. Fashion-MNIST is run at one noise, and how much larger terms are than sums is told of one fold.
* The line is one scene, and its least M depends on the number of points and on the noise, as the tables show.
  Neurons are exact but where it is said, so that M is that of the output sum. The empirical MMSE denoiser
  runs in float64.
* The bound takes one chunk and no overflow; on the line's plateaus it is computed at the places that are
  named, not in between. Contraction in more than one dimension is a measurement, not a
  proof; costs in more than two dimensions rest on the paper's proofs.

## Use it

```python
import torch
from golden.config import Rounding
from sim.denoisers import accumulator_config, error_bound, line, narrow_output, narrow_terms, term_order

form = line([-1.0, -0.2, 0.3, 1.0], rho=0.1)
network = form.network.ordered(term_order("smallest first", len(form.network)))
y = torch.linspace(-1.2, 1.2, 1001, dtype=torch.float64)[:, None]
config = accumulator_config(7, Rounding.TOWARD_ZERO)
print((narrow_output(network, y, config) - form(y)).abs().max())
print(error_bound(narrow_terms(network, y, config), config.accumulator).max())
```"""
