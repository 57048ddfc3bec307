"""Sums and products of IEEE 754, as PyTorch and NumPy compute them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from golden.codes import encode
from golden.config import FloatFormat, MacConfig, parse_format
from tb.verify.aig import Aig
from tb.verify.opinion import Codes, Count, finite_codes, mac_gates, ours_for, step_config
from tb.verify.rows import Outcome, Task

__all__ = ["Arithmetic", "float32_outcome", "ieee_outcome"]

_ROWS = 32  # of 65 536 pairs at a time
_NUMPY_EVERY = 64  # of them: a row that NumPy computes, too


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """Sums or products in a format of IEEE 754."""

    name: str
    operation: str  #: ``sum`` or ``product``.
    dtype: torch.dtype

    @property
    def subject(self) -> str:
        return f"{self.name} {self.operation}"

    @property
    def number(self) -> FloatFormat:
        return parse_format(self.name)

    @property
    def config(self) -> MacConfig:
        return step_config(self.name, self.name)

    @cached_property
    def gates(self) -> Aig:
        """With ``x`` and the other operand free: ``acc`` of a sum, ``w`` of a product."""
        one = int(encode(np.array([1.0]), self.number)[0])
        constants = {"w": one} if self.operation == "sum" else {"acc": 0}
        return mac_gates(self.config, constants)

    @property
    def other(self) -> str:
        return "acc" if self.operation == "sum" else "w"

    def by_gates(self, a: Codes, b: Codes) -> Codes:
        return self.gates.run({"x": a, self.other: b})["result_next"]

    def by_torch(self, a: Codes, b: Codes) -> Codes:
        bits = {16: torch.int16, 32: torch.int32}[self.number.code_bits]
        a, b = (torch.from_numpy(codes).to(bits).view(self.dtype) for codes in (a, b))
        result = a + b if self.operation == "sum" else _product(a, b)
        codes = result.view(bits).long().numpy() & (2**self.number.code_bits - 1)
        return ours_for(
            codes, result.isfinite().numpy(), codes >> (self.number.code_bits - 1) == 1, self.number
        )

    def by_numpy(self, a: Codes, b: Codes) -> Codes:
        a, b = (codes.astype(np.uint16).view(np.float16) for codes in (a, b))
        with np.errstate(all="ignore"):
            result = a + b if self.operation == "sum" else a * b
        codes = result.view(np.uint16).astype(np.int64)
        return ours_for(codes, np.isfinite(result), np.signbit(result), self.number)


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product, rounded once."""
    result = a * b
    if a.dtype is torch.bfloat16:
        # Products below 2**-126 are not exact in float32. 2**-16 of a float64 product is rounded to
        # float32's subnormals where the product itself is to be rounded to bfloat16's.
        tiny = result.abs() < 2.0**-125
        exact = a[tiny].double() * b[tiny].double()
        result[tiny] = ((exact * 2.0**-16).float() * 2.0**16).to(a.dtype)
    return result


def ieee_outcome(arithmetic: Arithmetic, task: Task) -> Outcome:
    """All pairs of finite numbers of 16 bits; at a small share, some rows of them."""
    count, codes = Count(), finite_codes(arithmetic.number)
    rows = codes
    if not task.whole:
        rng = np.random.default_rng(task.seed)
        rows = np.sort(rng.choice(codes, max(_ROWS, int(len(codes) * task.share)), replace=False))
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        a, b = np.repeat(block, len(codes)), np.tile(codes, len(block))
        got, inputs = arithmetic.by_gates(a, b), {"x": a, arithmetic.other: b}
        count.check(f"{arithmetic.subject}, torch", got, arithmetic.by_torch(a, b), inputs)
        if arithmetic.dtype is torch.float16 and start // _ROWS % (_NUMPY_EVERY // _ROWS) == 0:
            first = slice(len(codes))  # one row
            wanted = arithmetic.by_numpy(a[first], b[first])
            count.check(f"{arithmetic.subject}, NumPy", got[first], wanted, inputs)
        task.report((start + _ROWS) / len(rows))
    return count.outcome


_BLOCK = 1 << 20
_BLOCKS = 64


def float32_outcome(arithmetic: Arithmetic, task: Task) -> Outcome:
    """Random pairs: any codes, exponents that are near each other, and numbers that nearly cancel."""
    count, number = Count(), arithmetic.number
    rng = np.random.default_rng(task.seed)
    blocks = max(1, int(_BLOCKS * min(1.0, task.share)))
    for block in range(blocks):
        a = _clipped(rng.integers(0, 2**32, _BLOCK), number)
        anything = rng.integers(0, 2**32, _BLOCK)
        if arithmetic.operation == "sum":
            near = a ^ (rng.integers(0, 2, _BLOCK) << 31) ^ rng.integers(0, 2**26, _BLOCK)
            beside = (a ^ (1 << 31)) + rng.integers(-4, 5, _BLOCK)
        else:  # products around the smallest and the largest numbers
            exponent, mantissa = a >> 23 & 255, rng.integers(0, 2**23, _BLOCK)
            near = (rng.choice([126, 127, 381], _BLOCK) - exponent << 23) + mantissa
            beside = (rng.integers(103, 129, _BLOCK) - exponent << 23) + mantissa
        b = _clipped(np.choose(rng.integers(0, 3, _BLOCK), [anything, near, beside]) % 2**32, number)
        got = arithmetic.by_gates(a, b)
        count.check(arithmetic.subject, got, arithmetic.by_torch(a, b), {"x": a, arithmetic.other: b})
        task.report((block + 1) / blocks)
    return count.outcome


def _clipped(codes: Codes, number: FloatFormat) -> Codes:
    sign = codes >> (number.code_bits - 1) << (number.code_bits - 1)
    return sign + np.minimum(codes - sign, number.max_magnitude_code)
