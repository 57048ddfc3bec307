"""Codes and the values they mean: float64 in and out, exact or refused.

Both numpy arrays and torch tensors are taken, and come back as they came. A code is a nonnegative
int64: sign, exponent, mantissa from the top bit, or the bits of the two's complement.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from golden.config import FixedFormat, FloatFormat, FloatQuantizer, Format, Rounding
from golden.integers import Integers, clip, floor_log2, power_of_two, where
from golden.rounding import Unpacked, cut_to_lsb, quantize, unpack

__all__ = ["decode", "encode", "quantize_values"]


def decode(codes: Integers, number: Format) -> Any:
    """The values of codes, float64, zeros of sign 0.

    Raises ValueError where a code is out of range, infinity or NaN, or its value longer than float64's
    53 bits.
    """
    _refuse((codes < 0) | (codes >= 2**number.code_bits), codes, f"is no code of {number.name}")
    if isinstance(number, FloatFormat):
        magnitude = codes & (2 ** (number.code_bits - 1) - 1)
        _refuse(
            magnitude > number.max_magnitude_code,
            codes,
            f"is a code of infinity or NaN in {number.name}; only finite numbers have a value here",
        )
    exact = unpack(codes, number)
    below_float64 = clip(floor_log2(exact.significand) - 52, 0, 62)
    lost = exact.significand - (exact.significand >> below_float64 << below_float64)
    _refuse(lost > 0, codes, f"is a code of {number.name} whose value has more than float64's 53 bits")
    magnitude = _as_float64(exact.significand) * power_of_two(exact.exponent)
    return where(exact.negative, -magnitude, magnitude)


def encode(values: Any, number: Format) -> Integers:
    """The codes of values that the format holds. Zero of either sign is code 0.

    Raises ValueError, naming the first value that the format does not hold.
    """
    values = _as_float64(values)
    exact = _unpack_float64(values, number)
    codes = _round_to_code(exact, number, Rounding.TOWARD_ZERO)
    _refuse(
        _differ(unpack(codes, number), exact),
        values,
        f"is no value of {number.name}; quantize the tensor first",
    )
    return codes


def quantize_values(values: Any, number: Format, rounding: Rounding) -> Any:
    """The values rounded to the format, float64: too large saturates, too small becomes +0.

    Any rounding but the stochastic one. Raises ValueError for NaN and infinity.
    """
    exact = _unpack_float64(_as_float64(values), number)
    return decode(_round_to_code(exact, number, rounding), number)


def _round_to_code(exact: Unpacked, number: Format, rounding: Rounding) -> Integers:
    if isinstance(number, FixedFormat):
        integer = clip(cut_to_lsb(exact, number.lsb, rounding), number.min_integer, number.max_integer)
        return integer & (2**number.bits - 1)
    return quantize(exact, FloatQuantizer(format=number, rounding=rounding, random_bits=None))


def _as_float64(numbers: Any) -> Any:
    if hasattr(numbers, "double"):
        return numbers.detach().double()
    return np.asarray(numbers, dtype=np.float64)


def _unpack_float64(values: Any, number: Format) -> Unpacked:
    """Exact, from the bits of the float64."""
    if isinstance(values, np.ndarray):
        bits = values.view(np.int64)
    else:
        import torch

        bits = values.contiguous().view(torch.int64)
    exp_code = (bits >> 52) & 0x7FF
    _refuse(exp_code == 0x7FF, values, f"cannot become {number.name}: only finite numbers are computed with")
    significand = (bits & (2**52 - 1)) + where(exp_code > 0, 2**52, 0)
    exponent = clip(exp_code, 1, 0x7FF) - (1023 + 52)
    return Unpacked((bits < 0) & (significand > 0), significand, exponent)


def _differ(a: Unpacked, b: Unpacked) -> Any:
    top_a, top_b = floor_log2(a.significand), floor_log2(b.significand)
    significands = a.significand << (62 - top_a) != b.significand << (62 - top_b)
    exponents = (a.significand > 0) & (top_a + a.exponent != top_b + b.exponent)
    return significands | exponents | (a.negative ^ b.negative)


def _refuse(is_bad: Any, items: Any, why: str) -> None:
    """Raise ValueError with the first item that is bad, and where it stands."""
    if not is_bad.any():
        return
    index = tuple(int(i) for i in np.argwhere(np.asarray(is_bad.tolist()))[0])
    position = f" at {list(index)}" if index else ""
    raise ValueError(f"{items[index].item()!r}{position} {why}")
