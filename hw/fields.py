"""Fields of codes as Amaranth expressions."""

from __future__ import annotations

from amaranth import Cat, Const, Mux, Value

from golden.config import FloatFormat, Format

__all__ = ["unpack"]


def unpack(code: Value, number: Format) -> tuple[Value, Value, Value]:
    """Sign, significand and exponent code, as :func:`golden.arith.unpack` defines them.

    The significand holds the hidden bit, which is 0 for the zero code and for subnormals; these have
    the smallest exponent code of the others. A fixed-point code gives its magnitude, with exponent code 0.
    """
    if isinstance(number, FloatFormat):
        mantissa, exponent = code[: number.man_bits], code[number.man_bits : -1]
        if not number.subnormals:
            return code[-1], Cat(mantissa, code[:-1].any()), exponent
        normal = exponent.any()
        return code[-1], Cat(mantissa, normal), exponent | ~normal
    if not number.signed:
        return Const(0, 1), code, Const(0, 1)
    negative = code[-1]
    return negative, Mux(negative, -code, code)[: number.bits], Const(0, 1)
