"""From a normalised significand and an exponent to the code of a float format."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import FloatFormat, Rounding
from hw.rounder import SignificandRounder

__all__ = ["Normalizer", "Quantizer"]


class Normalizer(wiring.Component):
    """Shifts a significand left until its top bit is set.

    Combinational: steps of a power of two, the widest first. Zero stays zero, with a shift that means
    nothing.

    Parameters
    ----------
    width : int
        Bits of the significand.
    max_shift : int
        The most leading zeros of a nonzero significand.

    Members
    -------
    significand : In(width)
        Any number with at most ``max_shift`` leading zeros, or zero.
    normalized : Out(width)
        The same, shifted.
    shift : Out
        Places it was shifted by.
    """

    def __init__(self, *, width: int, max_shift: int):
        self.width = width
        self.steps = [1 << i for i in reversed(range(max_shift.bit_length()))]
        super().__init__(
            {
                "significand": In(unsigned(width)),
                "normalized": Out(unsigned(width)),
                "shift": Out(unsigned(len(self.steps))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        value, shift = self.significand, []
        for step in self.steps:
            empty = Signal(name=f"empty_{step}")
            shifted = Signal(self.width, name=f"shifted_{step}")
            m.d.comb += empty.eq(~value[self.width - step :].any())
            m.d.comb += shifted.eq(Mux(empty, value << step, value))
            value = shifted
            shift.insert(0, empty)
        m.d.comb += [self.normalized.eq(value), self.shift.eq(Cat(shift))]
        return m


class Quantizer(wiring.Component):
    """Rounds a number once to a float format: saturates above its range, flushes to zero below it.

    Combinational. The arithmetic is that of :func:`golden.arith.quantize`; every zero has sign 0.

    Parameters
    ----------
    width : int
        Bits of the significand that comes in.
    exponents : range
        Exponent codes, in the target's bias, that can come in with a nonzero significand.
    target : FloatFormat
        Its bias plays no part.
    rounding : Rounding
        Toward zero or to nearest even.

    Members
    -------
    negative : In(1)
        Sign.
    significand : In(width)
        Top bit set, unless the number is zero.
    exponent : In
        Exponent code of the top bit; below 0 and above the target's largest are legal.
    code : Out
        Code of the rounded number.
    """

    def __init__(self, *, width: int, exponents: range, target: FloatFormat, rounding: Rounding):
        self.width = width
        self.exponents = exponents
        self.target = target
        self.rounding = rounding
        super().__init__(
            {
                "negative": In(1),
                "significand": In(unsigned(width)),
                "exponent": In(exponents),
                "code": Out(unsigned(target.code_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        target, kept = self.target, self.target.significand_bits

        rounded = Signal(kept + 1)
        discard = self.width - kept
        if discard > 0:
            m.submodules.rounder = rounder = SignificandRounder(
                width=kept, discard=discard, rounding=self.rounding
            )
            m.d.comb += [rounder.exact.eq(self.significand), rounded.eq(rounder.rounded)]
        else:
            m.d.comb += rounded.eq(self.significand << -discard)
        mantissa = rounded[: target.man_bits]  # all 0 after a carry

        exponent = Signal(range(self.exponents.start, self.exponents.stop + 1))
        m.d.comb += exponent.eq(self.exponent + rounded[-1])
        overflow = exponent > target.max_exp_code
        flushed = (exponent < 0) | ((exponent == 0) & ~mantissa.any())
        zero = ~self.significand[-1] | flushed

        largest = Const(-1, unsigned(target.code_bits - 1))
        magnitude = Mux(overflow, largest, Cat(mantissa, exponent[: target.exp_bits]))
        m.d.comb += self.code.eq(Mux(zero, 0, Cat(magnitude[: target.code_bits - 1], self.negative)))
        return m
