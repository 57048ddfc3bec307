"""Exact numbers, and the roundings of one: what a code means, and the code that stands for a number.

Every function takes Python ints, numpy int64 arrays or torch int64 tensors, elementwise. No float
takes part.
"""

from __future__ import annotations

from typing import NamedTuple

from golden.config import (
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    FloatQuantizer,
    Format,
    Overflow,
    Rounding,
)
from golden.integers import Bools, Integers, clip, floor_log2, larger, where

__all__ = [
    "MAX_SHIFT",
    "StepEvents",
    "Unpacked",
    "cut",
    "cut_to_lsb",
    "drop",
    "pack",
    "quantize",
    "quantize_events",
    "round_significand",
    "signed_integer",
    "unit_exponent",
    "unpack",
]

MAX_SHIFT = 62


class Unpacked(NamedTuple):
    """An exact number: (-1)**negative * significand * 2**exponent. Zero is not negative."""

    negative: Bools
    significand: Integers  #: From 0 to 2**61, or below 2**63 where it is the sum of two.
    exponent: Integers


class StepEvents(NamedTuple):
    """What happened in one rounding step."""

    overflow: Bools  #: The rounded value was outside the format.
    underflow: Bools  #: A nonzero exact value was rounded or flushed to zero.
    swamped: Bools  #: A nonzero addend left the accumulator unchanged. False for a product.


def unpack(code: Integers, number: Format) -> Unpacked:
    """The exact value of a code from 0 to 2**code_bits - 1 that is neither infinity nor NaN."""
    if isinstance(number, FixedFormat):
        integer = signed_integer(code, number)
        return Unpacked(integer < 0, abs(integer), number.lsb)
    magnitude = code & (2 ** (number.code_bits - 1) - 1)
    exp_code = magnitude >> number.man_bits
    hidden = (magnitude > 0) & (exp_code >= number.min_exp_code)
    significand = (magnitude & (2**number.man_bits - 1)) + hidden * 2**number.man_bits
    return Unpacked(
        negative=(code >> (number.code_bits - 1) == 1) & (significand > 0),
        significand=significand,
        exponent=larger(exp_code, number.min_exp_code) - (number.bias + number.man_bits),
    )


def signed_integer(code: Integers, number: FixedFormat) -> Integers:
    """The multiple of the lsb that a code stands for."""
    return code - ((code >> (number.bits - 1)) << number.bits) if number.signed else code


def pack(exact: Unpacked, number: Format) -> Integers:
    """The code of a number that the format holds."""
    if isinstance(number, FixedFormat):
        return cut_to_lsb(exact, number.lsb, Rounding.TOWARD_ZERO) & (2**number.bits - 1)
    return quantize(exact, FloatQuantizer(format=number, rounding=Rounding.TOWARD_ZERO, random_bits=None))


def drop(significand: Integers, discard: Integers, *, sticky: bool) -> Integers:
    """The significand without its low bits; ``sticky`` ORs what is lost into the last bit."""
    kept = significand >> discard
    return kept | (kept << discard != significand) if sticky else kept


def round_significand(
    exact: Integers,
    discard: Integers,
    rounding: Rounding,
    negative: Bools = False,
    random_bits: int | None = None,
    word: Integers | None = None,
) -> Integers:
    """Round away the ``discard`` low bits, 0 to 62 of them, of a nonnegative significand.

    Only floor looks at the sign; only stochastic rounding takes a random word, of ``random_bits`` bits.
    The result may be one bit wider than the kept field: 0b1111.1 to nearest is 0b10000.
    """
    kept = exact >> discard
    if rounding is Rounding.TOWARD_ZERO:
        return kept
    remainder = exact - (kept << discard)
    if rounding is Rounding.FLOOR:
        return kept + (negative & (remainder > 0))
    if rounding is Rounding.STOCHASTIC:
        first_bits = remainder >> clip(discard - random_bits, 0, MAX_SHIFT)
        first_bits = first_bits << clip(random_bits - discard, 0, random_bits)
        return kept + ((first_bits + word) >> random_bits)
    unit = 1 << discard
    return kept + ((2 * remainder > unit) | ((2 * remainder == unit) & (kept & 1 == 1)))


def unit_exponent(exponent: Integers, number: FloatFormat) -> Integers:
    """Exponent of the last mantissa bit where floor(log2) is ``exponent``: subnormals share the lowest."""
    if number.subnormals:
        exponent = larger(exponent, number.min_exp_code - number.bias)
    return exponent - number.man_bits


def _magnitude_code(
    exact: Unpacked, quantizer: FloatQuantizer | FloatAccumulator, word: Integers | None
) -> Integers:
    """Round a magnitude to M mantissa bits, the exponent not bounded above: e * 2**M + m.

    This integer grows with the magnitude, and a carry out of m is a carry into e. Without subnormals e
    is any integer, and the code is 0 or less for 2**-bias or less. For zero it is 0.
    """
    number = quantizer.format
    unit = unit_exponent(floor_log2(exact.significand) + exact.exponent, number)
    discard = unit - exact.exponent
    widened = exact.significand << clip(-discard, 0, MAX_SHIFT)
    shortened = drop(widened, clip(discard - MAX_SHIFT, 0, MAX_SHIFT), sticky=True)
    kept = round_significand(
        shortened,
        clip(discard, 0, MAX_SHIFT),
        quantizer.rounding,
        random_bits=quantizer.random_bits,
        word=word,
    )
    binade = unit + number.man_bits + number.bias - 1  # kept holds the hidden bit
    return where(exact.significand == 0, 0, binade * 2**number.man_bits + kept)


def quantize(
    exact: Unpacked, quantizer: FloatQuantizer | FloatAccumulator, word: Integers | None = None
) -> Integers:
    """Round once to a float format. Too large saturates; without subnormals 2**-bias or less is flushed.

    ``word`` is the random word that a stochastic rounding takes.
    """
    number = quantizer.format
    magnitude = clip(_magnitude_code(exact, quantizer, word), 0, number.max_magnitude_code)
    return magnitude + (exact.negative & (magnitude > 0)) * 2 ** (number.code_bits - 1)


def quantize_events(
    exact: Unpacked, quantizer: FloatQuantizer | FloatAccumulator, word: Integers | None = None
) -> StepEvents:
    """Events of :func:`quantize`."""
    magnitude = _magnitude_code(exact, quantizer, word)
    return StepEvents(
        overflow=magnitude > quantizer.format.max_magnitude_code,
        underflow=(exact.significand > 0) & (magnitude <= 0),
        swamped=False,
    )


def cut_to_lsb(exact: Unpacked, lsb: int, rounding: Rounding) -> Integers:
    """Round to a multiple of 2**lsb and return the multiple; at +-2**62 it saturates."""
    kept, lift = _kept_above_lsb(exact, lsb, rounding)
    magnitude = where(kept >> (MAX_SHIFT - lift) > 0, 1 << MAX_SHIFT, kept << lift)
    return where(exact.negative, -magnitude, magnitude)


def _kept_above_lsb(exact: Unpacked, lsb: int, rounding: Rounding) -> tuple[Integers, Integers]:
    """The significand without the bits below 2**lsb, and the left shift (0 to 62) it still needs."""
    discard = clip(lsb - exact.exponent, 0, MAX_SHIFT)
    kept = round_significand(exact.significand, discard, rounding, exact.negative)
    return kept, clip(exact.exponent - lsb, 0, MAX_SHIFT)


def cut(exact: Unpacked, accumulator: FixedAccumulator) -> Integers:
    """Cut an addend to a signed multiple of the accumulator's lsb.

    What is too long for any accumulator keeps its meaning in the sum: it saturates at +-2**62, or
    is reduced modulo 2**62 where the accumulator wraps.
    """
    if accumulator.overflow is Overflow.SATURATE:
        return cut_to_lsb(exact, accumulator.format.lsb, accumulator.rounding)
    kept, lift = _kept_above_lsb(exact, accumulator.format.lsb, accumulator.rounding)
    magnitude = (kept << lift) & (2**MAX_SHIFT - 1)
    return where(exact.negative, -magnitude, magnitude)
