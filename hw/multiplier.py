"""The exact product of two operands: of floats, of anything in sign and magnitude, of integers."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.config import FixedFormat, FloatFormat, Format, MacConfig
from golden.datapath import product_shape
from hw.fields import unpack

__all__ = ["IntegerMultiplier", "Multiplier", "NormalMultiplier"]


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


class NormalMultiplier(wiring.Component):
    """Multiplies two codes of floats without subnormals exactly; the product comes normalised.

    Combinational. Zero travels beside the significand, not in it: hidden bits are the constant 1, and so
    are one row and one column of the partial products. The leading bit is in one of the two top places;
    whether it is in the upper one is the carry into the sum of the exponents, which takes no adder of its
    own. The arithmetic is that of :func:`golden.arith.multiply`.

    Parameters
    ----------
    config : MacConfig
        Gives the operand formats ``x`` and ``w``; :meth:`serves` says which.

    Members
    -------
    x, w : In
        Operand codes.
    negative : Out(1)
        Sign of the product; of no meaning when the product is zero.
    zero : Out(1)
        The product is zero.
    significand : Out
        Product of the integer significands, shifted to where its top bit is set. That is so for zero, too,
        where it means nothing.
    exponent : Out
        Exponent code of the top bit, whose place is that left of the point: the sum of the exponent codes, or
        one more.
    """

    def __init__(self, config: MacConfig):
        self.config = config
        self.shape = product_shape(config)
        super().__init__(
            {
                "x": In(unsigned(config.x.code_bits)),
                "w": In(unsigned(config.w.code_bits)),
                "negative": Out(1),
                "zero": Out(1),
                "significand": Out(unsigned(self.shape.significand_bits)),
                "exponent": Out(range(self.shape.max_exp_code + 2)),
            }
        )

    @staticmethod
    def serves(config: MacConfig) -> bool:
        """Both operands have a hidden bit of 1 wherever they are not zero."""
        return all(isinstance(part, FloatFormat) and not part.subnormals for part in (config.x, config.w))

    def elaborate(self, platform):
        m = Module()
        x, w = self.config.x, self.config.w
        x_significand = Cat(self.x[: x.man_bits], Const(1, 1))
        rows = [Mux(self.w[i], x_significand, 0) << i for i in range(w.man_bits)]
        product = Signal(self.shape.significand_bits)
        m.d.comb += product.eq(sum(rows, x_significand << w.man_bits))
        upper = product[-1]
        m.d.comb += [
            self.negative.eq(self.x[-1] ^ self.w[-1]),
            self.zero.eq(~(self.x[:-1].any() & self.w[:-1].any())),
            self.significand.eq(Mux(upper, product, product << 1)),
            self.exponent.eq(self.x[x.man_bits : -1] + self.w[w.man_bits : -1] + upper),
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
