"""Number formats: floating and fixed point, their names, their ranges. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "MAX_BIAS",
    "MAX_EXP_BITS",
    "MAX_FIXED_BITS",
    "MAX_MAN_BITS",
    "ConfigError",
    "Encoding",
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


class Encoding(Enum):
    """What the codes of a float format stand for; the suffix of its name."""

    NORMALS = ""  #: Every code is finite; e = m = 0 is zero, in place of +-2**-bias. No subnormals.
    SUBNORMALS = "s"  #: Every code is finite; e = 0 has no hidden bit.
    FN = "fn"  #: Subnormals; the code with all exponent and mantissa bits set is NaN (OCP E4M3FN).
    IEEE = "ieee"  #: Subnormals; the top exponent code is infinity and NaN (E5M2, binary16, bfloat16).


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatFormat:
    """A signed binary floating-point format.

    A code is, from the top bit, sign s, exponent e, mantissa m. Its value is
    (-1)**s * 2**(e - bias) * (1 + m / 2**man_bits), except for e = 0 and the codes that are not
    finite, which are the encoding's.
    """

    exp_bits: int  #: Width of the exponent field.
    man_bits: int  #: Stored mantissa bits. The hidden bit is not counted.
    bias: int  #: Subtracted from the exponent field. May be negative.
    encoding: Encoding

    def __post_init__(self) -> None:
        need_int("exp_bits", self.exp_bits, 1, MAX_EXP_BITS)
        need_int("man_bits", self.man_bits, 0, MAX_MAN_BITS)
        need_int("bias", self.bias, -MAX_BIAS, MAX_BIAS)
        if not isinstance(self.encoding, Encoding):
            raise ConfigError(f"encoding must be an Encoding, not {self.encoding!r}")
        if self.max_magnitude_code < 2:
            raise ConfigError(
                f"{self.silicon_name} holds fewer than two magnitudes beside zero; "
                "use more exp_bits or man_bits"
            )

    @property
    def name(self) -> str:
        """Canonical: ``e4m7`` with the standard bias, ``e4m7b10``, ``e4m7bn3`` with another; ``e4m7sb10``."""
        return self.silicon_name + ("" if self.bias == self.standard_bias else f"b{_signed(self.bias)}")

    @property
    def silicon_name(self) -> str:
        """The name without the bias, which is data."""
        return f"e{self.exp_bits}m{self.man_bits}{self.encoding.value}"

    @property
    def standard_bias(self) -> int:
        return 2 ** (self.exp_bits - 1) - 1

    @property
    def code_bits(self) -> int:
        return 1 + self.exp_bits + self.man_bits

    @property
    def subnormals(self) -> bool:
        """Whether e = 0 has no hidden bit, so that numbers lose bits near zero instead of being flushed."""
        return self.encoding is not Encoding.NORMALS

    @property
    def max_magnitude_code(self) -> int:
        """The code of the largest finite magnitude. The codes below it are finite, too."""
        match self.encoding:
            case Encoding.FN:
                return 2 ** (self.exp_bits + self.man_bits) - 2
            case Encoding.IEEE:
                return ((2**self.exp_bits - 1) << self.man_bits) - 1
        return 2 ** (self.exp_bits + self.man_bits) - 1

    @property
    def max_exp_code(self) -> int:
        """The largest exponent code of a finite number."""
        return self.max_magnitude_code >> self.man_bits

    @property
    def min_exp_code(self) -> int:
        """The smallest exponent code of a number with its hidden bit. Codes below share its exponent."""
        return 1 if self.subnormals or not self.man_bits else 0

    @property
    def significand_bits(self) -> int:
        """Bits of the integer significand, hidden bit included."""
        return self.man_bits + 1

    @property
    def max_exponent(self) -> int:
        """floor(log2) of the largest magnitude."""
        return self.max_magnitude.bit_length() - 1 + self.lsb_exponent

    @property
    def min_exponent(self) -> int:
        """floor(log2) of the smallest nonzero magnitude."""
        return self.lsb_exponent if self.subnormals else self.min_exp_code - self.bias

    @property
    def lsb_exponent(self) -> int:
        """Every value is a multiple of two to this power."""
        return self.min_exp_code - self.bias - self.man_bits

    @property
    def max_magnitude(self) -> int:
        """The largest magnitude, as a multiple of 2**lsb_exponent."""
        mantissa = self.max_magnitude_code & (2**self.man_bits - 1)
        above = self.max_exp_code - self.min_exp_code
        return mantissa if above < 0 else (mantissa + 2**self.man_bits) << above

    @property
    def max_value(self) -> float:
        """R_OF of the contract, exact as a float64."""
        return self.max_magnitude * 2.0**self.lsb_exponent

    @property
    def flush_value(self) -> float:
        """The largest magnitude that is flushed to zero: 2**-bias, or 0 with subnormals."""
        return 0.0 if self.subnormals else 2.0**-self.bias


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
    r"e(?P<exp>\d+)m(?P<man>\d+)(?P<encoding>s|fn|ieee)?(?:b(?P<bias>n?\d+))?"
    r"|(?P<kind>u?int)(?P<bits>\d+)(?:l(?P<lsb>n?\d+))?"
)


def parse_format(text: str) -> Format:
    """The format of a name such as ``e4m7b10``, ``e5m2ieee``, ``int8``, ``uint8`` or ``int20ln8``."""
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{text!r} is not a number format; write e4m7, e4m7b10, e4m3fn, e5m2ieee, int8, "
            "uint8 or int20ln8 (lsb -8)"
        )
    if match["kind"]:
        lsb = _parse_signed(match["lsb"]) if match["lsb"] else 0
        return FixedFormat(bits=int(match["bits"]), lsb=lsb, signed=match["kind"] == "int")
    exp_bits = int(match["exp"])
    need_int("exp_bits", exp_bits, 1, MAX_EXP_BITS)
    man_bits = int(match["man"])
    if man_bits > MAX_MAN_BITS:
        raise ConfigError(f"{text}: a mantissa has 0 to {MAX_MAN_BITS} bits, not {man_bits}")
    bias = _parse_signed(match["bias"]) if match["bias"] else 2 ** (exp_bits - 1) - 1
    encoding = Encoding(match["encoding"] or "")
    return FloatFormat(exp_bits=exp_bits, man_bits=man_bits, bias=bias, encoding=encoding)
