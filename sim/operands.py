"""How a layer's tensors become operands: a bias or a scale each, and the accumulator that goes with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from golden.config import FloatFormat, Format, MacConfig
from sim.kernels.product import quantize

__all__ = ["LayerConfig", "bias_that_fits", "exponent_that_fits", "fit_operands", "quantize_operand"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerConfig:
    """One layer's arithmetic: tensor = scale * values of the format, for both operands."""

    config: MacConfig
    x_scale: float
    w_scale: float
    length: int | None  #: Products in a sum, where the configuration was fitted to that; None: any number.


def exponent_that_fits(largest: float, significand: float) -> int:
    """The smallest e with ``significand * 2**e >= largest``; 0 for a tensor of zeros."""
    if largest == 0:
        return 0
    e = math.frexp(largest / significand)[1]
    return e - 1 if math.ldexp(significand, e - 1) >= largest else e


def bias_that_fits(number: FloatFormat, largest: float) -> int:
    """The largest bias at which the format reaches ``largest``: the paper's flexible bias."""
    significand = number.max_value / 2.0**number.max_exponent
    return number.max_exponent + number.bias - exponent_that_fits(largest, significand)


def fit_operands(
    config: MacConfig, x_largest: float, w_largest: float, *, int_bits: int, length: int | None
) -> LayerConfig:
    """Operand formats for tensors of these largest magnitudes.

    Float operands get the bias that fits. Integer operands get a scale, and use ``int_bits`` of their
    bits (sign included, where there is one), so that narrow sums overflow less.
    """
    x, x_scale = _fit(config.x, x_largest, int_bits)
    w, w_scale = _fit(config.w, w_largest, int_bits)
    return LayerConfig(config=replace(config, x=x, w=w), x_scale=x_scale, w_scale=w_scale, length=length)


def _fit(number: Format, largest: float, int_bits: int) -> tuple[Format, float]:
    if isinstance(number, FloatFormat):
        return replace(number, bias=bias_that_fits(number, largest)), 1.0
    used = replace(number, bits=min(number.bits, int_bits))
    return number, (largest or 1.0) / (used.max_integer * 2.0**number.lsb)


def quantize_operand(tensor: Tensor, number: Format, scale: float) -> Tensor:
    """The tensor over its scale, rounded to the nearest value of the format, ties to even.

    Equal to :func:`golden.codes.quantize_values`; float32 where that holds the format, else float64. Raises
    :class:`ConfigError` for NaN and infinity.
    """
    return quantize(tensor, number, scale)
