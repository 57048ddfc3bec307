"""Counting gates on paper: what a float multiply-accumulate takes, from its formats alone.

A RECONSTRUCTION. Blumenfeld, Hubara and Soudry (ICLR 2024, arXiv 2401.14110, appendix E) count the gates of
an accumulator of 12 bits at 63 % below one of float32, with the costs of gates of van Baalen et al. (arXiv
2303.17951). The appendix was not at hand, only what such a count is said to name: an adder, a comparison and
a maximum of exponents, the multiplier of significands, the sorting of both addends, a shift that aligns, the
adder, the detection of leading zeros, a shift that normalises, the correction of the exponent, the rounding.
Here is the textbook's count of each. What the description leaves open is a :class:`Reading`, and all of them
are given, as a range. Nothing here knows of a library, of sharing between components, or of timing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import product
from math import ceil, log2

from golden.formats import FloatFormat

__all__ = [
    "COMPONENTS",
    "PUBLISHED_SAVING",
    "AlignedWidth",
    "Reading",
    "gates",
    "readings",
    "saving",
]

#: Of an accumulator of e4m7 over one of e8m23, by the paper.
PUBLISHED_SAVING = 0.63

#: In the order of the data path.
COMPONENTS = (
    *("exponent adder", "exponent difference", "exponent maximum", "multiplier", "sorting"),
    *("alignment", "adder", "leading zeros", "normalisation", "exponent correction", "rounding"),
)


class AlignedWidth(Enum):
    """How many places the aligned addends, the adder and the normaliser have."""

    ACCUMULATOR = "the accumulator's significand, a guard bit and a carry: M + 3"
    WIDER_ADDEND = "the wider of both significands, a guard bit and a carry: max(M + 1, 2m + 2) + 2"
    SIDE_BY_SIDE = "the product's significand below the accumulator's, and a carry: M + 2m + 4"
    DOUBLE = "twice the accumulator's significand, and a carry: 2M + 3"
    FUSED = "as in a fused unit, the sum on either side of the product: 2m + 2M + 6"

    def of(self, man_bits: int, acc_man_bits: int) -> int:
        """The width, for ``m`` mantissa bits of the operands and ``M`` of the accumulator."""
        m, wide = man_bits, acc_man_bits
        match self:
            case AlignedWidth.ACCUMULATOR:
                return wide + 3
            case AlignedWidth.WIDER_ADDEND:
                return max(wide + 1, 2 * m + 2) + 2
            case AlignedWidth.SIDE_BY_SIDE:
                return wide + 2 * m + 4
            case AlignedWidth.DOUBLE:
                return 2 * wide + 3
        return 2 * m + 2 * wide + 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What the description leaves open."""

    width: AlignedWidth
    xor: int  #: An XOR counts as so many gates. AND and OR count as one; a multiplexer is three of them.
    incrementer: bool  #: Both accumulators round to nearest. Else the sums are cut, as the paper has it.

    @property
    def half_adder(self) -> int:
        """An XOR and an AND."""
        return self.xor + 1

    @property
    def full_adder(self) -> int:
        """Two half adders and an OR."""
        return 2 * self.half_adder + 1

    def ripple(self, width: int) -> int:
        """An adder of so many bits, whose first has no carry to take."""
        return (width - 1) * self.full_adder + self.half_adder


MUX = 3


def readings() -> Iterator[Reading]:
    """All that the description permits."""
    for width, xor, incrementer in product(AlignedWidth, (1, 2, 3), (False, True)):
        yield Reading(width=width, xor=xor, incrementer=incrementer)


def gates(operand: FloatFormat, acc: FloatFormat, reading: Reading) -> dict[str, int]:
    """Gates by component, of ``acc + x * w`` with both operands of one format."""
    significand = operand.significand_bits
    places = reading.width.of(operand.man_bits, acc.man_bits)
    stages = ceil(log2(places))
    exponents = max(acc.exp_bits, operand.exp_bits + 1)
    counts = {
        "exponent adder": reading.ripple(operand.exp_bits),
        "exponent difference": reading.ripple(exponents),
        "exponent maximum": acc.exp_bits * MUX,
        "multiplier": significand**2
        + (significand - 1) * ((significand - 1) * reading.full_adder + reading.half_adder),
        "sorting": 2 * acc.significand_bits * MUX,
        "alignment": stages * places * MUX,
        "adder": reading.ripple(places) + places * reading.xor,  # and what complements an addend
        "leading zeros": 2 * places + stages,
        "normalisation": stages * places * MUX,
        "exponent correction": reading.ripple(acc.exp_bits),
        "rounding": acc.significand_bits * reading.half_adder if reading.incrementer else 0,
    }
    assert tuple(counts) == COMPONENTS
    return counts


def saving(operand: FloatFormat, acc: FloatFormat, base: FloatFormat, reading: Reading) -> float:
    """The share of the gates of accumulator ``base`` that ``acc`` does not need, with the same operands."""
    return 1 - sum(gates(operand, acc, reading).values()) / sum(gates(operand, base, reading).values())
