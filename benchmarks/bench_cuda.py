"""Speed of the kernels on a graphics card: ``python -m benchmarks.bench_cuda``. Without a card it says so.

Writes cuda.json: products a second, as a share of the card's float32 peak, which is measured by chains of
FMAs and by torch's own product. The bits of every row are compared with the processor's first.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.cases import Case, draw, find_case
from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim.backends import CpuBackend
from sim.kernels.cuda import CudaBackend
from sim.kernels.cuda_library import Job, Kernels, build, card_kernels

CASES = (
    "float12, every check kept",
    "float12, overflow proved away",
    "float12 of float32, every check kept",
    "float12, no product is rounded",
    "float12, nearest even",
    "float12, stochastic, 4 random bits",
    "float12, no guard bits",
    "fixed12 of FP8",
    "int16, saturating",
    "int16, wrapping",
    "exact",
)
#: Shares of the peak that are asked for.
TARGETS = {
    "float12, every check kept": 1 / 10,
    "float12 of float32, every check kept": 1 / 10,
    "float12, overflow proved away": 1 / 6,
}


class TimedKernels(Kernels):
    """Kernels that time themselves."""

    def run(self, job: Job, device: torch.device) -> None:
        self.path, self.seconds = job.path, timed(lambda: super(TimedKernels, self).run(job, device))


def timed(run: Callable[[], object]) -> Callable[[], float]:
    """Start, and return what waits for the end and tells the seconds between."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()

    def seconds() -> float:
        end.synchronize()
        return start.elapsed_time(end) / 1000

    return seconds


def contender(case: Case, kernels: TimedKernels, size: int, seed: int) -> Callable[[], dict[str, float]]:
    """What measures a case: seconds of the kernel alone, and with the checks of its operands."""
    a, b = (
        draw(number, (size, size), case.spread, case.largest, seed + i).cuda()
        for i, number in enumerate((case.config.x, case.config.w))
    )
    backend = CudaBackend(kernels)
    part = slice(0, 64)
    expected = CpuBackend().matmul(a[part].cpu(), b.cpu(), case.config)
    if not torch.equal(backend.matmul(a, b, case.config)[part].cpu(), expected):
        raise AssertionError(f"{case.label}: the card's bits are not the processor's")

    def measure() -> dict[str, float]:
        whole = timed(lambda: backend.matmul(a, b, case.config, dtype=torch.float32))
        return {"whole": whole(), "kernel": kernels.seconds()}

    return measure


def measure(size: int, rounds: int, seed: int) -> dict:
    """What stands in cuda.json."""
    card_kernels()  # says what is missing
    kernels, device = TimedKernels(build(), "cuda"), torch.device("cuda", torch.cuda.current_device())
    card = torch.cuda.get_device_properties(device)
    torch.backends.cuda.matmul.allow_tf32 = False
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    blocks, steps, macs = 64 * card.multi_processor_count, 1 << 14, size**3
    runs = {
        "chains of FMAs": lambda: {"kernel": timed(lambda: kernels.run_chains(blocks, steps, device))()},
        "torch float32": lambda: {"kernel": timed(lambda: a @ b)()},
    }
    runs |= {label: contender(find_case(label), kernels, size, seed) for label in CASES}
    for run in runs.values():
        run()
    times: dict[str, list[dict[str, float]]] = {label: [] for label in runs}
    shuffler = random.Random(seed)
    for _ in range(rounds):
        for label in shuffler.sample(list(runs), len(runs)):
            times[label].append(runs[label]())

    def speed(label: str, what: str) -> float:
        work = blocks * 4096 * steps if label == "chains of FMAs" else macs
        return work / statistics.median(each[what] for each in times[label]) / 1e9

    peaks = {label: speed(label, "kernel") for label in ("chains of FMAs", "torch float32")}
    rows = []
    for label in CASES:
        gmacs = {what: speed(label, what) for what in ("kernel", "whole")}
        share = {peak: gmacs["kernel"] / most for peak, most in peaks.items()}
        target = TARGETS.get(label)
        case = find_case(label)
        row = {"what": label, "configuration": case.config.name, "operands": case.operands, "gmacs": gmacs}
        met = None if target is None else share["chains of FMAs"] >= target
        rows.append({**row, "share": share, "target": target, "met": met})
    versions = {"torch": torch.__version__, "cuda of torch": torch.version.cuda}
    described = {
        "name": card.name,
        "processors": card.multi_processor_count,
        "memory_bytes": card.total_memory,
    }
    return {
        "card": described,
        "versions": versions,
        "size": size,
        "rounds": rounds,
        "seed": seed,
        "peak_gmacs": peaks,
        "rows": rows,
    }


def main() -> None:
    parser = Parser(prog="python -m benchmarks.bench_cuda", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/benchmarks"), metavar="FOLDER")
    parser.add_argument("--size", type=int, default=4096, help="m = k = n of the products (default 4096)")
    parser.add_argument("--rounds", type=int, default=15, help="runs of each, interleaved (default 15)")
    parser.add_argument("--seed", type=int, default=0, help="of operands and orders (default 0)")
    options = parser.parse_args()
    if options.size < 64 or options.rounds < 1:
        parser.error(f"--size is at least 64 and --rounds 1, not {options.size} and {options.rounds}")
    if not torch.cuda.is_available():
        print("no GPU that torch sees: nothing is measured")
        return
    try:
        results = measure(options.size, options.rounds, options.seed)
    except ConfigError as error:
        parser.error(str(error))
    write_files({"cuda.json": json.dumps(results, indent=1) + "\n"}, options.output)
    print(
        f"{results['card']['name']}: {results['peak_gmacs']['chains of FMAs']:.0f} GMAC/s in chains of FMAs"
    )
    for row in results["rows"]:
        asked = "" if row["target"] is None else f", 1/{1 / row['target']:.3g} is asked for"
        share = row["share"]["chains of FMAs"]
        print(f"{row['what']:40} {row['gmacs']['kernel']:9.0f} GMAC/s, 1/{1 / share:.3g} of that{asked}")


if __name__ == "__main__":
    main()
