"""How fast whole arrays pass through Verilated RTL, beside a bare C++ loop over the same model.

``python -m benchmarks.bench_rtl`` writes docs/results/rtl-speed.json. The bare loop is compiled into the same
library: it toggles the clock, draws operands from a congruential generator and reads results, all streams
always ready. Ours is a product of numpy matrices, packing and unpacking included. They take turns, times are
of the processor, and medians are kept. ``--levels`` measures compiler options, too, which takes builds.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import statistics
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.measure import machine
from golden.catalog import find
from golden.config import ArrayConfig
from golden.random_words import RandomWords
from hw.array import SystolicArray
from hw.command_line import Parser
from hw.files import write_files
from hw.verilated import VerilatedArray
from hw.verilated_array import array_design
from hw.verilated_library import OPTIMISATION, Design, build
from hw.verilator_env import tool_versions

ROOT = Path(__file__).resolve().parent.parent

#: Configuration, rows and columns; a product m, k, n of a second or so.
CASES = {
    "int8 8x8": ("int32", 8, 8, (2048, 1024, 128)),
    "float12 16x16": ("float12", 16, 16, (512, 512, 128)),
}
DEPTH = 64
ROUNDS = 7

#: Levels of optimisation that ``--levels`` measures, on the case that is built soonest.
LEVELS = ("-Os", "-O1", "-O2", "-O3")
LEVELS_CASE = "int8 8x8"

_BARE_LOOP = """
EXPORTED uint64_t bare_loop(uint64_t cycles, const uint8_t* job, uint64_t job_bytes, uint64_t* results) {
  VerilatedContext context;
  Vdesign top(&context, "");
  uint64_t state = 1, sum = 0;
  auto draw = [&state](void* to, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 8) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::memcpy(static_cast<uint8_t*>(to) + i, &state, bytes - i < 8 ? bytes - i : 8);
    }
  };
  std::memset(&top.job___05Fpayload, 0, sizeof(top.job___05Fpayload));
  std::memcpy(&top.job___05Fpayload, job, job_bytes);
  top.job___05Fvalid = top.weights___05Fvalid = top.activations___05Fvalid = 0;
  top.results___05Fready = 1;
  for (int i = 0; i < 8; ++i) {
    top.rst = i < 4;
    top.clk = 0; top.eval();
    top.clk = 1; top.eval();
  }
  top.job___05Fvalid = top.weights___05Fvalid = top.activations___05Fvalid = 1;
  *results = 0;
  for (uint64_t i = 0; i < cycles; ++i) {
    draw(&top.weights___05Fpayload, sizeof(top.weights___05Fpayload));
    draw(&top.activations___05Fpayload, sizeof(top.activations___05Fpayload));
    top.clk = 0; top.eval();
    if (top.results___05Fvalid) {
      uint32_t word;
      std::memcpy(&word, &top.results___05Fpayload, sizeof(word));
      sum += word;
      ++*results;
    }
    top.clk = 1; top.eval();
  }
  return sum;
}
"""


def case(name: str) -> tuple[VerilatedArray, Design]:
    """The array of a case."""
    config, rows, cols, _ = CASES[name]
    mac = replace(find(config), chunk_size=rows)
    array = ArrayConfig(silicon=mac.silicon, rows=rows, cols=cols, stages=0, depth=DEPTH, events=False)
    return VerilatedArray(array, trace=None), array_design(SystolicArray(array))


def bare(library: Path, job: np.ndarray, cycles: int) -> float:
    """Cycles a second of the bare loop."""
    loop = ctypes.CDLL(str(library)).bare_loop
    loop.restype = ctypes.c_uint64
    results = ctypes.c_uint64()
    started = time.process_time()
    loop(
        ctypes.c_uint64(cycles),
        job.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_uint64(len(job)),
        ctypes.byref(results),
    )
    seconds = time.process_time() - started
    if not results.value:
        raise RuntimeError("the bare loop saw no result: it did not run what it should")
    return cycles / seconds


def ours(array: VerilatedArray, name: str, x: np.ndarray, w: np.ndarray) -> tuple[float, int]:
    """Cycles a second of a product, and its cycles."""
    mac = replace(find(CASES[name][0]), chunk_size=CASES[name][1])
    started = time.process_time()
    product = array.matmul_codes(x, w, mac, RandomWords(seed=0, call=0))
    return product.cycles / (time.process_time() - started), product.cycles


def job_beat(array: VerilatedArray, k: int) -> np.ndarray:
    """A job of full depth, as a beat."""
    layout = array.array.job.payload.shape()
    word = layout.const({"k": k, "m_rows": DEPTH}).as_bits()
    return np.frombuffer(word.to_bytes(-(-layout.size // 8), "little"), dtype=np.uint8)


def measure(name: str, rounds: int) -> dict:
    """A row of the results."""
    array, design = case(name)
    m, k, n = CASES[name][3]
    generator = np.random.default_rng(0)
    x, w = generator.integers(0, 256, (m, k)), generator.integers(0, 256, (k, n))
    library = build(design, trace=None, extra=_BARE_LOOP)
    job = job_beat(array, k)
    _, cycles = ours(array, name, x, w)  # and warm
    bare_speeds, our_speeds = [], []
    for _ in range(rounds):
        bare_speeds.append(bare(library, job, cycles))
        our_speeds.append(ours(array, name, x, w)[0])
    bare_median, our_median = statistics.median(bare_speeds), statistics.median(our_speeds)
    return {
        "case": name,
        "array": array.config.name,
        "product": [m, k, n],
        "cycles": cycles,
        "rounds": rounds,
        "bare_cycles_per_second": bare_median,
        "cycles_per_second": our_median,
        "ratio": our_median / bare_median,
        "ratios": [ours_ / bare_ for ours_, bare_ in zip(our_speeds, bare_speeds, strict=True)],
        "macs_per_second": our_median * m * k * n / cycles,
    }


def _children_seconds() -> float:
    """Of the processor, by commands that have ended: wall-clock time would count what others do."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_levels(name: str, rounds: int) -> list[dict]:
    """What compiling harder costs and brings, on the bare loop."""
    array, design = case(name)
    m, k, n = CASES[name][3]
    job, rows = job_beat(array, k), []
    libraries = {}
    tiny = array_design(SystolicArray(replace(array.config, rows=1, cols=1)))
    for level in LEVELS:
        build(tiny, trace=None, optimisation=level)  # Verilator's own part is compiled by now
        started = _children_seconds()
        unique = f"{_BARE_LOOP}// {time.time()} {os.getpid()}\n"  # not to find an earlier build
        libraries[level] = (
            build(design, trace=None, extra=unique, optimisation=level),
            _children_seconds() - started,
        )
    speeds = {level: [] for level in LEVELS}
    for _ in range(rounds):
        for level, (library, _) in libraries.items():
            speeds[level].append(bare(library, job, m * k * n // (array.config.rows * array.config.cols)))
    for level, (_, seconds) in libraries.items():
        rows.append(
            {
                "case": name,
                "level": level,
                "build_cpu_seconds": seconds,
                "bare_cycles_per_second": statistics.median(speeds[level]),
            }
        )
    return rows


def main() -> None:
    """Measure and write."""
    parser = Parser(prog="python -m benchmarks.bench_rtl", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each measurement (default: {ROUNDS})")
    parser.add_argument("--levels", action="store_true", help="measure compiler options, too")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "results" / "rtl-speed.json")
    options = parser.parse_args()
    before = json.loads(options.output.read_text())["levels"] if options.output.is_file() else []
    results = {
        "command": "python -m benchmarks.bench_rtl",
        "optimisation": OPTIMISATION,
        "speeds": [measure(name, options.rounds) for name in CASES],
        "levels": measure_levels(LEVELS_CASE, options.rounds) if options.levels else before,
        "versions": {"numpy": version("numpy"), "amaranth": version("amaranth")} | tool_versions(),
        "machine": machine(),
    }
    write_files({options.output.name: json.dumps(results, indent=1) + "\n"}, options.output.parent)
    for row in results["speeds"]:
        print(
            f"{row['case']}: {row['cycles_per_second']:,.0f} cycles/s, bare loop "
            f"{row['bare_cycles_per_second']:,.0f}, ratio {row['ratio']:.2f}"
        )
    for row in results["levels"]:
        print(
            f"{row['case']} {row['level']}: built in {row['build_cpu_seconds']:.0f} s, "
            f"{row['bare_cycles_per_second']:,.0f} cycles/s"
        )


if __name__ == "__main__":
    main()
