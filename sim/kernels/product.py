"""Matrix products and convolutions by the kernel library."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from golden.config import (
    ConfigError,
    FixedFormat,
    MacConfig,
    Overflow,
    Rounding,
)
from golden.random_words import RandomWords
from sim.kernels import library
from sim.kernels.geometry import Conv2dGeometry, output_size
from sim.kernels.lanes import Extent
from sim.kernels.library import Job, Step
from sim.kernels.operands import extent_of, quantize
from sim.kernels.plan import Path, Plan, plan_product, vector_units
from sim.kernels.statistics import Statistics, merge_events

__all__ = ["Statistics", "convolve", "extent_of", "merge_events", "multiply", "quantize"]

_COUNTERS = 8
_ROUNDINGS = {
    Rounding.TOWARD_ZERO: 0,
    Rounding.NEAREST_EVEN: 1,
    Rounding.FLOOR: 2,
    Rounding.STOCHASTIC: 3,
}


def _step(part) -> Step:
    if part is None:
        return Step()
    number = part.format
    if isinstance(number, FixedFormat):
        return Step(
            kind=2,
            rounding=_ROUNDINGS[part.rounding],
            man_bits=number.bits,
            bias=number.bias,
            guard_bits=-1,
            wrap=int(part.overflow is Overflow.WRAP),
        )
    guard = getattr(part, "alignment_bits", None)
    return Step(
        kind=1,
        rounding=_ROUNDINGS[part.rounding],
        man_bits=number.man_bits,
        bias=number.bias,
        subnormals=int(number.subnormals),
        guard_bits=-1 if guard is None else guard,
        random_bits=part.random_bits or 0,
        max_code=number.max_magnitude_code,
    )


def _job(config: MacConfig, plan: Plan, x: Extent, w: Extent, random: RandomWords) -> Job:
    """The part of a job that a configuration and its plan decide."""
    job = Job(
        threads=torch.get_num_threads(),
        call=random.call & 0xFFFFFFFF,
        seed=random.seed & 0xFFFFFFFFFFFFFFFF,
        chunk=config.chunk_size,
        product=_step(config.product),
        inner=_step(config.accumulator),
        outer=_step(config.outer_accumulator),
        x_scale=1.0,
        w_scale=1.0,
        out_scale=1.0,
        out_scale_rest=1.0,
        x_norm=2.0**-x.top,
        w_norm=2.0**-w.top,
    )
    lanes = plan.lanes
    if plan.path is Path.SHORT:
        job.path, job.shift = 3, plan.shift
        job.x_scale, job.w_scale = 2.0**-config.x.lsb_exponent, 2.0**-config.w.lsb_exponent
        job.out_scale = 2.0**config.product_lsb
        job.plain_out = int(abs(config.product_lsb) <= 100)
    elif lanes is not None:
        job.path, job.underflows = lanes.lane.path, int(lanes.underflows)
        job.x_scale, job.w_scale = 2.0**lanes.x_shift, 2.0**lanes.w_shift
        job.inner_shift, job.outer_shift = lanes.inner_shift, lanes.outer_shift
        half = lanes.outer_shift // 2
        job.out_scale, job.out_scale_rest = 2.0**-half, 2.0 ** -(lanes.outer_shift - half)
        job.lane_product, job.lane_inner, job.lane_outer = lanes.product, lanes.inner, lanes.outer
        number = config.outer_accumulator.format
        job.plain_out = int(abs(lanes.outer_shift) <= 126 and number.lsb_exponent >= -126)
    return job


def _run(job: Job, config: MacConfig, isa: str | None) -> None:
    match library.call("run", ctypes.byref(job), isa=isa):
        case 1:
            name = config.outer_accumulator.format.name
            raise ValueError(f"a result is a code of {name} whose value has more than float64's 53 bits")
        case 2:
            raise MemoryError("the kernel ran out of memory")
        case 3:
            raise AssertionError(f"path {job.path} is not built")


def _wrapped(sums: Tensor, config: MacConfig) -> Tensor:
    """Plain sums, float64, reduced to the accumulator's range where it wraps."""
    acc = config.accumulator
    if acc.overflow is Overflow.SATURATE:
        return sums
    unit, modulus = 2.0**acc.format.lsb, 2.0 ** (acc.format.bits + acc.format.lsb)
    if float(sums.abs().max()) < modulus / 2 - unit if sums.numel() else True:
        return sums
    return sums - ((sums + modulus / 2) / modulus).floor_() * modulus


def _floats(values: Tensor) -> Tensor:
    values = values.detach()
    return values if values.dtype in (torch.float32, torch.float64) else values.double()


@library.default_mode()
def multiply(
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    order: Tensor | None,
    random: RandomWords,
    *,
    count: bool = False,
    out_dtype: torch.dtype = torch.float64,
    isa: str | None = None,
    plan: Plan | None = None,
) -> tuple[Tensor, Statistics | None]:
    """a[..., m, k] @ b[..., k, n], and what happened in it if ``count``.

    ``order`` has been checked. ``isa`` and ``plan`` are the best there are unless given. ``out_dtype`` is
    float64 or, where the results are to be rounded to it, float32.
    """
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"matmul takes a[..., m, k] and b[..., k, n], not {list(a.shape)} and {list(b.shape)}"
        )
    a, b = _floats(a), _floats(b)
    x, w = extent_of(a, config.x), extent_of(b, config.w)
    length, n = b.shape[-2:]
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], n)
    by_column = order is not None and order.ndim == 2
    plan = plan or plan_product(config, length, x, w, count=count, isa=isa)
    if by_column and plan.path is not Path.SUMS:
        plan = Plan(path=Path.SCALAR, reason="each column has an order of its own")
    if 0 in shape or length == 0:
        return torch.zeros(shape, dtype=out_dtype), _no_statistics(config, shape, length) if count else None
    if plan.path is Path.SUMS:
        return _library_product(a, b, config, x, w, out_dtype), None

    rows_of = 1  # matrices of a batch, whose rows count on
    if b.ndim == 2:
        a = a.reshape(-1, a.shape[-1])
    if a.ndim > 2 or b.ndim > 2:
        a = a.expand(*batch, *a.shape[-2:]).reshape(-1, *a.shape[-2:])
        b = b.expand(*batch, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
        rows_of = a.shape[0]
    m = a.shape[-2]
    out = torch.empty((rows_of, m, n), dtype=out_dtype)
    job = _job(config, plan, x, w, random)
    job.batch, job.m, job.n, job.k = rows_of, m, n, length
    job.x, job.w, job.out = a.data_ptr(), b.data_ptr(), out.data_ptr()
    job.x_double, job.w_double = int(a.dtype == torch.float64), int(b.dtype == torch.float64)
    job.out_double = int(out_dtype == torch.float64)
    job.x_batch, job.w_batch = (a.stride(0), b.stride(0)) if a.ndim == 3 else (0, 0)
    job.out_batch, job.m_words = m * n, m
    job.pixel_rows, job.pixel_columns = 1, m
    job.x_column, job.out_pixel, job.out_n, job.w_n = a.stride(-2), n, 1, b.stride(-1)
    steps = torch.arange(length) if order is None else order
    x_k, w_k = (steps * a.stride(-1)).contiguous(), (steps * b.stride(-2)).contiguous()
    job.x_k, job.w_k, job.k_columns = x_k.data_ptr(), w_k.data_ptr(), n if by_column else 0
    statistics = _attach(job, config, rows_of * m, n, length) if count else None
    _run(job, config, isa)
    return out.reshape(shape), statistics


def _attach(job: Job, config: MacConfig, rows: int, columns: int, length: int) -> Statistics:
    """Statistics that the job will fill."""
    statistics = Statistics(
        steps=rows * length,
        chunks=rows * -(-length // config.chunk_size),
        quantized=config.product is not None,
        counts=torch.zeros(_COUNTERS, columns, dtype=torch.int64),
        low=torch.zeros(2, columns, dtype=torch.float64),
        high=torch.zeros(2, columns, dtype=torch.float64),
    )
    job.counts = statistics.counts.data_ptr()
    job.low, job.high = statistics.low.data_ptr(), statistics.high.data_ptr()
    return statistics


def _no_statistics(config: MacConfig, shape: tuple[int, ...], length: int) -> Statistics:
    return _attach(Job(), config, math.prod(shape[:-1]), shape[-1], length)


def _library_product(
    a: Tensor, b: Tensor, config: MacConfig, x: Extent, w: Extent, out_dtype: torch.dtype
) -> Tensor:
    """Exact sums in any order: torch's product of the narrowest type that holds them."""
    acc, unit = config.accumulator, 2.0**config.product_lsb
    bound = b.shape[-2] * x.largest * w.largest / unit
    kept = acc.format.bits + acc.format.lsb - config.product_lsb  # bits of a sum in units of the products
    units = [extent.largest * 2.0**-number.lsb_exponent for extent, number in ((x, config.x), (w, config.w))]
    if a.ndim == b.ndim == 2 and max(units) <= 127 and bound < 2**31 and kept > 0 and vector_units():
        integers = [
            (values * 2.0**-number.lsb_exponent if number.lsb_exponent else values).to(torch.int8)
            for values, number in ((a, config.x), (b, config.w))
        ]
        sums = torch._int_mm(*integers)
        if acc.overflow is Overflow.WRAP and kept < 32:
            sums = sums << (32 - kept) >> (32 - kept)
        sums = sums.to(torch.float64 if bound > 2**24 else out_dtype)
        return (sums if unit == 1 else sums * unit).to(out_dtype)
    if bound <= 2**24 and _sums_in_float32(config, x, w):
        sums = (a.float() @ b.float()).double()
    else:
        sums = a.double() @ b.double()
    return (_wrapped(sums, config) + 0.0).to(out_dtype)


def _sums_in_float32(config: MacConfig, x: Extent, w: Extent) -> bool:
    """Whether torch's float32 product neither shortens its operands nor leaves the exponents' range."""
    exponents = (config.product_lsb, config.x.lsb_exponent, config.w.lsb_exponent, x.top + w.top)
    return torch.get_float32_matmul_precision() == "highest" and max(map(abs, exponents)) < 100


@library.default_mode()
def convolve(
    images: Tensor,
    weight: Tensor,
    config: MacConfig,
    geometry: Conv2dGeometry,
    order: Tensor | None,
    random: RandomWords,
    *,
    count: bool = False,
    out_dtype: torch.dtype = torch.float64,
    isa: str | None = None,
    plan: Plan | None = None,
) -> tuple[Tensor, Statistics | None]:
    """images[i, c, h, w] * weight[o, c / groups, kh, kw] -> [i, o, h', w'], as :func:`multiply`."""
    groups = geometry.groups
    if images.ndim != 4 or weight.ndim != 4 or images.shape[1] != weight.shape[1] * groups:
        raise ConfigError(
            f"conv2d takes images[i, c, h, w] and weight[o, c / {groups}, kh, kw], not "
            f"{list(images.shape)} and {list(weight.shape)}"
        )
    images, weight = _floats(images), _floats(weight).contiguous()
    x, w = extent_of(images, config.x), extent_of(weight, config.w)
    count_images, channels = len(images), len(weight)
    columns, length = channels // groups, weight[0].numel() if channels else 0
    rows, cols = output_size(images.shape[2:], weight.shape[2:], geometry)
    shape = (count_images, channels, rows, cols)
    if 0 in shape or length == 0:
        flat = (count_images * rows * cols, channels)
        return torch.zeros(shape, dtype=out_dtype), _no_statistics(config, flat, length) if count else None
    plan = plan or plan_product(config, length, x, w, count=count, isa=isa)
    by_column = order is not None and order.ndim == 2
    if by_column and plan.path is not Path.SUMS:
        plan = Plan(path=Path.SCALAR, reason="each channel has an order of its own")
    if plan.path is Path.SUMS:
        order, by_column = None, False  # of exact sums
    padding = geometry.padding
    images = images.contiguous()
    line = images.shape[3] + 2 * padding[1]
    plane = (images.shape[2] + 2 * padding[0]) * line
    taps = [torch.arange(size) for size in weight.shape[1:]]
    offsets = (
        taps[0][:, None, None] * plane
        + taps[1][:, None] * (geometry.dilation[0] * line)
        + taps[2] * geometry.dilation[1]
    ).flatten()

    sums = plan.path is Path.SUMS
    out = torch.empty(shape, dtype=torch.float64 if sums else out_dtype)
    job = _job(config, plan, x, w, random)
    job.m, job.n, job.k = count_images * rows * cols, columns, length
    job.x_double, job.w_double = int(images.dtype == torch.float64), int(weight.dtype == torch.float64)
    job.out_double = int(out.dtype == torch.float64)
    job.pixel_rows, job.pixel_columns = rows, cols
    job.x_image, job.x_row = images.shape[1] * plane, geometry.stride[0] * line
    job.x_column = geometry.stride[1]
    job.out_image, job.out_pixel, job.out_n, job.w_n = channels * rows * cols, 1, rows * cols, length
    if any(padding):
        job.planes, (job.height, job.width) = math.prod(images.shape[:2]), images.shape[2:]
        job.pad_rows, job.pad_columns = padding
    parts = []
    # Statistics are by channel, and columns that have orders of their own differ from group to group.
    apart = groups if count or by_column else 1
    for part in range(apart):
        job.batch = groups // apart
        first = part * columns
        job.x = images.data_ptr()
        job.w = weight.data_ptr() + first * length * weight.element_size()
        job.out = out.data_ptr() + first * rows * cols * out.element_size()
        job.x_batch, job.w_batch = weight.shape[1] * plane, columns * length
        job.out_batch, job.n_words = columns * rows * cols, columns
        steps = torch.arange(length) if order is None else order
        if by_column:
            steps = steps[:, first : first + columns]
        x_k, w_k = (offsets[steps] + part * weight.shape[1] * plane).contiguous(), steps.contiguous()
        job.x_k, job.w_k, job.k_columns = x_k.data_ptr(), w_k.data_ptr(), columns if by_column else 0
        job.n_first = first
        if count:
            parts.append(_attach(job, config, job.m, columns, length))
        _run(job, config, isa)
    if sums:
        out = _wrapped(out, config).to(out_dtype)
    return out, _joined(parts) if count else None


def _joined(parts: list[Statistics]) -> Statistics:
    return Statistics(
        steps=parts[0].steps,
        chunks=parts[0].chunks,
        quantized=parts[0].quantized,
        counts=torch.cat([part.counts for part in parts], dim=1),
        low=torch.cat([part.low for part in parts], dim=1),
        high=torch.cat([part.high for part in parts], dim=1),
    )
