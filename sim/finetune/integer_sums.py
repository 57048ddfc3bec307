"""How the products of integers are added up in training: exactly, or by an accumulator of few bits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from golden.config import FixedAccumulator, MacConfig
from golden.gradients import Estimator, GradientRule
from sim.backends import Backend, Conv2dGeometry
from sim.gradients import conv2d

__all__ = ["Counts", "ExactSums", "NarrowSums", "Sums"]


@dataclass(kw_only=True)
class Counts:
    """Outputs of a layer that are not the exact sum."""

    outputs: int = 0
    changed: int = 0


class Sums(ABC):
    """images[i, c, h, w] * weight[o, c, kh, kw], both of integers; differentiable."""

    counts: Counts | None = None  #: Filled where it is not None.
    most: int | None = None  #: The largest sum, where sums leave their range as integers do.
    watched = False  #: Whether training keeps exact sums in that range.
    out_of_range: Tensor | None = None  #: Where watched: the share of the last call's sums, by channel.

    @abstractmethod
    def __call__(self, images: Tensor, weight: Tensor, geometry: Conv2dGeometry) -> Tensor:
        """float32 [i, o, h', w']."""


def _exact(images: Tensor, weight: Tensor, geometry: Conv2dGeometry) -> Tensor:
    """Sums of integers below 2**24, which float32 holds."""
    options = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    return functional.conv2d(images, weight, None, *options)


class ExactSums(Sums):
    """An accumulator that holds every sum, as float32 does these."""

    def __call__(self, images: Tensor, weight: Tensor, geometry: Conv2dGeometry) -> Tensor:
        return _exact(images, weight, geometry)


class NarrowSums(Sums):
    """The accumulator of a configuration, bit for bit.

    Parameters
    ----------
    rule : GradientRule
        How gradients pass through the sums.
    watched : bool
        Whether to keep, in training, each channel's share of exact sums out of the accumulator's range.
    """

    def __init__(self, config: MacConfig, backend: Backend, *, rule: GradientRule, watched: bool):
        self.config, self.backend, self.rule = config, backend, rule
        self.watched = watched
        if isinstance(config.accumulator, FixedAccumulator):
            self.most = config.accumulator.format.max_integer

    def __call__(self, images: Tensor, weight: Tensor, geometry: Conv2dGeometry) -> Tensor:
        if not torch.is_grad_enabled():
            return self._evaluated(images, weight, geometry)
        plain = self.rule.estimator is Estimator.IDENTITY  # an exact product beside gives its gradients
        exact = _exact(images, weight, geometry) if plain or self.watched else None
        if self.watched:
            self.out_of_range = (exact.detach().abs() > self.most).float().mean((0, 2, 3))
        if plain:
            return exact + (self._narrow(images, weight, geometry) - exact).detach()
        return conv2d(images, weight, self.config, geometry, rule=self.rule, backend=self.backend)

    def _evaluated(self, images: Tensor, weight: Tensor, geometry: Conv2dGeometry) -> Tensor:
        narrow = self._narrow(images, weight, geometry)
        if self.counts is not None:
            self.counts.outputs += narrow.numel()
            exact = _exact(images.double(), weight.double(), geometry).round()  # transforms may be inexact
            self.counts.changed += int((narrow != exact).sum())
        return narrow

    def _narrow(self, images: Tensor, weight: Tensor, geometry: Conv2dGeometry) -> Tensor:
        operands = images.detach(), weight.detach()
        if self.backend.name != "cuda":  # which takes its operands from where they are
            operands = tuple(each.cpu() for each in operands)
        narrow = self.backend.conv2d(*operands, self.config, geometry, dtype=torch.float32)
        return narrow.to(images.device)
