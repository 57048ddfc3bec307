"""Number formats: floating and fixed point, their names, their ranges. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "MAX_BIAS",
    "MAX_EXP_BITS",
    "MAX_FIXED_BITS",
    "MAX_MAN_BITS",
    "ConfigError",
    "FixedFormat",
    "FloatFormat",
    "Format",
    "need_int",
    "parse_format",
]

#: Limits of what is built, here and in gates. Formats reach float32 (e8m23); every value of a float
#: format is a float64, and sums of fixed-point numbers fit the 64-bit integers of the golden model.
MAX_EXP_BITS = 8
MAX_MAN_BITS = 23
MAX_FIXED_BITS = 62
MAX_BIAS = 512


class ConfigError(ValueError):
    """A configuration we do not build. The message names the field and says what would work."""


def need_int(field: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{field} must be an integer from {low} to {high}, not {value!r}")


def _signed(number: int) -> str:
    """A signed number as it stands in a name, which must be a Verilog identifier: -3 is n3."""
    return f"n{-number}" if number < 0 else str(number)


def _parse_signed(text: str) -> int:
    return -int(text[1:]) if text.startswith("n") else int(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatFormat:
    """A signed binary floating-point format without infinities, NaN or subnormals.

    A code is, from the top bit, sign s, exponent e, mantissa m. Its value is
    (-1)**s * 2**(e - bias) * (1 + m / 2**man_bits), except that e = m = 0 is zero.
    """

    exp_bits: int  #: Width of the exponent field.
    man_bits: int  #: Stored mantissa bits. The hidden bit is not counted.
    bias: int  #: Subtracted from the exponent field. May be negative.

    def __post_init__(self) -> None:
        need_int("exp_bits", self.exp_bits, 1, MAX_EXP_BITS)
        need_int("man_bits", self.man_bits, 0, MAX_MAN_BITS)
        need_int("bias", self.bias, -MAX_BIAS, MAX_BIAS)
        if self.exp_bits == 1 and self.man_bits == 0:
            raise ConfigError("e1m0 holds one magnitude only; use exp_bits 2 or man_bits 1 at least")

    @property
    def name(self) -> str:
        """Canonical: ``e4m7`` with the standard bias, ``e4m7b10`` or ``e4m7bn3`` with another."""
        return self.silicon_name + ("" if self.bias == self.standard_bias else f"b{_signed(self.bias)}")

    @property
    def silicon_name(self) -> str:
        """The name without the bias, which is data."""
        return f"e{self.exp_bits}m{self.man_bits}"

    @property
    def standard_bias(self) -> int:
        return 2 ** (self.exp_bits - 1) - 1

    @property
    def code_bits(self) -> int:
        return 1 + self.exp_bits + self.man_bits

    @property
    def max_exp_code(self) -> int:
        return 2**self.exp_bits - 1

    @property
    def significand_bits(self) -> int:
        """Bits of the integer significand, hidden bit included."""
        return self.man_bits + 1

    @property
    def max_exponent(self) -> int:
        """floor(log2) of the largest magnitude."""
        return self.max_exp_code - self.bias

    @property
    def min_exponent(self) -> int:
        """floor(log2) of the smallest nonzero magnitude."""
        return -self.bias if self.man_bits else 1 - self.bias

    @property
    def lsb_exponent(self) -> int:
        """Every value is a multiple of two to this power."""
        return self.min_exponent - self.man_bits

    @property
    def max_magnitude(self) -> int:
        """The largest magnitude, as a multiple of 2**lsb_exponent."""
        significand = 2**self.significand_bits - 1
        return significand << (self.max_exponent - self.man_bits - self.lsb_exponent)

    @property
    def max_value(self) -> float:
        """R_OF of the contract, exact as a float64."""
        return (2 ** (self.man_bits + 1) - 1) * 2.0 ** (self.max_exponent - self.man_bits)

    @property
    def flush_value(self) -> float:
        """2**-bias: the largest magnitude that is flushed to zero."""
        return 2.0**-self.bias


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedFormat:
    """The multiples of 2**lsb that ``bits`` bits hold, in two's complement or unsigned."""

    bits: int
    lsb: int  #: Exponent of the last bit's weight. 0 for integers.
    signed: bool

    def __post_init__(self) -> None:
        need_int("bits", self.bits, 2 if self.signed else 1, MAX_FIXED_BITS)
        need_int("lsb", self.lsb, -MAX_BIAS, MAX_BIAS)

    @property
    def name(self) -> str:
        """Canonical: ``int8``, ``uint8``; ``int20ln8`` has lsb -8."""
        return self.silicon_name + (f"l{_signed(self.lsb)}" if self.lsb else "")

    @property
    def silicon_name(self) -> str:
        return f"{'int' if self.signed else 'uint'}{self.bits}"

    @property
    def bias(self) -> int:
        """A fixed format counts as one of bias -lsb where exponents are added up."""
        return -self.lsb

    @property
    def code_bits(self) -> int:
        return self.bits

    @property
    def significand_bits(self) -> int:
        """Bits of the largest magnitude, as a multiple of the lsb."""
        return self.bits  # a signed format holds -2**(bits-1), whose magnitude needs them all

    @property
    def man_bits(self) -> int:
        """0: read as a significand times 2**lsb, the point is right of the last bit."""
        return 0

    @property
    def max_exp_code(self) -> int:
        return 0

    @property
    def max_integer(self) -> int:
        """Largest code, as a multiple of the lsb."""
        return 2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1

    @property
    def min_integer(self) -> int:
        return -(2 ** (self.bits - 1)) if self.signed else 0

    @property
    def max_magnitude(self) -> int:
        """The largest magnitude, as a multiple of 2**lsb_exponent."""
        return max(self.max_integer, -self.min_integer)

    @property
    def lsb_exponent(self) -> int:
        return self.lsb


Format = FloatFormat | FixedFormat

_FORMAT = re.compile(
    r"e(?P<exp>\d+)m(?P<man>\d+)(?:b(?P<bias>n?\d+))?"
    r"|(?P<kind>u?int)(?P<bits>\d+)(?:l(?P<lsb>n?\d+))?"
)


def parse_format(text: str) -> Format:
    """The format of a name such as ``e4m7b10``, ``int8``, ``uint8`` or ``int20ln8``."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{text!r} is not a number format; write e4m7, e4m7b10, int8, uint8 or int20ln8 (lsb -8)"
        )
    if match["kind"]:
        lsb = _parse_signed(match["lsb"]) if match["lsb"] else 0
        return FixedFormat(bits=int(match["bits"]), lsb=lsb, signed=match["kind"] == "int")
    exp_bits = int(match["exp"])
    need_int("exp_bits", exp_bits, 1, MAX_EXP_BITS)
    bias = _parse_signed(match["bias"]) if match["bias"] else 2 ** (exp_bits - 1) - 1
    return FloatFormat(exp_bits=exp_bits, man_bits=int(match["man"]), bias=bias)
