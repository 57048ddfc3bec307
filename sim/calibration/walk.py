"""The law of a float accumulator step by step: what each rounding takes is averaged, not assumed.

:mod:`sim.calibration.law` lets every step lose half a unit in the last place of a number whose logarithm
is uniform. Here the loss of a step is the mean over pairs of a running sum, normal with the mean and the
energy that it has by then, and of a product from a sample of the layer's own: what the addition leaves
below the last place is what the product has there, and, where the sum moves up a binade, the low bits of
the sum before. That covers products of few bits, the first steps of a walk, sums that lose as much as they
are given, chunks without a product, drift, and products below the last place (swamping); and all three
roundings. docs/calibration.md derives it, docs/studies/chunk.md says how far it holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from golden.config import ConfigError, FloatAccumulator, FloatQuantizer, MacConfig
from sim.calibration.running_sum import RunningSum, taken, unit_of

__all__ = ["Products", "StepLaw", "step_law"]

#: Products, or chunk sums, that addends are drawn from.
_DRAWN = 16384

#: Places at random among which those are looked for.
_SEARCHED = 1 << 18

#: Outputs whose products are looked at: so many; fewer of long sums, but not less than the second number.
_OUTPUTS = 512, 128

#: Products that are looked at, outputs times length.
_LOOKED_AT = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """What is known of the products of a sum, without any accumulator."""

    #: float64 [outputs, k]: products of outputs that are drawn by the energy of their products; each output
    #: in the direction of its own sum and over a power of two, so that all are of a size.
    outputs: Tensor
    share: Tensor  #: float64 [k]: E[p_k y] / E[y**2] over all outputs y. Adds up to 1.

    @property
    def length(self) -> int:
        """Products in a sum."""
        return self.outputs.shape[1]

    @property
    def zeros(self) -> float:
        """Share of products that are zero."""
        return float((self.outputs == 0).double().mean())

    @property
    def correlation(self) -> float:
        """E[y**2] / sum of E[p_k**2]: 1 for products that know nothing of each other."""
        return float(self.outputs.sum(1).square().mean() / self.outputs.square().sum(1).mean())

    @classmethod
    def of(cls, x: Tensor, w: Tensor, *, seed: int) -> Products:
        """Of operands [..., rows, k] and [..., k, n], which hold values of their formats.

        Raises ConfigError where all products are 0.
        """
        x, w = x.double().reshape(-1, *x.shape[-2:]), w.double().reshape(-1, *w.shape[-2:])
        y = x @ w
        energy = (x.square() @ w.square()).flatten()
        if not float(energy.sum()):
            raise ConfigError(
                "sums whose products are all 0 have no gain, and so no law; give operands with a product "
                "that is not 0"
            )
        generator = torch.Generator().manual_seed(seed)
        most, least = _OUTPUTS
        count = max(least, min(most, _LOOKED_AT // x.shape[-1]))
        chance = torch.rand(count, generator=generator, dtype=torch.float64) * energy.sum()
        picked = torch.searchsorted(energy.cumsum(0), chance).clamp(max=len(energy) - 1)
        member, row, column = torch.unravel_index(picked, y.shape)
        products = x[member, row] * w[member, :, column]
        octave = torch.round(torch.log2(products.square().mean(1, keepdim=True)) / 2)
        direction = torch.where(products.sum(1, keepdim=True) < 0, -1.0, 1.0)
        return cls(
            outputs=products * direction / torch.exp2(octave),  # a power of two leaves bits where they are
            share=(x * (y @ w.transpose(-1, -2))).flatten(0, -2).mean(0) / (y.shape[-1] * y.square().mean()),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class StepLaw:
    """What accumulators are expected to leave of sums: got = gain * exact + noise."""

    gains: Tensor  #: float64 [k]: what is left of the product at each place, on average.
    share: Tensor  #: float64 [k]: of :class:`Products`.
    uneven: float  #: Noise by places and outputs that are treated otherwise than the average.
    random: float  #: Noise by what roundings leave at random.

    @property
    def gain(self) -> float:
        """Of the sums."""
        return float(self.gains @ self.share)

    @property
    def noise(self) -> float:
        """Energy of the noise over that of gain * exact: what no scale repairs."""
        return self.uneven + self.random


def step_law(config: MacConfig, products: Products, *, seed: int = 0) -> StepLaw:
    """The law of this configuration's float accumulators, for sums of these products.

    Raises ConfigError for fixed-point accumulators.
    """
    inner, outer = config.accumulator, config.outer_accumulator
    if not isinstance(inner, FloatAccumulator) or not isinstance(outer, FloatAccumulator):
        raise ConfigError(
            f"the law of gains is of float accumulators, not of {config.name}; compute its sums with "
            "sim.inject.accumulate and compare them"
        )
    generator = torch.Generator().manual_seed(seed)
    exact, size = products.outputs, min(config.chunk_size, products.length)
    padded = torch.nn.functional.pad(exact, (0, -products.length % size)).unflatten(1, (-1, size))
    sums = padded.sum(-1)

    addends, product_loss, given = _quantized(_drawn(exact, generator), config.product, generator)
    walk = RunningSum(addends, inner, size, alike=_alike(padded.flatten(0, 1)), given=given, seed=seed)
    steps = (padded != 0).double().cumsum(-1)
    losses = _to_the_end(walk.losses_at(steps) * (padded != 0))

    drawn = _drawn(sums, generator)
    left = math.sqrt(walk.kept)
    given = walk.noise_at(float((padded != 0).sum() / (sums != 0).sum()))
    of_sums = RunningSum(
        _on_grid(drawn * left, inner), outer, sums.shape[1], alike=_alike(sums), given=given, seed=seed
    )
    filled = (sums != 0).double()
    losses = losses + _to_the_end(of_sums.losses_at(filled.cumsum(-1)) * filled)[..., None]

    gains = torch.exp(-losses.flatten(1)[:, : products.length] - product_loss)
    y, kept = exact.sum(1), (exact * gains).sum(1)
    gain = float((kept * y).sum() / y.square().sum())
    energy = gain**2 * float(y.square().mean())
    return StepLaw(
        gains=_weighted(gains, exact.square()),
        share=products.share.double().cpu(),
        uneven=float((kept - gain * y).square().mean()) / energy,
        random=of_sums.noise_at(float(filled.sum(1).mean())) / energy,
    )


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over outputs by these weights: [outputs, k] -> [k]; a plain one where all of them are 0."""
    total = weights.sum(0)
    return torch.where(total == 0, values.mean(0), (values * weights).sum(0) / total.clamp(min=1e-300))


def _drawn(values: Tensor, generator: torch.Generator) -> Tensor:
    """Some of the values that are not zero."""
    values = values.flatten()
    if len(values) > _SEARCHED:
        values = values[torch.randint(len(values), (_SEARCHED,), generator=generator)]
    present = values[values != 0]
    return present[torch.randint(len(present), (_DRAWN,), generator=generator)]


def _alike(addends: Tensor) -> float:
    """Correlation of one addend that is not zero with another of its sum: addends [sums, steps]."""
    squares, count = float(addends.square().sum()), (addends != 0).double().sum(1)
    pairs = float((count * (count - 1)).sum() / count.sum())
    return (float(addends.sum(1).square().sum()) / squares - 1) / pairs if pairs else 0.0


def _to_the_end(losses: Tensor) -> Tensor:
    """Of each step [..., steps], the losses of it and of all that follow."""
    return losses.flip(-1).cumsum(-1).flip(-1)


def _on_grid(values: Tensor, how: FloatAccumulator) -> Tensor:
    """Cut toward zero to the accumulator's mantissa bits."""
    unit = unit_of(values, how.format.man_bits)
    return values.sign() * torch.floor(values.abs() / unit) * unit


def _quantized(
    exact: Tensor, how: FloatQuantizer | None, generator: torch.Generator
) -> tuple[Tensor, float, float]:
    """Products as they reach the adder, what that takes as -ln(gain), and the energy it leaves at random."""
    if how is None:
        return exact, 0.0, 0.0
    unit = unit_of(exact, how.format.man_bits)
    low = torch.remainder(exact.abs(), unit)
    chance = torch.rand(len(exact), generator=generator, dtype=torch.float64)
    rounded = exact - exact.sign() * taken(low, unit, how, chance)
    energy = float(exact.square().sum())
    gain = float((rounded * exact).sum()) / energy
    return rounded, -math.log(gain), max(0.0, float(rounded.square().sum()) - gain**2 * energy) / len(exact)
