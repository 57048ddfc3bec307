"""The kernels of a graphics card: their compilation, and the C interface."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from ctypes import Structure, c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

import torch

from golden.config import ConfigError
from sim.kernels.library import LaneStep, Step

__all__ = ["Job", "Kernels", "Masked", "Masks", "Numbers", "build", "card_kernels"]

NATIVE = Path(__file__).resolve().parent / "native"
SOURCES = ("cuda.cu", "cuda_masks.cu", "cuda_masked.cu", "cuda_numbers.cu")
HEADERS = ("cuda_tile.h", "cuda_masks.h", "cuda_steps.h", "steps.h")
BUILDS = Path(__file__).resolve().parents[2] / "build" / "cuda"
#: By compiler. One for processors builds the tests' twin, where nothing may be contracted.
FLAGS = {
    "nvcc": "-std=c++17 -O3 -shared -Xcompiler -fPIC,-Wall,-Wextra,-Wno-unknown-pragmas --threads 0 "
    "-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=[sm_90,compute_90]",
    "g++": "-std=c++17 -O2 -shared -fPIC -Wall -Wextra -ffp-contract=off -x c++",
}
STRICT = {"nvcc": "--Werror all-warnings -Xcompiler -Werror", "g++": "-Werror"}
OLDEST = (8, 0)  #: Compute capability.


def build(compiler: str = "nvcc", *, strict: bool = False) -> Path:
    """The library, compiled unless it is there from these sources and flags; ``strict``: warnings are errors.

    Raises ConfigError where there is no such compiler, and where it fails.
    """
    if shutil.which(compiler) is None:
        raise ConfigError(
            f"the kernels of backend 'cuda' are compiled by {compiler}, which is not on the PATH; install "
            "NVIDIA's CUDA toolkit, or use backend 'cpu'"
        )
    flags = [*(STRICT[compiler].split() if strict else ()), *FLAGS[compiler].split()]
    content = "\0".join([compiler, *flags, *((NATIVE / name).read_text() for name in (*SOURCES, *HEADERS))])
    target = BUILDS / hashlib.sha256(content.encode()).hexdigest()[:16] / "kernels.so"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{os.getpid()}.so")
    command = [compiler, *flags, *SOURCES, "-o", str(scratch)]
    try:
        done = subprocess.run(command, cwd=NATIVE, capture_output=True, text=True)
        if done.returncode:
            raise ConfigError(
                f"{compiler} cannot compile the kernels of backend 'cuda'; install another CUDA toolkit, or "
                f"use backend 'cpu'. {' '.join(command)} says:\n{done.stdout}{done.stderr}"
            )
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


class Masks(Structure):
    """``fmaq_cuda_masks``: which steps of a job let a gradient pass."""

    _fields_ = (
        ("job", Job),
        ("rule", c_int32),
        ("recursive", c_int32),
        ("fraction", c_double),
        ("first", c_int64),
        ("bits", c_void_p),
    )


class Masked(Structure):
    """``fmaq_cuda_masked``: the gradient of one operand."""

    _fields_ = (
        ("job", Job),
        ("of_w", c_int32),
        ("first", c_int64),
        ("slices", c_int64),
        *((name, c_void_p) for name in ("bits", "grad", "out", "out_k")),
        *((name, c_int64) for name in ("to_batch", "to_image", "to_pixel", "to_n", "to_slice")),
    )


class Numbers(Structure):
    """``fmaq_cuda_numbers``: numbers that are looked at, or rounded to a format."""

    _fields_ = (
        *((name, c_void_p) for name in ("data", "out", "scales", "found")),
        *((name, c_int64) for name in ("n", "run", "channels")),
        *((name, c_int32) for name in ("is_double", "out_double", "kind", "man_bits", "subnormals")),
        *((name, c_double) for name in ("largest", "smallest", "low", "high", "unit", "scale")),
    )


class Kernels:
    """A library, and the type of device whose tensors it takes: "cuda", or "cpu" for the twin."""

    def __init__(self, file: Path, device: str, processors: int = 0):
        self.device = device
        self._processors = processors
        self._library = ctypes.CDLL(str(file))
        for structure, name in ((Job, "job"), (Masks, "masks"), (Masked, "masked"), (Numbers, "numbers")):
            size = c_int64.in_dll(self._library, f"fmaq_cuda_{name}_size").value
            if size != ctypes.sizeof(structure):  # pointers would be read from elsewhere
                raise AssertionError(
                    f"fmaq_cuda_{name} has {size} bytes, its mirror {ctypes.sizeof(structure)}"
                )
        for name in ("run", "mask", "masked_product", "quantize", "inspect"):
            getattr(self._library, f"fmaq_cuda_{name}").argtypes = (c_void_p, c_void_p)
        self._library.fmaq_cuda_error.restype = ctypes.c_char_p

    def processors(self, device: torch.device) -> int:
        """That are to be kept busy."""
        return _processors(device) if device.type == "cuda" else self._processors

    def run(self, job: Job, device: torch.device) -> None:
        """Have the job computed on the device's current stream."""
        job.processors = self.processors(device)
        self.call("run", job, device)

    def call(self, name: str, structure: Structure, device: torch.device) -> None:
        """Start ``mask``, ``masked_product``, ``quantize`` or ``inspect`` on the device's current stream."""
        self._start(getattr(self._library, f"fmaq_cuda_{name}"), device, ctypes.addressof(structure))

    def run_chains(self, blocks: int, steps: int, device: torch.device) -> int:
        """Start FMAs that wait for nothing but the one before, 4096 chains to a block; their number."""
        out = torch.empty(blocks * 256, device=device)
        function = self._library.fmaq_cuda_chain
        function.argtypes = (c_void_p, c_int32, c_int64, c_void_p)
        self._start(function, device, out.data_ptr(), blocks, steps)
        return blocks * 4096 * steps

    def _start(self, function: Callable, device: torch.device, *arguments: object) -> None:
        if device.type == "cuda":
            with torch.cuda.device(device):
                error = function(*arguments, torch.cuda.current_stream(device).cuda_stream)
        else:
            error = function(*arguments, None)
        if error:
            raise RuntimeError(f"CUDA: {self._library.fmaq_cuda_error(error).decode()}")


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


@cache
def card_kernels() -> Kernels:
    """Those of this machine's card; ConfigError where there is none, or no compiler."""
    if not torch.cuda.is_available():
        raise ConfigError(
            "backend 'cuda' needs an NVIDIA GPU that torch sees, and there is none; use backend 'cpu'"
        )
    capability = torch.cuda.get_device_capability()
    if capability < OLDEST:
        raise ConfigError(
            f"backend 'cuda' needs compute capability {OLDEST[0]}.{OLDEST[1]} or newer, and this GPU has "
            f"{capability[0]}.{capability[1]}; use backend 'cpu'"
        )
    return Kernels(build(), "cuda")
