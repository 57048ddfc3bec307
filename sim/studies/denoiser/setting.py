"""What the parts of the study have in common: the denoisers, the noise, and the accumulators that are
tried.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from golden.config import Rounding
from sim.denoisers import ClosedForm, equilateral_triangle, line, obtuse_simplex, rays

__all__ = [
    "POINTS",
    "RADII",
    "ROUNDINGS",
    "SEED",
    "SIGMA",
    "corner_samples",
    "evenly_spaced",
    "least_winning",
    "planar",
]

SEED = 0
POINTS = 10  #: Clean points of the line, from -1 to 1.
SIGMA = 0.01
RADII = 3  #: The noise radius of a denoiser for normal noise, in standard deviations.

#: Name -> rounding and random bits.
ROUNDINGS: dict[str, tuple[Rounding, int | None]] = {
    "toward zero": (Rounding.TOWARD_ZERO, None),
    "nearest even": (Rounding.NEAREST_EVEN, None),
    "stochastic": (Rounding.STOCHASTIC, 8),
}


def evenly_spaced(points: int, rho: float) -> ClosedForm:
    """The denoiser of so many points from -1 to 1."""
    return line(torch.linspace(-1, 1, points, dtype=torch.float64).tolist(), rho)


def planar(rho: float) -> dict[str, ClosedForm]:
    """Denoisers of three points in the plane, radius 1 or edges of 1, and one with an edge of 1.5."""

    def unit(degrees: float) -> list[float]:
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    triangle = torch.tensor([unit(each) for each in (0, 120, 240)], dtype=torch.float64)
    obtuse = torch.tensor([[0.0, 0.0], unit(0), [1.5 * each for each in unit(120)]], dtype=torch.float64)
    return {
        "equilateral triangle": equilateral_triangle(triangle, rho),
        "two rays": rays(torch.eye(2, dtype=torch.float64), [1.0, 1.0], rho),
        "obtuse triangle": obtuse_simplex(obtuse, rho),
    }


def corner_samples(form: ClosedForm) -> tuple[Tensor, Tensor]:
    """The noisy samples that decide: of each ball, its ends in all directions of the network's neurons."""
    ends = torch.unique(form.network.w, dim=0)
    ends = torch.cat([ends, -ends])
    samples = (form.points[:, None] + form.rho * ends).flatten(0, 1)
    return samples, form.points.repeat_interleave(len(ends), dim=0)


def least_winning(errors: dict[str, float], limit: float) -> int | None:
    """The least M from which on all errors, by M, are below the limit; None where there is none."""
    least = None
    for man_bits in sorted(map(int, errors), reverse=True):
        if errors[str(man_bits)] >= limit:
            break
        least = man_bits
    return least
