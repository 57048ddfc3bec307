"""How far sums of a configuration can go, and in how many bits: bounds that the proofs of lanes use."""

from __future__ import annotations

import math
from dataclasses import dataclass

from golden.config import (
    Accumulator,
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatQuantizer,
    Format,
    MacConfig,
    Rounding,
)
from sim.kernels.lane_types import Extent

__all__ = ["Numbers", "bound_of_sums", "growth_of", "limit_of", "rounded_numbers", "significand_bits"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """Addends: multiples of 2**lsb, below 2**(top + 1), in so many significant bits."""

    lsb: int
    top: int
    bits: int


def significand_bits(number: Format, extent: Extent) -> int:
    if isinstance(number, FixedFormat):
        return max(1, int(extent.largest * 2.0**-number.lsb).bit_length())
    return number.man_bits + 1


def growth_of(config: MacConfig, steps: int) -> float:
    """The factor by which rounding may raise sums of magnitudes in so many steps: 1 toward zero."""
    parts = (config.product, config.accumulator, config.outer_accumulator)
    raising = [2.0**-part.format.man_bits for part in parts if _raises(part)]
    return math.exp(min((2 * steps + 1) * max(raising, default=0.0), 700))


def _raises(part: FloatQuantizer | Accumulator | None) -> bool:
    """Whether it may round a magnitude up."""
    return isinstance(part, FloatQuantizer | FloatAccumulator) and part.rounding is not Rounding.TOWARD_ZERO


def bound_of_sums(config: MacConfig, largest: float, steps: int) -> float:
    """A bound on every sum of so many products of at most ``largest``, before it is saturated."""
    if isinstance(config.accumulator, FixedAccumulator):
        number = config.accumulator.format
        chunks = -(-steps // config.chunk_size)
        return 2.0 ** (number.bits - 1 + number.lsb) * chunks * growth_of(config, steps)
    grids = [  # what a subnormal number may be raised by, however small it is
        2.0**part.format.lsb_exponent
        for part in (config.product, config.accumulator, config.outer_accumulator)
        if _raises(part) and part.format.subnormals
    ]
    return steps * (largest + sum(grids)) * growth_of(config, steps)


def limit_of(accumulator: Accumulator, unit: float) -> float:
    if isinstance(accumulator, FixedAccumulator):
        return math.inf
    return accumulator.format.max_value / unit


def rounded_numbers(quantizer: FloatQuantizer | Accumulator, addend: Numbers, count: int) -> Numbers:
    """What comes out of rounding running sums of ``count`` addends: rounding keeps multiples of 2**lsb."""
    number = quantizer.format
    if isinstance(quantizer, FixedAccumulator):
        return Numbers(lsb=number.lsb, top=number.bits - 1 + number.lsb, bits=number.bits)
    top = min(number.max_exponent, addend.top + (count - 1).bit_length() + 1)
    lsb = max(addend.lsb, number.lsb_exponent)
    lsb = min(lsb, number.max_exponent - number.man_bits)  # saturation writes the largest number
    return Numbers(lsb=lsb, top=top, bits=number.man_bits + 1)
