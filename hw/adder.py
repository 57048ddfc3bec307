"""Addition in floating point: align, add. Normalising and rounding are in :mod:`hw.quantizer`."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
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
        significand. Further apart, a difference loses at most one leading bit, so the accumulator's bits,
        one more, and what its rounding looks at decide. To nearest that is a guard bit and a sticky one,
        which is also the bit that exponents one apart need. A rounding that cuts looks at its random bits
        and no further: all it has to know of what is below is that it borrows from a difference.
        """
        own = accumulator.format.significand_bits
        if accumulator.alignment_bits is not None:
            return cls(kept=own + accumulator.alignment_bits, sticky=False)
        if accumulator.rounding is Rounding.NEAREST_EVEN:
            return cls(kept=max(addend_bits, own + 2), sticky=True)
        return cls(kept=max(addend_bits, own + (accumulator.random_bits or 0)) + 1, sticky=False)

    @property
    def total(self) -> int:
        return self.kept + self.sticky


class Aligner(wiring.Component):
    """Orders two numbers by magnitude and shifts the smaller to the exponent of the larger.

    Combinational. With exact alignment what falls off the end is kept as one bit, with
    ``alignment_bits`` g both are cut to g bits below the accumulator's last, which with subnormals is no
    lower than the last bit of these. Part of :func:`golden.arith.add`.

    Nothing is negated or compared twice. With the exponents' difference d < 0 the sum goes to the shifter one
    place to the right already, and then by ~d = -d - 1 more. Significands are compared while exponents are
    subtracted; the comparison counts where d = 0, where nothing is shifted.

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
        The running sum; top bit set, or zero. The exponent of zero is 0, and means nothing with subnormals.
    addend_significand, addend_exponent : In
        The addend; top bit set.
    addend_zero : In(1)
        The addend is zero; its significand and exponent mean nothing.
    larger, smaller : Out
        Aligned significands, sticky bit last if there is one; in their order unless the sum is zero.
    below : Out(1)
        Something of the smaller number has been cut that ``smaller`` does not show. It is exact alignment and
        a rounding that cuts: such a number is less than one of the last place, and the sum of both, exact,
        is cut to that place if a difference is made one less.
    exponent : Out
        Exponent code of the larger number's leading bit. That of the sum where the addend, added to zero,
        is below all codes: flushed either way.
    swapped : Out(1)
        The addend is the larger one. Added to zero it may be called the smaller where the sum is flushed.
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
        # Without subnormals the exponent of a zero sum is the least of all, as good as any other.
        self.zero_is_lowest = not accumulator.format.subnormals
        lowest = acc_exponents.start if self.zero_is_lowest else _lowest(acc_exponents, addend_exponents)
        farthest = (
            acc_exponents.start - addend_exponents.stop + 1,
            acc_exponents.stop - addend_exponents.start,
        )
        self.distances = range(min(farthest[0], -2), max(farthest[1], 2))  # with a sign, whatever they are
        self.exponents = range(lowest, max(acc_exponents.stop, addend_exponents.stop))
        super().__init__(
            {
                "acc_significand": In(unsigned(self.acc_bits)),
                "acc_exponent": In(acc_exponents),
                "addend_significand": In(unsigned(addend_bits)),
                "addend_exponent": In(addend_exponents),
                "addend_zero": In(1),
                "larger": Out(unsigned(self.widths.total)),
                "smaller": Out(unsigned(self.widths.total)),
                "below": Out(1),
                "exponent": Out(self.exponents),
                "swapped": Out(1),
                "equal": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = max(self.acc_bits, self.addend_bits)
        acc = Cat(Const(0, width - self.acc_bits), self.acc_significand)
        addend = Cat(Const(0, width - self.addend_bits), self.addend_significand)
        acc_zero, addend_zero = ~self.acc_significand[-1], self.addend_zero

        distance = Signal(self.distances)
        m.d.comb += distance.eq(self.acc_exponent - self.addend_exponent)
        level = distance == 0
        higher, first = Signal(), Signal()  # the addend is larger, by its exponent or by its significand
        m.d.comb += [
            higher.eq((distance[-1] if self.zero_is_lowest else distance[-1] | acc_zero) & ~addend_zero),
            first.eq(level & (addend[:-1] > acc[:-1]) & ~addend_zero),
            self.swapped.eq(higher | first),
            self.equal.eq(Mux(acc_zero | addend_zero, acc_zero & addend_zero, level & (addend == acc))),
            self.exponent.eq(Mux(higher, self.addend_exponent, self.acc_exponent)),
        ]

        kept = self.widths.kept
        pad, cut = max(0, kept - width), max(0, width - kept)
        acc, addend = (Cat(Const(0, pad), value)[cut:] for value in (acc, addend))
        larger, smaller, later = Signal(kept), Signal(kept), Signal()
        m.d.comb += [
            later.eq(~self.swapped & ~addend_zero),
            larger.eq(Mux(self.swapped, addend, acc)),
            smaller.eq(
                ((acc >> 1) & higher.replicate(kept))
                | (acc & first.replicate(kept))
                | (addend & later.replicate(kept))
            ),
        ]
        places = Signal(len(distance) - 1)
        m.d.comb += places.eq(distance[:-1] ^ higher.replicate(len(places)))
        aligned, sticky = shift_right(m, smaller, kept, places)

        if self.accumulator.alignment_bits is not None:
            mask = self._above_grid(m)
            m.d.comb += [self.larger.eq(larger & mask), self.smaller.eq(aligned & mask)]
        elif self.widths.sticky:
            m.d.comb += [self.larger.eq(larger << 1), self.smaller.eq(Cat(sticky, aligned))]
        else:
            m.d.comb += [self.larger.eq(larger), self.smaller.eq(aligned), self.below.eq(sticky)]
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


def _lowest(*exponents: range) -> int:
    return min(each.start for each in exponents)


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
    below : In(1)
        ``smaller`` stands for something more, of less than its last place; ``larger`` is larger still.
    subtract : In(1)
        The signs differ.
    total : Out(width + 1)
        Sum or difference, less what is below its last place.
    """

    def __init__(self, *, width: int):
        super().__init__(
            {
                "larger": In(unsigned(width)),
                "smaller": In(unsigned(width)),
                "below": In(1),
                "subtract": In(1),
                "total": Out(unsigned(width + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        operand = Cat(self.smaller, Const(0, 1)) ^ self.subtract.replicate(len(self.total))
        # The one that completes a negation, and the one that is borrowed, cancel.
        m.d.comb += self.total.eq(self.larger + operand + (self.subtract & ~self.below))
        return m
