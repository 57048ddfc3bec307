"""One row of a zero-shot table: a network by the arithmetic of a configuration, judged and timed."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from sim.inject import accumulate
from sim.zero_shot.benchmarks import Benchmark
from sim.zero_shot.rows import Row

__all__ = ["environment", "key", "measure"]

#: Every so many batches float32 is timed on the same inputs, before the row and after it.
_TIMED_EVERY = 4


def key(network: str, row: Row, n: int, seed: int, backend: str) -> str:
    """What a finished row is known by."""
    fitting = "calibrated" if row.calibrated else "as named"
    return f"{network}, {n}, {row.label}, {row.config.name}, {fitting}, seed {seed}, {backend}"


def measure(
    benchmark: Benchmark,
    row: Row,
    reference: Sequence[Tensor],
    *,
    backend: str,
    seed: int,
    report: Callable[[int], None],
) -> dict[str, Any]:
    """The row of the results.

    Parameters
    ----------
    reference : sequence of Tensor
        What the network gives with float32 products.
    report : callable
        Told how many batches have been done, after each.
    """
    plan = benchmark.plan(row, backend)
    outputs, seconds = [], []
    before = _float32_seconds(benchmark)
    with accumulate(plan, backend=backend):
        for done, batch in enumerate(benchmark.batches, 1):
            start = time.perf_counter()
            outputs += benchmark.outputs([batch])
            seconds.append(time.perf_counter() - start)
            report(done)
    float32_seconds = (before + _float32_seconds(benchmark)) / 2
    return {
        "key": key(benchmark.name, row, benchmark.n, seed, backend),
        "network": benchmark.name,
        "label": row.label,
        "group": row.group,
        "config": row.config.name,
        "calibrated": row.calibrated,
        "n": benchmark.n,
        "seed": seed,
        "longest_sum": max(sample.length for sample in benchmark.samples),
        "metric": benchmark.metric,
        **benchmark.compared(outputs, reference),
        "seconds": sum(seconds),
        "ratio": sum(seconds[::_TIMED_EVERY]) / float32_seconds,
        "layers": [layer.config.name for layer in plan] if row.calibrated else [],
        "scales": [[layer.x_scale, layer.w_scale] for layer in plan] if row.calibrated else [],
        "made_by": environment(backend),
    }


def _float32_seconds(benchmark: Benchmark) -> float:
    """Of float32 inference on the batches that are timed."""
    start = time.perf_counter()
    benchmark.outputs(benchmark.batches[::_TIMED_EVERY])
    return time.perf_counter() - start


def environment(backend: str) -> dict[str, Any]:
    """Versions and machine, as results state them."""
    return {
        "backend": backend,
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "numpy", "scipy", "pillow", "safetensors")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # whose code may still be there
        return "unknown"


def _processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
