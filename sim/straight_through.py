"""Operands rounded to their formats on any device, with gradients that pass straight through the rounding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from golden.config import ConfigError, FixedFormat, FloatFormat, Format
from sim.kernels.operands import quantize

__all__ = ["quantized", "straight_through"]

#: Added and taken away again, it rounds a float64 below 2**51 to an integer.
_MAGIC = 1.5 * 2.0**52


def quantized(tensor: Tensor, number: Format, scale: float | Tensor) -> Tensor:
    """The tensor over its scale, rounded to the nearest value of the format, ties to even.

    Equal to :func:`golden.codes.quantize_values`; on the tensor's device, float32 where that holds the
    format, else float64. ``scale``: a number, or a tensor that divides the other as it is shaped. Raises
    :class:`ConfigError` for NaN and infinity.
    """
    if isinstance(scale, Tensor):
        tensor, scale = tensor.detach().double() / scale.to(tensor.device, torch.float64), 1.0
    if tensor.device.type == "cpu":
        return quantize(tensor, number, scale)
    return _by_torch(tensor.detach(), number, scale)


def _by_torch(tensor: Tensor, number: Format, scale: float) -> Tensor:
    """The same in torch's own operations, for devices that the kernel library does not reach."""
    if not bool(tensor.isfinite().all()):
        raise ConfigError(f"a tensor with NaN or infinity cannot be quantized to {number.name}")
    values = tensor.double() / scale
    if isinstance(number, FixedFormat):
        units = (values * 2.0**-number.lsb).clamp(number.min_integer, number.max_integer)
        result = ((units + _MAGIC) - _MAGIC) * 2.0**number.lsb
        narrow = number.bits <= 24 and -120 <= number.lsb <= 100
    else:
        result = _to_float(values, number)
        narrow = number.lsb_exponent >= -149 and number.max_exponent <= 127
    result = result + 0.0  # no negative zero
    return result.float() if narrow else result


def _to_float(values: Tensor, number: FloatFormat) -> Tensor:
    dropped = 52 - number.man_bits
    # Without a mantissa the last bit that is kept is the hidden one, which is odd: a tie goes up.
    odd = 1 if number.man_bits else 0
    bits = values.view(torch.int64)
    bits = bits + ((1 << (dropped - 1)) - odd)
    if odd:
        bits = bits + (values.view(torch.int64) >> dropped & 1)
    result = (bits & -(1 << dropped)).view(torch.float64)
    if number.subnormals:
        unit = 2.0**number.lsb_exponent
        grid = ((values / unit + _MAGIC) - _MAGIC) * unit
        result = torch.where(values.abs() < unit * 2.0**number.man_bits, grid, result)
    result = result.clamp(-number.max_value, number.max_value)
    if not number.subnormals:
        result = torch.where(result.abs() <= number.flush_value, 0.0, result)
    return result


class _StraightThrough(torch.autograd.Function):
    """Forward: the quantized tensor. Backward: what arrives over the scale, 0 where the format saturates."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, number: Format, scale: float | Tensor, saturates: bool) -> Tensor:
        ctx.number, ctx.dtype = number, tensor.dtype
        ctx.scale = scale.to(tensor.device, tensor.dtype) if isinstance(scale, Tensor) else scale
        ctx.save_for_backward(tensor if saturates else None)
        return quantized(tensor, number, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (tensor,) = ctx.saved_tensors
        gradient = gradient.to(ctx.dtype)
        if tensor is not None:
            low, high = _range(ctx.number)
            gradient = gradient * ((tensor >= low * ctx.scale) & (tensor <= high * ctx.scale))
        if isinstance(ctx.scale, Tensor) or ctx.scale != 1:
            gradient = gradient / ctx.scale
        return gradient, None, None, None


def _range(number: Format) -> tuple[float, float]:
    if isinstance(number, FixedFormat):
        return number.min_integer * 2.0**number.lsb, number.max_integer * 2.0**number.lsb
    return -number.max_value, number.max_value


def straight_through(
    tensor: Tensor, number: Format, scale: float | Tensor, *, saturates: bool = True
) -> Tensor:
    """:func:`quantized`, differentiable: the rounding counts as the identity, and saturation as constant.

    ``saturates=False``: the caller has fitted the format or scale to this very tensor, nothing lies outside,
    and the tensor need not be kept for the backward pass.
    """
    return _StraightThrough.apply(tensor, number, scale, saturates)
