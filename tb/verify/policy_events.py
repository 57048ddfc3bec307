"""What can happen in a step, by name: the events whose coverage is counted, worked out on Python integers.

Beside golden's overflow, underflow and swamped these are what the policies decide: each direction of an
overflow, ties by where they go, what is cut and lost, cancellation, subnormals, random words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from golden.config import (
    Accumulator,
    FixedAccumulator,
    FixedFormat,
    FloatAccumulator,
    FloatFormat,
    FloatQuantizer,
    Overflow,
    Rounding,
)
from golden.rounding import Unpacked, unit_exponent, unpack

__all__ = ["EVENTS", "Exact", "add_events", "quantize_events"]

#: Name -> what it means. Those of a rounding may happen in a product quantizer, too.
EVENTS = {
    "saturates above": "the rounded number is above the range and becomes its end",
    "saturates below": "the same below it",
    "wraps above": "the sum is above the range and comes in again at the other end",
    "wraps below": "the same below it",
    "reaches an end": "the sum is the largest or smallest number, without overflow",
    "flushed": "a number that is not zero becomes zero, being too small to be kept",
    "flushed negative": "the same of a negative one",
    "exact": "nothing is rounded away",
    "rounded down": "what is rounded away is lost",
    "rounded up": "the magnitude grows by what is rounded away",
    "tie to even, up": "half of the last place is rounded away, and the odd number grows",
    "tie to even, down": "half of the last place is rounded away, and the even number stays",
    "random word up": "a number grows because of its random word",
    "random word down": "a number could have grown, with another random word",
    "carry": "rounding up takes the number to the next power of two",
    "subnormal": "the result has no hidden bit",
    "subnormal becomes normal": "rounding takes a number that had none to one that has",
    "two zeros": "nothing is added to nothing",
    "zero plus addend": "the first product of a chunk, say",
    "addend is zero": "a product of zero",
    "cancels to zero": "two numbers that are not zero sum up to zero",
    "cancels deeply": "the sum's exponent is less by two or more",
    "swamped": "an addend that is not zero leaves the sum as it was",
    "sum is swamped": "the sum before, not zero, makes no difference",
    "addend is the larger": "the sum before is what is shifted",
    "addend cut": "alignment or the lsb cuts bits of a positive addend",
    "negative addend cut": "the same of a negative one",
    "sum cut": "alignment cuts bits of the sum before",
    "addend beyond the range": "an addend does not fit the accumulator, whatever the sum",
    "subnormal addend": "an operand of the adder has no hidden bit",
}


class Exact(NamedTuple):
    """The number integer * 2**exponent."""

    integer: int
    exponent: int

    @classmethod
    def of(cls, number: Unpacked) -> Exact:
        return cls(int(-number.significand if number.negative else number.significand), int(number.exponent))

    @property
    def top(self) -> int:
        """floor(log2) of the magnitude, which is not 0."""
        return abs(self.integer).bit_length() - 1 + self.exponent

    def at(self, exponent: int) -> int:
        """The multiple of two to this power, which divides it."""
        return self.integer << (self.exponent - exponent)

    def __add__(self, other: Exact) -> Exact:
        exponent = min(self.exponent, other.exponent)
        return Exact(self.at(exponent) + other.at(exponent), exponent)

    def cut(self, exponent: int) -> Exact:
        """Toward zero, to a multiple of two to this power."""
        if self.exponent >= exponent:
            return self
        magnitude = abs(self.integer) >> (exponent - self.exponent)
        return Exact(-magnitude if self.integer < 0 else magnitude, exponent)

    def equals(self, other: Exact) -> bool:
        return (self + Exact(-other.integer, other.exponent)).integer == 0


def quantize_events(exact: Exact, quantizer: FloatQuantizer | FloatAccumulator, word: int) -> Iterator[str]:
    """Events of one rounding to a float format."""
    if exact.integer == 0:
        return
    number = quantizer.format
    unit = unit_exponent(exact.top, number)
    discard = max(0, unit - exact.exponent)
    magnitude = abs(exact.integer)
    kept, rest = magnitude >> discard, magnitude & ((1 << discard) - 1)
    up, names = _rounded(kept, rest, discard, quantizer.rounding, quantizer.random_bits, word)
    yield from names
    rounded = Exact(kept + up, max(unit, exact.exponent))
    if up and rounded.top > exact.top:
        yield "carry"
    yield from _range_events(rounded, exact, number)


def _rounded(
    kept: int, rest: int, discard: int, rounding: Rounding, random_bits: int | None, word: int
) -> tuple[int, list[str]]:
    """Whether the magnitude grows, and what that is called."""
    if rest == 0:
        return 0, ["exact"]
    match rounding:
        case Rounding.NEAREST_EVEN:
            if 2 * rest == 1 << discard:
                return kept & 1, ["tie to even, up" if kept & 1 else "tie to even, down"]
            up = int(2 * rest > 1 << discard)
        case Rounding.STOCHASTIC:
            first_bits = rest << random_bits >> discard
            up = first_bits + word >> random_bits
            if first_bits:
                return up, [f"random word {'up' if up else 'down'}"]
        case _:
            up = 0
    return up, ["rounded up" if up else "rounded down"]


def _range_events(rounded: Exact, exact: Exact, number: FloatFormat) -> Iterator[str]:
    largest = Exact(number.max_magnitude, number.lsb_exponent)
    if (largest + Exact(-rounded.integer, rounded.exponent)).integer < 0:
        yield "saturates below" if exact.integer < 0 else "saturates above"
        return
    smallest_normal = number.min_exp_code - number.bias
    if number.subnormals:
        flushed = rounded.integer == 0
        if not flushed and rounded.top < smallest_normal:
            yield "subnormal"
        if exact.top < smallest_normal and not flushed and rounded.top == smallest_normal:
            yield "subnormal becomes normal"
    else:
        flushed = rounded.top < -number.bias or rounded.equals(Exact(1, -number.bias))
    if flushed:
        yield "flushed negative" if exact.integer < 0 else "flushed"


def add_events(
    acc_code: int, addend: Exact, accumulator: Accumulator, word: int, result: int, without_acc: int
) -> Iterator[str]:
    """Events of one addition that gives the code ``result``, and ``without_acc`` to a sum of zero."""
    number = accumulator.format
    acc = Exact.of(unpack(acc_code, number))
    if not acc.integer or not addend.integer:
        if addend.integer:
            yield "zero plus addend"
        else:
            yield "addend is zero" if acc.integer else "two zeros"
    else:
        total = acc + addend
        if total.integer == 0:
            yield "cancels to zero"
        elif total.top <= max(acc.top, addend.top) - 2:
            yield "cancels deeply"
        if addend.top > acc.top:
            yield "addend is the larger"
        if result == acc_code:
            yield "swamped"
        if result == without_acc:
            yield "sum is swamped"
    if isinstance(accumulator, FixedAccumulator):
        yield from _fixed_events(acc, addend, accumulator)
    else:
        yield from _float_events(acc, addend, accumulator, word)


def _float_events(acc: Exact, addend: Exact, accumulator: FloatAccumulator, word: int) -> Iterator[str]:
    number = accumulator.format
    if number.subnormals and acc.integer and acc.top < number.min_exp_code - number.bias:
        yield "subnormal addend"
    if accumulator.alignment_bits is not None and (acc.integer or addend.integer):
        top = max(each.top for each in (acc, addend) if each.integer)
        grid = unit_exponent(top, number) - accumulator.alignment_bits
        if not addend.cut(grid).equals(addend):
            yield "negative addend cut" if addend.integer < 0 else "addend cut"
        if not acc.cut(grid).equals(acc):
            yield "sum cut"
        acc, addend = acc.cut(grid), addend.cut(grid)
    yield from quantize_events(acc + addend, accumulator, word)


def _fixed_events(acc: Exact, addend: Exact, accumulator: FixedAccumulator) -> Iterator[str]:
    number: FixedFormat = accumulator.format
    discard = max(0, number.lsb - addend.exponent)
    magnitude = abs(addend.integer)
    kept, rest = magnitude >> discard, magnitude & ((1 << discard) - 1)
    negative = addend.integer < 0
    if accumulator.rounding is Rounding.FLOOR:
        up = int(negative and rest > 0)
    else:
        up, names = _rounded(kept, rest, discard, accumulator.rounding, None, 0)
        yield from (name for name in names if name.startswith("tie"))
    if rest:
        yield "negative addend cut" if negative else "addend cut"
    integer = (kept + up) << max(0, addend.exponent - number.lsb)
    if addend.integer and integer == 0:
        yield "flushed negative" if negative else "flushed"
    if integer > number.max_integer + 1:
        yield "addend beyond the range"
    total = acc.at(number.lsb) + (-integer if negative else integer)
    verb = "wraps" if accumulator.overflow is Overflow.WRAP else "saturates"
    if total > number.max_integer:
        yield f"{verb} above"
    elif total < number.min_integer:
        yield f"{verb} below"
    elif total in (number.max_integer, number.min_integer):
        yield "reaches an end"
