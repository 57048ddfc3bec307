"""Operands on a graphics card: rounding to a format, whether a format holds them, and their range."""

from __future__ import annotations

import struct
import weakref
from functools import cache

import torch
from torch import Tensor

from golden.codes import encode
from golden.config import ConfigError, FixedFormat, Format
from sim.kernels.cuda_library import Kernels, Numbers, card_kernels
from sim.kernels.lane_types import Extent, smallest_normal
from sim.kernels.operands import _dense, _in_float32

__all__ = ["holds", "inspect", "is_there", "quantize"]


def is_there(tensor: Tensor) -> bool:
    """Whether the kernels take the tensor: it is on a card, and they can be compiled here."""
    return tensor.device.type == "cuda" and _have_kernels()


@cache
def _have_kernels() -> bool:
    try:
        card_kernels()
    except ConfigError:
        return False
    return True


def quantize(
    values: Tensor, number: Format, scale: float | Tensor, *, kernels: Kernels | None = None
) -> Tensor:
    """Values over ``scale``, rounded to the nearest value of the format, ties to even, on their device.

    As :func:`sim.kernels.operands.quantize`; ``scale`` may be a tensor that broadcasts to the values' shape.
    :class:`ConfigError` for NaN and infinity.
    """
    values, scales = _floats(values), None
    if isinstance(scale, Tensor):
        values, scales = _divided(values, scale.to(values.device, torch.float64))
        scale = 1.0
    elif not _fills_memory(values):
        values = values.contiguous()
    out = torch.empty_like(values, dtype=torch.float32 if _in_float32(number) else torch.float64)
    job = _numbers(values, number)
    job.out, job.out_double, job.scale = out.data_ptr(), int(out.dtype == torch.float64), scale
    if scales is not None:
        axis, factors = scales
        job.scales, job.channels, job.run = factors.data_ptr(), len(factors), values.shape[axis + 1 :].numel()
    if _found("quantize", job, values.device, kernels)[0]:
        raise ConfigError(f"a tensor with NaN or infinity cannot be quantized to {number.name}")
    _remember(out, number)
    return out


def _divided(values: Tensor, scale: Tensor) -> tuple[Tensor, tuple[int, Tensor] | None]:
    """The values for a kernel, and an axis with factors along it to divide by: None where that is done."""
    wide = [axis - scale.ndim for axis, size in enumerate(scale.shape) if size > 1]
    fits = scale.ndim <= values.ndim and len(wide) == 1 and scale.shape[wide[0]] == values.shape[wide[0]]
    if not fits:
        return (values.double() / scale).contiguous(), None
    return values.contiguous(), (wide[0] + values.ndim, scale.flatten().contiguous())


def inspect(values: Tensor, number: Format, *, kernels: Kernels) -> Extent:
    """Range of float32 or float64 values; ValueError as from golden if the format does not hold them."""
    if values.numel() == 0:
        return Extent(largest=0.0, smallest=0.0)
    dense = _dense(values)
    job = _numbers(dense, number)
    bad, largest, smallest = _found("inspect", job, dense.device, kernels)
    if bad:
        encode(values, number)  # names the first that it does not hold
        raise AssertionError(f"{number.name} holds what the kernel says it does not")
    return Extent(largest=_float(largest), smallest=_float(smallest) if largest else 0.0)


def _numbers(values: Tensor, number: Format) -> Numbers:
    """The part of a job that the values and the format decide."""
    job = Numbers(
        data=values.data_ptr(),
        n=values.numel(),
        run=1,
        channels=1,
        is_double=int(values.dtype == torch.float64),
        unit=2.0**number.lsb_exponent,
        scale=1.0,
    )
    if isinstance(number, FixedFormat):
        job.kind, job.low, job.high = 2, number.min_integer, number.max_integer
    else:
        job.kind, job.man_bits, job.subnormals = 1, number.man_bits, int(number.subnormals)
        job.largest, job.smallest = number.max_value, smallest_normal(number)
    return job


def _found(name: str, job: Numbers, device: torch.device, kernels: Kernels | None) -> list[int]:
    """Whether some number is bad, and bits of the largest and of the smallest magnitude that is not zero."""
    found = _nothing(device).clone()
    if job.n:
        job.found = found.data_ptr()
        (kernels or card_kernels()).call(name, job, device)
    return found.tolist()


@cache
def _nothing(device: torch.device) -> Tensor:
    return torch.tensor([0, 0, -1], device=device)


def _float(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<q", bits))[0]


def _floats(values: Tensor) -> Tensor:
    values = values.detach()
    return values if values.dtype in (torch.float32, torch.float64) else values.double()


def _fills_memory(values: Tensor) -> bool:
    """Whether the numbers lie next to each other, each once, in any order of axes."""
    expected = 1
    for size, stride in sorted(zip(values.shape, values.stride(), strict=True), key=lambda axis: axis[::-1]):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


#: By the address of its memory: a tensor that was quantized, the count of its changes then, and the format.
_QUANTIZED: dict[int, tuple[weakref.ref, int, Format]] = {}


def _remember(values: Tensor, number: Format) -> None:
    if values.is_inference() or not values.numel():  # the former counts no changes
        return
    key = values.untyped_storage().data_ptr()

    def forget(reference: weakref.ref) -> None:
        if key in _QUANTIZED and _QUANTIZED[key][0] is reference:
            del _QUANTIZED[key]

    _QUANTIZED[key] = (weakref.ref(values, forget), values._version, number)


def holds(values: Tensor, number: Format) -> bool:
    """Whether the format is known to hold the values: memory quantized to it, and not written since."""
    if values.is_inference():
        return False
    key = values.untyped_storage().data_ptr()
    if key not in _QUANTIZED:
        return False
    reference, version, quantized_to = _QUANTIZED[key]
    original = reference()
    is_same = original is not None and original.untyped_storage().data_ptr() == key
    return is_same and version == values._version and quantized_to == number
