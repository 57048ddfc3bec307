"""What a float accumulator does to a sum, in closed form: gain by place, noise, saturation and flushing.

docs/calibration.md derives each formula and says how well it holds. Sums are taken for random walks; a share
is of the energy of the exact result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import erfc
from torch import Tensor

from golden.config import FixedFormat, FloatAccumulator, FloatFormat, Format, MacConfig, Rounding

__all__ = [
    "PlaceLosses",
    "best_chunk",
    "flushed_share",
    "kurtosis_spread",
    "overflow_probability",
    "place_losses",
    "product_loss",
    "saturated_share",
    "truncation_loss",
    "walk_gain",
]

#: E|z| of a standard normal variable.
_MEAN_MAGNITUDE = math.sqrt(2 / math.pi)

#: E|p| / rms(p) of a product of two normal variables.
NORMAL_PRODUCT = _MEAN_MAGNITUDE**2

#: A walk that is looked at after each step overshoots a limit by this share of a step: -zeta(1/2)/sqrt(2 pi).
_OVERSHOOT = 0.5825971579390106

#: Half a unit in the last place is a share of a number that varies, over a binade, by a relative variance of
#: 3/2 ln 2 - 1. A walk keeps its place in the binade until it has grown by one part in (2 pi / ln 2)**2 / 2.
_RIPPLE = (1.5 * math.log(2) - 1) / ((2 * math.pi / math.log(2)) ** 2 / 2)

#: Share of a unit in the last place, squared, that a rounding makes wrong at random.
_UNIFORM = 1 / 12


def truncation_loss(man_bits: int) -> float:
    """The share of a number that rounding toward zero takes, on average: 2**-(M+1) / (2 ln 2).

    Half a unit in the last place, for significands whose logarithm is uniform.
    """
    return 2.0 ** -(man_bits + 1) / (2 * math.log(2))


def _dither(man_bits: int) -> float:
    """Random part of one rounding, as a share of the number's energy: E[1/f**2] 2**-2M / 12."""
    return _UNIFORM * 4.0**-man_bits * 3 / (8 * math.log(2))


def product_loss(x: Format, w: Format, man_bits: int) -> float:
    """The share of a product that truncation to ``man_bits`` takes: exact, over all pairs of significands.

    Logarithms of operands' significands are taken for uniform. Fixed-point operands: as of a long product.
    """
    if isinstance(x, FixedFormat) or isinstance(w, FixedFormat):
        return truncation_loss(man_bits)
    lost = total = 0.0
    for a in _significands(x):
        for b in _significands(w):
            product = a * b
            unit = 2.0 ** (math.floor(math.log2(product)) - man_bits)
            total += 1 / product
            lost += (product % unit) / product / product
    return lost / total


def _significands(number: FloatFormat) -> list[float]:
    """Of the format, or of one of 6 bits where it has more: enough for an average."""
    steps = 2 ** min(number.man_bits, 6)
    return [1 + i / steps for i in range(steps)]


def _product_bits(config: MacConfig) -> int:
    """Mantissa bits of a product as it reaches the adder."""
    parts = (config.x, config.w)
    longest = sum(part.bits - 1 if isinstance(part, FixedFormat) else part.man_bits for part in parts) + 1
    return longest if config.product is None else min(longest, config.product.format.man_bits)


@dataclass(frozen=True, kw_only=True, eq=False)
class PlaceLosses:
    """What truncation takes from each product of a sum: it leaves exp(-loss) of product k."""

    losses: Tensor  #: float64 [k], in all steps from its own to the last.
    energy: Tensor  #: float64 [k]: the share of each place in the energy of products.
    #: Relative variance of the result by roundings' random parts, and by losses other than their averages.
    random: float

    @property
    def gains(self) -> Tensor:
        """What the sum holds of each product: float64 [k]."""
        return (-self.losses).exp()

    @property
    def gain(self) -> float:
        """What the sum is multiplied by: the mean over the energy of products."""
        return float(self.gains @ self.energy)

    @property
    def uneven(self) -> float:
        """Relative variance of the places' gains: the error that one common factor does not make up for."""
        return float((self.gains - self.gain).square() @ self.energy) / self.gain**2

    def error(self, *, even: bool) -> float:
        """Predicted 1 - cos**2 between result and exact sum.

        ``even``: where each place is made up for by its own factor.
        """
        variance = self.random + (0.0 if even else self.uneven)
        return variance / (1 + variance)


def place_losses(
    config: MacConfig,
    length: int,
    *,
    active: Tensor | None = None,
    energy: Tensor | None = None,
    product_ratio: float = NORMAL_PRODUCT,
) -> PlaceLosses:
    """The law of a sum of ``length`` products on this configuration's float accumulators.

    Parameters
    ----------
    active : Tensor or None
        How often the product at each place is not zero, [k]: adding zero loses nothing. None: always.
    energy : Tensor or None
        Mean squares of products by place, up to a factor, [k]. None: alike.
    product_ratio : float
        E|p| / rms(p) of products that are not zero.
    """
    inner, outer = config.accumulator, config.outer_accumulator
    if not isinstance(inner, FloatAccumulator) or not isinstance(outer, FloatAccumulator):
        raise ValueError("the law is of float accumulators")
    share = torch.ones(length, dtype=torch.float64) if active is None else active.double().cpu()
    losses = torch.zeros(length, dtype=torch.float64)
    # A product of few bits leaves nothing to cut until the sum is so many binades above it.
    coarse = 2.0 ** max(0, inner.format.man_bits - _product_bits(config)) * product_ratio * _MEAN_MAGNITUDE
    chunks = [slice(i, min(i + config.chunk_size, length)) for i in range(0, length, config.chunk_size)]
    spread = 0.0
    for places in chunks:
        losses[places] += _to_the_end(_walk(share[places], _loss(inner), coarse))
        skipped = _to_the_end(share[places] * (1 - share[places]))
        spread += _loss(inner) ** 2 * float(skipped.sum()) / length
    of_chunks = _walk(torch.ones(len(chunks), dtype=torch.float64), _loss(outer), _MEAN_MAGNITUDE**2)
    losses += _to_the_end(of_chunks).repeat_interleave(config.chunk_size)[:length]
    if config.product is not None and config.product.rounding is Rounding.TOWARD_ZERO:
        losses += product_loss(config.x, config.w, config.product.format.man_bits)
    steps = float(share.sum()) / max(len(chunks), 1), float(len(chunks))
    random = spread + _dither(inner.format.man_bits) * (config.product is not None)
    for accumulator, count in zip((inner, outer), steps, strict=True):
        random += _dither(accumulator.format.man_bits) * count / 2
        random += _RIPPLE * (_loss(accumulator) * count) ** 2
    weights = torch.ones_like(losses) if energy is None else energy.double().cpu()
    return PlaceLosses(losses=losses, energy=weights / weights.sum(), random=random)


def _loss(accumulator: FloatAccumulator) -> float:
    toward_zero = accumulator.rounding is Rounding.TOWARD_ZERO
    return truncation_loss(accumulator.format.man_bits) if toward_zero else 0.0


def _to_the_end(losses: Tensor) -> Tensor:
    """Of each step, the losses of it and of all that follow."""
    return losses.flip(0).cumsum(0).flip(0)


def _walk(active: Tensor, loss: float, coarse: float) -> Tensor:
    """Loss at each step of a walk from 0: after n steps, loss (1 - coarse / sqrt(n)); none at the first."""
    steps = active.cumsum(0)
    begun = (steps - 1).clamp(0, 1)
    return active * loss * begun * (1 - coarse / steps.clamp(min=1).sqrt()).clamp(min=0)


def walk_gain(man_bits: int, chunk_size: float, length: int, zeros: float) -> float:
    """The law without its corrections: exp(-delta [((1-z)c - 1)/2 + (K/c - 1)/2 + 1])."""
    steps = max((1 - zeros) * chunk_size - 1, 0) / 2 + max(length / chunk_size - 1, 0) / 2 + 1
    return math.exp(-truncation_loss(man_bits) * steps)


def best_chunk(length: int, zeros: float) -> float:
    """The chunk of least loss and of least noise: sqrt(K / (1 - z)), as ((1-z)c)**2 + (K/c)**2 has it."""
    return math.sqrt(length / max(1 - zeros, 1 / length))


def kurtosis_spread(kurtosis: float) -> float:
    """Standard deviation of ln(variance) in a scale mixture of normals of this kurtosis: 3 exp(spread**2)."""
    return math.sqrt(max(0.0, math.log(kurtosis / 3)))


def _mixture(spread: float) -> Iterator[tuple[float, float]]:
    """Variances of a log-normal mixture of mean 1 and their weights, by Gauss and Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        yield math.exp(spread * node - spread**2 / 2), float(weight)


def overflow_probability(
    limit: float, rms: float, spread: float, *, step: float = 0.0, correlation: float = 1.0
) -> float:
    """Share of sums that leave [-limit, limit] somewhere on their way.

    By the reflection principle, for a walk twice the tail of its end, on either side; for a sum that goes
    straight to its end, once. Ends are of a scale mixture of normals.

    Parameters
    ----------
    limit, rms : float
        The largest sum that is held, and the root of the mean square of ends.
    spread : float
        Of the mixture, as :func:`kurtosis_spread` gives it.
    step : float
        rms of one step: a walk that is looked at after each step passes a limit unseen by a part of it.
    correlation : float
        Energy of ends over that of a walk of the same steps: the rest is drift.
    """
    limit = limit + _OVERSHOOT * step
    of_normals = (weight * erfc(limit / (rms * math.sqrt(2 * v))) for v, weight in _mixture(spread))
    return min(1.0, float(_crossings(correlation) * sum(of_normals)))


def _crossings(correlation: float) -> float:
    """How much more often the way exceeds a limit than the end: 2 for a walk, 1 for a straight line."""
    return 1 + 1 / max(correlation, 1.0)


def saturated_share(
    limit: float, rms: float, spread: float, *, step: float = 0.0, correlation: float = 1.0
) -> float:
    """Energy share that saturation takes: E[((max|walk| - limit)+)**2] / E[end**2].

    A walk loses at a reflecting limit what its running maximum exceeds the limit by (Skorokhod). Parameters
    are those of :func:`overflow_probability`.
    """
    limit = limit + _OVERSHOOT * step
    total = 0.0
    for v, weight in _mixture(spread):
        t = limit / (rms * math.sqrt(v))
        tail, density = erfc(t / math.sqrt(2)) / 2, math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        total += weight * v * 2 * ((1 + t * t) * tail - t * density)
    return min(1.0, max(0.0, float(_crossings(correlation) * total)))


def flushed_share(threshold: float, rms: float, spread: float, *, steps: float, chunks: float) -> float:
    """Energy share of partial sums below ``threshold`` that an accumulator flushes to zero on their way.

    A normal sum of deviation s is within [-u, u] with a density of 1/(s sqrt(2 pi)), and loses u**2/3 there:
    2 u**3 / (3 s sqrt(2 pi)) at each step, in ``chunks`` of so many ``steps`` and in adding up their sums.
    """
    if rms == 0:
        return 0.0
    step = rms / math.sqrt(max(steps * chunks, 1.0))
    inverse = math.exp(3 * spread**2 / 8)  # E[v**-1/2] of the mixture
    # sum of 1/sqrt(i) to n is 2 sqrt(n) - 1.46 or so; 1 for n = 1
    walk = max(2 * math.sqrt(max(steps, 1.0)) - 1, 0) * chunks
    walk += max(2 * math.sqrt(max(chunks, 1.0)) - 1, 0) / math.sqrt(max(steps, 1.0))
    energy = 2 * threshold**3 / (3 * math.sqrt(2 * math.pi) * step) * inverse * walk
    return min(1.0, energy / rms**2)
