"""An activation of N levels, with a gradient that passes straight through it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sim.theory.mean_field import best_mean_field, check_levels

__all__ = ["Levels"]


class Levels(nn.Module):
    """N levels, evenly spaced from -1 to 1: -1 + 2/(N-1) * (thresholds that the input reaches).

    Thresholds are midway between levels. Backward: ``slope`` within [-1, 1] and 0 outside, the
    straight-through derivative of arXiv 1906.00771. Any shape, in the input's own type.

    Parameters
    ----------
    levels : int
        N, 2 or more.
    slope : float, optional
        None: that at which gradients keep their variance with the weights of best propagation. It is a
        buffer, which :func:`sim.theory.init_` sets for the weights that it draws.
    """

    def __init__(self, levels: int, slope: float | None = None):
        super().__init__()
        check_levels(levels)
        self.levels = int(levels)
        self.register_buffer("slope", torch.tensor(best_mean_field(levels).slope if slope is None else slope))

    def forward(self, x: Tensor) -> Tensor:
        """[...] -> [...], values among the levels."""
        return _Steps.apply(x, self.levels, self.slope)

    def extra_repr(self) -> str:
        return f"{self.levels}, slope={self.slope.item():.4f}"


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x.abs() <= 1, slope)
        reached = (x * ((levels - 1) / 2)).add_(levels / 2).floor_().clamp_(0, levels - 1)
        return reached.mul_(2).sub_(levels - 1).div_(levels - 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        inside, slope = ctx.saved_tensors
        return (gradient * inside).mul_(slope.to(gradient.dtype)), None, None
