"""Fully connected networks of N levels, trained on handwritten digits: which depths learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from golden.config import MacConfig
from sim.data import digits_folds
from sim.inject import accumulate
from sim.studies.depth.arithmetic import MODES, config_of
from sim.theory import Levels, best_mean_field, init_, settled, sums_by_law

__all__ = [
    "WIDTH",
    "accuracy",
    "digits",
    "frontier",
    "measure_frontier",
    "measure_trained",
    "measure_width",
    "network",
    "train",
]

WIDTH = 128
_BATCH, _RATE, _MOMENTUM, _CLIP = 64, 0.02, 0.9, 1.0
_STEPS = 200
_SEED = 0

#: Accuracy on the training set from which a network counts as trained.
TRAINED = 0.5

_GRID_LEVELS = (2, 3, 4, 6, 8, 16)
_GRID_DEPTHS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128)

#: (mantissa bits, mode) of networks that are trained on the accumulator.
_CASES = (
    (3, "rz"),
    (3, "rz repaired"),
    (3, "rne"),
    (4, "rz"),
    (4, "rz repaired"),
    (5, "rz"),
    (5, "rz repaired"),
)


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels: [n, 64] of mean 0 and variance 1, and [n]."""
    fold = digits_folds()[0]
    spread, mean = torch.std_mean(fold.train_images)
    images = [((each - mean) / spread).flatten(1) for each in (fold.train_images, fold.test_images)]
    return images[0], fold.train_labels, images[1], fold.test_labels


def network(levels: int, depth: int, width: int = WIDTH) -> nn.Sequential:
    """``depth`` linear layers with activations between them: [n, 64] -> [n, 10]."""
    sizes = [64, *[width] * (depth - 1), 10]
    layers = [nn.Linear(before, after) for before, after in pairwise(sizes)]
    return nn.Sequential(*(each for layer in layers for each in (layer, Levels(levels))))[:-1]


def train(
    model: nn.Module, images: Tensor, labels: Tensor, *, steps: int, seed: int, config: MacConfig | None
) -> None:
    """Stochastic gradient descent with momentum, gradients clipped; forward products by ``config``."""
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=_MOMENTUM, fused=True)
    generator = torch.Generator().manual_seed(seed)
    with nullcontext() if config is None else accumulate(config, gradient="identity"):
        for _ in range(steps):
            picked = torch.randint(len(images), (_BATCH,), generator=generator)
            loss = functional.cross_entropy(model(images[picked]), labels[picked])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), _CLIP, foreach=True)
            optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, config: MacConfig | None) -> float:
    """Share that is right, products by ``config``."""
    with nullcontext() if config is None else accumulate(config):
        return float((model(images).argmax(1) == labels).float().mean())


def _cell(
    levels: int,
    depth: int,
    *,
    steps: int,
    width: int = WIDTH,
    config: MacConfig | None = None,
    repaired: bool = False,
) -> dict[str, Any]:
    images, labels, test_images, test_labels = digits()
    model = network(levels, depth, width)
    generator = torch.Generator().manual_seed(_SEED)
    init_(model, levels=levels, config=config if repaired else None, generator=generator)
    train(model, images, labels, steps=steps, seed=_SEED, config=config)
    return {
        "levels": levels,
        "depth": depth,
        "train": accuracy(model, images, labels, config),
        "test": accuracy(model, test_images, test_labels, config),
    }


def _settings(steps: int) -> dict[str, Any]:
    images, _, test_images, _ = digits()
    names = {
        "width": WIDTH,
        "batch": _BATCH,
        "rate": _RATE,
        "momentum": _MOMENTUM,
        "clip": _CLIP,
        "steps": steps,
    }
    return names | {"n_train": len(images), "n_test": len(test_images), "seed": _SEED}


def measure_frontier(quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Accuracy over depth and levels, in float32, after a fixed number of steps."""
    steps = 60 if quick else _STEPS
    grid_levels, depths = ((2, 4), (4, 24)) if quick else (_GRID_LEVELS, _GRID_DEPTHS)
    rows, frontiers = [], []
    for levels in grid_levels:
        for depth in depths:
            rows.append(_cell(levels, depth, steps=steps))
            report(f"{levels} levels, {depth} layers: {100 * rows[-1]['train']:.1f} % of the training set")
        mine = [(row["depth"], row["train"]) for row in rows if row["levels"] == levels]
        field = best_mean_field(levels)
        frontiers.append({"levels": levels, "frontier": frontier(mine), "depth_scale": field.depth_scale})
    return {"rows": rows, "frontiers": frontiers, "trained": TRAINED, **_settings(steps)}


def measure_width(quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Whether it is the width that ends the frontier: the same deep network, wider."""
    steps = 20 if quick else _STEPS
    levels, depth, widths = (4, 4, (32, 64)) if quick else (8, 128, (256, 384))
    rows = []
    for width in widths:
        rows.append(_cell(levels, depth, steps=steps, width=width) | {"width": width})
        report(f"{levels} levels, {depth} layers, width {width}: {100 * rows[-1]['train']:.1f} %")
    return {"rows": rows, **_settings(steps)}


def frontier(cells: list[tuple[int, float]]) -> float | None:
    """Depth at which accuracy falls below :data:`TRAINED` for the last time, on a logarithmic scale.

    ``cells``: (depth, accuracy), depths rising. None where the deepest is trained, or none is.
    """
    trained = [i for i, (_, value) in enumerate(cells) if value >= TRAINED]
    if not trained or trained[-1] == len(cells) - 1:
        return None
    (near, good), (far, bad) = cells[trained[-1]], cells[trained[-1] + 1]
    share = (good - TRAINED) / (good - bad)
    return math.exp((1 - share) * math.log(near) + share * math.log(far))


def measure_trained(quick: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Training on the accumulator itself: as drawn for exact sums, drawn for it, and nearest even."""
    levels, steps = 16, 20 if quick else _STEPS
    rows = []
    for depth in (4,) if quick else (8, 16, 32):
        for man_bits, mode in _CASES[:2] if quick else _CASES:
            rounding, repaired = MODES[mode]
            config = config_of(man_bits, rounding)
            sums = sums_by_law(config, WIDTH, levels)
            sigma_w = best_mean_field(levels).sigma_w / (sums.deviation if repaired else 1)
            cell = _cell(levels, depth, steps=steps, config=config, repaired=repaired)
            end = settled(levels, sigma_w=sigma_w, sums=sums)
            cell |= {"config": config.name, "man_bits": man_bits, "mode": mode, "max_depth": end.max_depth}
            rows.append(cell)
            report(f"{depth} layers, {mode}, {man_bits} bits: {100 * cell['train']:.1f} %")
    return {"rows": rows, "gradient": "identity", **_settings(steps)}
