"""Floating-point types that vectors compute in, the ways of a step in them, and ranges of operands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from golden.config import FixedFormat, FloatFormat, Format

__all__ = ["DOUBLE", "HALF", "SINGLE", "Extent", "Lane", "NotExact", "Way", "smallest_normal"]


class NotExact(Exception):  # noqa: N818 -- control flow of the planner, not an error
    """The lane cannot be proved exact; the message says where."""


class Way(IntEnum):
    """How a step is computed: ``fmaq::Way``."""

    NONE = 0
    EXACT = 1  #: The product's significand is kept whole: only its range is looked at.
    RZ = 2
    RNE = 3
    SR = 4
    SUB_RZ = 5
    SUB_RNE = 6
    FIXED_RZ = 7
    FIXED_FLOOR = 8
    FIXED_RNE = 9
    WHOLE = 10  #: Fixed point whose addends are multiples of the lsb.
    SUM = 11  #: The same, and the range cannot be left.


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """A binary floating-point type of the processor."""

    name: str
    path: int  #: Of ``fmaq_job``.
    bits: int  #: Of the significand.
    min_exponent: int  #: Of the smallest normal number.
    max_exponent: int
    fixed_bits: int  #: Of the widest fixed-point sum that is cut.


HALF = Lane(name="half precision", path=4, bits=11, min_exponent=-14, max_exponent=15, fixed_bits=0)
SINGLE = Lane(name="single precision", path=1, bits=24, min_exponent=-126, max_exponent=127, fixed_bits=24)
DOUBLE = Lane(name="double precision", path=2, bits=53, min_exponent=-1022, max_exponent=1023, fixed_bits=52)


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """Magnitudes of an operand that are not zero."""

    largest: float
    smallest: float

    @classmethod
    def of(cls, number: Format) -> Extent:
        """All that a format holds."""
        if isinstance(number, FixedFormat):
            return cls(largest=number.max_magnitude * 2.0**number.lsb, smallest=2.0**number.lsb)
        smallest = 2.0**number.lsb_exponent if number.subnormals else smallest_normal(number)
        return cls(largest=number.max_value, smallest=smallest)

    @property
    def top(self) -> int:
        """floor(log2) of the largest; 0 where all are zero."""
        return math.frexp(self.largest)[1] - 1 if self.largest else 0

    @property
    def bottom(self) -> int:
        return math.frexp(self.smallest)[1] - 1 if self.smallest else 0


def smallest_normal(number: FloatFormat) -> float:
    """The smallest number that is neither zero nor subnormal."""
    if number.subnormals:
        return 2.0 ** (1 - number.bias)
    return 2.0**-number.bias * (1 + 2.0**-number.man_bits)
