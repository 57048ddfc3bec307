"""Others that multiply matrices: torch itself, and ways to compute narrow sums without kernels of ours.

Where a package is not installed, or does not work here, the results say so. None is a dependency.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib import metadata

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.cases import Case, Shape, find_case, operands
from benchmarks.measure import Contender
from benchmarks.ours import Slice
from golden.config import ConfigError, FloatFormat, MacConfig

__all__ = ["PACKAGES", "UNIT", "eager_matmul", "rivals", "torch_contenders", "versions"]

#: Packages that may be installed.
PACKAGES = ("numba", "mptorch", "qtorch")

#: ``what`` of the row whose time is 1.
UNIT = "torch float32"

_FLOAT12, _INT16 = find_case("float12, every check kept"), find_case("int16, saturating")


def versions() -> dict[str, str]:
    """Those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _contender(who: str, what: str, run: Callable[[], object], threads: int, **facts) -> Contender:
    row = {"who": who, "what": what, "config": None, "operands": None, "isa": None, "way": None}
    row |= {
        "reason": None,
        "note": None,
        "statistics": False,
        "overflow": None,
        "checked": None,
        "instructions": None,
    }
    return Contender(key=f"{what}|{threads}", threads=threads, run=run, facts=row | facts)


def torch_contenders(shape: Shape, threads: int, seed: int) -> list[Contender]:
    """What torch has itself: products of float32, and of 8-bit integers."""
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(size, generator=generator) for size in shape.operand_shapes)
    bell = "a bell curve"
    if shape.is_convolution:
        run = lambda: functional.conv2d(a, b, padding=1)  # noqa: E731 -- as the others below
        return [_contender("torch", UNIT, run, threads, operands=bell)]
    x, w = ((values * 40).round().clamp(-127, 127).to(torch.int8) for values in (a, b))
    if not torch.equal(torch._int_mm(x, w).double(), x.double() @ w.double()):
        raise AssertionError("torch._int_mm is not exact here")
    return [
        _contender("torch", UNIT, lambda: a @ b, threads, operands=bell),
        _contender(
            "torch",
            "torch._int_mm",
            lambda: torch._int_mm(x, w),
            threads,
            operands="integers up to 127",
            checked="equal to the sums of float64",
        ),
    ]


def rivals(shape: Shape, seed: int, *, slow: bool) -> tuple[list[Contender], list[dict]]:
    """What runs here on one thread, and what does not, with the reason.

    ``slow``: with those that take seconds where others take milliseconds.
    """
    makers = [("numba", "numba, float12", _numba_float), ("numba", "numba, int16", _numba_integer)]
    makers += [("mptorch", "mptorch", _mptorch)]
    if slow:
        makers += [
            ("torch", "eager loop over k, float12", _eager),
            ("qtorch", "loop over k, qtorch", _qtorch),
        ]
    contenders, absent = [], []
    for package, what, make in makers:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            # A package that is there may itself lack one.
            name = error.name or package
            absent.append({"what": what, "reason": f"{name} is not installed"})
            continue
        except Exception as error:  # some compile themselves on import, and fail in their own ways
            absent.append({"what": what, "reason": f"{package} cannot be imported: {_first_line(error)}"})
            continue
        try:
            case, run, other = make(shape, seed)
            a, b = operands(case, shape, seed)
            compute = run(a, b)
            values = compute()
        except AssertionError:
            raise
        except Exception as error:
            absent.append({"what": what, "reason": f"{package} does not run here: {_first_line(error)}"})
            continue
        facts = {"operands": case.operands, "note": other}
        if other is None:
            same = torch.as_tensor(values)
            expected = Slice.of(a, b, case.config, seed)
            facts |= {"config": case.config.name, "checked": expected.check(what, same)}
        contenders.append(_contender(package, what, compute, 1, **facts))
    return contenders, absent


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:200]


_Made = tuple[Case, Callable[[Tensor, Tensor], Callable[[], object]], str | None]


def _limits(config: MacConfig) -> list[tuple[float, float]]:
    """Smallest and largest magnitudes of products and of sums, for formats without subnormals."""
    return [(_smallest(part.format), part.format.max_value) for part in (config.product, config.accumulator)]


def _smallest(number: FloatFormat) -> float:
    if number.subnormals:
        raise ConfigError(f"{number.name} has subnormals, which the rivals do not compute")
    return 2.0**-number.bias * (1 + 2.0**-number.man_bits)


def _numba_float(shape: Shape, seed: int) -> _Made:
    """The same arithmetic in float64, which holds every sum: cut to the bits kept, flush, saturate."""
    import numba

    config = _FLOAT12.config
    keep = np.int64(-1 << (52 - config.accumulator.format.man_bits))

    @numba.njit(inline="always")
    def rounded(value, smallest, largest):
        cut = np.float64(np.int64(np.float64(value).view(np.int64) & keep).view(np.float64))
        cut = cut if abs(cut) >= smallest else 0.0
        return min(max(cut, -largest), largest)

    @numba.njit(parallel=False)
    def multiply(a, b, chunk, p_smallest, p_largest, smallest, largest):
        m, length = a.shape
        n = b.shape[1]
        out = np.zeros((m, n))
        acc = np.empty(n)
        for i in range(m):
            total = out[i]
            for first in range(0, length, chunk):
                acc[:] = 0.0
                for k in range(first, min(first + chunk, length)):
                    x = a[i, k]
                    row = b[k]
                    for j in range(n):
                        acc[j] = rounded(
                            acc[j] + rounded(x * row[j], p_smallest, p_largest), smallest, largest
                        )
                for j in range(n):
                    total[j] = rounded(total[j] + acc[j], smallest, largest)
        return out

    (p_smallest, p_largest), (smallest, largest) = _limits(config)

    def prepare(a: Tensor, b: Tensor) -> Callable[[], object]:
        x, w = a.double().numpy(), b.double().numpy()
        return lambda: multiply(x, w, config.chunk_size, p_smallest, p_largest, smallest, largest)

    return _FLOAT12, prepare, None


def _numba_integer(shape: Shape, seed: int) -> _Made:
    """Saturating integers in int32."""
    import numba

    config = _INT16.config

    @numba.njit(parallel=False)
    def product(a, b, chunk, low, high):
        m, length = a.shape
        n = b.shape[1]
        out = np.zeros((m, n), np.int32)
        acc = np.empty(n, np.int32)
        for i in range(m):
            total = out[i]
            for first in range(0, length, chunk):
                acc[:] = 0
                for k in range(first, min(first + chunk, length)):
                    x = a[i, k]
                    row = b[k]
                    for j in range(n):
                        acc[j] = min(max(acc[j] + x * row[j], low), high)
                for j in range(n):
                    total[j] = min(max(total[j] + acc[j], low), high)
        return out

    number = config.accumulator.format

    def prepare(a: Tensor, b: Tensor) -> Callable[[], object]:
        x, w = a.int().numpy(), b.int().numpy()
        low, high = np.int32(number.min_integer), np.int32(number.max_integer)
        return lambda: product(x, w, config.chunk_size, low, high)

    return _INT16, prepare, None


def eager_matmul(a: Tensor, b: Tensor, config: MacConfig) -> Tensor:
    """The steps one k after another on whole float64 tensors, toward zero: what one writes first."""
    keep = -1 << (52 - config.accumulator.format.man_bits)
    products, sums = _limits(config)

    def rounded(values: Tensor, limits: tuple[float, float]) -> Tensor:
        cut = (values.view(torch.int64) & keep).view(torch.float64)
        return torch.where(cut.abs() < limits[0], 0.0, cut).clamp(-limits[1], limits[1])

    total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.float64)
    for first in range(0, a.shape[1], config.chunk_size):
        acc = torch.zeros_like(total)
        for k in range(first, min(first + config.chunk_size, a.shape[1])):
            acc = rounded(acc + rounded(a[:, k, None] * b[k], products), sums)
        total = rounded(total + acc, sums)
    return total


def _eager(shape: Shape, seed: int) -> _Made:
    config = _FLOAT12.config

    def prepare(a: Tensor, b: Tensor) -> Callable[[], object]:
        x, w = a.double(), b.double()
        return lambda: eager_matmul(x, w, config)

    return _FLOAT12, prepare, None


def _qtorch(shape: Shape, seed: int) -> _Made:
    """Its elementwise quantizer of the same widths, product by product; no chunks."""
    from qtorch.quant import float_quantize

    number = _FLOAT12.config.accumulator.format

    def rounded(values: Tensor) -> Tensor:
        return float_quantize(values, exp=number.exp_bits, man=number.man_bits, rounding="nearest")

    def prepare(a: Tensor, b: Tensor) -> Callable[[], object]:
        def run() -> Tensor:
            acc = torch.zeros(a.shape[0], b.shape[1])
            for k in range(a.shape[1]):
                acc = rounded(acc + rounded(a[:, k, None] * b[k]))
            return acc

        return run

    return _FLOAT12, prepare, "other arithmetic: nearest, the standard bias, no chunks"


def _mptorch(shape: Shape, seed: int) -> _Made:
    """Its matrix product with formats of the same widths."""
    from mptorch.quant import float_mm

    number = _FLOAT12.config.accumulator.format
    widths = {"man_add": number.man_bits, "exp_add": number.exp_bits}
    widths |= {"man_mul": number.man_bits, "exp_mul": number.exp_bits}

    def prepare(a: Tensor, b: Tensor) -> Callable[[], object]:
        return lambda: float_mm(
            a, b, rounding="nearest", fma=False, subnormals=False, saturate=True, **widths
        )

    return _FLOAT12, prepare, "other arithmetic: nearest, the standard bias, no chunks"
