"""The arithmetic of one multiply-accumulate, bit for bit, on integers; see docs/arithmetic.md.

Every function takes Python ints, numpy int64 arrays or torch int64 tensors, elementwise. Formats
are at most 62 bits and exact products at most 48, so significands are at most 2**61. No float
takes part. A sum may span thousands of bits; what is kept of it is 62 bits and a sticky one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from golden.config import Accumulator, FloatAccumulator, FloatQuantizer, MacConfig, Overflow
from golden.integers import Bools, Integers, clip, floor_log2, larger, where
from golden.random_words import Stage
from golden.rounding import (
    MAX_SHIFT,
    StepEvents,
    Unpacked,
    cut,
    cut_to_lsb,
    drop,
    pack,
    quantize,
    quantize_events,
    round_significand,
    signed_integer,
    unit_exponent,
    unpack,
)

__all__ = [
    "StepEvents",
    "Unpacked",
    "Words",
    "add",
    "add_events",
    "addend_of",
    "chunk_add",
    "chunk_events",
    "chunks",
    "cut",
    "cut_to_lsb",
    "dot",
    "dot_events",
    "fmaq",
    "fmaq_events",
    "multiply",
    "pack",
    "quantize",
    "quantize_events",
    "round_significand",
    "unpack",
    "word_of",
]

Words = Callable[[Stage, int, int], Integers]  #: Random words of so many bits for a stage at position k.

_SUM_BITS = 61  # bits of an addend below its top one: the sum of two such is below 2**63
_NO_EXPONENT = -(1 << 20)  # stands for floor(log2(0)): below every exponent there is


def multiply(x_code: Integers, w_code: Integers, config: MacConfig) -> Unpacked:
    """The exact product x * w."""
    x, w = unpack(x_code, config.x), unpack(w_code, config.w)
    significand = x.significand * w.significand
    return Unpacked((x.negative ^ w.negative) & (significand > 0), significand, x.exponent + w.exponent)


def _top_exponent(number: Unpacked) -> Integers:
    """floor(log2) of the magnitude, whatever the significand's leading zeros."""
    return where(number.significand == 0, _NO_EXPONENT, floor_log2(number.significand) + number.exponent)


def _align(number: Unpacked, grid: Integers, *, sticky: bool) -> Integers:
    """Cut toward zero to a signed multiple of 2**grid."""
    kept = drop(number.significand, clip(grid - number.exponent, 0, MAX_SHIFT), sticky=sticky)
    magnitude = kept << clip(number.exponent - grid, 0, MAX_SHIFT)
    return where(number.negative, -magnitude, magnitude)


def _sum(a: Unpacked, b: Unpacked, grid: Integers, *, sticky: bool) -> Unpacked:
    """The sum a + b of multiples of 2**grid."""
    total = _align(a, grid, sticky=sticky) + _align(b, grid, sticky=sticky)
    return Unpacked(total < 0, abs(total), grid)


def _exact_sum(a: Unpacked, b: Unpacked) -> Unpacked:
    """The sum a + b, exact as far as any rounding to 24 + 16 bits and any comparison with zero can tell.

    Where the tops are at most one apart every bit is kept, so cancellation is exact. Further apart
    the sum keeps its top within one of k, and bits below k - 61 are sticky.
    """
    return _sum(a, b, larger(_top_exponent(a), _top_exponent(b)) - _SUM_BITS, sticky=True)


def _rounder_input(acc: Unpacked, addend: Unpacked, accumulator: FloatAccumulator) -> Unpacked:
    """The sum as the accumulator's rounder sees it: exact, or of addends cut to g guard bits."""
    if accumulator.alignment_bits is None:
        return _exact_sum(acc, addend)
    unit = unit_exponent(larger(_top_exponent(acc), _top_exponent(addend)), accumulator.format)
    return _sum(acc, addend, unit - accumulator.alignment_bits, sticky=False)


def add(
    acc_code: Integers, addend: Unpacked, accumulator: Accumulator, word: Integers | None = None
) -> Integers:
    """One rounded addition: Qacc(acc + addend), as an accumulator code."""
    number = accumulator.format
    if isinstance(accumulator, FloatAccumulator):
        return quantize(_rounder_input(unpack(acc_code, number), addend, accumulator), accumulator, word)
    total = signed_integer(acc_code, number) + cut(addend, accumulator)
    if accumulator.overflow is Overflow.SATURATE:
        total = clip(total, number.min_integer, number.max_integer)
    return total & (2**number.bits - 1)


def add_events(
    acc_code: Integers, addend: Unpacked, accumulator: Accumulator, word: Integers | None = None
) -> StepEvents:
    """Events of :func:`add`."""
    number = accumulator.format
    acc = unpack(acc_code, number)
    result = add(acc_code, addend, accumulator, word)
    nonzero = _exact_sum(acc, addend).significand > 0
    swamped = (addend.significand > 0) & (result == pack(acc, number))
    if isinstance(accumulator, FloatAccumulator):
        rounded = quantize_events(_rounder_input(acc, addend, accumulator), accumulator, word)
        return StepEvents(rounded.overflow, nonzero & (result == 0), swamped)
    saturating = replace(accumulator, overflow=Overflow.SATURATE)
    total = signed_integer(acc_code, number) + cut(addend, saturating)
    return StepEvents(
        overflow=(total < number.min_integer) | (total > number.max_integer),
        underflow=nonzero & (total == 0),
        swamped=swamped,
    )


def addend_of(
    x_code: Integers, w_code: Integers, config: MacConfig, word: Integers | None = None
) -> Unpacked:
    """The product as it goes to the adder: quantized, or exact."""
    product = multiply(x_code, w_code, config)
    if config.product is None:
        return product
    return unpack(quantize(product, config.product, word), config.product.format)


def fmaq(
    acc_code: Integers,
    x_code: Integers,
    w_code: Integers,
    config: MacConfig,
    product_word: Integers | None = None,
    acc_word: Integers | None = None,
) -> Integers:
    """One multiply-accumulate: Qacc(acc + Qprod(x * w)), with the random words of stochastic roundings."""
    return add(acc_code, addend_of(x_code, w_code, config, product_word), config.accumulator, acc_word)


def fmaq_events(
    acc_code: Integers,
    x_code: Integers,
    w_code: Integers,
    config: MacConfig,
    product_word: Integers | None = None,
    acc_word: Integers | None = None,
) -> tuple[StepEvents | None, StepEvents]:
    """Events of the product quantizer (None without one) and of the addition."""
    product = None
    if config.product is not None:
        product = quantize_events(multiply(x_code, w_code, config), config.product, product_word)
    addend = addend_of(x_code, w_code, config, product_word)
    return product, add_events(acc_code, addend, config.accumulator, acc_word)


def chunk_add(
    out_code: Integers, s_code: Integers, config: MacConfig, word: Integers | None = None
) -> Integers:
    """Add a chunk's result to the outer accumulator: Qouter(out + s)."""
    return add(out_code, unpack(s_code, config.accumulator.format), config.outer_accumulator, word)


def chunk_events(
    out_code: Integers, s_code: Integers, config: MacConfig, word: Integers | None = None
) -> StepEvents:
    """Events of :func:`chunk_add`."""
    return add_events(out_code, unpack(s_code, config.accumulator.format), config.outer_accumulator, word)


def word_of(
    words: Words | None, stage: Stage, quantizer: FloatQuantizer | Accumulator | None, k: int
) -> Integers | None:
    """The random words of one step, or None where its rounding takes none."""
    bits = None if quantizer is None else quantizer.random_bits
    return None if bits is None else words(stage, bits, k)


def chunks(length: int, chunk_size: int) -> list[range]:
    """The indices k of each chunk, in order; the last may be short."""
    return [range(start, min(start + chunk_size, length)) for start in range(0, length, chunk_size)]


def dot(
    x_codes: Sequence[Integers], w_codes: Sequence[Integers], config: MacConfig, words: Words | None = None
) -> Integers:
    """The dot product over k, chunk by chunk, as a code of the outer accumulator.

    ``words`` gives the random words of a configuration that is stochastic.
    """
    out = 0
    for chunk, indices in enumerate(chunks(len(x_codes), config.chunk_size)):
        acc = 0
        for k in indices:
            product_word = word_of(words, Stage.PRODUCT, config.product, k)
            acc_word = word_of(words, Stage.INNER, config.accumulator, k)
            acc = fmaq(acc, x_codes[k], w_codes[k], config, product_word, acc_word)
        out = chunk_add(out, acc, config, word_of(words, Stage.OUTER, config.outer_accumulator, chunk))
    return out


def dot_events(
    x_codes: Sequence[Integers], w_codes: Sequence[Integers], config: MacConfig, words: Words | None = None
) -> tuple[Bools, Bools]:
    """Whether any rounding of :func:`dot` overflows, and whether any underflows."""
    out, overflow, underflow = 0, False, False
    for chunk, indices in enumerate(chunks(len(x_codes), config.chunk_size)):
        acc = 0
        for k in indices:
            product_word = word_of(words, Stage.PRODUCT, config.product, k)
            acc_word = word_of(words, Stage.INNER, config.accumulator, k)
            step = (acc, x_codes[k], w_codes[k], config, product_word, acc_word)
            for events in fmaq_events(*step):
                if events is not None:
                    overflow, underflow = overflow | events.overflow, underflow | events.underflow
            acc = fmaq(*step)
        word = word_of(words, Stage.OUTER, config.outer_accumulator, chunk)
        events = chunk_events(out, acc, config, word)
        overflow, underflow = overflow | events.overflow, underflow | events.underflow
        out = chunk_add(out, acc, config, word)
    return overflow, underflow
