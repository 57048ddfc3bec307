"""Operations that Python ints, numpy int64 arrays and torch int64 tensors do not spell alike.

The arithmetic is written once, on the operators that the three share; this module holds the rest.
torch is imported only where a tensor is passed, so the hardware generator runs without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Bools", "Integers", "clip", "floor_log2", "larger", "power_of_two", "where"]

Integers = Any  #: A Python int, a numpy int64 array or a torch int64 tensor.
Bools = Any  #: What comparing them gives.

_FLOAT64_MAN_BITS = 52
_FLOAT64_BIAS = 1023


def where(condition: Bools, yes: Integers, no: Integers) -> Integers:
    """``yes`` where the condition holds, ``no`` elsewhere."""
    if isinstance(condition, bool):
        return yes if condition else no
    if isinstance(condition, np.ndarray | np.bool_):
        return np.where(condition, yes, no)
    import torch

    return torch.where(condition, yes, no)


def clip(number: Integers, low: int, high: int) -> Integers:
    """The nearest number from ``low`` to ``high``."""
    if isinstance(number, int):
        return min(max(number, low), high)
    return number.clip(low, high)


def larger(a: Integers, b: Integers) -> Integers:
    """The larger of two."""
    return where(a > b, a, b)


def floor_log2(number: Integers) -> Integers:
    """Position of the top bit of a number from 1 to 2**63 - 1; 0 for 0.

    Through float64, which may round a long number up to the next power of two: that is undone.
    """
    if isinstance(number, int):
        return max(number.bit_length() - 1, 0)
    if isinstance(number, np.ndarray | np.integer):
        exponent = np.frexp(np.asarray(number, dtype=np.float64))[1].astype(np.int64)
    else:
        exponent = number.double().frexp()[1].long()
    top = clip(exponent - 1, 0, 62)
    return top - where((number >> top == 0) & (number > 0), 1, 0)


def power_of_two(exponent: Integers) -> Any:
    """2.0**exponent as a float64, exact for exponents from -1022 to 1023."""
    if isinstance(exponent, int):
        return 2.0**exponent
    bits = (exponent + _FLOAT64_BIAS) << _FLOAT64_MAN_BITS
    if isinstance(exponent, np.ndarray | np.integer):
        return np.asarray(bits, dtype=np.int64).view(np.float64)
    import torch

    return bits.view(torch.float64)
