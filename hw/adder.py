"""Addition in floating point: align, add. Normalising and rounding are in :mod:`hw.quantizer`."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import FloatAccumulator, Rounding
from hw.shift import shift_right

__all__ = ["AlignedWidths", "Aligner", "SignificandAdder"]


@dataclass(frozen=True, kw_only=True)
class AlignedWidths:
    """Bits of two significands once they are aligned."""

    kept: int  #: Bits of the larger addend, counted from its leading one.
    sticky: bool  #: One more bit stands for everything below them.

    @classmethod
    def of(cls, accumulator: FloatAccumulator, addend_bits: int) -> AlignedWidths:
        """The least that gives the contract's sum.

        Exact alignment: with exponents at most one apart the sum needs one bit below the longer
        significand, and the sticky bit is that bit. Further apart, a difference loses at most one leading
        bit, so the accumulator's bits, one more, and a guard bit to round to nearest decide.
        """
        own = accumulator.format.significand_bits
        if accumulator.alignment_bits is not None:
            return cls(kept=own + accumulator.alignment_bits, sticky=False)
        guard = accumulator.random_bits or (accumulator.rounding is Rounding.NEAREST_EVEN)
        return cls(kept=max(addend_bits, own + 1 + guard), sticky=True)

    @property
    def total(self) -> int:
        return self.kept + self.sticky


class Aligner(wiring.Component):
    """Orders two numbers by magnitude and shifts the smaller to the exponent of the larger.

    Combinational. With exact alignment what falls off the end is kept as one sticky bit, with
    ``alignment_bits`` g both are cut to g bits below the accumulator's last, which with subnormals is no
    lower than the last bit of these. Part of :func:`golden.arith.add`.

    Parameters
    ----------
    accumulator : FloatAccumulator
        Gives the accumulator's format and the alignment.
    addend_bits : int
        Significand bits of the addend.
    acc_exponents, addend_exponents : range
        Exponent codes of both, in the accumulator's bias.

    Members
    -------
    acc_significand, acc_exponent : In
        The running sum; top bit set, or zero with an exponent that means nothing.
    addend_significand, addend_exponent : In
        The addend; likewise.
    larger, smaller : Out
        Aligned significands, sticky bit last.
    exponent : Out
        Exponent code of the larger number's leading bit.
    swapped : Out(1)
        The addend is the larger one.
    equal : Out(1)
        Neither is larger.
    """

    def __init__(
        self,
        accumulator: FloatAccumulator,
        *,
        addend_bits: int,
        acc_exponents: range,
        addend_exponents: range,
    ):
        self.accumulator = accumulator
        self.acc_bits = accumulator.format.significand_bits
        self.addend_bits = addend_bits
        self.widths = AlignedWidths.of(accumulator, addend_bits)
        self.exponents = _span(acc_exponents, addend_exponents)
        super().__init__(
            {
                "acc_significand": In(unsigned(self.acc_bits)),
                "acc_exponent": In(acc_exponents),
                "addend_significand": In(unsigned(addend_bits)),
                "addend_exponent": In(addend_exponents),
                "larger": Out(unsigned(self.widths.total)),
                "smaller": Out(unsigned(self.widths.total)),
                "exponent": Out(self.exponents),
                "swapped": Out(1),
                "equal": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = max(self.acc_bits, self.addend_bits)
        acc = self.acc_significand << (width - self.acc_bits)
        addend = self.addend_significand << (width - self.addend_bits)

        distance = Signal(signed((self.acc_exponent - self.addend_exponent).shape().width))
        m.d.comb += distance.eq(self.acc_exponent - self.addend_exponent)
        acc_zero, addend_zero = ~self.acc_significand[-1], ~self.addend_significand[-1]
        addend_larger = acc_zero | (distance < 0) | ((distance == 0) & (addend > acc))
        same = (distance == 0) & (addend == acc)
        m.d.comb += [
            self.swapped.eq(~addend_zero & addend_larger),
            self.equal.eq(Mux(acc_zero | addend_zero, acc_zero & addend_zero, same)),
        ]

        larger, smaller = Signal(width), Signal(width)
        m.d.comb += [
            larger.eq(Mux(self.swapped, addend, acc)),
            smaller.eq(Mux(self.swapped, acc, addend)),
            self.exponent.eq(Mux(self.swapped, self.addend_exponent, self.acc_exponent)),
        ]
        places = Signal(len(distance))
        m.d.comb += places.eq(Mux(self.swapped, -distance, distance))

        kept = self.widths.kept
        cut = max(0, width - kept)
        aligned, sticky = shift_right(m, (smaller >> cut) << max(0, kept - width), kept, places)
        larger = (larger >> cut) << max(0, kept - width)
        if self.widths.sticky:
            m.d.comb += [self.larger.eq(larger << 1), self.smaller.eq(Cat(sticky, aligned))]
        else:
            mask = self._above_grid(m)
            m.d.comb += [self.larger.eq(larger & mask), self.smaller.eq(aligned & mask)]
        return m

    def _above_grid(self, m: Module) -> Value:
        """Ones where a bit is not below the accumulator's last place and its guard bits.

        Only with subnormals, which share their last place, is it above that of the larger number.
        """
        kept, lowest = self.widths.kept, self.accumulator.format.min_exp_code
        every = Const(-1, unsigned(kept))
        if not self.accumulator.format.subnormals or self.exponents.start >= lowest:
            return every
        below = Signal(range(lowest - self.exponents.start + 1))
        m.d.comb += below.eq(Mux(self.exponent < lowest, lowest - self.exponent, 0))
        return (every << below)[:kept]


def _span(a: range, b: range) -> range:
    """The least range that holds both."""
    return range(min(a.start, b.start), max(a.stop, b.stop))


class SignificandAdder(wiring.Component):
    """Adds or subtracts aligned significands; the result is never negative.

    Combinational. Part of :func:`golden.arith.add`.

    Parameters
    ----------
    width : int
        Bits of each significand.

    Members
    -------
    larger, smaller : In(width)
        Aligned significands, ``larger >= smaller``.
    subtract : In(1)
        The signs differ.
    total : Out(width + 1)
        Sum or difference.
    """

    def __init__(self, *, width: int):
        super().__init__(
            {
                "larger": In(unsigned(width)),
                "smaller": In(unsigned(width)),
                "subtract": In(1),
                "total": Out(unsigned(width + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        operand = Cat(self.smaller, Const(0, 1)) ^ self.subtract.replicate(len(self.total))
        m.d.comb += self.total.eq(self.larger + operand + self.subtract)
        return m
