"""Rounding of a significand."""

from __future__ import annotations

from amaranth import Cat, Const, Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import Rounding

__all__ = ["SignificandRounder"]


class SignificandRounder(wiring.Component):
    """Rounds an exact significand to ``width`` bits.

    Combinational. Magnitudes only; no mode looks at the sign. Rounding up may carry out of the top bit;
    the carry is kept, and renormalising is the caller's work. The arithmetic is that of
    :func:`golden.arith.round_significand`.

    Parameters
    ----------
    width : int
        Significand bits kept, hidden bit included.
    discard : int
        Bits below them, to be rounded away. At least 1.
    rounding : Rounding
        Toward zero, to nearest even or stochastic. Fixed when the RTL is generated, so a mode not chosen
        costs no area.
    random_bits : int or None
        Width of the random word; None unless stochastic.

    Members
    -------
    exact : In(width + discard)
        Significand before rounding.
    word : In(random_bits), if stochastic
        The random word.
    rounded : Out(width + 1)
        Significand after rounding, carry in the top bit.
    """

    def __init__(self, *, width: int, discard: int, rounding: Rounding, random_bits: int | None):
        if discard < 1:
            raise ValueError(f"discard must be at least 1, not {discard}")
        if rounding is Rounding.FLOOR:
            raise ValueError("a magnitude is rounded rz, rne or sr, not floor")
        self.width = width
        self.discard = discard
        self.rounding = rounding
        self.random_bits = random_bits
        members = {
            "exact": In(unsigned(width + discard)),
            "rounded": Out(unsigned(width + 1)),
        }
        if random_bits is not None:
            members["word"] = In(unsigned(random_bits))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        kept = self.exact[self.discard :]
        guard = self.exact[self.discard - 1]
        sticky = self.exact[: self.discard - 1].any()
        match self.rounding:
            case Rounding.TOWARD_ZERO:
                m.d.comb += self.rounded.eq(kept)
            case Rounding.NEAREST_EVEN:
                m.d.comb += self.rounded.eq(kept + (guard & (sticky | kept[0])))
            case Rounding.STOCHASTIC:
                bits = self.random_bits
                first_bits = self.exact[max(0, self.discard - bits) : self.discard]
                padding = Const(0, max(0, bits - self.discard))
                m.d.comb += self.rounded.eq((Cat(padding, first_bits, kept) + self.word) >> bits)
        return m
