"""Sets of numbers, and whether a float type of the processor holds all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from golden.config import (
    Accumulator,
    FixedAccumulator,
    FloatFormat,
    FloatQuantizer,
    Format,
    Overflow,
    Rounding,
)

__all__ = ["FLOAT32", "FLOAT64", "Lane", "NotExact", "Reach", "reach_of_cut", "reach_of_results"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """A binary floating-point type that the processor computes in, rounding to nearest even."""

    dtype: torch.dtype
    int_dtype: torch.dtype
    man_bits: int
    max_exponent: int

    @property
    def significand_bits(self) -> int:
        return self.man_bits + 1

    @property
    def min_exponent(self) -> int:
        """Of the smallest normal number."""
        return 1 - self.max_exponent

    @property
    def exponent_mask(self) -> int:
        """The exponent field: what is left of a number's magnitude is its power of two."""
        return (2 * self.max_exponent + 1) << self.man_bits


FLOAT32 = Lane(dtype=torch.float32, int_dtype=torch.int32, man_bits=23, max_exponent=127)
FLOAT64 = Lane(dtype=torch.float64, int_dtype=torch.int64, man_bits=52, max_exponent=1023)


class NotExact(Exception):  # noqa: N818 -- control flow inside this module, not an error
    """The lane cannot be proved exact; the message says where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """A set of numbers: multiples of 2**lsb, up to ``magnitude`` of them, in so many significant bits."""

    lsb: int
    magnitude: int
    significand_bits: int

    @classmethod
    def of(cls, number: Format) -> Reach:
        magnitude = number.max_magnitude
        bits = number.man_bits + 1 if isinstance(number, FloatFormat) else magnitude.bit_length()
        return cls(lsb=number.lsb_exponent, magnitude=magnitude, significand_bits=bits)

    @property
    def max_exponent(self) -> int:
        """floor(log2) of the largest magnitude."""
        return self.magnitude.bit_length() - 1 + self.lsb

    def times(self, other: Reach) -> Reach:
        return Reach(
            lsb=self.lsb + other.lsb,
            magnitude=self.magnitude * other.magnitude,
            significand_bits=self.significand_bits + other.significand_bits,
        )

    def plus(self, other: Reach) -> Reach:
        lsb = min(self.lsb, other.lsb)
        magnitude = (self.magnitude << (self.lsb - lsb)) + (other.magnitude << (other.lsb - lsb))
        return Reach(lsb=lsb, magnitude=magnitude, significand_bits=magnitude.bit_length())

    def repeated(self, count: int) -> Reach:
        magnitude = self.magnitude * count
        return Reach(lsb=self.lsb, magnitude=magnitude, significand_bits=magnitude.bit_length())

    def coarsened(self, lsb: int) -> Reach:
        """These numbers, or those next to them, as multiples of a power of two that is not smaller."""
        magnitude = -(-self.magnitude >> (lsb - self.lsb))
        return Reach(lsb=lsb, magnitude=magnitude, significand_bits=magnitude.bit_length())

    def scaled(self, exponent: int) -> Reach:
        return replace(self, lsb=self.lsb + exponent)

    def need(self, lane: Lane, what: str) -> None:
        """Raise :class:`NotExact` unless the lane holds all of these numbers."""
        if self.significand_bits > lane.significand_bits:
            raise NotExact(f"{what} needs {self.significand_bits} bits")
        if self.lsb < lane.min_exponent or self.max_exponent > lane.max_exponent - 1:
            raise NotExact(f"{what} runs from 2**{self.lsb} to 2**{self.max_exponent}")


def reach_of_results(quantizer: FloatQuantizer | Accumulator, addend: Reach, count: int) -> Reach:
    """What comes out of rounding each running sum of ``count`` addends.

    A rounding to fewer bits leaves a multiple of 2**lsb one; the end of the range must be one, too, if
    it can be reached. A fixed-point result is in units of its lsb.
    """
    number = quantizer.format
    whole = Reach.of(number)
    total = addend.repeated(count)
    if isinstance(quantizer, FixedAccumulator):
        whole, total = replace(whole, lsb=0), reach_of_cut(addend).repeated(count)
        small = (
            quantizer.overflow is Overflow.SATURATE and total.lsb <= 0 and total.magnitude < whole.magnitude
        )
        return total if small else whole
    lsb = max(addend.lsb, whole.lsb)
    if quantizer.rounding is Rounding.NEAREST_EVEN:
        if count > 2**number.man_bits:
            return whole
        total = total.repeated(2)  # (1 + 2**-(M + 1))**count is less than 2
    total, limit = total.coarsened(lsb), whole.coarsened(lsb)
    if total.magnitude < limit.magnitude:
        return replace(total, significand_bits=min(total.significand_bits, number.significand_bits))
    if number.max_exponent - number.man_bits >= lsb:
        return replace(limit, significand_bits=number.significand_bits)
    return whole


def reach_of_cut(addend: Reach) -> Reach:
    """Addends in units of the lsb, after their cut to whole ones."""
    if addend.lsb >= 0:
        return addend
    magnitude = -(-addend.magnitude >> -addend.lsb)  # rounded up, as floor does to negative ones
    return Reach(lsb=0, magnitude=magnitude, significand_bits=magnitude.bit_length())
