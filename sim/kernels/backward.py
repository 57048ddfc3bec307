"""Gradients of products by the kernel library: masks computed anew, tile by tile, as the products are."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from golden.config import ConfigError, FloatAccumulator, MacConfig, Rounding
from golden.gradients import Estimator, GradientRule
from golden.random_words import RandomWords
from sim.kernels import library
from sim.kernels.exact import conv2d_gradients, matmul_gradients
from sim.kernels.geometry import Conv2dGeometry, output_size
from sim.kernels.lane_types import Extent
from sim.kernels.library import Gradient, Job
from sim.kernels.operands import extent_of
from sim.kernels.plan import Path, Plan, plan_product
from sim.kernels.product import _floats, _job

__all__ = ["convolve_backward", "multiply_backward", "product_masks"]

#: What the norms that rule overflow out are short by, and what float64 makes of them.
_MARGIN = 1 + 2.0**-9

#: Numbers whose norms are computed at a time.
_NORMED = 1 << 14


def _cannot_overflow(config: MacConfig, length: int, x: Extent, w: Extent, norms: float) -> bool:
    """Whether no sum of any chain can leave its format: ``norms`` is a bound on sum |x||w| of all outputs.

    Rounding toward zero and saturation never raise a magnitude; a cut to the lsb raises it by less than that.
    """
    product = config.product
    if product is not None and product.rounding is not Rounding.TOWARD_ZERO:
        return False
    cuts = 0.0
    for part, count in (
        (config.accumulator, min(config.chunk_size, length)),
        (config.outer_accumulator, length),
    ):
        number = part.format
        if isinstance(part, FloatAccumulator):
            if part.rounding is not Rounding.TOWARD_ZERO:
                return False
            most = number.max_value
        else:
            cuts += length * 2.0**number.lsb
            most = number.max_integer * 2.0**number.lsb
        if min(norms, count * x.largest * w.largest) * _MARGIN + cuts > most:
            return False
    return True


def _largest_norm(values: Tensor, dim: int) -> float:
    """Of all lines along a dimension, some at a time: torch makes a float64 copy of what it is given."""
    lines = values.movedim(dim, -1).flatten(0, -2)
    some = lines.split(max(1, _NORMED // max(lines.shape[-1], 1)))
    norms = (torch.linalg.vector_norm(part, dim=-1, dtype=torch.float64) for part in some if len(part))
    return max((float(each.max()) for each in norms), default=0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Call:
    """A job and what its gradients take; the tensors that both point to."""

    job: Job
    gradient: Gradient
    tensors: list

    def run(self, config: MacConfig, isa: str | None) -> None:
        match library.call("backward", ctypes.byref(self.job), ctypes.byref(self.gradient), isa=isa):
            case 1:
                raise ValueError(
                    f"a sum of {config.name} has more than float64's 53 bits, in which a difference is "
                    "compared with its threshold; use a threshold of 0"
                )
            case 2:
                raise MemoryError("the kernel ran out of memory")
            case 3:
                raise AssertionError(f"path {self.job.path} is not built")


def _gradient(rule: GradientRule) -> Gradient:
    return Gradient(
        difference=int(rule.estimator.is_difference),
        recursive=int(rule.estimator.is_recursive),
        threshold=rule.threshold,
    )


def _plan(
    config: MacConfig, length: int, x: Extent, w: Extent, order: Tensor | None, isa: str | None
) -> Plan:
    """The fastest way that shows every step's events."""
    if order is not None and order.ndim == 2:
        return Plan(path=Path.SCALAR, reason="each column has an order of its own")
    return plan_product(config, length, x, w, count=True, isa=isa)


def _dense(values: Tensor) -> Tensor:
    """The tensor itself where its numbers lie next to each other in some order, else a copy."""
    return (
        values if torch.empty_like(values, device="meta").stride() == values.stride() else values.contiguous()
    )


def _is_identity(config: MacConfig, rule: GradientRule, length: int, x: Extent, w: Extent, norms) -> bool:
    """Whether every mask is 1; ``norms`` is asked for only where that may help."""
    if rule.estimator is Estimator.IDENTITY:
        return True
    return not rule.estimator.is_difference and _cannot_overflow(config, length, x, w, norms())


def _matrices(
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    rule: GradientRule,
    order: Tensor | None,
    random: RandomWords,
    plan: Plan,
) -> _Call:
    """The job of a[batch, m, k] @ b[batch, k, n], without operands' gradients."""
    batch, m, length = a.shape
    n = b.shape[-1]
    x, w = extent_of(a, config.x), extent_of(b, config.w)
    job = _job(config, plan, x, w, random)
    job.batch, job.m, job.n, job.k = batch, m, n, length
    job.x, job.w = a.data_ptr(), b.data_ptr()
    job.x_double, job.w_double = int(a.dtype == torch.float64), int(b.dtype == torch.float64)
    job.x_batch, job.w_batch = a.stride(0), b.stride(0)
    job.out_batch, job.m_words = m * n, m
    job.pixel_rows, job.pixel_columns = 1, m
    job.x_column, job.out_pixel, job.out_n, job.w_n = a.stride(1), n, 1, b.stride(2)
    steps = torch.arange(length) if order is None else order
    by_column = steps.ndim == 2
    places = torch.arange(length) if by_column else steps
    x_steps, w_steps = ((steps * stride).contiguous() for stride in (a.stride(2), b.stride(1)))
    x_k, w_k = ((places * stride).contiguous() for stride in (a.stride(2), b.stride(1)))
    job.x_k, job.w_k, job.k_columns = x_steps.data_ptr(), w_steps.data_ptr(), n if by_column else 0
    gradient = _gradient(rule)
    gradient.x_k, gradient.w_k, gradient.index = x_k.data_ptr(), w_k.data_ptr(), places.data_ptr()
    steps = steps.contiguous()
    gradient.place = steps.data_ptr() if by_column else None
    return _Call(job=job, gradient=gradient, tensors=[a, b, x_steps, w_steps, x_k, w_k, places, steps])


def _batches(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both as [batch, ., .]: one matrix on the right takes all rows of the left."""
    if b.ndim == 2:
        return a.reshape(1, -1, a.shape[-1]), b[None]
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return tuple(each.expand(*batch, *each.shape[-2:]).reshape(-1, *each.shape[-2:]) for each in (a, b))


@library.default_mode()
def multiply_backward(
    grad: Tensor,
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    rule: GradientRule,
    order: Tensor | None,
    random: RandomWords,
    *,
    isa: str | None = None,
    plan: Plan | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of a[..., m, k] and b[..., k, n], float32, from that of their product.

    ``order`` has been checked. ``isa`` and ``plan`` are the best there are unless given; a plan is used even
    where nothing can overflow.
    """
    grad, a, b = _floats(grad).float(), _floats(a), _floats(b)
    length = b.shape[-2]
    if grad.numel() == 0 or length == 0:
        return torch.zeros(a.shape), torch.zeros(b.shape)
    x, w = extent_of(a, config.x), extent_of(b, config.w)

    def norms() -> float:
        return _largest_norm(a, -1) * _largest_norm(b, -2)

    if plan is None and _is_identity(config, rule, length, x, w, norms):
        return matmul_gradients(grad, a.float(), b.float())
    plan = plan or _plan(config, length, x, w, order, isa)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left, right = (_dense(each) for each in _batches(a, b))
    grad = grad.contiguous()
    call = _matrices(left, right, config, rule, order, random, plan)
    of_left, of_right = (torch.zeros_like(each, dtype=torch.float32) for each in (left, right))
    call.gradient.of_out, call.gradient.of_x, call.gradient.of_w = (
        each.data_ptr() for each in (grad, of_left, of_right)
    )
    call.run(config, isa)
    if b.ndim == 2:
        return of_left.reshape(*batch, *a.shape[-2:]).sum_to_size(a.shape), of_right[0]
    return (
        of_left.reshape(*batch, *a.shape[-2:]).sum_to_size(a.shape),
        of_right.reshape(*batch, *b.shape[-2:]).sum_to_size(b.shape),
    )


@library.default_mode()
def product_masks(
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    rule: GradientRule,
    order: Tensor | None,
    random: RandomWords,
    *,
    isa: str | None = None,
    plan: Plan | None = None,
) -> Tensor:
    """:func:`golden.gradients.masks`; ``order`` has been checked."""
    a, b = _floats(a), _floats(b)
    length, n = b.shape[-2:]
    shape = (*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], n, length)
    masks = torch.ones(shape, dtype=torch.bool)
    if rule.estimator is Estimator.IDENTITY or masks.numel() == 0:
        return masks
    plan = plan or _plan(config, length, extent_of(a, config.x), extent_of(b, config.w), order, isa)
    call = _matrices(*_batches(a, b), config, rule, order, random, plan)
    call.gradient.masks = masks.data_ptr()
    call.run(config, isa)
    return masks


@library.default_mode()
def convolve_backward(
    grad: Tensor,
    images: Tensor,
    weight: Tensor,
    config: MacConfig,
    geometry: Conv2dGeometry,
    rule: GradientRule,
    order: Tensor | None,
    random: RandomWords,
    *,
    isa: str | None = None,
    plan: Plan | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of images and weight, float32, as :func:`multiply_backward`."""
    groups = geometry.groups
    if images.ndim != 4 or weight.ndim != 4 or images.shape[1] != weight.shape[1] * groups:
        raise ConfigError(
            f"conv2d takes images[i, c, h, w] and weight[o, c / {groups}, kh, kw], not "
            f"{list(images.shape)} and {list(weight.shape)}"
        )
    grad = _floats(grad).float().contiguous()
    images, weight = _floats(images).contiguous(), _floats(weight).contiguous()
    of_images, of_weight = torch.zeros(images.shape), torch.zeros(weight.shape)
    if grad.numel() == 0 or weight.numel() == 0:
        return of_images, of_weight
    x, w = extent_of(images, config.x), extent_of(weight, config.w)
    length, columns = weight[0].numel(), len(weight) // groups

    def norms() -> float:
        return math.sqrt(length) * x.largest * _largest_norm(weight.flatten(1), 1)

    if plan is None and _is_identity(config, rule, length, x, w, norms):
        return conv2d_gradients(grad, images.float(), weight.float(), geometry)
    plan = plan or _plan(config, length, x, w, order, isa)
    by_column = order is not None and order.ndim == 2
    rows, cols = output_size(images.shape[2:], weight.shape[2:], geometry)
    line = images.shape[3] + 2 * geometry.padding[1]
    plane = (images.shape[2] + 2 * geometry.padding[0]) * line
    taps = [torch.arange(size) for size in weight.shape[1:]]
    offsets = (
        taps[0][:, None, None] * plane
        + taps[1][:, None] * (geometry.dilation[0] * line)
        + taps[2] * geometry.dilation[1]
    ).flatten()
    job = _job(config, plan, x, w, random)
    job.m, job.n, job.k = len(images) * rows * cols, columns, length
    job.x_double, job.w_double = int(images.dtype == torch.float64), int(weight.dtype == torch.float64)
    job.pixel_rows, job.pixel_columns = rows, cols
    job.x_image, job.x_row, job.x_column = (
        images.shape[1] * plane,
        geometry.stride[0] * line,
        geometry.stride[1],
    )
    job.out_image, job.out_pixel, job.out_n, job.w_n = len(weight) * rows * cols, 1, rows * cols, length
    job.planes, (job.height, job.width) = images.shape[0] * images.shape[1], images.shape[2:]
    job.pad_rows, job.pad_columns = geometry.padding
    job.x_batch, job.w_batch = weight.shape[1] * plane, columns * length
    job.out_batch, job.n_words = columns * rows * cols, columns
    job.x = images.data_ptr()
    parts = groups if by_column else 1  # whose columns have orders of their own, group by group
    job.batch = groups // parts
    for part in range(parts):
        first = part * columns
        steps = torch.arange(length) if order is None else order
        if by_column:
            steps = steps[:, first : first + columns]
        steps = steps.contiguous()
        places = torch.arange(length) if by_column else steps
        base = part * weight.shape[1] * plane
        x_k = (offsets[places] + base).contiguous()
        job.w = weight.data_ptr() + first * length * weight.element_size()
        job.x_k, job.w_k, job.k_columns = x_k.data_ptr(), places.data_ptr(), 0
        job.n_first = first
        gradient = _gradient(rule)
        gradient.of_out = grad.data_ptr() + first * rows * cols * grad.element_size()
        gradient.of_x, gradient.of_w = of_images.data_ptr(), of_weight.data_ptr() + first * length * 4
        gradient.x_k, gradient.w_k, gradient.index = x_k.data_ptr(), places.data_ptr(), places.data_ptr()
        gradient.place = steps.data_ptr() if by_column else None
        _Call(job=job, gradient=gradient, tensors=[steps, places, x_k]).run(config, isa)
    return of_images, of_weight
