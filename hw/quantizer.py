"""From a normalised significand and an exponent to the code of a float format."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import Encoding, FloatFormat, Rounding
from hw.rounder import SignificandRounder
from hw.shift import shift_right

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
    """Rounds a number once to a float format; saturates above its range.

    Combinational. Below its range it flushes to zero or, with subnormals, rounds on their grid. The
    arithmetic is that of :func:`golden.arith.quantize`; every zero has sign 0.

    Parameters
    ----------
    width : int
        Bits of the significand that comes in.
    exponents : range
        Exponent codes, in the target's bias, that can come in with a nonzero significand.
    target : FloatFormat
        Its bias plays no part.
    rounding : Rounding
        Toward zero, to nearest even or stochastic.
    random_bits : int or None
        Width of the random word; None unless stochastic.

    Members
    -------
    negative : In(1)
        Sign.
    significand : In(width)
        Top bit set, unless the number is zero.
    exponent : In
        Exponent code of the top bit; below 0 and above the target's largest are legal.
    word : In(random_bits), if stochastic
        The random word.
    code : Out
        Code of the rounded number.
    magnitude : Out
        The same without its sign, where it is not zero.
    zero : Out(1)
        The code is that of zero.
    overflow : Out(1)
        The rounded number is larger than the format holds.
    underflow : Out(1)
        The number is not zero and its code is.
    """

    def __init__(
        self,
        *,
        width: int,
        exponents: range,
        target: FloatFormat,
        rounding: Rounding,
        random_bits: int | None,
    ):
        self.width = width
        self.exponents = exponents
        self.target = target
        self.rounding = rounding
        self.random_bits = random_bits
        members = {
            "negative": In(1),
            "significand": In(unsigned(width)),
            "exponent": In(exponents),
            "code": Out(unsigned(target.code_bits)),
            "magnitude": Out(unsigned(target.code_bits - 1)),
            "zero": Out(1),
            "overflow": Out(1),
            "underflow": Out(1),
        }
        if random_bits is not None:
            members["word"] = In(unsigned(random_bits))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        target, kept = self.target, self.target.significand_bits
        nonzero = self.significand[-1]
        significand = self.significand
        reaches_grid = target.subnormals and self.exponents.start < target.min_exp_code
        if reaches_grid:
            below = Signal()
            m.d.comb += below.eq(self.exponent < target.min_exp_code)
            significand = self._on_grid(m, below)

        rounded = Signal(kept + 1)
        discard = len(significand) - kept
        if discard > 0:
            m.submodules.rounder = rounder = SignificandRounder(
                width=kept, discard=discard, rounding=self.rounding, random_bits=self.random_bits
            )
            m.d.comb += [rounder.exact.eq(significand), rounded.eq(rounder.rounded)]
            if self.random_bits is not None:
                m.d.comb += rounder.word.eq(self.word)
        else:
            m.d.comb += rounded.eq(significand << -discard)
        mantissa = rounded[: target.man_bits]  # all 0 after a carry

        exponent = Signal(range(min(0, self.exponents.start), self.exponents.stop + 1))
        carried = self.exponent + rounded[-1]
        m.d.comb += exponent.eq(Mux(below, rounded[-2], carried) if reaches_grid else carried)
        overflow = exponent > target.max_exp_code
        if target.encoding is Encoding.FN and target.man_bits:
            overflow |= (exponent == target.max_exp_code) & mantissa.all()
        flushed = (exponent < 0) | ((exponent == 0) & ~mantissa.any())
        m.d.comb += [
            self.overflow.eq(nonzero & overflow),
            self.underflow.eq(nonzero & flushed),
        ]

        largest = Const(target.max_magnitude_code, unsigned(target.code_bits - 1))
        m.d.comb += [
            self.magnitude.eq(Mux(overflow, largest, Cat(mantissa, exponent[: target.exp_bits]))),
            self.zero.eq(~nonzero | flushed),
            self.code.eq(Mux(self.zero, 0, Cat(self.magnitude, self.negative))),
        ]
        return m

    def _on_grid(self, m: Module, below: Value) -> Value:
        """The significand where a number has no hidden bit: shifted right, as far as rounding can tell.

        Kept below the last place: nothing to drop, a guard and a sticky bit to round to nearest, the
        random bits to round stochastically.
        """
        nearest = self.rounding is Rounding.NEAREST_EVEN
        width = self.target.significand_bits + (2 if nearest else self.random_bits or 0)
        width = max(width, self.width) if nearest else width
        cut = max(0, self.width - width)
        places = Signal(range(self.target.min_exp_code - self.exponents.start + 1))
        m.d.comb += places.eq(Mux(below, self.target.min_exp_code - self.exponent, 0))
        value = (self.significand << max(0, width - self.width))[cut:]
        shifted, sticky = shift_right(m, value, width, places)
        return shifted | sticky if nearest else shifted
