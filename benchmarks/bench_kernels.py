"""Speed of the kernels beside torch's float32 product: ``python -m benchmarks.bench_kernels``.

Writes kernels.json, the tables kernels.md and the plot kernels.svg. In every round every contender runs
once, in shuffled order, so that whatever else the machine does hits them alike; all ratios are of times
in the same round. Each result of ours is compared with golden's, bit for bit, before it is timed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.cases import CASES, Case, Premise, Shape, operands
from benchmarks.kernels_page import block, write_page
from benchmarks.kernels_plot import plot
from benchmarks.measure import Contender, Times, interleave, machine, spread_of
from benchmarks.ours import Slice, contender
from benchmarks.rivals import UNIT, rivals, torch_contenders, versions
from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim.kernels.library import instruction_sets

__all__ = ["QUICK", "SHAPES", "main", "measure"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"

SHAPES = (
    Shape(m=256, k=1024, n=256),
    Shape(m=1024, k=1024, n=1024),
    Shape(images=8, channels=64, side=32),
)
QUICK = (Shape(m=32, k=128, n=96), Shape(m=64, k=128, n=64), Shape(images=1, channels=16, side=8))

#: Targets that are not a case's own.
CONVOLUTION_MOST = 1.6  #: Ratio to float32, over that of the same case as a matrix product.
STATISTICS_MOST = 2.0  #: Time with statistics over time without.
TWO_THREADS_LEAST = 1.8  #: Speed of two threads over that of one.


def measure(
    shapes: Sequence[Shape],
    *,
    rounds: int,
    seed: int,
    least_seconds: float,
    quick: bool,
    cases: Sequence[Case] = CASES,
) -> dict:
    """The results: what stands in kernels.json. The first shape is the one with the most contenders."""
    for shape in shapes:  # what cannot be measured is to be known before the rest takes minutes
        for case in _cases_of(shape, cases):
            operands(case, shape, seed)
    panels, absent = [], []
    described = machine()
    described["versions"] |= versions()
    for index, shape in enumerate(shapes):
        contenders, missing = _contenders(shape, cases, seed, first=index == 0, cores=described["cores"])
        absent += [each for each in missing if each not in absent]
        times = interleave(contenders, rounds=rounds, seed=seed + index, least_seconds=least_seconds)
        rows = _rows(contenders, times, shape)
        panels.append({"label": shape.label, "macs": shape.macs, "rows": rows})
        if shape.is_convolution:
            _convolution_targets(rows, panels[0]["rows"])
    if described["cores"] < 2:
        absent.append({"what": "two threads", "reason": "this machine has one core"})
    return {
        "machine": described,
        "seed": seed,
        "rounds": rounds,
        "quick": quick,
        "least_seconds": least_seconds,
        "unit": UNIT,
        "clocks": {"1": "cpu", "2": "wall"},
        "panels": panels,
        "absent": absent,
    }


def _cases_of(shape: Shape, cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if case.convolution or not shape.is_convolution]


def _contenders(
    shape: Shape, cases: Sequence[Case], seed: int, *, first: bool, cores: int
) -> tuple[list[Contender], list[dict]]:
    """All that run together: one round interleaves them."""
    sets = instruction_sets()
    counts = (1, 2) if cores >= 2 else (1,)
    made = [each for threads in counts for each in torch_contenders(shape, threads, seed)]
    chosen = _cases_of(shape, cases)
    for case in tqdm(chosen, desc=f"checking {shape.label}", leave=False, disable=None):
        a, b = operands(case, shape, seed)
        expected = Slice.of(a, b, case.config, seed)
        kinds = [(sets[0], 1, False)]
        if first and case.narrower:
            # Integers one by one prove nothing away: once is enough.
            kinds += [(isa, 1, False) for isa in sets[1:] if isa != "generic" or case.overflow is not False]
        if case.twice and 2 in counts:
            kinds.append((sets[0], 2, False))
        if case.statistics and (first or shape.is_convolution):
            kinds.append((sets[0], 1, True))
        made += [
            contender(case, shape, a, b, expected, isa=isa, threads=threads, statistics=statistics)
            for isa, threads, statistics in kinds
        ]
    others, absent = ([], []) if shape.is_convolution else rivals(shape, seed, slow=first)
    return made + others, absent


def _rows(contenders: Sequence[Contender], times: dict[str, Times], shape: Shape) -> list[dict]:
    rows = []
    widest = instruction_sets()[0]
    limits = {case.label: case.most for case in CASES}
    plain = {
        (each.facts["what"], each.threads): times[each.key]
        for each in contenders
        if not each.facts["statistics"] and each.facts["isa"] in (None, widest)
    }
    for each in contenders:
        took, facts = times[each.key], each.facts
        clock = "cpu" if each.threads == 1 else "wall"
        ratios = _over(took.of(clock), plain[UNIT, each.threads].of(clock))
        row = {
            **facts,
            "threads": each.threads,
            "clock": clock,
            "seconds": {name: spread_of(took.of(name)) for name in ("cpu", "wall")},
            "gmacs": spread_of([shape.macs / seconds / 1e9 for seconds in took.of(clock)]),
            "ratio": spread_of(ratios),
            "targets": [],
        }
        ours = facts["who"] == "ours" and facts["isa"] == widest
        limit = limits.get(facts["what"])
        if ours and limit and not shape.is_convolution and not facts["statistics"] and each.threads == 1:
            row["targets"].append(_target("time over torch float32", spread_of(ratios), most=limit))
        if facts["statistics"]:
            cost = spread_of(_over(took.cpu, plain[facts["what"], 1].cpu))
            row["targets"].append(_target("time over that without statistics", cost, most=STATISTICS_MOST))
        if each.threads == 2 and (facts["what"], 1) in plain:
            gain = spread_of(_over(plain[facts["what"], 1].wall, took.wall))
            row["targets"].append(
                _target("speed over one thread", gain, least=TWO_THREADS_LEAST if ours else None)
            )
        rows.append(row)
    return rows


def _over(some: Sequence[float], others: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(some, others, strict=True)]


def _target(
    what: str, value: dict[str, float], *, most: float | None = None, least: float | None = None
) -> dict:
    """A comparison; ``met`` is of the median, and None where nothing is asked."""
    met = None
    if most is not None:
        met = value["median"] <= most
    elif least is not None:
        met = value["median"] >= least
    return {"what": what, "value": value, "most": most, "least": least, "met": met}


def _convolution_targets(rows: Sequence[dict], products: Sequence[dict]) -> None:
    """Compare ratios of a convolution with those of the same case as a matrix product."""

    def key(row: dict) -> tuple:
        return row["what"], row["isa"], row["threads"], row["statistics"]

    ratios = {key(row): row["ratio"]["median"] for row in products}
    for row in rows:
        if row["who"] == "ours" and row["threads"] == 1 and not row["statistics"] and key(row) in ratios:
            value = {name: ratio / ratios[key(row)] for name, ratio in row["ratio"].items()}
            row["targets"].append(
                _target("ratio over that of the matrix product", value, most=CONVOLUTION_MOST)
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or make the page of what was measured; 0, or 2 with one sentence where that cannot be."""
    parser = Parser(prog="python -m benchmarks.bench_kernels", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "benchmarks", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=15, help="runs of each contender (default 15)")
    parser.add_argument("--seed", type=int, default=0, help="of operands and orders (default 0)")
    parser.add_argument("--quick", action="store_true", help="small shapes, three rounds: in seconds")
    parser.add_argument(
        "--page",
        type=Path,
        nargs="?",
        const=RESULTS,
        metavar="FOLDER",
        help="measure nothing; make docs/kernels.md from FOLDER's kernels.json (default: docs/results)",
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {options.rounds}")
    try:
        if options.page is not None:
            write_page(options.page, ROOT)
            return 0
        torch.set_num_threads(1)
        results = measure(
            QUICK if options.quick else SHAPES,
            rounds=min(options.rounds, 3) if options.quick else options.rounds,
            seed=options.seed,
            quick=options.quick,
            least_seconds=0.0 if options.quick else 0.05,
        )
    except (ConfigError, Premise) as error:
        parser.error(str(error))
    text = block(results)
    files = {"kernels.json": json.dumps(results, indent=1) + "\n", "kernels.md": text}
    write_files(files | {"kernels.svg": plot(results)}, options.output)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
