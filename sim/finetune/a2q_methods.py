"""Who takes part: how weights become integers, and what adds up their products."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from golden.config import ConfigError

__all__ = ["FLOAT_NETWORK", "METHODS", "Method", "Weights", "find_method"]

_OPERANDS = "uint4_int4_p_exact_a"


class Weights(Enum):
    """How hidden weights become int4."""

    FLOAT = "float"  #: They do not: the float network, for comparison.
    LEARNED = "learned"  #: Rounded to nearest, with learned scales.
    A2Q = "a2q"
    A2Q_PLUS = "a2q+"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One of those that are compared."""

    name: str  #: As the command line has it.
    label: str
    weights: Weights
    config: str | None  #: Of the accumulator that the network is judged by. None: float32 holds all sums.
    through: bool  #: Trained through that accumulator; else by exact sums.
    rule: str  #: Of gradients through it.
    watched: bool  #: Whether training keeps exact sums in the accumulator's range.


def _integer(name: str, bits: int) -> Method:
    wrapping = name == "wrapping"
    return Method(
        name=f"{name}{bits}",
        label=f"int{bits}, {name}",
        weights=Weights.LEARNED,
        config=f"{_OPERANDS}_int{bits}_floor_{'wrap' if wrapping else 'sat'}_c16",
        through=True,
        # Twelve bits are left by so few sums here that a rule makes no difference but in time.
        rule="identity" if wrapping or bits >= 12 else "immediate/of",
        watched=wrapping,  # one sum out of range costs a saturating accumulator little
    )


def _aware(name: str, bits: int) -> Method:
    return Method(
        name=f"{name}{bits}",
        label=f"int{bits}, {'A2Q+' if name == 'a2q+' else 'A2Q'} (brevitas)",
        weights=Weights(name),
        config=f"{_OPERANDS}_int{bits}_floor_wrap_c16",  # nothing has to check for an overflow
        through=False,
        rule="identity",
        watched=False,
    )


def _float(bits: int, man_bits: int) -> Method:
    return Method(
        name=f"float{bits}",
        label=f"e4m{man_bits}",
        weights=Weights.LEARNED,
        config=f"{_OPERANDS}_e4m{man_bits}b1_rz_c16",  # from 1/2 to 2**15: no sum overflows or underflows
        through=True,
        rule="identity",
        watched=False,
    )


EXACT = Method(
    name="exact",
    label="exact sums",
    weights=Weights.LEARNED,
    config=None,
    through=False,
    rule="identity",
    watched=False,
)

FLOAT_NETWORK = Method(
    name="network",
    label="float network",
    weights=Weights.FLOAT,
    config=None,
    through=False,
    rule="identity",
    watched=False,
)

#: In the order in which they are trained.
_ALL = (
    _aware("a2q+", 12),
    _integer("saturating", 12),
    _integer("wrapping", 12),
    _float(12, 7),
    EXACT,
    _aware("a2q", 12),
    _aware("a2q+", 10),
    _integer("saturating", 10),
    _integer("wrapping", 10),
    _float(10, 5),
    _aware("a2q+", 16),
    FLOAT_NETWORK,
    _aware("a2q", 16),
    _aware("a2q+", 8),
    _integer("saturating", 8),
    _integer("wrapping", 8),
    _aware("a2q", 10),
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}


def find_method(name: str) -> Method:
    """The method of that name, or :class:`ConfigError`."""
    if name not in METHODS:
        widths = sorted({re.sub(r"\d+$", "", each) for each in METHODS})
        raise ConfigError(f"{name!r} is not a method; use {', '.join(METHODS)} (kinds: {', '.join(widths)})")
    return METHODS[name]
