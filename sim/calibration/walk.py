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
from typing import NamedTuple

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from golden.config import FloatAccumulator, FloatQuantizer, MacConfig, Rounding

__all__ = ["Products", "StepLaw", "step_law"]

#: Pairs of a sum and a product that a step is averaged over.
_PAIRS = 2048

#: Products, or chunk sums, that addends are drawn from.
_DRAWN = 16384

#: Places at random among which those are looked for.
_SEARCHED = 1 << 18

#: Outputs whose products are looked at: so many; fewer of long sums, but not less than the second number.
_OUTPUTS = 512, 128

#: Products that are looked at, outputs times length.
_LOOKED_AT = 1 << 20

#: A step is averaged anew once the running sum has changed by this share, against products.
_STALE = 0.04

#: Or after so many steps, with other pairs: none of them then has a say in more.
_OLD = 128


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
        """Of operands [..., rows, k] and [..., k, n], which hold values of their formats."""
        x, w = x.double().reshape(-1, *x.shape[-2:]), w.double().reshape(-1, *w.shape[-2:])
        y = x @ w
        energy = (x.square() @ w.square()).flatten()
        if not float(energy.sum()):
            raise ValueError("a sum of zeros has no law")
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

    Raises ValueError for fixed-point accumulators.
    """
    inner, outer = config.accumulator, config.outer_accumulator
    if not isinstance(inner, FloatAccumulator) or not isinstance(outer, FloatAccumulator):
        raise ValueError("the law is of float accumulators")
    generator = torch.Generator().manual_seed(seed)
    exact, size = products.outputs, min(config.chunk_size, products.length)
    padded = torch.nn.functional.pad(exact, (0, -products.length % size)).unflatten(1, (-1, size))
    sums = padded.sum(-1)

    addends, product_loss, given = _quantized(_drawn(exact, generator), config.product, generator)
    walk = _Walk(addends, inner, size, alike=_alike(padded.flatten(0, 1)), given=given, seed=seed)
    steps = (padded != 0).double().cumsum(-1)
    losses = _to_the_end(walk.losses_at(steps) * (padded != 0))

    drawn = _drawn(sums, generator)
    left = math.sqrt(walk.kept)
    given = walk.noise_at(float((padded != 0).sum() / (sums != 0).sum()))
    of_sums = _Walk(
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
    unit = _unit(values, how.format.man_bits)
    return values.sign() * torch.floor(values.abs() / unit) * unit


def _unit(values: Tensor, man_bits: int) -> Tensor:
    """The unit in the last place of each value, which is not 0."""
    return torch.exp2(torch.frexp(values)[1].double() - 1 - man_bits)


def _taken(low: Tensor, unit: Tensor, how: FloatQuantizer | FloatAccumulator, chance: Tensor) -> Tensor:
    """What rounding takes from a magnitude that has ``low`` below its last place: negative where it adds."""
    match how.rounding:
        case Rounding.NEAREST_EVEN:
            up = (low > unit / 2) | ((low == unit / 2) & (chance < 0.5))
        case Rounding.STOCHASTIC:
            up = chance < torch.floor(low / unit * 2.0**how.random_bits) / 2.0**how.random_bits
        case _:
            return low
    return low - unit * up


def _quantized(
    exact: Tensor, how: FloatQuantizer | None, generator: torch.Generator
) -> tuple[Tensor, float, float]:
    """Products as they reach the adder, what that takes as -ln(gain), and the energy it leaves at random."""
    if how is None:
        return exact, 0.0, 0.0
    unit = _unit(exact, how.format.man_bits)
    low = torch.remainder(exact.abs(), unit)
    chance = torch.rand(len(exact), generator=generator, dtype=torch.float64)
    rounded = exact - exact.sign() * _taken(low, unit, how, chance)
    energy = float(exact.square().sum())
    gain = float((rounded * exact).sum()) / energy
    return rounded, -math.log(gain), max(0.0, float(rounded.square().sum()) - gain**2 * energy) / len(exact)


class _Walk:
    """Running sums of addends through one accumulator: losses and random energies after each step.

    Parameters
    ----------
    addends : Tensor
        float64 [samples], none of them 0, in the direction of their sums.
    how : FloatAccumulator
        Rounds each sum.
    steps : int
        At least 1. The first addend is kept as it is.
    alike : float
        Correlation of one addend with another of the same sum: 0 for a random walk, 1 for a straight line.
    given : float
        Random energy that each addend brings along.
    """

    def __init__(
        self,
        addends: Tensor,
        how: FloatAccumulator,
        steps: int,
        *,
        alike: float,
        given: float,
        seed: int,
    ):
        # Evenly spread pairs of a sum and an addend, with the other two things that chance decides.
        self._points = SobolEngine(4, scramble=True, seed=seed).draw(_PAIRS, dtype=torch.float64)
        self._turns = torch.Generator().manual_seed(seed)
        self._addends, self._how = addends.sort().values, how
        energy = float(addends.square().mean())
        # What drifts is alike: of a walk's addends, which only ended on this side, the mean is no drift.
        self._mean = max(0.0, min(float(addends.mean()), math.sqrt(max(alike, 0.0) * energy)))
        losses, noises = [0.0], [given]
        least = -energy / 2  #: Of a sum and an addend: with that the sum grows no more.
        state = _State(self._mean, energy, max(alike * energy, least))
        exact, known, since = state, None, 0
        for step in range(steps - 1):
            old = step - since >= _OLD
            if known is None or old or state.differs(known, energy):
                known, since = state, step
                loss, random, kept = self._step(state, other_pairs=old)
            together = state.energy + 2 * state.common + energy
            exact = _State(
                exact.mean + self._mean,
                exact.energy + 2 * exact.common + energy,
                max(exact.common + alike * energy, least),
            )
            losses.append(-math.log1p(-loss))
            noises.append((1 - loss) ** 2 * (noises[-1] + given) + random * together)
            state = _State(
                (1 - loss) * (state.mean + self._mean),
                kept * together,
                max((1 - loss) * (state.common + alike * energy), least),
            )
        self.kept = state.energy / exact.energy  #: Of the energy of exact sums of all the steps.
        self._losses = torch.tensor(losses, dtype=torch.float64)
        self._noises = torch.tensor(noises, dtype=torch.float64)

    def _step(self, state: _State, *, other_pairs: bool) -> tuple[float, float, float]:
        """Of one addition: loss, random energy, and what is kept of the energy, as shares."""
        if other_pairs:
            self._points = (self._points + torch.rand(4, generator=self._turns, dtype=torch.float64)) % 1
        points = self._points.clamp(2.0**-40, 1 - 2.0**-40)
        addends = self._addends[(points[:, 1] * len(self._addends)).long()]
        carried, chance = points[:, 2], points[:, 3]
        man_bits = self._how.format.man_bits
        spread = math.sqrt(max(state.energy - state.mean**2, 0.0))
        before = state.mean + spread * torch.special.ndtri(points[:, 0])
        sums = before + addends
        # Addends agree with the sum's sign as often as the two are correlated.
        both = before * addends
        often = (state.common - float(both.mean())) / float(both.abs().mean())
        weight = 1 + max(-1.0, min(1.0, often)) * torch.sign(both)
        weight = weight / weight.mean()
        coarse = _unit(before, man_bits)
        unit = torch.where(sums == 0, coarse, _unit(sums, man_bits))
        # The sum before is a multiple of its own unit; a binade up, its low bits are any.
        fine = torch.minimum(unit, coarse)
        low = torch.remainder(addends * sums.sign(), fine)
        low = low + fine * torch.floor(carried * (unit / fine))
        taken = torch.where(sums == 0, 0.0, _taken(low, unit, self._how, chance))
        together, squares = (float((weight * each.square()).mean()) for each in (sums, taken))
        loss = float((weight * taken * sums.abs()).mean()) / together
        return loss, squares / together - loss**2, 1 - 2 * loss + squares / together

    def losses_at(self, steps: Tensor) -> Tensor:
        """Loss of the step of each number, 1 for the first."""
        return self._losses[(steps.long() - 1).clamp(min=0)]

    def noise_at(self, steps: float) -> float:
        """Random energy after so many steps, by interpolation."""
        at = min(max(steps - 1, 0.0), len(self._noises) - 1.0)
        low = int(at)
        high = min(low + 1, len(self._noises) - 1)
        return float(self._noises[low] + (at - low) * (self._noises[high] - self._noises[low]))


class _State(NamedTuple):
    """Of a running sum."""

    mean: float
    energy: float
    common: float  #: Expected product of the sum and the next addend.

    def differs(self, other: _State, scale: float) -> bool:
        """Whether a step from here is another."""
        return (
            abs(math.log(self.energy / other.energy)) > 2 * _STALE
            or abs(self.mean / math.sqrt(self.energy) - other.mean / math.sqrt(other.energy)) > _STALE
            or abs(self.common - other.common) > _STALE * math.sqrt(self.energy * scale)
        )
