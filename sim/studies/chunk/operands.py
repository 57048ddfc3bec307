"""Operands of the study and accumulators of ample range, and how a product is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from golden.config import FloatFormat, FloatQuantizer, MacConfig, parse_format, parse_product
from golden.quantizers import parse_accumulator
from sim.calibration.walk import Products
from sim.operands import bias_that_fits, quantize_operand

__all__ = ["KINDS", "Judged", "Operands", "accumulator", "as_rows", "judged", "of_rows", "operands"]

#: Kind -> (in words, makes activations and weights [...] from a generator).
KINDS: dict[str, tuple[str, Callable[[tuple, tuple, torch.Generator], tuple[Tensor, Tensor]]]] = {
    "normal": ("normal activations and weights", lambda x, w, g: (_normal(x, g), _normal(w, g))),
    "relu": ("rectified activations, normal weights", lambda x, w, g: (_normal(x, g).relu(), _normal(w, g))),
    "positive": (
        "rectified activations, positive weights: every product adds",
        lambda x, w, g: (_normal(x, g).relu(), _normal(w, g).abs()),
    ),
}

#: Members of a batch, each with operands of its own, and outputs of a member: no two share two operands.
_MEMBERS, _COLUMNS = 32, 64


def _normal(shape: tuple, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operands:
    """Operands that hold values of their formats, and their exact product."""

    x: Tensor  #: [members, rows, k]
    w: Tensor  #: [members, k, n]
    x_format: FloatFormat
    w_format: FloatFormat
    exact: Tensor  #: float64 [members, rows, n]
    products: Products

    @property
    def length(self) -> int:
        """K."""
        return self.w.shape[-2]


@lru_cache(maxsize=2)
def operands(kind: str, number: str, length: int, seed: int) -> Operands:
    """2048 sums of ``length`` products; float operands of the format, its bias fitted to each tensor.

    Columns of a member have the same activations and other weights, so their sums are uncorrelated.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = (_MEMBERS, 1, length), (_MEMBERS, length, _COLUMNS)
    made = KINDS[kind][1](*shapes, generator)
    formats = [_fitted(parse_format(number), each) for each in made]
    x, w = (quantize_operand(each, f, 1.0).float() for each, f in zip(made, formats, strict=True))
    return Operands(
        x=x,
        w=w,
        x_format=formats[0],
        w_format=formats[1],
        exact=x.double() @ w.double(),
        products=Products.of(x, w, seed=seed),
    )


def _fitted(number: FloatFormat, tensor: Tensor) -> FloatFormat:
    """Short exponents get the largest bias that holds the tensor; e8 has room."""
    return (
        number if number.exp_bits >= 8 else replace(number, bias=bias_that_fits(number, tensor.abs().max()))
    )


def accumulator(
    man_bits: int, chunk_size: int, rounding: str, x: FloatFormat, w: FloatFormat, *, product: bool = True
) -> MacConfig:
    """Products and sums with 8 exponent bits: nothing overflows or underflows, so roundings are all there is.

    ``rounding``: ``rz``, ``rne``, or ``sr8`` with its random bits.
    """
    part = f"e8m{man_bits}_{rounding}"
    quantizer: FloatQuantizer | None = parse_product(part) if product else None
    return MacConfig(
        x=x, w=w, product=quantizer, accumulator=parse_accumulator(part), chunk_size=chunk_size, outer=None
    )


@dataclass(frozen=True)
class Judged:
    """What came out, against the exact sums: got = gain * exact + noise, the noise orthogonal to exact."""

    gain: float
    noise: float  #: Energy of the noise over that of the gained signal: what no scale repairs.
    deviation: float  #: Standard deviation of the gain that noise alone gives, over the outputs there are.

    @property
    def error(self) -> float:
        """Energy of got - exact over that of exact: before anything is repaired."""
        return (1 - self.gain) ** 2 + self.gain**2 * self.noise


def judged(got: Tensor, exact: Tensor) -> Judged:
    """By least squares over all outputs."""
    energy = float(exact.square().sum())
    gain = float((got * exact).sum()) / energy
    left = float((got - gain * exact).square().sum())
    noise = left / (gain**2 * energy) if gain else float("inf")
    return Judged(gain, noise, abs(gain) * (noise / exact.numel()) ** 0.5)


def as_rows(columns: Sequence[str], rows: Sequence[Sequence]) -> dict[str, list[str]]:
    """A table as JSON that people can read: one string a row."""
    return {
        "columns": list(columns),
        "rows": [" ".join(f"{v:.5g}" if isinstance(v, float) else str(v) for v in row) for row in rows],
    }


def of_rows(table: dict[str, list[str]]) -> list[dict]:
    """What :func:`as_rows` was given, as dictionaries."""
    return [dict(zip(table["columns"], map(_value, row.split(" ")), strict=True)) for row in table["rows"]]


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
