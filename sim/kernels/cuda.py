"""Products on a graphics card: ``python -m sim.kernels.cuda build`` compiles them, or else their first use.

What a card computes exactly is proved by :mod:`sim.kernels.lanes`, as for the processor's vectors in single
precision; what is not runs on integers, one output to a thread. Operands that were quantized on the card are
not looked at again, so that a product is one kernel, and the processor waits for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from golden import accumulate as golden
from golden.accumulate import FIRST_WORDS, Events
from golden.config import ConfigError, FixedAccumulator, MacConfig, Overflow
from golden.gradients import GradientRule
from golden.random_words import RandomWords
from hw.command_line import Parser
from sim.backends import Backend, CpuBackend
from sim.kernels import cuda_gradients
from sim.kernels.cuda_library import Job, Kernels, build, card_kernels
from sim.kernels.cuda_numbers import holds, inspect
from sim.kernels.cuda_plan import explain, explain_masks, formats_suffice, product_job
from sim.kernels.geometry import Conv2dGeometry, output_size
from sim.kernels.lane_types import Extent, Way
from sim.kernels.product import _floats

__all__ = ["CudaBackend", "explain"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """Where a product's operands and results lie: the part of a job that no arithmetic decides."""

    config: MacConfig
    x: Tensor
    w: Tensor
    length: int
    extents: tuple[Extent, Extent]
    fields: dict[str, int]
    offsets: Tensor  #: int64 [2, k]: of each product in x and in w.
    order: Tensor | None
    shape: tuple[int, ...]  #: Of the results.

    @property
    def is_empty(self) -> bool:
        return 0 in self.shape or self.length == 0

    @property
    def by_column(self) -> bool:
        """Whether columns have orders of their own."""
        return self.order is not None and self.order.ndim == 2

    def place(self, job: Job) -> Tensor:
        """Give the job its operands; what must outlive it beside them."""
        for field, value in self.fields.items():
            setattr(job, field, value)
        job.x, job.w = self.x.data_ptr(), self.w.data_ptr()
        job.x_double, job.w_double = (int(each.dtype == torch.float64) for each in (self.x, self.w))
        steps = self.offsets
        if self.order is not None and job.lane_inner.way != Way.SUM:
            steps = steps[:, self.order].contiguous()
            job.k_columns = self.order.shape[1] if self.by_column else 0
        job.x_k, job.w_k = steps[0].data_ptr(), steps[1].data_ptr()
        return steps


class CudaBackend(Backend):
    """A card's kernels. Tensors come from any device; the result is where the first one is."""

    name = "cuda"

    def __init__(self, kernels: Kernels | None = None):
        self.kernels = kernels or card_kernels()
        self._check()

    def _check(self) -> None:
        """Raise ConfigError unless rounding toward zero ends at the largest float, as IEEE 754 has it."""
        config = MacConfig.parse("int8_int8_p_e4m7_rz_a_e4m7_rz_c16")
        signs = torch.tensor([[1.0], [-1.0]], device=self.kernels.device)
        a, b = 100 * signs.expand(2, 32), torch.full((32, 1), 100.0, device=self.kernels.device)
        if not torch.equal(self.matmul(a, b, config), signs.double() * config.accumulator.format.max_value):
            raise ConfigError("this GPU does not round as backend 'cuda' needs it; use backend 'cpu'")

    @staticmethod
    def explain(config: MacConfig, length: int, rule: GradientRule | None = None) -> str:
        """Which way products are computed, or the gradients of a rule."""
        return explain(config, length) if rule is None else explain_masks(config, length, rule)

    def matmul(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        placed = self._placed_matrices(a, b, config, order, looks=True)
        return self._run(placed, random, dtype).to(a.device)

    def conv2d(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        if not _is_placeable(images, weight, geometry, order):
            return super().conv2d(images, weight, config, geometry, order, random, dtype=dtype)
        placed = self._placed_images(images, weight, config, geometry, order, looks=True)
        return self._run(placed, random, dtype).to(images.device)

    def matmul_events(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Events]:
        """On the processor, which counts as it multiplies."""
        order = None if order is None else order.cpu()
        values, events = CpuBackend().matmul_events(a.cpu(), b.cpu(), config, order, random)
        return values.to(a.device), events

    def gradient_masks(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> Tensor:
        if order is not None and order.ndim == 2:
            return super().gradient_masks(a, b, config, rule, order, random)
        placed = self._placed_matrices(a, b, config, order, looks=True)
        return cuda_gradients.masks(self.kernels, placed, rule, random).to(a.device)

    def matmul_backward(
        self,
        grad: Tensor,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Tensor]:
        """As :class:`Backend`'s. The forward product has looked whether the formats hold the operands."""
        if order is not None and order.ndim == 2:
            return super().matmul_backward(grad, a, b, config, rule, order, random)
        placed = self._placed_matrices(a, b, config, order, looks=False)
        gradients = cuda_gradients.of_matrices(self.kernels, placed, grad, a, b, rule, random)
        return tuple(each.to(grad.device) for each in gradients)

    def conv2d_backward(
        self,
        grad: Tensor,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        rule: GradientRule,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Tensor]:
        """As :class:`Backend`'s, and ``matmul_backward``."""
        if not _is_placeable(images, weight, geometry, order):
            return super().conv2d_backward(grad, images, weight, config, geometry, rule, order, random)
        placed = self._placed_images(images, weight, config, geometry, order, looks=False)
        gradients = cuda_gradients.of_images(
            self.kernels, placed, grad, images, weight, geometry, rule, random
        )
        return tuple(each.to(grad.device) for each in gradients)

    def _placed_matrices(
        self, a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None, *, looks: bool
    ) -> Placed:
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"matmul takes a[..., m, k] and b[..., k, n], not {list(a.shape)} and {list(b.shape)}"
            )
        a, b, order = self._brought(a, b, order)
        length, n = b.shape[-2:]
        if order is not None:
            golden.check_order(order, length, n)
        extents = self._extents(a, b, config, length, looks=looks)
        batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*batch, a.shape[-2], n)
        if 0 in shape or length == 0:
            a, b = a.new_zeros(1, 1, 1), b.new_zeros(1, 1, 1)
        elif b.ndim == 2:  # rows of a batch count on
            a, b = a.reshape(1, -1, length), b[None]
        else:
            a = a.expand(*batch, *a.shape[-2:]).reshape(-1, *a.shape[-2:])
            b = b.expand(*batch, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
        x_batch, x_column, x_step = a.stride()
        w_batch, w_step, w_n = b.stride()
        rows = a.shape[1]
        fields = dict(
            batch=len(a), m=rows, n=n, m_words=rows, n_words=0, out_batch=rows * n,
            x_batch=x_batch, w_batch=w_batch, x_image=0, x_row=0, x_column=x_column, w_n=w_n,
            pixel_rows=1, pixel_columns=rows, out_image=0, out_pixel=n, out_n=1,
            x_along=int(x_step <= x_column), w_along=int(w_step <= w_n),
        )  # fmt: skip
        return Placed(
            config=config, x=a, w=b, length=length, extents=extents, fields=fields, order=order, shape=shape,
            offsets=_matrix_offsets(length, x_step, w_step, a.device),
        )  # fmt: skip

    def _placed_images(
        self,
        images: Tensor,
        weight: Tensor,
        config: MacConfig,
        geometry: Conv2dGeometry,
        order: Tensor | None,
        *,
        looks: bool,
    ) -> Placed:
        images, weight, order = self._brought(images, weight, order)
        groups, padding = geometry.groups, geometry.padding
        rows, columns = output_size(images.shape[2:], weight.shape[2:], geometry)
        channels, length = len(weight), weight.shape[1:].numel()
        if order is not None:
            golden.check_order(order, length, channels)
        extents = self._extents(images, weight, config, length, looks=looks)
        pixels, n = rows * columns, channels // groups
        if any(padding):
            images = functional.pad(images, (padding[1], padding[1], padding[0], padding[0]))
        images, weight = images.contiguous(), weight.contiguous()
        x_image, plane, line, _ = images.stride()
        fields = dict(
            batch=groups, m=len(images) * pixels, n=n, m_words=0, n_words=n, out_batch=n * pixels,
            x_batch=weight.shape[1] * plane, w_batch=n * length, x_image=x_image,
            x_row=geometry.stride[0] * line, x_column=geometry.stride[1], w_n=length,
            pixel_rows=rows, pixel_columns=columns, out_image=channels * pixels, out_pixel=1, out_n=pixels,
            x_along=0, w_along=1,
        )  # fmt: skip
        return Placed(
            config=config, x=images, w=weight, length=length, extents=extents, fields=fields, order=order,
            shape=(len(images), channels, rows, columns),
            offsets=_image_offsets(tuple(weight.shape[1:]), geometry.dilation, plane, line, images.device),
        )  # fmt: skip

    def _brought(self, a: Tensor, b: Tensor, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        device = a.device if a.device.type == self.kernels.device else torch.device(self.kernels.device)
        return _floats(a).to(device), _floats(b).to(device), None if order is None else order.to(device)

    def _extents(
        self, a: Tensor, b: Tensor, config: MacConfig, length: int, *, looks: bool
    ) -> tuple[Extent, Extent]:
        """Range of the operands: their formats' where that is enough. ValueError for what none holds."""
        suffices, extents = formats_suffice(config, length), []
        for values, number in ((a, config.x), (b, config.w)):
            whole = Extent.of(number)
            if not suffices or (looks and not holds(values, number)):
                measured = inspect(values, number, kernels=self.kernels)
                whole = whole if suffices else measured
            extents.append(whole)
        return tuple(extents)

    def _run(self, placed: Placed, random: RandomWords, dtype: torch.dtype) -> Tensor:
        device = placed.x.device
        if placed.is_empty:
            return torch.zeros(placed.shape, dtype=dtype, device=device)
        job = product_job(placed.config, placed.length, *placed.extents, random, by_column=placed.by_column)
        steps = placed.place(job)
        sums = job.lane_inner.way == Way.SUM
        out = torch.empty(placed.shape, dtype=torch.float64 if sums else dtype, device=device)
        job.out, job.out_double = out.data_ptr(), int(out.dtype == torch.float64)
        if job.path == 0:
            lost = torch.zeros(1, dtype=torch.int32, device=device)
            job.lost = lost.data_ptr()
        self.kernels.run(job, device)
        del steps
        if job.path == 0 and bool(lost):
            name = placed.config.outer_accumulator.format.name
            raise ValueError(f"a result is a code of {name} whose value has more than float64's 53 bits")
        return _wrapped(out, placed.config).to(dtype) if sums else out


def _is_placeable(images: Tensor, weight: Tensor, geometry: Conv2dGeometry, order: Tensor | None) -> bool:
    """Whether the kernels find a convolution's operands by themselves."""
    by_column = order is not None and order.ndim == 2
    are_images = images.ndim == 4 and weight.ndim == 4
    return are_images and not by_column and images.shape[1] == weight.shape[1] * geometry.groups


def _wrapped(sums: Tensor, config: MacConfig) -> Tensor:
    """Plain sums, float64, reduced to the accumulator's range where it wraps."""
    accumulator = config.accumulator
    if not isinstance(accumulator, FixedAccumulator) or accumulator.overflow is Overflow.SATURATE:
        return sums
    modulus = 2.0 ** (accumulator.format.bits + accumulator.format.lsb)
    return sums - ((sums + modulus / 2) / modulus).floor_() * modulus


@lru_cache(maxsize=1 << 10)
def _matrix_offsets(length: int, x_step: int, w_step: int, device: torch.device) -> Tensor:
    steps = torch.arange(length)
    return _settled(torch.stack([steps * x_step, steps * w_step]), device)


@lru_cache(maxsize=1 << 10)
def _image_offsets(
    kernel: tuple[int, ...], dilation: tuple[int, int], plane: int, line: int, device: torch.device
) -> Tensor:
    channel, row, column = (torch.arange(size) for size in kernel)
    x_steps = channel[:, None, None] * plane + row[:, None] * (dilation[0] * line) + column * dilation[1]
    return _settled(torch.stack([x_steps.flatten(), torch.arange(x_steps.numel())]), device)


def _settled(offsets: Tensor, device: torch.device) -> Tensor:
    """On the device, for streams to come as well."""
    offsets = offsets.to(device)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return offsets


def main() -> None:
    """Compile the kernels."""
    parser = Parser(prog="python -m sim.kernels.cuda", description=main.__doc__)
    parser.add_argument("action", choices=["build"])
    parser.parse_args()
    try:
        print(build())
    except ConfigError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
