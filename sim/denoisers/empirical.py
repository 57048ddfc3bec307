"""The denoiser that knows the training points and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["empirical_mmse"]


def empirical_mmse(points: Tensor, sigma: float, y: Tensor) -> Tensor:
    """E[x | y] where x is one of ``points`` [n, d], all as likely, and y = x + sigma * normal noise: [m, d].

    The least mean squared error there is if the points are all there is, and what a denoiser of infinite
    capacity learns from them.
    """
    return torch.softmax(-torch.cdist(y, points).square() / (2 * sigma**2), dim=1) @ points
