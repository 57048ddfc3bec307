"""Formats as ml_dtypes and NumPy have them: values of codes, roundings, sums and products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from golden.codes import decode, encode, quantize_values
from golden.config import FloatFormat, Rounding, parse_format
from tb.verify.opinion import Bools, Codes, Count, finite_codes, mac_gates, ours_for, step_config
from tb.verify.rows import Outcome, Task

__all__ = ["Format"]

_BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format of ours that another library has."""

    name: str
    dtype: type  #: Of ``ml_dtypes`` or NumPy.
    missing: int  #: How many of our finite codes are no numbers there: -0 of the `fnuz` formats is NaN.

    @property
    def subject(self) -> str:
        return f"{self.name} {np.dtype(self.dtype).name}"

    @property
    def number(self) -> FloatFormat:
        return parse_format(self.name)

    def view(self, codes: Codes) -> NDArray:
        """Their numbers of these codes."""
        unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32}[np.dtype(self.dtype).itemsize]
        return codes.astype(unsigned).view(self.dtype)

    def codes(self, theirs: NDArray, negative: Bools) -> Codes:
        """Ours for numbers of theirs."""
        unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32}[np.dtype(self.dtype).itemsize]
        codes = theirs.view(unsigned).astype(np.int64)
        return ours_for(codes, np.isfinite(theirs.astype(np.float64)), negative, self.number)

    def rounded(self, values: NDArray) -> Codes:
        """Floats, as they round them."""
        with np.errstate(all="ignore"):
            return self.codes(values.astype(self.dtype), np.signbit(values))

    def run(self, task: Task) -> Outcome:
        count, rng = Count(), np.random.default_rng(task.seed)
        self._decode(count, rng)
        task.report(0.1)
        for values in _ties(self.number, rng, min(1.0, task.share)):
            got = encode(quantize_values(values, self.number, Rounding.NEAREST_EVEN), self.number)
            count.check(f"{self.subject}, golden rounds", got, self.rounded(values), {"value": values})
        task.report(0.5)
        if self.number.code_bits <= 16:
            for source, dtype in (("e5m10ieee", np.float16), ("e8m7ieee", ml_dtypes.bfloat16)):
                self._round(count, source, dtype)
        task.report(0.8)
        if self.number.code_bits <= 8:
            self._pairs(count)
        return count.outcome

    def _decode(self, count: Count, rng: np.random.Generator) -> None:
        """Every code, or 2^20 of them: the value, or that there is none."""
        bits, sign = self.number.code_bits, 2 ** (self.number.code_bits - 1)
        codes = np.arange(2**bits) if bits <= 16 else rng.integers(0, 2**bits, _BLOCK)
        with np.errstate(invalid="ignore"):
            values = self.view(codes).astype(np.float64)
        finite = (codes & (sign - 1)) <= self.number.max_magnitude_code
        theirs = np.isfinite(values)
        differ = np.array([np.count_nonzero(finite != theirs)])
        count.check(f"{self.subject}, codes without a value", differ, np.array([self.missing]), {})
        both = finite & theirs
        ours = decode(codes[both], self.number).view(np.int64)
        wanted = np.where(values[both] == 0, 0.0, values[both]).view(np.int64)
        count.check(f"{self.subject}, value of a code", ours, wanted, {"code": codes[both]})

    def _round(self, count: Count, source: str, dtype: type) -> None:
        """All numbers of 16 bits, through the rounder of an accumulator."""
        config = step_config(source, self.name)
        one = int(encode(np.array([1.0]), config.w)[0])
        codes = finite_codes(config.x)
        got = mac_gates(config, {"w": one, "acc": 0}).run({"x": codes})["result_next"]
        values = codes.astype(np.uint16).view(dtype).astype(np.float32)
        count.check(f"{self.subject}, RTL rounds {source}", got, self.rounded(values), {"value": values})

    def _pairs(self, count: Count) -> None:
        """All sums and products, which they compute in float32 and round again, without harm at 8 bits."""
        config, codes = step_config(self.name, self.name), finite_codes(self.number)
        a, b = (column.ravel() for column in np.meshgrid(codes, codes))
        one = int(encode(np.array([1.0]), self.number)[0])
        negative_zero = 2 ** (self.number.code_bits - 1)  # NaN in some of theirs
        left, right = (self.view(np.where(codes == negative_zero, 0, codes)) for codes in (a, b))
        with np.errstate(all="ignore"):
            total, product = left + right, left * right
        left, right = left.astype(np.float64), right.astype(np.float64)
        got = mac_gates(config, {"w": one}).run({"x": a, "acc": b})["result_next"]
        wanted = self.codes(total, left + right < 0)
        count.check(f"{self.subject}, RTL adds", got, wanted, {"x": a, "acc": b})
        got = mac_gates(config, {"acc": 0}).run({"x": a, "w": b})["result_next"]
        wanted = self.codes(product, left * right < 0)
        count.check(f"{self.subject}, RTL multiplies", got, wanted, {"x": a, "w": b})


def _ties(number: FloatFormat, rng: np.random.Generator, share: float) -> Iterator[NDArray]:
    """Finite numbers with more bits than the format has, on ties, beside them, and anywhere."""
    if number.man_bits > 11:  # float64 numbers around float32's
        for tail in (0, 1, 2**28 - 1, 2**28, 2**28 + 1, 2**29 - 1):
            head = rng.integers(0, 2**34, int(_BLOCK * share)) << 29
            exponent = rng.integers(1023 - 152, 1023 + 129, len(head)) << 52
            yield ((head & ~(0x7FF << 52)) | exponent | tail).view(np.float64)
        return
    heads = np.arange(2**20, dtype=np.uint32) << 12  # sign, exponent, 11 bits of the mantissa
    if share < 1:
        heads = rng.choice(heads, int(len(heads) * share), replace=False)
    for tail in (0, 1, 0x7FF, 0x800, 0x801, 0xFFF, None):
        low = rng.integers(0, 2**12, len(heads), dtype=np.uint32) if tail is None else np.uint32(tail)
        values = (heads | low).view(np.float32)
        yield values[np.isfinite(values)]
