"""A running sum through one float accumulator: what each of its roundings takes, on average.

The steps of :func:`sim.calibration.walk.step_law`, which walks once through a chunk and once through the
sums of chunks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from golden.config import FloatAccumulator, FloatQuantizer, Rounding

__all__ = ["RunningSum", "taken", "unit_of"]

#: Pairs of a sum and a product that a step is averaged over.
_PAIRS = 2048

#: A step is averaged anew once the running sum has changed by this share, against products.
_STALE = 0.04

#: Or after so many steps, with other pairs: none of them then has a say in more.
_OLD = 128


def unit_of(values: Tensor, man_bits: int) -> Tensor:
    """The unit in the last place of each value, which is not 0."""
    return torch.exp2(torch.frexp(values)[1].double() - 1 - man_bits)


def taken(low: Tensor, unit: Tensor, how: FloatQuantizer | FloatAccumulator, chance: Tensor) -> Tensor:
    """What rounding takes from a magnitude that has ``low`` below its last place: negative where it adds."""
    match how.rounding:
        case Rounding.NEAREST_EVEN:
            up = (low > unit / 2) | ((low == unit / 2) & (chance < 0.5))
        case Rounding.STOCHASTIC:
            up = chance < torch.floor(low / unit * 2.0**how.random_bits) / 2.0**how.random_bits
        case _:
            return low
    return low - unit * up


class RunningSum:
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
        coarse = unit_of(before, man_bits)
        unit = torch.where(sums == 0, coarse, unit_of(sums, man_bits))
        # The sum before is a multiple of its own unit; a binade up, its low bits are any.
        fine = torch.minimum(unit, coarse)
        low = torch.remainder(addends * sums.sign(), fine)
        low = low + fine * torch.floor(carried * (unit / fine))
        lost = torch.where(sums == 0, 0.0, taken(low, unit, self._how, chance))
        together, squares = (float((weight * each.square()).mean()) for each in (sums, lost))
        loss = float((weight * lost * sums.abs()).mean()) / together
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
