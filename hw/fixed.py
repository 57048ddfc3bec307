"""Addition in fixed point: cut an addend to the accumulator's lsb, add, saturate or wrap."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import FixedAccumulator, Overflow, Rounding

__all__ = ["FixedAdder", "FixedAligner", "FixedCut"]


class FixedAligner(wiring.Component):
    """Shifts a number in sign and magnitude to the accumulator's lsb and cuts what is below.

    Combinational. The magnitude is complemented here where the number is negative; the one that
    completes the negation, and whatever the rounding adds, leaves as ``carry`` for the adder.
    Implements :func:`golden.arith.cut`.

    Parameters
    ----------
    accumulator : FixedAccumulator
        Gives the width and the rounding.
    significand_bits, man_bits : int
        Bits of the addend's significand, and how many of them are right of its point.
    exponents : range
        Its exponents after the offset; 0 puts the addend's point right of the accumulator's last bit.

    Members
    -------
    negative : In(1)
        Sign.
    significand : In
        Integer significand, normalised or not.
    exponent : In
        Exponent code.
    addend : Out(signed(bits + 1))
        Two's complement of the cut number, less ``carry``.
    carry : Out(1)
        To be added at the accumulator's lsb.
    huge : Out(1)
        The magnitude does not fit ``bits`` bits: every sum overflows.
    inexact : Out(1)
        Something was cut.
    """

    def __init__(
        self, accumulator: FixedAccumulator, *, significand_bits: int, man_bits: int, exponents: range
    ):
        self.accumulator = accumulator
        self.significand_bits = significand_bits
        self.man_bits = man_bits
        self.exponents = exponents
        super().__init__(
            {
                "negative": In(1),
                "significand": In(unsigned(significand_bits)),
                "exponent": In(exponents),
                "addend": Out(signed(accumulator.format.bits + 1)),
                "carry": Out(1),
                "huge": Out(1),
                "inexact": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = self.accumulator.format.bits

        # Places left of the lowest position that can matter: bits shifted further right than
        # `fraction` make a magnitude below one half of the lsb, whatever their number.
        lowest = self.exponents.start - self.man_bits
        fraction = min(max(0, -lowest), self.significand_bits + 1)
        base = fraction - self.man_bits
        places = Signal(range(max(1, self.exponents.stop + base)))
        if self.exponents.start + base >= 0:
            m.d.comb += places.eq(self.exponent + base)
        else:
            m.d.comb += places.eq(Mux(self.exponent < -base, 0, self.exponent + base))

        top = fraction + bits
        width = min(self.significand_bits, top)
        value, huge = self.significand[:width], self.significand[width:].any()
        for i in range(len(places)):
            step = 1 << i
            width = min(width + step, top)
            shifted, lost = Signal(width, name=f"left_{step}"), Signal(name=f"lost_{step}")
            m.d.comb += shifted.eq(Mux(places[i], value << step, value))
            m.d.comb += lost.eq(huge | (places[i] & value[max(0, width - step) :].any()))
            value, huge = shifted, lost
        magnitude = Signal(bits)
        m.d.comb += [
            magnitude.eq(value[fraction:]),
            self.huge.eq(huge),
            self.inexact.eq(value[:fraction].any()),
        ]

        match self.accumulator.rounding:
            case Rounding.TOWARD_ZERO:
                up = 0
            case Rounding.FLOOR:
                up = self.negative & value[:fraction].any()
            case Rounding.NEAREST_EVEN:
                guard, sticky = value[:fraction][-1:].any(), value[:fraction][:-1].any()
                up = guard & (sticky | magnitude[0])
        m.d.comb += [
            self.addend.eq(Cat(magnitude, Const(0, 1)) ^ self.negative.replicate(bits + 1)),
            self.carry.eq(self.negative ^ up),
        ]
        return m


class FixedCut(wiring.Component):
    """Cuts a number in two's complement to a coarser lsb, or pads it to a finer one.

    Combinational, and for truncation to a coarser lsb nothing but wires. Implements
    :func:`golden.arith.cut`.

    Parameters
    ----------
    width : int
        Bits of the number that comes in.
    discard : int
        Bits to be cut; negative to pad with zeros.
    rounding : Rounding
        How they are cut.

    Members
    -------
    exact : In(signed(width))
        The number.
    addend : Out(signed)
        The kept bits.
    carry : Out(1)
        To be added at their last place.
    inexact : Out(1)
        Something was cut.
    """

    def __init__(self, *, width: int, discard: int, rounding: Rounding):
        self.discard = discard
        self.rounding = rounding
        super().__init__(
            {
                "exact": In(signed(width)),
                "addend": Out(signed(max(1, width - discard))),
                "carry": Out(1),
                "inexact": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.discard <= 0:
            m.d.comb += self.addend.eq(self.exact << -self.discard)
            return m
        m.d.comb += self.addend.eq(self.exact >> self.discard)
        discarded = Signal(self.discard)  # sign-extended where more is cut than there is
        m.d.comb += [discarded.eq(self.exact), self.inexact.eq(discarded.any())]
        match self.rounding:
            case Rounding.TOWARD_ZERO:
                m.d.comb += self.carry.eq(self.exact[-1] & discarded.any())
            case Rounding.NEAREST_EVEN:
                m.d.comb += self.carry.eq(discarded[-1] & (discarded[:-1].any() | self.addend[0]))
            case Rounding.FLOOR:
                pass
        return m


class FixedAdder(wiring.Component):
    """Adds to a fixed-point running sum, then saturates or wraps.

    Combinational. Implements the fixed-point half of :func:`golden.arith.add`.

    Parameters
    ----------
    accumulator : FixedAccumulator
        Gives the width and the overflow.
    addend_bits : int
        Bits of the addend.

    Members
    -------
    acc : In
        Code of the running sum.
    addend : In(signed(addend_bits))
        Multiple of the accumulator's lsb.
    carry : In(1)
        One more at the lsb.
    huge : In(1)
        The addend stands for more than it can hold: saturate by its sign.
    inexact : In(1)
        The addend has been cut.
    result : Out
        Code of the new sum.
    overflow : Out(1)
        The sum is outside the format.
    underflow : Out(1)
        The sum is 0 and would not be without the cut.
    """

    def __init__(self, accumulator: FixedAccumulator, *, addend_bits: int):
        self.accumulator = accumulator
        self.addend_bits = addend_bits
        bits = accumulator.format.bits
        super().__init__(
            {
                "acc": In(unsigned(bits)),
                "addend": In(signed(addend_bits)),
                "carry": In(1),
                "huge": In(1),
                "inexact": In(1),
                "result": Out(unsigned(bits)),
                "overflow": Out(1),
                "underflow": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = self.accumulator.format.bits
        total = Signal(signed(max(bits, self.addend_bits) + 1))
        m.d.comb += total.eq(self.acc.as_signed() + self.addend + self.carry)
        overflow = self.huge | (total[bits - 1 : -1] != total[-1].replicate(len(total) - bits))
        m.d.comb += [
            self.overflow.eq(overflow),
            self.underflow.eq(self.inexact & ~self.huge & (total == 0)),
        ]
        if self.accumulator.overflow is Overflow.WRAP:
            m.d.comb += self.result.eq(total)
            return m
        negative = Mux(self.huge, self.addend[-1], total[-1])
        limit = Cat((~negative).replicate(bits - 1), negative)
        m.d.comb += self.result.eq(Mux(overflow, limit, total[:bits]))
        return m
