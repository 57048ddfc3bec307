"""The kernel library: C structures, field by field, and the functions of the widest instruction set."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from golden.config import ConfigError

__all__ = [
    "Extent",
    "Gradient",
    "Job",
    "LaneStep",
    "Operand",
    "Step",
    "call",
    "default_mode",
    "instruction_sets",
]


class Step(Structure):
    """``fmaq_step``: a quantizer or an accumulator, for the integer steps."""

    _fields_ = (
        *((name, c_int32) for name in ("kind", "rounding", "man_bits", "bias")),
        *((name, c_int32) for name in ("subnormals", "guard_bits", "wrap", "random_bits")),
        ("max_code", c_int64),
    )


class LaneStep(Structure):
    """``fmaq_lane_step``: the same for the steps of a vector type."""

    _fields_ = (
        *((name, c_int32) for name in ("way", "man_bits", "guard", "guard_bits")),
        *((name, c_int32) for name in ("random_bits", "flush", "wrap", "same_fixed")),
        *((name, c_double) for name in ("scale", "maximum", "limit", "smallest")),
        *((name, c_double) for name in ("min_normal", "low", "high", "growth")),
    )


class Job(Structure):
    """``fmaq_job``: one call of the kernel."""

    _fields_ = (
        *((name, c_int32) for name in ("path", "threads", "x_double", "w_double", "out_double")),
        *((name, c_int32) for name in ("plain_out", "underflows", "shift")),
        ("call", c_uint32),
        ("seed", c_uint64),
        *((name, c_void_p) for name in ("x", "w", "out")),
        *((name, c_int64) for name in ("batch", "m", "n", "k", "chunk")),
        *((name, c_int64) for name in ("x_batch", "w_batch", "out_batch")),
        *((name, c_int64) for name in ("pixel_rows", "pixel_columns")),
        *((name, c_int64) for name in ("x_image", "x_row", "x_column")),
        *((name, c_int64) for name in ("out_image", "out_pixel", "out_n", "w_n")),
        *((name, c_int64) for name in ("planes", "height", "width", "pad_rows", "pad_columns")),
        ("x_k", c_void_p),
        ("w_k", c_void_p),
        ("k_columns", c_int64),
        ("m_words", c_int64),
        ("n_words", c_int64),
        ("n_first", c_int64),
        *((name, c_double) for name in ("x_scale", "w_scale", "out_scale", "out_scale_rest")),
        *((name, c_double) for name in ("x_norm", "w_norm")),
        ("inner_shift", c_int32),
        ("outer_shift", c_int32),
        *((name, Step) for name in ("product", "inner", "outer")),
        *((name, LaneStep) for name in ("lane_product", "lane_inner", "lane_outer")),
        *((name, c_void_p) for name in ("counts", "low", "high")),
    )


class Gradient(Structure):
    """``fmaq_gradient``: what the gradients of a job's operands take beside it."""

    _fields_ = (
        *((name, c_int32) for name in ("difference", "recursive")),
        ("threshold", c_double),
        *((name, c_void_p) for name in ("of_out", "of_x", "of_w", "masks")),
        *((name, c_void_p) for name in ("x_k", "w_k", "place", "index")),
    )


class Operand(Structure):
    """``fmaq_operand``: numbers that are looked at, or rounded to a format."""

    _fields_ = (
        ("data", c_void_p),
        ("n", c_int64),
        *((name, c_int32) for name in ("is_double", "out_double", "threads")),
        *((name, c_int32) for name in ("kind", "man_bits", "subnormals")),
        *((name, c_double) for name in ("largest", "smallest", "low", "high", "unit", "scale")),
    )


class Extent(Structure):
    """``fmaq_extent``: the largest and smallest magnitudes that are not zero."""

    _fields_ = (("largest", c_double), ("smallest", c_double), ("held", c_int32))


_WIDEST_FIRST = ("avx512fp16", "avx512", "avx2", "generic")


@cache
def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("sim.kernels._native")
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ConfigError(
            "the kernel library is not built; run `pip install -e .` in the project's folder, "
            "or use backend 'golden'"
        )
    import torch  # noqa: F401 -- brings the OpenMP runtime that the library is to share

    return ctypes.CDLL(spec.origin)


@contextmanager
def default_mode() -> Iterator[None]:
    """Round to nearest and keep subnormals, whatever the caller's mode, in what Python computes of a plan."""
    set_mode = _set_mode()
    old = set_mode(0, 1)
    try:
        yield
    finally:
        set_mode(old, 0)


@cache
def _set_mode():
    function = _library().fmaq_set_mode
    function.restype, function.argtypes = c_uint64, (c_uint64, ctypes.c_int)
    return function


@cache
def instruction_sets() -> tuple[str, ...]:
    """What the library was built for and this machine has, the widest first; ``generic`` is always there."""
    supports = _library().fmaq_supports
    supports.restype, supports.argtypes = ctypes.c_int, (ctypes.c_char_p,)
    built = (isa for isa in _WIDEST_FIRST if hasattr(_library(), f"fmaq_run_{isa}"))
    return tuple(isa for isa in built if supports(isa.encode()))


@cache
def _function(name: str, isa: str):
    function = getattr(_library(), f"fmaq_{name}_{isa}")
    function.restype = ctypes.c_int
    function.argtypes = {
        "run": (POINTER(Job),),
        "backward": (POINTER(Job), POINTER(Gradient)),
        "inspect": (POINTER(Operand), POINTER(Extent)),
        "quantize": (POINTER(Operand), c_void_p),
    }[name]
    return function


def call(name: str, *arguments, isa: str | None = None) -> int:
    """Call ``run``, ``backward``, ``inspect`` or ``quantize`` of an instruction set, by default the best."""
    return _function(name, isa or instruction_sets()[0])(*arguments)
