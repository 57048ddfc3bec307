"""What rounds: product quantisers and accumulators, and their names. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from golden.formats import MAX_MAN_BITS, ConfigError, FixedFormat, FloatFormat, need_int, parse_format

__all__ = [
    "MAX_RANDOM_BITS",
    "Accumulator",
    "FixedAccumulator",
    "FloatAccumulator",
    "FloatQuantizer",
    "Overflow",
    "Rounding",
    "parse_accumulator",
    "parse_product",
]

MAX_RANDOM_BITS = 16


class Rounding(Enum):
    TOWARD_ZERO = "rz"  #: Drop the low bits of the magnitude.
    NEAREST_EVEN = "rne"  #: Nearest; a tie goes to the even neighbour.
    FLOOR = "floor"  #: Drop the low bits of the two's complement. Fixed point only.
    STOCHASTIC = "sr"  #: Up with the probability of what is dropped, to some random bits. Float only.


class Overflow(Enum):
    SATURATE = "sat"  #: Stop at the end of the range, after every addition.
    WRAP = "wrap"  #: Modulo 2**bits. Fixed point only.


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatQuantizer:
    """Rounds an exact product once to a float format; saturates; flushes to zero without subnormals."""

    format: FloatFormat
    rounding: Rounding
    random_bits: int | None  #: Width of a stochastic rounding's random word. None with any other rounding.

    def __post_init__(self) -> None:
        _need_float_rounding("the product quantizer", self.rounding, self.random_bits)

    @property
    def name(self) -> str:
        return f"{self.format.name}_{_rounding_name(self)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatAccumulator:
    """A floating-point running sum. Overflow saturates; without subnormals underflow flushes to zero."""

    format: FloatFormat
    rounding: Rounding
    random_bits: int | None  #: Width of a stochastic rounding's random word. None with any other rounding.
    alignment_bits: int | None  #: None: the sum is exact before rounding. g: both addends are cut first.

    def __post_init__(self) -> None:
        _need_float_rounding("a float accumulator", self.rounding, self.random_bits)
        if self.alignment_bits is not None:
            need_int("alignment_bits", self.alignment_bits, 0, MAX_MAN_BITS)

    @property
    def name(self) -> str:
        guard = "" if self.alignment_bits is None else f"_g{self.alignment_bits}"
        return f"{self.format.name}_{_rounding_name(self)}{guard}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedAccumulator:
    """A fixed-point running sum: an addend is cut to the lsb, added exactly, then checked."""

    format: FixedFormat
    rounding: Rounding  #: How an addend is cut to the lsb.
    overflow: Overflow

    def __post_init__(self) -> None:
        if not self.format.signed:
            raise ConfigError(
                f"an accumulator is signed, and {self.format.name} is not; use int{self.format.bits}"
            )
        if not isinstance(self.rounding, Rounding):
            raise ConfigError(f"rounding must be a Rounding, not {self.rounding!r}")
        if self.rounding is Rounding.STOCHASTIC:
            raise ConfigError("a fixed-point accumulator cuts rz, rne or floor; only float formats round sr")
        if not isinstance(self.overflow, Overflow):
            raise ConfigError(f"overflow must be an Overflow, not {self.overflow!r}")

    @property
    def name(self) -> str:
        return f"{self.format.name}_{self.rounding.value}_{self.overflow.value}"

    @property
    def random_bits(self) -> None:
        """None: a cut takes no random word."""
        return None


Accumulator = FloatAccumulator | FixedAccumulator


def _need_float_rounding(owner: str, rounding: Rounding, random_bits: int | None) -> None:
    if rounding is Rounding.STOCHASTIC:
        need_int("random_bits", random_bits, 1, MAX_RANDOM_BITS)
    elif rounding not in (Rounding.TOWARD_ZERO, Rounding.NEAREST_EVEN):
        raise ConfigError(f"{owner} rounds rz, rne or sr, not {getattr(rounding, 'value', rounding)!r}")
    elif random_bits is not None:
        raise ConfigError(f"{owner} rounds {rounding.value}, which takes no random_bits; use None")


def _rounding_name(quantizer: FloatQuantizer | FloatAccumulator) -> str:
    bits = quantizer.random_bits
    return quantizer.rounding.value + ("" if bits is None else str(bits))


def _parse_rounding(text: str) -> tuple[Rounding, int | None]:
    """A rounding and its random bits: ``rz``, ``rne``, ``floor``, ``sr4``."""
    name, bits = re.fullmatch(r"(.*?)(\d*)", text, re.DOTALL).groups()
    if name not in {rounding.value for rounding in Rounding} or bool(bits) is not (name == "sr"):
        raise ConfigError(f"{text!r} is not a rounding; choose from rz, rne, floor, or sr with its bits: sr4")
    return Rounding(name), int(bits) if bits else None


def parse_product(text: str) -> FloatQuantizer:
    """The product quantizer of a name such as ``e4m7b12_rz`` or ``e4m7b12_sr4``."""
    format_name, _, policy = text.partition("_")
    number = parse_format(format_name)
    if not isinstance(number, FloatFormat):
        raise ConfigError(f"a product is quantized to a float format, not to {format_name}; or use exact")
    rounding, random_bits = _parse_rounding(policy)
    return FloatQuantizer(format=number, rounding=rounding, random_bits=random_bits)


def parse_accumulator(text: str) -> Accumulator:
    """The accumulator of a name such as ``e4m7b10_rne_g2``, ``int12_floor_wrap`` or ``int20ln8_rz_sat``."""
    format_name, *policies = text.split("_")
    number = parse_format(format_name)
    if isinstance(number, FloatFormat):
        guard = policies[1] if len(policies) == 2 else None
        if not policies or len(policies) > 2 or (guard is not None and not re.fullmatch(r"g\d+", guard)):
            raise ConfigError(f"{text!r} is not a float accumulator; write e4m7b10_rz or e4m7b10_rne_g2")
        rounding, random_bits = _parse_rounding(policies[0])
        return FloatAccumulator(
            format=number,
            rounding=rounding,
            random_bits=random_bits,
            alignment_bits=int(guard[1:]) if guard else None,
        )
    if len(policies) != 2 or policies[1] not in ("sat", "wrap"):
        raise ConfigError(
            f"{text!r} is not a fixed-point accumulator; write int12_floor_wrap or int20ln8_rz_sat"
        )
    rounding, _ = _parse_rounding(policies[0])
    return FixedAccumulator(format=number, rounding=rounding, overflow=Overflow(policies[1]))
