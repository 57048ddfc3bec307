"""Rounding of a significand."""

from __future__ import annotations

from amaranth import Module, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import Rounding

__all__ = ["SignificandRounder"]


class SignificandRounder(wiring.Component):
    """Rounds an exact significand to ``width`` bits.

    Combinational. Magnitudes only; neither mode looks at the sign. Rounding up may carry out of the
    top bit; the carry is kept, and renormalising is the caller's work. The arithmetic is that of
    :func:`golden.arith.round_significand`.

    Parameters
    ----------
    width : int
        Significand bits kept, hidden bit included.
    discard : int
        Bits below them, to be rounded away. At least 1.
    rounding : Rounding
        Toward zero or to nearest even. Fixed when the RTL is generated, so the mode not chosen costs
        no area.

    Members
    -------
    exact : In(width + discard)
        Significand before rounding.
    rounded : Out(width + 1)
        Significand after rounding, carry in the top bit.
    """

    def __init__(self, *, width: int, discard: int, rounding: Rounding):
        if discard < 1:
            raise ValueError(f"discard must be at least 1, not {discard}")
        if rounding not in (Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN):
            raise ValueError(f"a magnitude is rounded toward zero or to nearest even, not {rounding.value}")
        self.width = width
        self.discard = discard
        self.rounding = rounding
        super().__init__(
            {
                "exact": In(unsigned(width + discard)),
                "rounded": Out(unsigned(width + 1)),
            }
        )

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
        return m
