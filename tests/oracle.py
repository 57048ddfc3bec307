"""The arithmetic of the contract, once more, on rationals: slow, and independent of ``golden``.

Written from the text of the contract: values are :class:`fractions.Fraction`, each step is the formula it
states, and nothing is taken from the golden model but the configuration's stored fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from golden.config import Encoding, FixedFormat, FloatAccumulator, FloatFormat, MacConfig, Overflow, Rounding

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
    assert is_finite(code, number)
    sign, rest = divmod(code, 2 ** (number.exp_bits + number.man_bits))
    exponent, mantissa = divmod(rest, 2**number.man_bits)
    fraction = Fraction(mantissa, 2**number.man_bits)
    if exponent == 0 and number.encoding is not Encoding.NORMALS:
        magnitude = two_to(1 - number.bias) * fraction
    elif exponent == mantissa == 0:
        magnitude = ZERO
    else:
        magnitude = two_to(exponent - number.bias) * (1 + fraction)
    return -magnitude if sign else magnitude


def is_finite(code: int, number: FloatFormat | FixedFormat) -> bool:
    if isinstance(number, FixedFormat):
        return True
    exponent, mantissa = divmod(code % 2 ** (number.exp_bits + number.man_bits), 2**number.man_bits)
    if exponent < 2**number.exp_bits - 1:
        return True
    match number.encoding:
        case Encoding.FN:
            return mantissa < 2**number.man_bits - 1
        case Encoding.IEEE:
            return False
    return True


@lru_cache(maxsize=1 << 10)
def largest_of(number: FloatFormat) -> Fraction:
    """R_OF: of the greatest magnitude code that is finite."""
    code = 2 ** (number.exp_bits + number.man_bits) - 1
    if number.encoding is Encoding.IEEE:
        code -= 2**number.man_bits
    elif number.encoding is Encoding.FN:
        code -= 1
    return value_of(code, number)


def exponent_of_unit(magnitude: Fraction, number: FloatFormat) -> int:
    """Of the last mantissa bit of a magnitude that is not zero; below 2**(1-b) subnormals share one."""
    exponent = floor_log2(magnitude)
    if number.encoding is not Encoding.NORMALS:
        exponent = max(exponent, 1 - number.bias)
    return exponent - number.man_bits


def code_of(value: Fraction, number: FloatFormat | FixedFormat) -> int:
    """The code of a value that the format holds; zero has sign 0."""
    if isinstance(number, FixedFormat):
        integer = value / two_to(number.lsb)
        assert integer.denominator == 1
        return int(integer) % 2**number.bits
    if value == 0:
        return 0
    sign = 2 ** (number.exp_bits + number.man_bits) if value < 0 else 0
    unit = exponent_of_unit(abs(value), number)
    significand = abs(value) / two_to(unit)
    assert significand.denominator == 1
    hidden = 2**number.man_bits
    if significand < hidden:
        assert number.encoding is not Encoding.NORMALS
        return sign + int(significand)
    return sign + (unit + number.man_bits + number.bias) * hidden + int(significand) - hidden


def floor_log2(magnitude: Fraction) -> int:
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    return exponent if two_to(exponent) <= magnitude else exponent - 1


def to_multiple(
    value: Fraction, step: Fraction, rounding: Rounding, random_bits: int = 0, word: int | None = None
) -> Fraction:
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
        case Rounding.STOCHASTIC:
            assert 0 <= word < 2**random_bits
            finer = abs(ratio) * 2**random_bits
            chosen = (finer.numerator // finer.denominator + word) // 2**random_bits
            chosen = -chosen if ratio < 0 else chosen
    return chosen * step


class Rounded(NamedTuple):
    value: Fraction
    overflow: bool
    underflow: bool


@lru_cache(maxsize=1 << 17)
def round_to_float(
    value: Fraction,
    number: FloatFormat,
    rounding: Rounding,
    random_bits: int | None = None,
    word: int | None = None,
) -> Rounded:
    """The three numbered rules for a float format."""
    if value == 0:
        return Rounded(ZERO, False, False)
    unit = two_to(exponent_of_unit(abs(value), number))
    unbounded = to_multiple(value, unit, rounding, random_bits, word)
    largest = largest_of(number)
    if abs(unbounded) > largest:
        return Rounded(largest if value > 0 else -largest, True, False)
    flushed = number.encoding is Encoding.NORMALS and abs(unbounded) <= two_to(-number.bias)
    if flushed or unbounded == 0:
        return Rounded(ZERO, False, True)
    return Rounded(unbounded, False, False)


class Added(NamedTuple):
    value: Fraction
    overflow: bool
    underflow: bool
    swamped: bool


@lru_cache(maxsize=1 << 17)
def add(acc: Fraction, addend: Fraction, accumulator, word: int | None = None) -> Added:
    """Qacc(acc + addend) with its events."""
    if isinstance(accumulator, FloatAccumulator):
        value, overflow = _add_float(acc, addend, accumulator, word)
        underflow = acc + addend != 0 and value == 0
    else:
        total, value, overflow = _add_fixed(acc, addend, accumulator)
        underflow = acc + addend != 0 and total == 0
    return Added(value, overflow, underflow, swamped=addend != 0 and value == acc)


def _add_float(
    acc: Fraction, addend: Fraction, accumulator: FloatAccumulator, word: int | None
) -> tuple[Fraction, bool]:
    number = accumulator.format
    larger = max(abs(acc), abs(addend))
    if accumulator.alignment_bits is not None and larger:
        step = two_to(exponent_of_unit(larger, number) - accumulator.alignment_bits)
        acc = to_multiple(acc, step, Rounding.TOWARD_ZERO)
        addend = to_multiple(addend, step, Rounding.TOWARD_ZERO)
    rounded = round_to_float(acc + addend, number, accumulator.rounding, accumulator.random_bits, word)
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


#: The r-bit word of a stage at position k of the output that is being computed: words(stage, r, k).
Words = Callable[[int, int, int], int]


def dot(
    x: Sequence[Fraction], w: Sequence[Fraction], config: MacConfig, tally: Tally, words: Words | None = None
) -> Fraction:
    """A dot product of values, chunk by chunk."""

    def word(stage: int, rounds, k: int) -> int | None:
        return words(stage, rounds.random_bits, k) if rounds.rounding is Rounding.STOCHASTIC else None

    out, outer = ZERO, config.outer or config.accumulator
    for chunk, start in enumerate(range(0, len(x), config.chunk_size)):
        acc = ZERO
        for k in range(start, min(start + config.chunk_size, len(x))):
            product = x[k] * w[k]
            if config.product is not None:
                q = config.product
                rounded = round_to_float(product, q.format, q.rounding, q.random_bits, word(0, q, k))
                product = tally.note("product", rounded)
            step = add(acc, product, config.accumulator, word(1, config.accumulator, k))
            acc = tally.note("inner", step)
        out = tally.note("outer", add(out, acc, outer, word(2, outer, chunk)))
    return out


def random_word(seed: int, call: int, stage: int, bits: int, m: int, n: int, k: int) -> int:
    """The word of output (m, n), from the text of the contract."""
    halves = []
    for side, line in enumerate((m, n)):
        key = mix(mix(mix(mix(seed % 2**32) ^ (seed // 2**32)) ^ call) ^ (2 * stage + side))
        halves.append(mix(mix(key ^ line) ^ (k * 0x9E3779B9 % 2**32)))
    return (halves[0] ^ halves[1]) // 2 ** (32 - bits)


def mix(a: int) -> int:
    for step in (
        lambda a: a + 0x7ED55D16 + a * 2**12,
        lambda a: a ^ 0xC761C23C ^ a // 2**19,
        lambda a: a + 0x165667B1 + a * 2**5,
        lambda a: (a + 0xD3A2646C) ^ a * 2**9,
        lambda a: a + 0xFD7046C5 + a * 2**3,
        lambda a: a ^ 0xB55A4F09 ^ a // 2**16,
    ):
        a = step(a) % 2**32
    return a
