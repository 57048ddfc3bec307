"""Sections of the study's page, Markdown, on denoisers of images, and what follows for a designer."""

from __future__ import annotations

from sim.studies.denoiser.tables import table

__all__ = ["images", "limits"]


def images(data: dict) -> str:
    digits = data["digits"]
    tasks = [*digits["levels"], *([data["fashion"]] if "fashion" in data else [])]
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
in the first and the second layer.

{levels}

Networks beat the empirical MMSE denoiser, which knows the same training images, at low noise only, on real
images as on the line.

![PSNR against the width of the accumulator](denoiser-digits.svg)

dB against float32, chunks of 16, operands rounded as well. *Repaired*: one factor and one offset by channel,
measured on 256 training images and folded into weights and biases. Half of a 95 % interval is at most
{spread:.2f} dB of a repaired row.

{table(["task", "rounding", "", *heads], losses, left=3)}

By the order of terms, from their mean sizes on training images; digits, σ = 0.25, exact products, as it is.
Each output has an order of its own, but where it is *shared* by all.

{table(["", "rounding", "order", *heads], orders, left=3)}"""


def limits(data: dict) -> str:
    digits = data["digits"]
    middle = min(digits["levels"], key=lambda level: abs(level["sigma"] - 0.25))
    chunked = middle["by_width"]["toward zero"]["12"]["plain"]["difference"]
    one = {name: by_bits["12"]["difference"] for name, by_bits in digits["orders"]["toward zero"].items()}
    shared = "smallest first, shared"
    sorted_chunks = digits["chunked_orders"]["toward zero"][shared]["12"]["difference"]
    return f"""## What a designer takes along, and limits

* A sum that cancels should take small terms first. Where the hardware's order is fixed by k, neurons can be
  sorted before the weights are loaded, by the mean size of what they add: *shared* above, which is free, and
  takes 12 bits toward zero from {one["ascending"]:+.2f} to {one[shared]:+.2f} dB. An order for each output
  ({one["smallest first"]:+.2f} dB) needs hardware that feeds each column in its own order.
* Chunks of 16 bound the partial sums, too: {chunked:+.2f} dB as neurons come, {sorted_chunks:+.2f} dB sorted.
* A regression feels the gain that a classifier does not; calibrate it, and truncation costs little more than
  the other roundings.
* The line is one scene, and its least M depends on the number of points and on the noise, as the tables show.
  Neurons are exact but where it is said, so that M is that of the output sum. The empirical MMSE denoiser
  runs in float64.
* The bound takes one chunk and no overflow. Contraction in more than one dimension is a measurement, not a
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
