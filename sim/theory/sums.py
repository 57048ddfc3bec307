"""What an accumulator makes of the sums of a wide layer, and how far signals then go.

A sum of K products comes out as a gain times the exact sum, and an error that two inputs do not share. The
gain moves the fixed point of the variance map away from where chi is largest; the error takes from
correlations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from numbers import Integral

import torch

from golden.config import ConfigError, FloatAccumulator, MacConfig, Rounding
from sim.calibration.law import place_losses
from sim.inject import accumulate
from sim.layers import resolved
from sim.theory.activation import Levels
from sim.theory.mean_field import (
    TRAINABLE,
    MeanField,
    best_mean_field,
    check_positive,
    covariance,
    level_step,
    second_moment,
    thresholds,
)

__all__ = ["EXACT", "Settled", "Signal", "Sums", "measured_sums", "propagate", "settled", "sums_by_law"]

#: Random sums that are measured: of pairs of inputs, by outputs.
_PAIRS, _OUTPUTS = 128, 128

#: A variance has settled when it changes by less than this share.
_SETTLED = 1e-10

#: Activations of this second moment are 0, all but a few.
_NOTHING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """How the sums of a layer relate to the exact ones."""

    gain: float  #: Their deviation over that of the exact ones, errors apart.
    noise: float  #: Variance of errors that two inputs do not share, over that of the rest: 0 or more.

    @property
    def deviation(self) -> float:
        """Their deviation over that of the exact ones: what weights are to be divided by."""
        return self.gain * math.sqrt(1 + self.noise)


EXACT = Sums(gain=1.0, noise=0.0)


def sums_by_law(config: MacConfig | str, fan_in: int, levels: int) -> Sums:
    """By the law of docs/calibration.md: float accumulators that nothing overflows or underflows.

    Places of a sum have unequal gains. That is as if the weights were others, the same for all inputs: it
    counts in the gain and is no noise. Raises ConfigError for accumulators that the law is not of.
    """
    config = _checked(config, fan_in)
    if not all(isinstance(acc, FloatAccumulator) for acc in (config.accumulator, config.outer_accumulator)):
        raise ConfigError(
            f"the law of gains is of float accumulators, not of {config.name}; use measured_sums"
        )
    law = place_losses(config, fan_in, product_ratio=_product_ratio(levels))
    # A stochastic rounding errs by f (1 - f) of a unit squared, 1/6 on average; the law has nearest's 1/12.
    random = law.random * (2 if config.accumulator.rounding is Rounding.STOCHASTIC else 1)
    return Sums(gain=law.gain * math.sqrt(1 + law.uneven), noise=random / (1 + law.uneven))


def _checked(config: MacConfig | str, fan_in: int) -> MacConfig:
    """The configuration, by its name or itself; ConfigError for what is none, or for sums of nothing."""
    if not isinstance(fan_in, Integral) or isinstance(fan_in, bool) or fan_in < 1:
        raise ConfigError(f"sums are of products, and fan_in={fan_in!r}; use a number from 1 on")
    found = resolved(config)
    if not isinstance(found, MacConfig):
        raise ConfigError(
            f"sums are made by one arithmetic, and {config!r:.60} has several; use one configuration"
        )
    return found


def _product_ratio(levels: int) -> float:
    """E|p| / rms(p) of products of activations and normal weights."""
    field = best_mean_field(levels)
    infinity = torch.tensor([math.inf], dtype=torch.float64)
    edges = torch.cat([-infinity, field.spacing * torch.from_numpy(thresholds(levels)), infinity])
    shares = torch.special.ndtr(edges).diff()
    mean = float(shares @ torch.linspace(-1, 1, levels, dtype=torch.float64).abs())
    return mean / math.sqrt(field.second_moment) * math.sqrt(2 / math.pi)


@torch.no_grad()
def measured_sums(
    config: MacConfig | str, fan_in: int, levels: int, *, sigma_w: float | None = None, seed: int = 0
) -> Sums:
    """Of random activations and weights on this arithmetic: operands' formats, range and all.

    Inputs are pairs of correlation 1/2, and the noise is what their sums' correlation lacks, to about 0.003;
    an error that a pair shares adds to that correlation and hides as much noise, down to 0.
    ``sigma_w``: None for that of best propagation. ConfigError where sums are not numbers to work with.
    """
    config, field, sigma = _checked(config, fan_in), best_mean_field(levels), _sigma(levels, sigma_w)
    generator = torch.Generator().manual_seed(seed)
    first, other = Levels(levels)(torch.randn(2, _PAIRS, fan_in, generator=generator) * field.deviation)
    second = torch.where(torch.rand(_PAIRS, fan_in, generator=generator) < 0.5, first, other)
    weights = torch.randn(fan_in, _OUTPUTS, generator=generator) * (sigma / math.sqrt(fan_in))
    inputs = torch.cat([first, second])
    with accumulate(config):
        sums = (inputs @ weights).double()
    exact = inputs.double() @ weights.double()
    kept = float((sums * exact).sum() / (sums.norm() * exact.norm()).clamp(min=1e-300))
    if kept < 0.5:
        raise ConfigError(
            f"sums of {fan_in} products in {config.name} have little to do with the exact ones (cosine "
            f"{kept:.2f}); use a wider accumulator, or one whose range holds them"
        )
    noise = max(_pair_correlation(exact) / _pair_correlation(sums) - 1, 0.0)
    return Sums(gain=float(sums.norm() / exact.norm()) / math.sqrt(1 + noise), noise=noise)


def _pair_correlation(sums: torch.Tensor) -> float:
    """Between the two halves of the rows."""
    first, second = sums.chunk(2)
    return float((first * second).sum() / (first.norm() * second.norm()))


@dataclass(frozen=True, slots=True)
class Signal:
    """What mean field says of a layer's activations for two inputs."""

    second_moment: float
    correlation: float


def propagate(
    levels: int, depth: int, signal: Signal, *, sigma_w: float | None = None, sums: Sums = EXACT
) -> list[Signal]:
    """Activations layer by layer from those of the input, [depth + 1]."""
    return list(islice(_layers(levels, signal, _sigma(levels, sigma_w), sums), depth + 1))


def _sigma(levels: int, sigma_w: float | None) -> float:
    if sigma_w is None:
        return best_mean_field(levels).sigma_w
    check_positive("sigma_w", sigma_w)
    return sigma_w


def _layers(levels: int, signal: Signal, sigma_w: float, sums: Sums) -> Iterator[Signal]:
    while True:
        yield signal
        deviation = sigma_w * sums.deviation * math.sqrt(signal.second_moment)
        moment = _mapped(levels, deviation)
        common = covariance(levels, deviation, signal.correlation / (1 + sums.noise))
        # Rounding may carry the correlation of equal inputs past 1.
        signal = Signal(moment, max(-1.0, min(common / moment, 1.0)))


def _mapped(levels: int, deviation: float) -> float:
    """The second moment behind sums of this deviation; ConfigError where it has gone to nothing."""
    moment = second_moment(levels, deviation)
    if moment < _NOTHING:
        raise ConfigError(
            f"activations of {levels} levels all become 0 with these weights on these sums; use larger "
            "weights, or an even number of levels"
        )
    return moment


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """A wide network on an accumulator, at the fixed point of its variance map."""

    field: MeanField  #: Its spacing is what the accumulator's gain leaves of the intended one.
    sums: Sums

    @property
    def variance(self) -> float:
        """Second moment of activations over that of best propagation: well below 1, they have collapsed."""
        return self.field.second_moment / best_mean_field(self.field.levels).second_moment

    @property
    def chi(self) -> float:
        """What a layer multiplies a small correlation by."""
        return self.field.chi / (1 + self.sums.noise)

    @property
    def depth_scale(self) -> float:
        """xi: the layers in which correlations fall by e."""
        return -1 / math.log(self.chi)

    @property
    def max_depth(self) -> float:
        """L_max: :data:`sim.theory.mean_field.TRAINABLE` times xi."""
        return TRAINABLE * self.depth_scale


def settled(levels: int, *, sigma_w: float | None = None, sums: Sums = EXACT) -> Settled:
    """Where the variance goes from that of best propagation, for weights of this sigma_w on these sums.

    With an odd number of levels, one of them 0, it may go to nothing: ConfigError.
    """
    sigma = _sigma(levels, sigma_w) * sums.deviation
    moment = best_mean_field(levels).second_moment
    while True:
        deviation = sigma * math.sqrt(moment)
        after = _mapped(levels, deviation)
        if abs(after - moment) < _SETTLED * moment:
            return Settled(field=MeanField(levels, level_step(levels) / deviation), sums=sums)
        moment = after
