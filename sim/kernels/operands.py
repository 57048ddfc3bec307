"""Operands before they are multiplied: their range, whether a format holds them, and rounding to it."""

from __future__ import annotations

import torch
from torch import Tensor

from golden.codes import encode
from golden.config import ConfigError, FixedFormat, Format
from sim.kernels import library
from sim.kernels.lane_types import Extent, smallest_normal
from sim.kernels.library import Operand

__all__ = ["extent_of", "quantize"]


def _operand(values: Tensor, number: Format, *, scale: float = 1.0, out_double: bool = False) -> Operand:
    fields = dict(
        data=values.data_ptr(),
        n=values.numel(),
        is_double=int(values.dtype == torch.float64),
        out_double=int(out_double),
        threads=torch.get_num_threads(),
        scale=scale,
        unit=2.0**number.lsb_exponent,
    )
    if isinstance(number, FixedFormat):
        return Operand(kind=2, low=number.min_integer, high=number.max_integer, **fields)
    return Operand(
        kind=1,
        man_bits=number.man_bits,
        subnormals=int(number.subnormals),
        largest=number.max_value,
        smallest=smallest_normal(number),
        **fields,
    )


def _dense(values: Tensor) -> Tensor:
    """The same numbers next to each other in memory, in any order: without a copy where they are."""
    kept = values[tuple(slice(None) if stride else slice(1) for stride in values.stride())]
    by_stride = sorted(range(kept.ndim), key=kept.stride, reverse=True)
    return kept.permute(by_stride).contiguous()


@library.default_mode()
def extent_of(values: Tensor, number: Format) -> Extent:
    """Range of float32 or float64 values; ValueError as from golden if the format does not hold them."""
    dense = _dense(values)
    extent = library.Extent()
    library.call("inspect", _operand(dense, number), extent)
    if not extent.held and dense.dtype is torch.float32 and extent.smallest < 2.0**-126:
        dense = dense.double()  # in which no float32 number is subnormal
        library.call("inspect", _operand(dense, number), extent)
    if not extent.held:
        encode(values, number)  # names the first that it does not hold
        raise AssertionError(f"{number.name} holds what the kernel says it does not")
    return Extent(largest=extent.largest, smallest=extent.smallest)


@library.default_mode()
def quantize(values: Tensor, number: Format, scale: float) -> Tensor:
    """Values over ``scale``, rounded to the nearest value of the format, ties to even.

    float32 where that holds the format, else float64. ConfigError for NaN and infinity.
    """
    dense = values.detach().contiguous()
    if dense.dtype not in (torch.float32, torch.float64):
        dense = dense.double()
    double = not _in_float32(number)
    out = torch.empty(dense.shape, dtype=torch.float64 if double else torch.float32)
    operand = _operand(dense, number, scale=scale, out_double=double)
    if library.call("quantize", operand, out.data_ptr()):
        raise ConfigError(f"a tensor with NaN or infinity cannot be quantized to {number.name}")
    return out


def _in_float32(number: Format) -> bool:
    """Whether float32 holds all values of a format, as normal numbers or as its own subnormals."""
    if isinstance(number, FixedFormat):
        return number.bits <= 24 and -120 <= number.lsb <= 100
    return number.lsb_exponent >= -149 and number.max_exponent <= 127
