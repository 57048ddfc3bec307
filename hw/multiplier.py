"""The exact product of two operands."""

from __future__ import annotations

from amaranth import Cat, Const, Module, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import FixedFormat, Format, MacConfig
from golden.datapath import product_shape
from hw.fields import unpack

__all__ = ["IntegerMultiplier", "Multiplier"]


class Multiplier(wiring.Component):
    """Multiplies two codes exactly, in sign and magnitude.

    Combinational. The product is not normalised: a float times a float has its leading bit in one of
    the two top places. The arithmetic is that of :func:`golden.arith.multiply`.

    Parameters
    ----------
    config : MacConfig
        Gives the operand formats ``x`` and ``w``, float or fixed.

    Members
    -------
    x, w : In
        Operand codes.
    negative : Out(1)
        Sign of the product; of no meaning when the product is zero.
    significand : Out
        Product of the integer significands, 0 if an operand is zero.
    exponent : Out
        Sum of the exponent codes.
    """

    def __init__(self, config: MacConfig):
        self.config = config
        self.shape = product_shape(config)
        super().__init__(
            {
                "x": In(unsigned(config.x.code_bits)),
                "w": In(unsigned(config.w.code_bits)),
                "negative": Out(1),
                "significand": Out(unsigned(self.shape.significand_bits)),
                "exponent": Out(range(self.shape.max_exp_code + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        x_negative, x_significand, x_exponent = unpack(self.x, self.config.x)
        w_negative, w_significand, w_exponent = unpack(self.w, self.config.w)
        m.d.comb += [
            self.negative.eq(x_negative ^ w_negative),
            self.significand.eq(x_significand * w_significand),
            self.exponent.eq(x_exponent + w_exponent),
        ]
        return m


class IntegerMultiplier(wiring.Component):
    """Multiplies two fixed-point codes exactly, in two's complement.

    Combinational. For integers that stay integers: no sign is ever taken off.

    Parameters
    ----------
    config : MacConfig
        Gives the operand formats, both fixed.

    Members
    -------
    x, w : In
        Operand codes.
    product : Out(signed)
        Their product, as a multiple of the two lsb multiplied.
    """

    def __init__(self, config: MacConfig):
        self.config = config
        super().__init__(
            {
                "x": In(unsigned(config.x.bits)),
                "w": In(unsigned(config.w.bits)),
                "product": Out(signed(product_width(config.x, config.w))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.product.eq(_integer(self.x, self.config.x) * _integer(self.w, self.config.w))
        return m


def product_width(x: FixedFormat, w: FixedFormat) -> int:
    """Bits of a signed product; an unsigned operand counts one more for its sign."""
    return x.bits + w.bits + (not x.signed and not w.signed)


def _integer(code, number: Format):
    return code.as_signed() if number.signed else Cat(code, Const(0, 1)).as_signed()
