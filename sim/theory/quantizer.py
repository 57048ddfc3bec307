"""The uniform quantizer of a normal variable, cell by cell: what 1 - chi of the best network is equal to.

Max, IRE Transactions on Information Theory 6 (1960) 7-12, has the table. Nothing here is taken from
:mod:`sim.theory.mean_field`, so that the two can be held against each other.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

__all__ = ["least_quantizer_error", "quantizer_error"]


def quantizer_error(levels: int, step: float) -> float:
    """Mean squared error of quantizing a standard normal variable to ``levels`` values, ``step`` apart."""
    values = step * (np.arange(levels) - (levels - 1) / 2)
    ends = np.concatenate([[-np.inf], values[:-1] + step / 2, [np.inf]])
    density = np.exp(-ends * ends / 2) / math.sqrt(2 * math.pi)
    moment = np.zeros_like(density)
    moment[1:-1] = ends[1:-1] * density[1:-1]
    # Integrals of z**2, z and 1 times the density over each cell.
    share = np.diff(ndtr(ends))
    return float((share - np.diff(moment) + 2 * values * np.diff(density) + values**2 * share).sum())


def least_quantizer_error(levels: int) -> tuple[float, float]:
    """The least error over all steps, and its step."""
    # A search on a logarithmic scale around 4 sqrt(ln N) / N, what the best step tends to.
    middle = math.log(4 * math.sqrt(math.log(levels)) / levels)
    found = minimize_scalar(
        lambda x: quantizer_error(levels, math.exp(x)),
        bounds=(middle - 2, middle + 2),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(found.fun), math.exp(found.x)
