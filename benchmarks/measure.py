"""Interleaved timing, and the machine that it was done on."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from tqdm import trange

from golden.config import ConfigError
from sim.kernels.library import instruction_sets

__all__ = ["Contender", "Times", "interleave", "library_file", "machine", "spread_of"]

#: A run below this many seconds goes once untimed before it is timed, so that all find warm caches.
_WARMED_UP = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Contender:
    """Something that computes a product, and what is to be said about it."""

    key: str  #: Unique among those that run together.
    threads: int
    run: Callable[[], object]
    facts: dict  #: Fields of its row, as they stand in the results file.


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """Seconds of one call, round by round."""

    cpu: list[float]  #: Of the process, all its threads together.
    wall: list[float]

    def of(self, clock: str) -> list[float]:
        return self.cpu if clock == "cpu" else self.wall


def interleave(
    contenders: Sequence[Contender], *, rounds: int, seed: int, least_seconds: float
) -> dict[str, Times]:
    """Run every contender once a round, in an order that is shuffled anew in each.

    A measurement repeats the call until ``least_seconds`` are expected to pass.
    """
    threads = torch.get_num_threads()
    shuffler = random.Random(seed)
    times = {contender.key: Times(cpu=[], wall=[]) for contender in contenders}
    expected = {}
    try:
        for contender in contenders:
            torch.set_num_threads(contender.threads)
            contender.run()  # first calls compile, start threads, and fill caches of plans
            expected[contender.key] = _timed(contender.run, 1)[1]
        for _ in trange(rounds, desc="rounds", leave=False, disable=None):
            for contender in shuffler.sample(list(contenders), len(contenders)):
                torch.set_num_threads(contender.threads)
                once = expected[contender.key]
                if once < _WARMED_UP:
                    contender.run()
                cpu, wall = _timed(contender.run, max(1, math.ceil(least_seconds / max(once, 1e-7))))
                times[contender.key].cpu.append(cpu)
                times[contender.key].wall.append(wall)
    finally:
        torch.set_num_threads(threads)
    return times


def _timed(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of processor and of wall that one of so many calls takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - cpu) / repeats, (time.perf_counter() - wall) / repeats


def spread_of(values: Sequence[float]) -> dict[str, float]:
    """Median and ends."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return {"median": median, "min": ordered[0], "max": ordered[-1]}


def machine() -> dict:
    """What the figures depend on and the system tells; None where it does not."""
    described = _processor()
    return {
        "processor": described.get("model name") or platform.processor() or platform.machine(),
        "mhz": float(described["cpu MHz"]) if "cpu MHz" in described else None,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instruction_sets": list(instruction_sets()),
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": metadata.version("numpy"),
            "compiler of the kernels": _compiler(),
        },
    }


def _processor() -> dict[str, str]:
    """Fields of the first processor that Linux lists."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().split("\n\n")[0].splitlines() if path.is_file() else []
    fields = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in fields}


def _compiler() -> str | None:
    """The compiler that signed the kernel library."""
    found = re.search(rb"(GCC: \([^)]*\) [\d.]+|clang version [\d.]+)", Path(library_file()).read_bytes())
    return found[1].decode().removeprefix("GCC: ") if found else None


def library_file() -> str:
    """Where the kernel library is."""
    spec = importlib.util.find_spec("sim.kernels._native")
    if spec is None or spec.origin is None:
        raise ConfigError("the kernel library is not built; run `pip install -e .` in the project's folder")
    return spec.origin
