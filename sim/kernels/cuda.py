"""Products on a graphics card: ``python -m sim.kernels.cuda build`` compiles its kernels, or else their first use.

What a card computes exactly is proved by :mod:`sim.kernels.lanes`, as for the processor's vectors in single
precision; what is not runs on integers, one output to a thread.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import shutil
import subprocess
from ctypes import Structure, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from golden import accumulate as golden
from golden.accumulate import FIRST_WORDS, Events
from golden.codes import encode
from golden.config import ConfigError, Encoding, FixedFormat, FloatFormat, Format, MacConfig
from golden.random_words import RandomWords
from hw.command_line import Parser
from sim.backends import Backend, find_backend
from sim.kernels import plan as plans
from sim.kernels.geometry import Conv2dGeometry, output_size
from sim.kernels.lanes import SINGLE, Extent, LanePlan, NotExact, Way, _operand_shift
from sim.kernels.library import LaneStep, Step
from sim.kernels.product import _floats, _step, _wrapped

__all__ = ["CudaBackend", "Job", "Kernels", "build", "explain"]

NATIVE = Path(__file__).resolve().parent / "native"
SOURCES = ("cuda.cu", "cuda_steps.h", "steps.h")
BUILDS = Path(__file__).resolve().parents[2] / "build" / "cuda"
#: By compiler. One for processors builds the tests' twin, where nothing may be contracted.
FLAGS = {
    "nvcc": "-std=c++17 -O3 -shared -Xcompiler -fPIC,-Wall,-Wextra,-Wno-unknown-pragmas --threads 2 "
    "-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=[sm_90,compute_90]",
    "g++": "-std=c++17 -O2 -shared -fPIC -Wall -Wextra -ffp-contract=off -x c++",
}
STRICT = {"nvcc": "--Werror all-warnings -Xcompiler -Werror", "g++": "-Werror"}
OLDEST = (8, 0)  #: Compute capability.


def build(compiler: str = "nvcc", *, strict: bool = False) -> Path:
    """The library, compiled unless it is there from these sources and flags; ``strict``: without a warning.

    Raises ConfigError where there is no such compiler.
    """
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"the kernels of backend 'cuda' are compiled by {compiler}, which is not on the PATH; install "
            "NVIDIA's CUDA toolkit, or use backend 'cpu'"
        )
    flags = [*(STRICT[compiler].split() if strict else ()), *FLAGS[compiler].split()]
    content = "\0".join([compiler, *flags, *((NATIVE / name).read_text() for name in SOURCES)])
    target = BUILDS / hashlib.sha256(content.encode()).hexdigest()[:16] / "kernels.so"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{os.getpid()}.so")
        command = [compiler, *flags, str(NATIVE / SOURCES[0]), "-o", str(scratch)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    return target


class Job(Structure):
    """``fmaq_cuda_job``: one call of the kernels."""

    _fields_ = (
        *((name, c_int32) for name in ("path", "processors", "x_double", "w_double", "out_double")),
        *((name, c_int32) for name in ("x_along", "w_along", "underflows")),
        ("call", c_uint32),
        ("seed", c_uint64),
        *((name, c_void_p) for name in ("x", "w", "out", "lost", "x_k", "w_k")),
        *((name, c_int64) for name in ("k_columns", "batch", "m", "n", "k", "chunk")),
        *((name, c_int64) for name in ("x_batch", "w_batch", "out_batch")),
        *((name, c_int64) for name in ("pixel_rows", "pixel_columns", "x_image", "x_row", "x_column")),
        *((name, c_int64) for name in ("out_image", "out_pixel", "out_n", "w_n", "m_words", "n_words")),
        *((name, c_double) for name in ("x_scale", "w_scale", "out_scale", "out_scale_rest")),
        *((name, Step) for name in ("product", "inner", "outer")),
        *((name, LaneStep) for name in ("lane_product", "lane_inner", "lane_outer")),
    )


class Kernels:
    """A library, and the type of device whose tensors it takes."""

    def __init__(self, file: Path, device: str, processors: int | None = None):
        self.device, self.processors = device, processors
        self._library = ctypes.CDLL(str(file))
        self._library.fmaq_cuda_run.argtypes = (ctypes.POINTER(Job), c_void_p)
        self._library.fmaq_cuda_error.restype = ctypes.c_char_p

    @classmethod
    @cache
    def of_card(cls) -> Kernels:
        """Those of this machine's card; ConfigError where there is none, or no compiler."""
        if not torch.cuda.is_available():
            raise ConfigError("backend 'cuda' needs an NVIDIA GPU that torch sees; use backend 'cpu'")
        if torch.cuda.get_device_capability() < OLDEST:
            raise ConfigError(
                f"backend 'cuda' needs compute capability {OLDEST[0]}.{OLDEST[1]}, and this GPU has "
                f"{'.'.join(map(str, torch.cuda.get_device_capability()))}; use backend 'cpu'"
            )
        return cls(build(), "cuda")

    def run(self, job: Job, device: torch.device) -> None:
        """Compute the job on the device's current stream."""
        stream, job.processors = None, self.processors or 0
        if device.type == "cuda":
            stream = torch.cuda.current_stream(device).cuda_stream
            job.processors = torch.cuda.get_device_properties(device).multi_processor_count
        with torch.cuda.device(device if device.type == "cuda" else -1):
            error = self._library.fmaq_cuda_run(job, stream)
        if error:
            raise RuntimeError(f"CUDA: {self._library.fmaq_cuda_error(error).decode()}")


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


# ------------------------------------------------------------------------------------------------
# Ways


_FLOAT_WAYS = (Way.RZ, Way.RNE, Way.SR)


def _plan(config: MacConfig, length: int, x: Extent, w: Extent) -> plans.Plan:
    """The fastest way of the processor's that a card has, too."""
    for plan in plans.ways(config, length, x, w, isa="cuda")[0]:
        if plan.path in (plans.Path.SUMS, plans.Path.SCALAR):
            return plan
        if plan.path is plans.Path.SINGLE and _has_card(plan.lanes):
            return plan
    raise AssertionError("the steps on integers are always there")


def _has_card(lanes: LanePlan) -> bool:
    inner, outer = lanes.inner, lanes.outer
    if inner.guard or outer.guard or max(abs(lanes.x_shift), abs(lanes.w_shift)) > 250:
        return False
    if inner.way in _FLOAT_WAYS:
        return outer.way in _FLOAT_WAYS and lanes.product.way in (Way.NONE, Way.EXACT, *_FLOAT_WAYS)
    return outer.way == Way.WHOLE if inner.way == Way.WHOLE else bool(outer.same_fixed)


def _at_top(config: MacConfig, lanes: LanePlan, x: Extent, w: Extent) -> LanePlan | None:
    """The same at scales where the largest number of each format is that of binary32 with as many bits.

    Then rounding toward zero saturates. None where the ways are others, or a format has such a range that
    the differences of its sums are below 1 at this scale.
    """
    inner, outer, quantizer = config.accumulator, config.outer_accumulator, config.product
    for part in filter(None, (inner, outer, quantizer)):
        number = part.format
        if isinstance(number, FixedFormat) or number.encoding is not Encoding.NORMALS or number.exp_bits > 6:
            return None
    if lanes.inner.way != Way.RZ or Way.SR in (lanes.product.way, lanes.outer.way) or lanes.product.way == Way.RNE:
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
            if not held or lanes.product.way != Way.EXACT:
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
    if plan.path is plans.Path.SINGLE and _at_top(config, plan.lanes, x, w):
        return "steps in single precision, saturated by rounding toward zero"
    return plan.reason


def _job(config: MacConfig, length: int, x: Extent, w: Extent, random: RandomWords, *, by_column: bool) -> Job:
    """The part of a job that a configuration and the range of operands decide."""
    plan = _plan(config, length, x, w)
    if by_column and plan.path is not plans.Path.SUMS:
        plan = plans.Plan(path=plans.Path.SCALAR, reason="each column has an order of its own")
    job = Job(
        k=length,
        chunk=config.chunk_size,
        call=random.call,
        seed=random.seed,
        product=_step(config.product),
        inner=_step(config.accumulator),
        outer=_step(config.outer_accumulator),
        out_scale=1.0,
        out_scale_rest=1.0,
    )
    lanes = plan.lanes
    if lanes is None:
        return job
    job.path = lanes.lane.path
    if plan.path is plans.Path.SUMS:
        job.chunk = length
    elif (top := _at_top(config, lanes, x, w)) is not None:
        job.path, lanes = 3, top
    job.underflows = int(lanes.underflows)
    job.x_scale, job.w_scale = 2.0**lanes.x_shift, 2.0**lanes.w_shift
    half = lanes.outer_shift // 2
    job.out_scale, job.out_scale_rest = 2.0**-half, 2.0 ** -(lanes.outer_shift - half)
    job.lane_product, job.lane_inner, job.lane_outer = lanes.product, lanes.inner, lanes.outer
    return job


# ------------------------------------------------------------------------------------------------


class CudaBackend(Backend):
    """The card's kernels. Tensors come from any device, and results are on the first operand's."""

    name = "cuda"

    def __init__(self, kernels: Kernels | None = None):
        self.kernels = kernels or Kernels.of_card()

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
        shape, batches = (*batch, a.shape[-2], n), 1
        if 0 in shape or length == 0:
            return torch.zeros(shape, dtype=dtype, device=home)
        if b.ndim == 2:
            a = a.reshape(1, -1, length)
        else:
            a = a.expand(*batch, *a.shape[-2:]).reshape(-1, *a.shape[-2:])
            b = b.expand(*batch, *b.shape[-2:]).reshape(-1, *b.shape[-2:])
            batches = len(a)
        m = a.shape[-2]
        job = _job(config, length, x, w, random, by_column=order is not None and order.ndim == 2)
        job.batch, job.m, job.n, job.m_words = batches, m, n, m
        job.x_batch, job.w_batch, job.out_batch = a.stride(0), b.stride(0) if b.ndim == 3 else 0, m * n
        job.pixel_rows, job.pixel_columns, job.x_column = 1, m, a.stride(-2)
        job.out_pixel, job.out_n, job.w_n = n, 1, b.stride(-1)
        job.x_along, job.w_along = a.stride(-1) <= a.stride(-2), b.stride(-2) <= b.stride(-1)
        offsets = torch.stack([torch.arange(length, device=a.device) * t for t in (a.stride(-1), b.stride(-2))])
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
        groups = geometry.groups
        by_column = order is not None and order.ndim == 2
        if by_column or images.ndim != 4 or weight.ndim != 4 or images.shape[1] != weight.shape[1] * groups:
            return super().conv2d(images, weight, config, geometry, order, random, dtype=dtype)
        home, (images, weight, order) = images.device, self._brought(images, weight, order)
        x, w = _extent(images, config.x), _extent(weight, config.w)
        rows, columns = output_size(images.shape[2:], weight.shape[2:], geometry)
        channels, length = len(weight), weight.shape[1:].numel()
        shape = (len(images), channels, rows, columns)
        if order is not None:
            golden.check_order(order, length, channels)
        if 0 in shape or length == 0:
            return torch.zeros(shape, dtype=dtype, device=home)
        padding, weight = geometry.padding, weight.contiguous()
        images = functional.pad(images, (padding[1], padding[1], padding[0], padding[0])).contiguous()
        image, plane, line, _ = images.stride()
        taps = [torch.arange(size, device=images.device) for size in weight.shape[1:]]
        strides = (plane, geometry.dilation[0] * line, geometry.dilation[1])
        x_offsets = sum(
            tap.view([-1 if i == j else 1 for j in range(3)]) * strides[i] for i, tap in enumerate(taps)
        )
        offsets = torch.stack([x_offsets.flatten(), torch.arange(length, device=images.device)])

        job = _job(config, length, x, w, random, by_column=False)
        job.batch, job.m, job.n = groups, len(images) * rows * columns, channels // groups
        job.n_words = job.n
        job.x_batch, job.w_batch = weight.shape[1] * plane, job.n * length
        job.out_batch = job.n * rows * columns
        job.pixel_rows, job.pixel_columns = rows, columns
        job.x_image, job.x_row, job.x_column = image, geometry.stride[0] * line, geometry.stride[1]
        job.out_image, job.out_pixel, job.out_n, job.w_n = channels * rows * columns, 1, rows * columns, length
        job.w_along = 1
        return self._run(job, config, images, weight, offsets, order, shape, dtype).to(home)

    def matmul_events(
        self,
        a: Tensor,
        b: Tensor,
        config: MacConfig,
        order: Tensor | None = None,
        random: RandomWords = FIRST_WORDS,
    ) -> tuple[Tensor, Events]:
        """On the processor, which counts them as it multiplies."""
        moved = None if order is None else order.cpu()
        values, events = find_backend("cpu").matmul_events(a.cpu(), b.cpu(), config, moved, random)
        return values.to(a.device), events

    def _brought(self, a: Tensor, b: Tensor, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        device = a.device if a.device.type == self.kernels.device else torch.device(self.kernels.device)
        a, b = (_floats(values).to(device) for values in (a, b))
        return a, b, None if order is None else order.to(device)

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
        if order is None or sums:
            steps = offsets.contiguous()
        else:
            steps = offsets[:, order].contiguous()
            job.k_columns = order.shape[1] if order.ndim == 2 else 0
        out = torch.empty(shape, dtype=torch.float64 if sums else dtype, device=x.device)
        lost = torch.zeros(1, dtype=torch.int32, device=x.device)
        job.x, job.w, job.out, job.lost = x.data_ptr(), w.data_ptr(), out.data_ptr(), lost.data_ptr()
        job.x_k, job.w_k = steps[0].data_ptr(), steps[1].data_ptr()
        job.x_double, job.w_double, job.out_double = (int(t.dtype == torch.float64) for t in (x, w, out))
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
