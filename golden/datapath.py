"""Numbers that follow from a configuration: ranges of products and offsets, exact widths.

Standard library only. Everything here is derived once and used by golden, RTL and kernels alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from golden.config import (
    MAX_BIAS,
    MAX_FIXED_BITS,
    Accumulator,
    ConfigError,
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    FloatQuantizer,
    Format,
    MacConfig,
    Offsets,
    Overflow,
    Rounding,
    sum_bits,
)

__all__ = [
    "AddendShape",
    "OffsetRange",
    "OffsetRanges",
    "exact_accumulator",
    "offset_ranges",
    "product_shape",
    "quantizer_range",
    "with_offsets",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class AddendShape:
    """A number on its way to an adder: sign, significand, exponent code.

    Its value is (-1)**sign * significand * 2**(exp_code - man_bits - bias); the bias is data.
    """

    significand_bits: int
    man_bits: int  #: Significand bits right of the point.
    max_exp_code: int  #: Exponent codes run from 0 to this.
    min_exponent: int  #: No nonzero magnitude is below two to this power, at bias 0.
    leading_zeros: int  #: The most that a significand has which is not 0; none where it is normalised.

    @classmethod
    def of(cls, number: Format) -> AddendShape:
        subnormals = isinstance(number, FloatFormat) and number.subnormals
        return cls(
            significand_bits=number.significand_bits,
            man_bits=number.man_bits,
            max_exp_code=number.max_exp_code,
            min_exponent=1 - number.man_bits if subnormals else 0,
            leading_zeros=number.significand_bits - 1 if subnormals or isinstance(number, FixedFormat) else 0,
        )

    @property
    def max_exponent(self) -> int:
        """floor(log2) of the largest magnitude at bias 0."""
        return self.max_exp_code + self.significand_bits - 1 - self.man_bits


def product_shape(config: MacConfig) -> AddendShape:
    """The exact product x * w: integer significands multiplied, exponent codes added."""
    x, w = AddendShape.of(config.x), AddendShape.of(config.w)
    return AddendShape(
        significand_bits=x.significand_bits + w.significand_bits,
        man_bits=x.man_bits + w.man_bits,
        max_exp_code=x.max_exp_code + w.max_exp_code,
        min_exponent=x.min_exponent + w.min_exponent,
        leading_zeros=x.leading_zeros + w.leading_zeros + 1,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class OffsetRange:
    """The offsets that make a difference: beyond either end the result no longer changes."""

    low: int
    high: int

    @property
    def width(self) -> int:
        """Bits of a two's complement register for every offset of the range."""
        return 1 + max((-1 - self.low).bit_length(), self.high.bit_length())

    def clamp(self, offset: int) -> int:
        return min(max(offset, self.low), self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class OffsetRanges:
    """Ranges of :class:`golden.config.Offsets`, field by field."""

    product: OffsetRange
    acc: OffsetRange | None
    outer: OffsetRange


def quantizer_range(addend: AddendShape, quantizer: FloatQuantizer) -> OffsetRange:
    """Rounding one number: everything overflows, to everything underflows."""
    target = quantizer.format
    below = target.man_bits + (quantizer.random_bits or 1) if target.subnormals else 1
    return OffsetRange(low=addend.min_exponent - (target.max_exp_code + 1), high=addend.max_exponent + below)


def _adder_range(addend: AddendShape, accumulator: Accumulator) -> OffsetRange:
    """Adding to a sum: the addend outweighs any sum, to it is below every rounding decision.

    An addend that guard or random bits can still hold makes a difference: it borrows from the sum's
    last bit.
    """
    target = accumulator.format
    if isinstance(accumulator, FloatAccumulator):
        kept = accumulator.random_bits if accumulator.alignment_bits is None else accumulator.alignment_bits
        return OffsetRange(
            low=addend.min_exponent - (target.max_exp_code + 2),
            high=addend.max_exponent + target.man_bits + max(2, 1 + (kept or 0)),
        )
    return OffsetRange(low=-(target.bits + addend.man_bits), high=addend.max_exponent + 2)


def offset_ranges(config: MacConfig) -> OffsetRanges:
    """Ranges of the three offset registers; software clamps to them."""
    exact, acc = product_shape(config), config.accumulator
    outer = _adder_range(AddendShape.of(acc.format), config.outer_accumulator)
    if config.product is None:
        return OffsetRanges(product=_adder_range(exact, acc), acc=None, outer=outer)
    rounded = config.product.format
    return OffsetRanges(
        product=quantizer_range(exact, config.product),
        acc=_adder_range(AddendShape.of(rounded), acc),
        outer=outer,
    )


def with_offsets(config: MacConfig, offsets: Offsets) -> MacConfig:
    """The same MAC with biases that have these offsets; codes then mean the same multiples.

    Raises :class:`ConfigError` where no biases in their range have them.
    """
    product = 0 if offsets.acc is None else offsets.acc  # of the product's bias over the accumulator's
    operands = product + offsets.product  # of the sum of both operands' biases
    low = max(0, offsets.outer, -product, -MAX_BIAS - operands) - MAX_BIAS
    high = min(0, offsets.outer, -product, MAX_BIAS - operands) + MAX_BIAS
    acc = min(max(0, low), high)

    def moved(part, bias: int):
        return replace(part, format=_with_bias(part.format, bias))

    x_bias = (acc + operands) // 2
    return replace(
        config,
        x=_with_bias(config.x, x_bias),
        w=_with_bias(config.w, acc + operands - x_bias),
        product=None if config.product is None else moved(config.product, acc + product),
        accumulator=moved(config.accumulator, acc),
        outer=moved(config.outer_accumulator, acc - offsets.outer),
    )


def _with_bias(number: Format, bias: int) -> Format:
    return replace(number, bias=bias) if isinstance(number, FloatFormat) else replace(number, lsb=-bias)


def exact_accumulator(x: Format, w: Format, length: int) -> FixedAccumulator:
    """The smallest accumulator that holds every sum of ``length`` products x * w (Kulisch).

    Raises :class:`ConfigError` where that takes more bits than are built.
    """
    if length < 1:
        raise ConfigError(f"length must be at least 1, not {length}")
    bits = sum_bits(x, w, length)
    if bits > MAX_FIXED_BITS:
        raise ConfigError(
            f"the exact sum of {length} products {x.name} * {w.name} takes {bits} bits, and {MAX_FIXED_BITS} "
            "are built; use operands with a smaller range"
        )
    return FixedAccumulator(
        format=FixedFormat(bits=bits, lsb=x.lsb_exponent + w.lsb_exponent, signed=True),
        rounding=Rounding.TOWARD_ZERO,
        overflow=Overflow.WRAP,
    )
