"""Mean field of wide networks whose activation has N levels: how far signals go.

Blumenfeld, Gilboa and Soudry, NeurIPS 2019, arXiv 1906.00771. The activation has N levels, evenly spaced from
-1 to 1, and N - 1 thresholds D (i - N/2) with D = 2/(N-1), midway between levels. Weights have variance
sigma_w**2 / fan_in, biases none. Sums u of a layer are normal of deviation s, s**2 = sigma_w**2 Q, Q the
second moment of activations: all there is to know is the *spacing* D/s, thresholds in units of the sums'
deviation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from numbers import Integral

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from golden.config import ConfigError

__all__ = [
    "TRAINABLE",
    "MeanField",
    "asymptotic_error",
    "best_mean_field",
    "check_levels",
    "check_positive",
    "covariance",
    "level_step",
    "second_moment",
    "thresholds",
]

#: Networks are trainable to this many times the depth that correlations survive: Schoenholz, Gilmer, Ganguli
#: and Sohl-Dickstein, ICLR 2017, arXiv 1611.01232.
TRAINABLE = 6

#: Nodes of the integral over correlations: good to 1e-12 of it up to 0.999, for 32 levels.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)


def check_levels(levels: int) -> None:
    """Raise ConfigError where this is no number of levels."""
    if not isinstance(levels, Integral) or isinstance(levels, bool) or levels < 2:
        raise ConfigError(
            f"an activation has two levels or more, and levels={levels!r}; use a number from 2 on"
        )


def check_positive(name: str, value: float) -> None:
    """Raise ConfigError where this is no number above 0."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} is a size, and {name}={value!r}; use a finite number above 0")


def level_step(levels: int) -> float:
    """D: from one level to the next, and from one threshold to the next."""
    check_levels(levels)
    return 2 / (levels - 1)


def thresholds(levels: int) -> np.ndarray:
    """Centred ones: i - N/2 for i from 1 to N - 1, in units of D: float64 [N - 1]."""
    check_levels(levels)
    return np.arange(1, levels) - levels / 2


def _density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _sums(levels: int, spacing: float) -> tuple[float, float]:
    """Of the thresholds t = spacing * i: sum of pdf(t), and sum over pairs of Phi(-max) Phi(min)."""
    t = spacing * thresholds(levels)
    below = ndtr(t)
    pairs = ndtr(-t) * (2 * (np.cumsum(below) - below) + below)
    return float(_density(t).sum()), float(pairs.sum())


@dataclass(frozen=True, slots=True)
class MeanField:
    """A wide network at the fixed point of its variance map."""

    levels: int  #: N.
    spacing: float  #: D/s, between thresholds in units of the deviation of sums.

    def __post_init__(self) -> None:
        check_levels(self.levels)
        check_positive("spacing", self.spacing)

    @property
    def second_moment(self) -> float:
        """Q: the mean square of activations."""
        return second_moment(self.levels, self.deviation)

    @property
    def deviation(self) -> float:
        """s: of sums."""
        return level_step(self.levels) / self.spacing

    @property
    def sigma_w(self) -> float:
        """For which this is the fixed point: s / sqrt(Q). Weights have variance sigma_w**2 / fan_in."""
        return self.deviation / math.sqrt(self.second_moment)

    @property
    def chi(self) -> float:
        """What a layer multiplies a small correlation of two inputs by: the slope of its map at 0."""
        densities, pairs = _sums(self.levels, self.spacing)
        return densities**2 / pairs

    @property
    def depth_scale(self) -> float:
        """xi: the layers in which correlations fall by e, -1 / ln(chi)."""
        return -1 / math.log(self.chi)

    @property
    def max_depth(self) -> float:
        """L_max: the depth to which such networks are trainable, :data:`TRAINABLE` times xi."""
        return TRAINABLE * self.depth_scale

    @property
    def slope(self) -> float:
        """Of the straight-through derivative in [-1, 1], for which gradients keep their variance.

        sigma_w**2 slope**2 P(|u| <= 1) = 1.
        """
        inside = math.erf(1 / (self.deviation * math.sqrt(2)))
        return 1 / (self.sigma_w * math.sqrt(inside))


@cache
def best_mean_field(levels: int) -> MeanField:
    """The spacing of largest chi.

    chi(D/s) is 1 less the error of a quantizer with these thresholds, its levels scaled as is best for them.
    Where that is least, thresholds are midway between the scaled levels, so levels are D/s apart: spacing =
    E[z y]/E[y**2] of a normal z and unscaled y, an equation in one unknown. There sigma_w = 1 / sqrt(chi).
    """
    check_levels(levels)

    def excess(spacing: float) -> float:
        densities, pairs = _sums(levels, spacing)
        return densities - spacing * pairs

    return MeanField(levels, brentq(excess, 1e-9, 2.0, xtol=1e-15, rtol=1e-14))


def second_moment(levels: int, deviation: float) -> float:
    """The variance map: Q of activations for sums of this deviation, which is above 0."""
    check_positive("deviation", deviation)
    return level_step(levels) ** 2 * _sums(levels, level_step(levels) / deviation)[1]


def covariance(levels: int, deviation: float, correlation: float) -> float:
    """Of the activations of two inputs whose sums have this deviation and correlation; from -1 to 1.

    The integral over correlations r of the sum over pairs of thresholds of the bivariate normal density at
    them (Price's theorem), with r the sine of an angle.
    """
    check_positive("deviation", deviation)
    if not -1 <= correlation <= 1:
        raise ConfigError(f"a correlation is from -1 to 1, and correlation={correlation!r}; use one that is")
    t = level_step(levels) / deviation * thresholds(levels)
    half = math.asin(float(correlation)) / 2
    total = 0.0
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        angle = half * (1 + node)
        r, cosine = math.sin(angle), math.cos(angle)
        squares = t[:, None] ** 2 + t[None] ** 2 - 2 * r * t[:, None] * t[None]
        total += weight * float(np.exp(-squares / (2 * cosine * cosine)).sum())
    return level_step(levels) ** 2 * half * total / (2 * math.pi)


def asymptotic_error(levels: int) -> float:
    """What 1 - chi tends to as levels grow: 4 ln(N) / (3 N**2).

    The error of the best uniform quantizer of a normal variable: Hui and Neuhoff, IEEE Transactions on
    Information Theory 47 (2001) 957-977.
    """
    check_levels(levels)
    return 4 * math.log(levels) / (3 * levels**2)
