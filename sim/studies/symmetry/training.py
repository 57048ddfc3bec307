"""Trains a network that begins symmetric, and watches its filters, step by step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.data import Images
from sim.studies.symmetry.networks import filters

__all__ = ["History", "correlation", "distinct", "train"]

_MOMENTUM = 0.9


def distinct(rows: Tensor) -> int:
    """How many of the rows [n, ...] differ as numbers: +0 and -0 are equal."""
    return len(torch.unique(rows + 0.0, dim=0))


def correlation(rows: Tensor) -> float:
    """The mean correlation of two of the rows [n, taps]: 1 of rows that are alike, 0 of constant others."""
    centred = rows.double() - rows.double().mean(1, keepdim=True)
    unit = functional.normalize(centred, dim=1)
    pairs = torch.where((rows[:, None] == rows).all(-1), 1.0, unit @ unit.T)
    n = len(rows)
    return float((pairs.sum() - n) / (n * (n - 1)))


@dataclass(kw_only=True)
class History:
    """What became of the filters. After each step: of the layer that has most, and the mean over layers."""

    distinct: list[int] = field(default_factory=list)
    correlation: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)  #: Of the test images, at the end.

    @property
    def first_difference(self) -> int | None:
        """The first step after which two filters of a layer differ; None: they never did."""
        return next((step for step, n in enumerate(self.distinct, 1) if n > 1), None)

    @property
    def accuracy(self) -> float:
        """Of the test images."""
        return sum(self.correct) / len(self.correct)


def train(
    model: nn.Module,
    data: Images,
    arithmetic: Callable[[int], AbstractContextManager],
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> History:
    """Train and test under one arithmetic, a context for each step; the seed is that of the batches.

    Gradient descent with momentum, one operation of torch's after the other: its fused optimizer rounds
    what its vectors do not reach otherwise, and so the last filter of a layer otherwise than the first.
    """
    history = History()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=_MOMENTUM, foreach=False, fused=False)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(steps):
        picked = torch.randint(len(data.train_images), (batch,), generator=generator)
        with arithmetic(step):
            loss = functional.cross_entropy(model(data.train_images[picked]), data.train_labels[picked])
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        layers = filters(model).values()
        history.distinct.append(max(map(distinct, layers)))
        history.correlation.append(sum(map(correlation, layers)) / len(layers))
        history.losses.append(loss.item())
    model.eval()
    with torch.no_grad(), arithmetic(steps):
        history.correct = (model(data.test_images).argmax(1) == data.test_labels).tolist()
    return history
