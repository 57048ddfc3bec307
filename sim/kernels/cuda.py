"""Products on a graphics card: ``python -m sim.kernels.cuda build`` compiles them, or else their first use.

What a card computes exactly is proved by :mod:`sim.kernels.lanes`, as for the processor's vectors in single
precision; what is not runs on integers, one output to a thread.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from golden import accumulate as golden
from golden.accumulate import FIRST_WORDS, Events
from golden.codes import encode
from golden.config import ConfigError, Encoding, FixedFormat, FloatFormat, Format, MacConfig
from golden.random_words import RandomWords
from hw.command_line import Parser
from sim.backends import Backend, CpuBackend
from sim.kernels.cuda_library import Job, Kernels, build, card_kernels
from sim.kernels.geometry import Conv2dGeometry, output_size
from sim.kernels.lanes import SINGLE, Extent, LanePlan, NotExact, Way, _operand_shift
from sim.kernels.library import LaneStep
from sim.kernels.plan import Path, Plan, ways
from sim.kernels.product import _floats, _step, _wrapped

__all__ = ["CudaBackend", "explain"]

_FLOAT_WAYS = (Way.RZ, Way.RNE, Way.SR)
_TOP = 3  #: The path of sums that saturate by themselves.


def _plan(config: MacConfig, length: int, x: Extent, w: Extent) -> Plan:
    """The fastest way of the processor's that a card has, too."""
    for plan in ways(config, length, x, w, isa="cuda")[0]:
        if plan.path in (Path.SUMS, Path.SCALAR) or (plan.path is Path.SINGLE and _has(plan.lanes)):
            return plan
    raise AssertionError("the steps on integers are always there")


def _has(lanes: LanePlan) -> bool:
    """Whether a card has a lane's steps."""
    product, inner, outer = lanes.product, lanes.inner, lanes.outer
    if inner.guard or outer.guard:
        return False
    if inner.way in _FLOAT_WAYS:
        return outer.way in _FLOAT_WAYS and product.way in (Way.NONE, Way.EXACT, *_FLOAT_WAYS)
    return outer.way == Way.WHOLE if inner.way == Way.WHOLE else bool(outer.same_fixed)


def _at_top(config: MacConfig, lanes: LanePlan, x: Extent, w: Extent) -> LanePlan | None:
    """The same at scales where the largest number of each format is that of binary32 with as many bits.

    Then rounding toward zero saturates. None where the ways are others, or a format has such a range that
    the differences of its sums fall below 1 at this scale.
    """
    inner, outer, quantizer = config.accumulator, config.outer_accumulator, config.product
    for part in filter(None, (inner, outer, quantizer)):
        number = part.format
        if isinstance(number, FixedFormat) or number.encoding is not Encoding.NORMALS or number.exp_bits > 6:
            return None
    if {lanes.inner.way, lanes.outer.way} != {Way.RZ} or lanes.product.way in (Way.RNE, Way.SR):
        return None

    def shift(number: FloatFormat) -> int:
        return SINGLE.max_exponent - number.max_exponent

    def moved(step: LaneStep, number: FloatFormat, old: int, new: int, addend: int) -> LaneStep:
        step = LaneStep.from_buffer_copy(step)
        step.maximum, step.smallest = math.ldexp(number.max_value, new), math.ldexp(step.smallest, new - old)
        if not SINGLE.min_exponent <= new - addend <= SINGLE.max_exponent:
            raise NotExact(f"a factor of 2**{new - addend}")
        step.scale = 2.0 ** (new - addend)
        return step

    largest, inner_shift, outer_shift = x.largest * w.largest, shift(inner.format), shift(outer.format)
    product, product_shift = LaneStep(), inner_shift
    try:
        if quantizer is not None:
            held = largest <= quantizer.format.max_value and not lanes.underflows
            normal = x.bottom + w.bottom + inner_shift >= SINGLE.min_exponent
            if not held or lanes.product.way != Way.EXACT:  # else the quantizer changes nothing
                if not (held and normal and largest <= inner.format.max_value):
                    product_shift = shift(quantizer.format)
                old = lanes.x_shift + lanes.w_shift
                product = moved(lanes.product, quantizer.format, old, product_shift, product_shift)
        x_shift = _operand_shift(x, w, product_shift, SINGLE)
        return replace(
            lanes,
            product=product,
            inner=moved(lanes.inner, inner.format, lanes.inner_shift, inner_shift, product_shift),
            outer=moved(lanes.outer, outer.format, lanes.outer_shift, outer_shift, inner_shift),
            x_shift=x_shift,
            w_shift=product_shift - x_shift,
            outer_shift=outer_shift,
        )
    except NotExact:
        return None


def explain(config: MacConfig, length: int) -> str:
    """Which way a card computes sums of ``length`` products of any operands."""
    x, w = Extent.of(config.x), Extent.of(config.w)
    plan = _plan(config, length, x, w)
    if plan.path is Path.SINGLE and _at_top(config, plan.lanes, x, w):
        return "steps in single precision, saturated by rounding toward zero"
    return plan.reason


def _job(
    config: MacConfig, length: int, x: Extent, w: Extent, random: RandomWords, *, by_column: bool
) -> tuple[Job, tuple[int, int]]:
    """What a configuration and the range of operands decide, and the powers of two that scale these."""
    plan = _plan(config, length, x, w)
    if by_column and plan.path is not Path.SUMS:
        plan = Plan(path=Path.SCALAR, reason="each column has an order of its own")
    job = Job(k=length, chunk=config.chunk_size, call=random.call, seed=random.seed)
    parts = (config.product, config.accumulator, config.outer_accumulator)
    job.product, job.inner, job.outer = (_step(part) for part in parts)
    job.out_scale = job.out_scale_rest = 1.0
    lanes = plan.lanes
    if lanes is None:
        return job, (0, 0)
    job.path = lanes.lane.path
    if plan.path is Path.SUMS:
        job.chunk = length
    elif (top := _at_top(config, lanes, x, w)) is not None:
        job.path, lanes = _TOP, top
    job.underflows = int(lanes.underflows)
    half = lanes.outer_shift // 2
    job.out_scale, job.out_scale_rest = 2.0**-half, 2.0 ** -(lanes.outer_shift - half)
    job.lane_product, job.lane_inner, job.lane_outer = lanes.product, lanes.inner, lanes.outer
    return job, (lanes.x_shift, lanes.w_shift)


def _scaled(values: Tensor, shift: int, job: Job) -> Tensor:
    """The operand as the job's path takes it: nothing is lost, by the plan's proof."""
    values = values.double() * 2.0**shift
    return values.float() if job.path in (1, _TOP) else values


def _extent(values: Tensor, number: Format) -> Extent:
    """Range of the values; ValueError as from golden if the format does not hold them."""
    if values.numel() == 0:
        return Extent(largest=0.0, smallest=0.0)
    values = values.double()
    magnitudes = values.abs()
    if isinstance(number, FixedFormat):
        units = values * 2.0**-number.lsb
        held = (units == units.trunc()) & (units >= number.min_integer) & (units <= number.max_integer)
    else:
        held = values.view(torch.int64) & ((1 << (52 - number.man_bits)) - 1) == 0
        if number.subnormals:
            units = magnitudes * 2.0**-number.lsb_exponent
            held = torch.where(magnitudes < 2.0 ** (1 - number.bias), units == units.trunc(), held)
        else:
            held &= (magnitudes > number.flush_value) | (magnitudes == 0)
        held &= magnitudes <= number.max_value
    smallest = torch.where(magnitudes > 0, magnitudes, math.inf).min()
    numbers = torch.stack([held.all().double(), magnitudes.max(), smallest]).tolist()
    if not numbers[0]:
        encode(values, number)  # names the first that it does not hold
        raise AssertionError(f"{number.name} holds what seemed not to be held")
    return Extent(largest=numbers[1], smallest=numbers[2] if numbers[1] else 0.0)


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
    def explain(config: MacConfig, length: int) -> str:
        """Which way products are computed; see :func:`explain`."""
        return explain(config, length)

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
        if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
            raise ValueError(
                f"matmul takes a[..., m, k] and b[..., k, n], not {list(a.shape)} and {list(b.shape)}"
            )
        home, (a, b, order) = a.device, self._brought(a, b, order)
        length, n = b.shape[-2:]
        if order is not None:
            golden.check_order(order, length, n)
        x, w = _extent(a, config.x), _extent(b, config.w)
        batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*batch, a.shape[-2], n)
        if 0 in shape or length == 0:
            return torch.zeros(shape, dtype=dtype, device=home)
        by_column = order is not None and order.ndim == 2
        job, shifts = _job(config, length, x, w, random, by_column=by_column)
        a, b = (_scaled(values, shift, job) for values, shift in zip((a, b), shifts, strict=True))
        if b.ndim == 2:  # rows of a batch count on
            a, b = a.reshape(1, -1, length), b[None]
        else:
            a = a.expand(*batch, *a.shape[-2:]).reshape(-1, *a.shape[-2:])
            b = b.expand(*batch, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
        job.batch, m, _ = a.shape
        job.m, job.n, job.m_words, job.out_batch = m, n, m, m * n
        job.x_batch, job.x_column, x_step = a.stride()
        job.w_batch, w_step, job.w_n = b.stride()
        job.pixel_rows, job.pixel_columns, job.out_pixel, job.out_n = 1, m, n, 1
        job.x_along, job.w_along = x_step <= job.x_column, w_step <= job.w_n
        steps = torch.arange(length, device=a.device)
        offsets = torch.stack([steps * x_step, steps * w_step])
        return self._run(job, config, a, b, offsets, order, shape, dtype).to(home)

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
        groups, padding = geometry.groups, geometry.padding
        by_column = order is not None and order.ndim == 2
        if by_column or images.ndim != 4 or weight.ndim != 4 or images.shape[1] != weight.shape[1] * groups:
            return super().conv2d(images, weight, config, geometry, order, random, dtype=dtype)
        home, (images, weight, order) = images.device, self._brought(images, weight, order)
        x, w = _extent(images, config.x), _extent(weight, config.w)
        rows, columns = output_size(images.shape[2:], weight.shape[2:], geometry)
        channels, length = len(weight), weight.shape[1:].numel()
        if order is not None:
            golden.check_order(order, length, channels)
        shape, pixels, n = (len(images), channels, rows, columns), rows * columns, channels // groups
        if 0 in shape or length == 0:
            return torch.zeros(shape, dtype=dtype, device=home)
        job, shifts = _job(config, length, x, w, random, by_column=False)
        images = functional.pad(images, (padding[1], padding[1], padding[0], padding[0]))
        images, weight = (
            _scaled(values, shift, job).contiguous()
            for values, shift in zip((images, weight), shifts, strict=True)
        )
        job.x_image, plane, line, _ = images.stride()
        channel, row, column = (torch.arange(size, device=images.device) for size in weight.shape[1:])
        x_steps = (
            channel[:, None, None] * plane
            + row[:, None] * (geometry.dilation[0] * line)
            + column * geometry.dilation[1]
        )
        offsets = torch.stack([x_steps.flatten(), torch.arange(length, device=images.device)])
        job.batch, job.m, job.n, job.n_words = groups, len(images) * pixels, n, n
        job.x_batch, job.w_batch, job.out_batch = weight.shape[1] * plane, n * length, n * pixels
        job.pixel_rows, job.pixel_columns = rows, columns
        job.x_row, job.x_column = geometry.stride[0] * line, geometry.stride[1]
        job.out_image, job.out_pixel, job.out_n = channels * pixels, 1, pixels
        job.w_n, job.w_along = length, 1
        return self._run(job, config, images, weight, offsets, order, shape, dtype).to(home)

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

    def _brought(self, a: Tensor, b: Tensor, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        device = a.device if a.device.type == self.kernels.device else torch.device(self.kernels.device)
        return _floats(a).to(device), _floats(b).to(device), None if order is None else order.to(device)

    def _run(
        self,
        job: Job,
        config: MacConfig,
        x: Tensor,
        w: Tensor,
        offsets: Tensor,
        order: Tensor | None,
        shape: tuple[int, ...],
        dtype: torch.dtype,
    ) -> Tensor:
        sums = job.lane_inner.way == Way.SUM
        if order is not None and not sums:
            offsets = offsets[:, order].contiguous()
            job.k_columns = order.shape[1] if order.ndim == 2 else 0
        out = torch.empty(shape, dtype=torch.float64 if sums else dtype, device=x.device)
        lost = torch.zeros(1, dtype=torch.int32, device=x.device)
        job.x, job.w, job.out, job.lost = (tensor.data_ptr() for tensor in (x, w, out, lost))
        job.x_k, job.w_k = offsets[0].data_ptr(), offsets[1].data_ptr()
        job.out_double = int(out.dtype == torch.float64)
        self.kernels.run(job, x.device)
        if job.path == 0 and bool(lost):
            name = config.outer_accumulator.format.name
            raise ValueError(f"a result is a code of {name} whose value has more than float64's 53 bits")
        return _wrapped(out, config).to(dtype) if sums else out


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
