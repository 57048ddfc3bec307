"""The arithmetic of one multiply-accumulate, bit for bit, on integers; see docs/arithmetic.md.

Every function takes Python ints, numpy int64 arrays or torch int64 tensors, elementwise. Formats
are at most 62 bits and exact products at most 48, so significands are at most 2**61. No float
takes part. A sum may span thousands of bits; what is kept of it is 62 bits and a sticky one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from golden.config import (
    Accumulator,
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    FloatQuantizer,
    Format,
    MacConfig,
    Overflow,
    Rounding,
)
from golden.integers import Bools, Integers, clip, floor_log2, larger, where

__all__ = [
    "StepEvents",
    "Unpacked",
    "add",
    "add_events",
    "addend_of",
    "chunk_add",
    "chunk_events",
    "chunks",
    "cut",
    "cut_to_lsb",
    "dot",
    "fmaq",
    "fmaq_events",
    "multiply",
    "pack",
    "quantize",
    "quantize_events",
    "round_significand",
    "unpack",
]

_MAX_SHIFT = 62
_SUM_BITS = 61  # bits of an addend below its top one: the sum of two such is below 2**63
_NO_EXPONENT = -(1 << 20)  # stands for floor(log2(0)): below every exponent there is


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
    """The exact value of a code from 0 to 2**code_bits - 1."""
    if isinstance(number, FixedFormat):
        integer = _signed_integer(code, number)
        return Unpacked(integer < 0, abs(integer), number.lsb)
    exp_code = (code >> number.man_bits) & number.max_exp_code
    mantissa = code & (2**number.man_bits - 1)
    significand = where((exp_code == 0) & (mantissa == 0), 0, mantissa + 2**number.man_bits)
    return Unpacked(
        negative=(code >> (number.code_bits - 1) == 1) & (significand > 0),
        significand=significand,
        exponent=exp_code - (number.bias + number.man_bits),
    )


def _signed_integer(code: Integers, number: FixedFormat) -> Integers:
    return code - ((code >> (number.bits - 1)) << number.bits) if number.signed else code


def pack(exact: Unpacked, number: Format) -> Integers:
    """The code of a number that the format holds."""
    if isinstance(number, FixedFormat):
        return cut_to_lsb(exact, number.lsb, Rounding.TOWARD_ZERO) & (2**number.bits - 1)
    return quantize(exact, FloatQuantizer(format=number, rounding=Rounding.TOWARD_ZERO))


def multiply(x_code: Integers, w_code: Integers, config: MacConfig) -> Unpacked:
    """The exact product x * w."""
    x, w = unpack(x_code, config.x), unpack(w_code, config.w)
    significand = x.significand * w.significand
    return Unpacked((x.negative ^ w.negative) & (significand > 0), significand, x.exponent + w.exponent)


def round_significand(
    exact: Integers, discard: Integers, rounding: Rounding, negative: Bools = False
) -> Integers:
    """Round away the ``discard`` low bits, 0 to 62 of them, of a nonnegative significand.

    Only floor looks at the sign. The result may be one bit wider than the kept field: 0b1111.1 to
    nearest is 0b10000.
    """
    kept = exact >> discard
    if rounding is Rounding.TOWARD_ZERO:
        return kept
    remainder = exact - (kept << discard)
    if rounding is Rounding.FLOOR:
        return kept + (negative & (remainder > 0))
    unit = 1 << discard
    return kept + ((2 * remainder > unit) | ((2 * remainder == unit) & (kept & 1 == 1)))


def _magnitude_code(exact: Unpacked, number: FloatFormat, rounding: Rounding) -> Integers:
    """Round a magnitude to M mantissa bits, exponent unbounded: (e << M) + m for any integer e.

    This integer grows with the magnitude, and a carry out of m is a carry into e. It is 0 or less
    for 2**-bias or less, and for zero it is 0.
    """
    top = floor_log2(exact.significand)
    discard = top - number.man_bits
    widened = exact.significand << clip(-discard, 0, _MAX_SHIFT)
    kept = round_significand(widened, clip(discard, 0, _MAX_SHIFT), rounding)
    exp_code = top + exact.exponent + number.bias
    code = (exp_code - 1) * 2**number.man_bits + kept  # kept holds the hidden bit
    return where(exact.significand == 0, 0, code)


def _max_magnitude_code(number: FloatFormat) -> int:
    return 2 ** (number.code_bits - 1) - 1


def quantize(exact: Unpacked, quantizer: FloatQuantizer | FloatAccumulator) -> Integers:
    """Round once to a float format. Too large saturates; 2**-bias or less is flushed to +0."""
    number = quantizer.format
    magnitude = clip(_magnitude_code(exact, number, quantizer.rounding), 0, _max_magnitude_code(number))
    return magnitude + (exact.negative & (magnitude > 0)) * 2 ** (number.code_bits - 1)


def quantize_events(exact: Unpacked, quantizer: FloatQuantizer | FloatAccumulator) -> StepEvents:
    """Events of :func:`quantize`."""
    magnitude = _magnitude_code(exact, quantizer.format, quantizer.rounding)
    return StepEvents(
        overflow=magnitude > _max_magnitude_code(quantizer.format),
        underflow=(exact.significand > 0) & (magnitude <= 0),
        swamped=False,
    )


def cut_to_lsb(exact: Unpacked, lsb: int, rounding: Rounding) -> Integers:
    """Round to a multiple of 2**lsb and return the multiple; at +-2**62 it saturates."""
    kept, lift = _kept_above_lsb(exact, lsb, rounding)
    magnitude = where(kept >> (_MAX_SHIFT - lift) > 0, 1 << _MAX_SHIFT, kept << lift)
    return where(exact.negative, -magnitude, magnitude)


def _kept_above_lsb(exact: Unpacked, lsb: int, rounding: Rounding) -> tuple[Integers, Integers]:
    """The significand without the bits below 2**lsb, and the left shift (0 to 62) it still needs."""
    discard = clip(lsb - exact.exponent, 0, _MAX_SHIFT)
    kept = round_significand(exact.significand, discard, rounding, exact.negative)
    return kept, clip(exact.exponent - lsb, 0, _MAX_SHIFT)


def cut(exact: Unpacked, accumulator: FixedAccumulator) -> Integers:
    """Cut an addend to a signed multiple of the accumulator's lsb.

    What is too long for any accumulator keeps its meaning in the sum: it saturates at +-2**62, or
    is reduced modulo 2**62 where the accumulator wraps.
    """
    if accumulator.overflow is Overflow.SATURATE:
        return cut_to_lsb(exact, accumulator.format.lsb, accumulator.rounding)
    kept, lift = _kept_above_lsb(exact, accumulator.format.lsb, accumulator.rounding)
    magnitude = (kept << lift) & (2**_MAX_SHIFT - 1)
    return where(exact.negative, -magnitude, magnitude)


def _top_exponent(number: Unpacked) -> Integers:
    """floor(log2) of the magnitude, whatever the significand's leading zeros."""
    return where(number.significand == 0, _NO_EXPONENT, floor_log2(number.significand) + number.exponent)


def _align(number: Unpacked, grid: Integers, *, sticky: bool) -> Integers:
    """Cut toward zero to a signed multiple of 2**grid; ``sticky`` ORs what is lost into the last bit."""
    discard = clip(grid - number.exponent, 0, _MAX_SHIFT)
    lift = clip(number.exponent - grid, 0, _MAX_SHIFT)
    kept = number.significand >> discard
    magnitude = kept << lift
    if sticky:
        magnitude = magnitude | (kept << discard != number.significand)
    return where(number.negative, -magnitude, magnitude)


def _sum(a: Unpacked, b: Unpacked, below: int, *, sticky: bool) -> Unpacked:
    """The sum a + b of multiples of 2**(k - below), k being floor(log2) of the larger magnitude."""
    grid = larger(_top_exponent(a), _top_exponent(b)) - below
    total = _align(a, grid, sticky=sticky) + _align(b, grid, sticky=sticky)
    return Unpacked(total < 0, abs(total), grid)


def _exact_sum(a: Unpacked, b: Unpacked) -> Unpacked:
    """The sum a + b, exact as far as any rounding to 24 bits and any comparison with zero can tell.

    Where the tops are at most one apart every bit is kept, so cancellation is exact. Further apart
    the sum keeps its top within one of k, and bits below k - 61 are sticky.
    """
    return _sum(a, b, _SUM_BITS, sticky=True)


def _rounder_input(acc: Unpacked, addend: Unpacked, accumulator: FloatAccumulator) -> Unpacked:
    """The sum as the accumulator's rounder sees it: exact, or of addends cut to g guard bits."""
    if accumulator.alignment_bits is None:
        return _exact_sum(acc, addend)
    return _sum(acc, addend, accumulator.format.man_bits + accumulator.alignment_bits, sticky=False)


def add(acc_code: Integers, addend: Unpacked, accumulator: Accumulator) -> Integers:
    """One rounded addition: Qacc(acc + addend), as an accumulator code."""
    number = accumulator.format
    if isinstance(accumulator, FloatAccumulator):
        return quantize(_rounder_input(unpack(acc_code, number), addend, accumulator), accumulator)
    total = _signed_integer(acc_code, number) + cut(addend, accumulator)
    if accumulator.overflow is Overflow.SATURATE:
        total = clip(total, number.min_integer, number.max_integer)
    return total & (2**number.bits - 1)


def add_events(acc_code: Integers, addend: Unpacked, accumulator: Accumulator) -> StepEvents:
    """Events of :func:`add`."""
    number = accumulator.format
    acc = unpack(acc_code, number)
    result = add(acc_code, addend, accumulator)
    nonzero = _exact_sum(acc, addend).significand > 0
    swamped = (addend.significand > 0) & (result == pack(acc, number))
    if isinstance(accumulator, FloatAccumulator):
        rounded = quantize_events(_rounder_input(acc, addend, accumulator), accumulator)
        return StepEvents(rounded.overflow, nonzero & (result == 0), swamped)
    saturating = replace(accumulator, overflow=Overflow.SATURATE)
    total = _signed_integer(acc_code, number) + cut(addend, saturating)
    return StepEvents(
        overflow=(total < number.min_integer) | (total > number.max_integer),
        underflow=nonzero & (total == 0),
        swamped=swamped,
    )


def addend_of(x_code: Integers, w_code: Integers, config: MacConfig) -> Unpacked:
    """The product as it goes to the adder: quantized, or exact."""
    product = multiply(x_code, w_code, config)
    if config.product is None:
        return product
    return unpack(quantize(product, config.product), config.product.format)


def fmaq(acc_code: Integers, x_code: Integers, w_code: Integers, config: MacConfig) -> Integers:
    """One multiply-accumulate: Qacc(acc + Qprod(x * w))."""
    return add(acc_code, addend_of(x_code, w_code, config), config.accumulator)


def fmaq_events(
    acc_code: Integers, x_code: Integers, w_code: Integers, config: MacConfig
) -> tuple[StepEvents | None, StepEvents]:
    """Events of the product quantizer (None without one) and of the addition."""
    product = None
    if config.product is not None:
        product = quantize_events(multiply(x_code, w_code, config), config.product)
    return product, add_events(acc_code, addend_of(x_code, w_code, config), config.accumulator)


def chunk_add(out_code: Integers, s_code: Integers, config: MacConfig) -> Integers:
    """Add a chunk's result to the outer accumulator: Qouter(out + s)."""
    return add(out_code, unpack(s_code, config.accumulator.format), config.outer_accumulator)


def chunk_events(out_code: Integers, s_code: Integers, config: MacConfig) -> StepEvents:
    """Events of :func:`chunk_add`."""
    return add_events(out_code, unpack(s_code, config.accumulator.format), config.outer_accumulator)


def chunks(length: int, chunk_size: int) -> list[range]:
    """The indices k of each chunk, in order; the last may be short."""
    return [range(start, min(start + chunk_size, length)) for start in range(0, length, chunk_size)]


def dot(x_codes: Sequence[Integers], w_codes: Sequence[Integers], config: MacConfig) -> Integers:
    """The dot product over k, chunk by chunk, as a code of the outer accumulator."""
    out = 0
    for indices in chunks(len(x_codes), config.chunk_size):
        acc = 0
        for k in indices:
            acc = fmaq(acc, x_codes[k], w_codes[k], config)
        out = chunk_add(out, acc, config)
    return out
