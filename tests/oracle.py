"""The arithmetic of the contract, once more, on rationals: slow, and independent of ``golden``.

Written from the text of the contract: values are :class:`fractions.Fraction`, each step is the formula it
states, and nothing is taken from the golden model but the configuration's stored fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from golden.config import FixedFormat, FloatAccumulator, FloatFormat, MacConfig, Overflow, Rounding

ZERO = Fraction(0)


@lru_cache(maxsize=1 << 13)
def two_to(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


@lru_cache(maxsize=1 << 17)
def value_of(code: int, number: FloatFormat | FixedFormat) -> Fraction:
    """The table of the contract: sign, exponent, mantissa; or two's complement."""
    if isinstance(number, FixedFormat):
        if number.signed and code >= 2 ** (number.bits - 1):
            code -= 2**number.bits
        return code * two_to(number.lsb)
    sign, rest = divmod(code, 2 ** (number.exp_bits + number.man_bits))
    exponent, mantissa = divmod(rest, 2**number.man_bits)
    if exponent == mantissa == 0:
        return ZERO
    magnitude = two_to(exponent - number.bias) * (1 + Fraction(mantissa, 2**number.man_bits))
    return -magnitude if sign else magnitude


def code_of(value: Fraction, number: FloatFormat | FixedFormat) -> int:
    """The code of a value that the format holds; zero has sign 0."""
    if isinstance(number, FixedFormat):
        integer = value / two_to(number.lsb)
        assert integer.denominator == 1
        return int(integer) % 2**number.bits
    if value == 0:
        return 0
    exponent = floor_log2(abs(value))
    mantissa = (abs(value) / two_to(exponent) - 1) * 2**number.man_bits
    assert mantissa.denominator == 1
    sign = 2 ** (number.exp_bits + number.man_bits) if value < 0 else 0
    return sign + (exponent + number.bias) * 2**number.man_bits + int(mantissa)


def floor_log2(magnitude: Fraction) -> int:
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    return exponent if two_to(exponent) <= magnitude else exponent - 1


def to_multiple(value: Fraction, step: Fraction, rounding: Rounding) -> Fraction:
    """The neighbouring multiple of ``step`` that the rounding chooses."""
    ratio = value / step
    below = ratio.numerator // ratio.denominator
    match rounding:
        case Rounding.FLOOR:
            chosen = below
        case Rounding.TOWARD_ZERO:
            chosen = below if ratio >= 0 or ratio == below else below + 1
        case Rounding.NEAREST_EVEN:
            chosen = round(ratio)  # Python rounds a tie to the even neighbour
    return chosen * step


class Rounded(NamedTuple):
    value: Fraction
    overflow: bool
    underflow: bool


@lru_cache(maxsize=1 << 17)
def round_to_float(value: Fraction, number: FloatFormat, rounding: Rounding) -> Rounded:
    """The three numbered rules for a float format without subnormals."""
    if value == 0:
        return Rounded(ZERO, False, False)
    unbounded = to_multiple(value, two_to(floor_log2(abs(value)) - number.man_bits), rounding)
    largest = two_to(2**number.exp_bits - 1 - number.bias) * (2 - two_to(-number.man_bits))
    if abs(unbounded) > largest:
        return Rounded(largest if value > 0 else -largest, True, False)
    if abs(unbounded) <= two_to(-number.bias):
        return Rounded(ZERO, False, True)
    return Rounded(unbounded, False, False)


class Added(NamedTuple):
    value: Fraction
    overflow: bool
    underflow: bool
    swamped: bool


@lru_cache(maxsize=1 << 17)
def add(acc: Fraction, addend: Fraction, accumulator) -> Added:
    """Qacc(acc + addend) with its events."""
    if isinstance(accumulator, FloatAccumulator):
        value, overflow = _add_float(acc, addend, accumulator)
        underflow = acc + addend != 0 and value == 0
    else:
        total, value, overflow = _add_fixed(acc, addend, accumulator)
        underflow = acc + addend != 0 and total == 0
    return Added(value, overflow, underflow, swamped=addend != 0 and value == acc)


def _add_float(acc: Fraction, addend: Fraction, accumulator: FloatAccumulator) -> tuple[Fraction, bool]:
    number = accumulator.format
    larger = max(abs(acc), abs(addend))
    if accumulator.alignment_bits is not None and larger:
        step = two_to(floor_log2(larger) - number.man_bits - accumulator.alignment_bits)
        acc = to_multiple(acc, step, Rounding.TOWARD_ZERO)
        addend = to_multiple(addend, step, Rounding.TOWARD_ZERO)
    rounded = round_to_float(acc + addend, number, accumulator.rounding)
    return rounded.value, rounded.overflow


def _add_fixed(acc: Fraction, addend: Fraction, accumulator) -> tuple[Fraction, Fraction, bool]:
    """Sum before the range is looked at, sum after, and whether they differ."""
    bits, lsb = accumulator.format.bits, two_to(accumulator.format.lsb)
    total = acc + to_multiple(addend, lsb, accumulator.rounding)
    low, high = -(2 ** (bits - 1)) * lsb, (2 ** (bits - 1) - 1) * lsb
    if low <= total <= high:
        return total, total, False
    if accumulator.overflow is Overflow.SATURATE:
        return total, max(low, min(high, total)), True
    return total, (total - low) % (2**bits * lsb) + low, True


class Tally:
    """Counts the events of a dot product, apart for product, inner and outer."""

    def __init__(self):
        self.counts = {
            place: {"steps": 0, "overflow": 0, "underflow": 0, "swamped": 0}
            for place in ("product", "inner", "outer")
        }

    def note(self, place: str, step: Rounded | Added) -> Fraction:
        counts = self.counts[place]
        counts["steps"] += 1
        counts["overflow"] += step.overflow
        counts["underflow"] += step.underflow
        counts["swamped"] += getattr(step, "swamped", False)
        return step.value


def dot(x: Sequence[Fraction], w: Sequence[Fraction], config: MacConfig, tally: Tally) -> Fraction:
    """A dot product of values, chunk by chunk."""
    out = ZERO
    for start in range(0, len(x), config.chunk_size):
        acc = ZERO
        chunk = slice(start, start + config.chunk_size)
        for one_x, one_w in zip(x[chunk], w[chunk], strict=True):
            product = one_x * one_w
            if config.product is not None:
                quantizer = config.product
                product = tally.note("product", round_to_float(product, quantizer.format, quantizer.rounding))
            acc = tally.note("inner", add(acc, product, config.accumulator))
        out = tally.note("outer", add(out, acc, config.outer or config.accumulator))
    return out
