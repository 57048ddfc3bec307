"""Addition in floating point: align, add. Normalising and rounding are in :mod:`hw.quantizer`."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import FloatAccumulator, Rounding

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
        guard = accumulator.rounding is Rounding.NEAREST_EVEN
        return cls(kept=max(addend_bits, own + 1 + guard), sticky=True)

    @property
    def total(self) -> int:
        return self.kept + self.sticky


class Aligner(wiring.Component):
    """Orders two numbers by magnitude and shifts the smaller to the exponent of the larger.

    Combinational. With exact alignment what falls off the end is kept as one sticky bit, with
    ``alignment_bits`` g both are cut to g bits below the accumulator's last. Part of
    :func:`golden.arith.add`.

    Parameters
    ----------
    accumulator : FloatAccumulator
        Gives the accumulator's format and the alignment.
    addend_bits : int
        Significand bits of the addend.
    exponents : range
        Exponent codes of the addend, in the accumulator's bias.

    Members
    -------
    acc_significand, acc_exponent : In
        The running sum; significand 0 (and exponent code 0) for zero.
    addend_significand, addend_exponent : In
        The addend; top bit set, or zero with an exponent that means nothing.
    larger, smaller : Out
        Aligned significands, sticky bit last.
    exponent : Out
        Exponent code of the larger number's leading bit.
    swapped : Out(1)
        The addend is the larger one.
    """

    def __init__(self, accumulator: FloatAccumulator, *, addend_bits: int, exponents: range):
        self.acc_bits = accumulator.format.significand_bits
        self.addend_bits = addend_bits
        self.exponents = exponents
        self.widths = AlignedWidths.of(accumulator, addend_bits)
        acc_exponents = range(accumulator.format.max_exp_code + 1)
        super().__init__(
            {
                "acc_significand": In(unsigned(self.acc_bits)),
                "acc_exponent": In(acc_exponents),
                "addend_significand": In(unsigned(addend_bits)),
                "addend_exponent": In(exponents),
                "larger": Out(unsigned(self.widths.total)),
                "smaller": Out(unsigned(self.widths.total)),
                "exponent": Out(range(min(0, exponents.start), max(acc_exponents.stop, exponents.stop))),
                "swapped": Out(1),
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
        m.d.comb += self.swapped.eq(~addend_zero & addend_larger)

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
        aligned, sticky = _shift_right(m, (smaller >> cut) << max(0, kept - width), kept, places)
        larger = (larger >> cut) << max(0, kept - width)
        if self.widths.sticky:
            m.d.comb += [self.larger.eq(larger << 1), self.smaller.eq(Cat(sticky, aligned))]
        else:
            m.d.comb += [self.larger.eq(larger), self.smaller.eq(aligned)]
        return m


def _shift_right(m: Module, value: Value, width: int, places: Value) -> tuple[Value, Value]:
    """The value shifted right by any number of places, and whether a set bit was shifted out."""
    value, sticky = value[:width], 0
    steps = [1 << i for i in range(width.bit_length())]
    for i, step in enumerate(steps):
        shifted, dropped = Signal(width, name=f"right_{step}"), Signal(name=f"dropped_{step}")
        m.d.comb += shifted.eq(Mux(places[i], value >> step, value))
        m.d.comb += dropped.eq(sticky | (places[i] & value[:step].any()))
        value, sticky = shifted, dropped
    beyond = Signal()
    m.d.comb += beyond.eq(places[len(steps) :].any())
    return Mux(beyond, 0, value), sticky | (beyond & value.any())


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
