"""How a layer's tensors become operands: a bias or a scale each, and the accumulator that goes with them."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from golden.config import FloatFormat, Format, MacConfig
from sim.kernels.product import quantize

__all__ = [
    "LayerConfig",
    "bias_that_fits",
    "channel_scales",
    "exponent_that_fits",
    "fit_operands",
    "quantize_operand",
    "result_scale",
    "weight_scale",
]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerConfig:
    """One layer's arithmetic: tensor = scale * values of the format, for both operands."""

    config: MacConfig
    x_scale: float
    w_scale: float | Tensor  #: A tensor [n] has one for each output channel, as :func:`channel_scales` gives.
    length: int | None  #: Products in a sum, where the configuration was fitted to that; None: any number.

    @property
    def per_channel(self) -> bool:
        """Whether output channels have scales of their own."""
        return isinstance(self.w_scale, Tensor)

    def _content(self) -> Hashable:
        w_scale = tuple(self.w_scale.tolist()) if self.per_channel else self.w_scale
        return self.config, self.x_scale, w_scale, self.length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LayerConfig) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self._content())


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


def channel_scales(weight: Tensor, number: FloatFormat) -> Tensor:
    """For weights [n, ...] by output channel: the least power of two at which the format holds each channel.

    A power of two is a change of bias, so these are biases by channel: on hardware the operands' offset stays
    as it is and a column's results are scaled back by as much. float64 [n]; 1 for a channel of zeros.
    """
    largest = weight.detach().flatten(1).abs().amax(1).double().cpu().tolist()
    exponents = [exponent_that_fits(each, number.max_value) for each in largest]
    return torch.tensor([2.0**exponent for exponent in exponents], dtype=torch.float64)


def weight_scale(layer: LayerConfig, *, convolution: bool) -> float | Tensor:
    """What divides the right operand, [k, n] or a convolution's [o, c, kh, kw]."""
    if not layer.per_channel:
        return layer.w_scale
    return layer.w_scale[:, None, None, None] if convolution else layer.w_scale


def result_scale(layer: LayerConfig, *, convolution: bool) -> float | Tensor:
    """What multiplies the result, [..., n] or a convolution's [i, o, h, w]."""
    scale = layer.x_scale * layer.w_scale
    return scale[:, None, None] if layer.per_channel and convolution else scale
