"""Random words for stochastic rounding: a stated function of where a rounding takes place.

A word is made of one half that belongs to a row of the output and one that belongs to a column, so an
array makes the halves at its edges and a multiply-accumulate needs no more than an XOR. Every function
takes Python ints, numpy int64 arrays or torch int64 tensors, elementwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from golden.formats import need_int
from golden.integers import Integers

__all__ = ["K_STEP", "MIX_STEPS", "RandomWords", "Stage", "key", "mix"]

_MASK = 2**32 - 1
K_STEP = 0x9E3779B9  #: Odd, 2**32 over the golden ratio: multiples of neighbouring k differ in many bits.
_ROW, _COLUMN = 0, 1  # the sides of an array at which halves of words are made


class Stage(IntEnum):
    """Which of the three roundings of a dot product."""

    PRODUCT = 0
    INNER = 1
    OUTER = 2


#: Robert Jenkins' 32-bit hash: what is done to a word, each result modulo 2**32. The hardware does the same.
MIX_STEPS = (
    lambda a: (a + 0x7ED55D16) + (a << 12),
    lambda a: (a ^ 0xC761C23C) ^ (a >> 19),
    lambda a: (a + 0x165667B1) + (a << 5),
    lambda a: (a + 0xD3A2646C) ^ (a << 9),
    lambda a: (a + 0xFD7046C5) + (a << 3),
    lambda a: (a ^ 0xB55A4F09) ^ (a >> 16),
)


def mix(a: Integers) -> Integers:
    """A bijection of the integers modulo 2**32, by :data:`MIX_STEPS`."""
    a = a & _MASK
    for step in MIX_STEPS:
        a = step(a) & _MASK
    return a


def key(seed: int, call: int, stage: Stage, side: int) -> int:
    """What the words of one stage of one matrix product share: ``side`` 0 for rows, 1 for columns."""
    whole = mix(mix(seed & _MASK) ^ (seed >> 32))
    return mix(mix(whole ^ call) ^ (2 * stage + side))


@dataclass(frozen=True, slots=True)
class RandomWords:
    """The random words of one matrix product."""

    seed: int  #: 64 bits.
    call: int  #: Tells the products of one run apart. 32 bits.

    def __post_init__(self) -> None:
        need_int("seed", self.seed, 0, 2**64 - 1)
        need_int("call", self.call, 0, 2**32 - 1)

    def row_halves(self, stage: Stage, m: Integers, k: Integers) -> Integers:
        """A(m, k): 32 bits made where row m of the output gets its operands."""
        return self._halves(stage, _ROW, m, k)

    def column_halves(self, stage: Stage, n: Integers, k: Integers) -> Integers:
        """B(k, n): 32 bits made where column n of the output gets its operands."""
        return self._halves(stage, _COLUMN, n, k)

    def words(self, stage: Stage, bits: int, m: Integers, n: Integers, k: Integers) -> Integers:
        """Words of 1 to 32 bits for output (m, n) at position k of the order of summation.

        m counts the rows of the output over all batches; with stage OUTER, k counts chunks.
        """
        return (self.row_halves(stage, m, k) ^ self.column_halves(stage, n, k)) >> (32 - bits)

    def _halves(self, stage: Stage, side: int, line: Integers, k: Integers) -> Integers:
        return mix(mix(key(self.seed, self.call, stage, side) ^ line) ^ (k * K_STEP & _MASK))
