"""Speed of the CPU backend beside torch's own float32 matmul: ``python -m benchmarks.bench_cpu_backend``.

Runs of all contestants are interleaved, round by round, so that whatever else the machine does hits them
alike; printed are the medians and the ratio of each to float32 in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from golden.catalog import find
from golden.codes import decode
from golden.config import FloatFormat, Format
from sim.backends import CpuBackend

CONFIGS = [
    "float8",
    "float12",
    "float12-rne",
    "float12-g1",
    "float12-px",
    "float16",
    "float32",
    "fixed12",
    "fixed16",
    "fixed16-wrap",
    "exact",
    "int12",
    "int12-wrap",
    "int16",
    "int32",
]


def draw(number: Format, shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Values of a bell curve's shape: float codes of the lower half of the exponents, small integers."""
    if isinstance(number, FloatFormat):
        codes = torch.randint(0, 2**number.code_bits, shape, generator=generator)
        return decode(codes & ~(1 << (number.code_bits - 2)), number)
    return (
        torch.randn(shape, generator=generator)
        .mul(2.0 ** (number.bits - 3))
        .round()
        .clamp(-127, 127)
        .double()
    )


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_cpu_backend", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, interleaved (default 5)")
    parser.add_argument("--size", type=int, default=512, help="m = k = n of the product (default 512)")
    options = parser.parse_args()
    size, backend = (options.size, options.size), CpuBackend()
    generator = torch.Generator().manual_seed(0)

    runs: dict[tuple[str, str], Callable[[], object]] = {}
    for name in CONFIGS:
        config = find(name)
        a, b = draw(config.x, size, generator), draw(config.w, size, generator)
        runs[name, "values"] = lambda a=a, b=b, config=config: backend.matmul(a, b, config)
        runs[name, "values and events"] = lambda a=a, b=b, config=config: backend.matmul_events(a, b, config)
    a32, b32 = torch.randn(size, generator=generator), torch.randn(size, generator=generator)
    runs["torch float32", "values"] = lambda: a32 @ b32

    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for run in runs.values():
        run()  # first calls start threads
    for _ in range(options.rounds):
        for key, run in runs.items():
            times[key].append(seconds(run))

    macs = options.size**3
    float32 = statistics.median(times["torch float32", "values"])
    threads = torch.get_num_threads()
    print(f"{options.size}^3 MACs, {threads} threads, medians of {options.rounds} interleaved runs")
    print(f"{'configuration':<14} {'what':<18} {'G MAC/s':>8} {'float32 is faster by':>21}  way")
    for (name, what), taken in times.items():
        median = statistics.median(taken)
        way = "" if name == "torch float32" else backend.explain(find(name), options.size)
        print(f"{name:<14} {what:<18} {macs / median / 1e9:8.3f} {median / float32:20.0f}x  {way}")


if __name__ == "__main__":
    main()
