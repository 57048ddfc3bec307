"""What the gradients of the accumulator cost: ``python -m benchmarks.bench_gradients``.

A step is a product and its gradients, through :mod:`sim.gradients`, on one thread. The unit is the same step
with the rule ``identity``, whose forward pass is the accumulator's, too, and whose backward pass is two
float32 products. In every round every rule runs once, in shuffled order; ratios are of times in the same
round. Writes gradients.json.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.measure import Contender, interleave, machine, spread_of
from golden.catalog import find
from golden.config import ConfigError, MacConfig
from golden.gradients import GradientRule
from hw.command_line import Parser
from hw.files import write_files
from sim import gradients
from sim.backends import Conv2dGeometry, find_backend, patches
from sim.operands import quantize_operand
from sim.readme import between

__all__ = ["CASES", "QUICK", "Case", "block", "main", "measure"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gradients.md"
RESULTS = ROOT / "docs" / "results" / "gradients.json"
MARKS = (
    "<!-- gradients: begin. Written by python -m benchmarks.bench_gradients --page from "
    "docs/results/gradients.json. -->\n",
    "<!-- gradients: end -->\n",
)

UNIT = "identity"
RULES = (UNIT, "immediate/of", "recursive/of", "immediate/diff", "immediate/diff:0.5")
TARGETED = "recursive/of"
MOST = 4.0  #: Times a step with the unit.
MOST_TOUCHED = 0.5  #: Share of outputs that have a masked term by the targeted rule.


@dataclass(frozen=True, kw_only=True)
class Case:
    """A product of a training step."""

    config: str  #: A short name of the catalogue.
    m: int = 0  #: Of a matrix product [m, k] @ [k, n].
    k: int = 0
    n: int = 0
    images: int = 0  #: Of a 3x3 convolution, padded by 1.
    channels: tuple[int, int] = (0, 0)
    side: int = 0
    stride: int = 1
    least_touched: float = 0.05  #: Share of outputs that have a masked term.

    @property
    def is_convolution(self) -> bool:
        return self.images > 0

    @property
    def label(self) -> str:
        if not self.is_convolution:
            return f"{self.m}x{self.k} @ {self.k}x{self.n}"
        into, out = self.channels
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return (
            f"3x3 convolution, {into} to {out} channels, {self.side}x{self.side}{stride}, batch {self.images}"
        )

    @property
    def geometry(self) -> Conv2dGeometry:
        return Conv2dGeometry(stride=(self.stride, self.stride), padding=(1, 1), dilation=(1, 1), groups=1)


def _resnet20(config: str, images: int) -> list[Case]:
    """One of each kind of block convolution of ResNet-20."""
    shapes = (((16, 16), 32, 1), ((16, 32), 32, 2), ((32, 32), 16, 1), ((32, 64), 16, 2), ((64, 64), 8, 1))
    return [
        Case(config=config, images=images, channels=channels, side=side, stride=stride)
        for channels, side, stride in shapes
    ]


CASES = (
    *(Case(config=config, m=256, k=1024, n=256) for config in ("float12", "float12-rne", "fixed12", "int12")),
    Case(config="float12", m=256, k=1024, n=256, least_touched=0.3),
    *_resnet20("float12", 32),
    replace(_resnet20("float12", 32)[-1], least_touched=0.3),
)
QUICK = (Case(config="float12", m=24, k=64, n=40), Case(config="float12", images=1, channels=(8, 8), side=8))


def operands(case: Case, seed: int) -> tuple[Tensor, Tensor, float, float]:
    """Operands, and the shares of outputs and of terms that the targeted rule masks in a sample.

    Normal numbers, those of convolutions rectified, as large as it takes for the share to be in its range.
    """
    config = find(case.config)
    shapes = ((case.m, case.k), (case.k, case.n))
    if case.is_convolution:
        into, out = case.channels
        shapes = ((case.images, into, case.side, case.side), (out, into, 3, 3))
    generator = torch.Generator().manual_seed(seed)
    x, w = (torch.randn(shape, generator=generator) for shape in shapes)
    x = x.relu() if case.is_convolution else x
    for exponent in range(80):
        scale = 2 ** (1 - exponent / 16)
        sample = quantize_operand(x[: 1 if case.is_convolution else 8], config.x, scale)
        outputs, terms = _masked(case, config, sample, quantize_operand(w, config.w, scale))
        if outputs >= case.least_touched:
            break
    x, w = quantize_operand(x, config.x, scale), quantize_operand(w, config.w, scale)
    if not case.least_touched <= outputs <= MOST_TOUCHED:
        share = f"{100 * outputs:.0f} % of the outputs"
        raise ConfigError(f"{case.label} by {case.config}: {share} have a masked term; choose other operands")
    return x, w, outputs, terms


def _masked(case: Case, config: MacConfig, x: Tensor, w: Tensor) -> tuple[float, float]:
    rows, columns = x, w
    if case.is_convolution:
        rows, columns = patches(x, (3, 3), case.geometry), w.flatten(1).t()
    kept = find_backend("cpu").gradient_masks(rows, columns, config, GradientRule.parse(TARGETED))
    whole = kept.all(-1)
    return 1 - int(whole.count_nonzero()) / whole.numel(), 1 - int(kept.count_nonzero()) / kept.numel()


class Step:
    """A product and its gradients."""

    def __init__(self, case: Case, rule: str, x: Tensor, w: Tensor, seed: int):
        config, self.rule = find(case.config), GradientRule.parse(rule)
        self.x, self.w = (each.clone().requires_grad_() for each in (x, w))
        options = dict(rule=self.rule, backend="cpu")
        if case.is_convolution:
            self.product = lambda: gradients.conv2d(self.x, self.w, config, case.geometry, **options)
        else:
            self.product = lambda: gradients.matmul(self.x, self.w, config, **options)
        shape = self.product().shape
        self.grad = torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def __call__(self) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.product(), (self.x, self.w), self.grad)


def _peak(case: Case, rule: str, seed: int) -> int | None:
    """Bytes that a step takes at its peak, beside what was there; None where the system does not tell."""
    torch.set_num_threads(1)
    x, w, _, _ = operands(case, seed)
    step = Step(case, rule, x, w, seed)
    step()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what the first step has freed is given back
        Path("/proc/self/clear_refs").write_text("5")  # and the peak begins anew
        before = _status("VmRSS")
        step()
        return _status("VmHWM") - before
    except (OSError, AttributeError):
        return None


_PEAK = """
import json, sys
from benchmarks.bench_gradients import Case, _peak
case, rule, seed = json.loads(sys.argv[1])
print(json.dumps(_peak(Case(**case), rule, seed)))
"""


def _peak_apart(case: Case, rule: str, seed: int) -> int | None:
    """The same in a process of its own, whose memory is nobody else's."""
    asked = json.dumps([asdict(case), rule, seed])
    done = subprocess.run([sys.executable, "-c", _PEAK, asked], cwd=ROOT, capture_output=True, check=True)
    return json.loads(done.stdout)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure(cases: Sequence[Case], *, rounds: int, seed: int, least_seconds: float, quick: bool) -> dict:
    """The results: what stands in gradients.json."""
    torch.set_num_threads(1)
    rows = []
    for index, case in enumerate(tqdm(cases, desc="products", disable=None)):
        x, w, outputs, terms = operands(case, seed)
        contenders = [
            Contender(key=rule, threads=1, run=Step(case, rule, x, w, seed), facts={}) for rule in RULES
        ]
        times = interleave(contenders, rounds=rounds, seed=seed + index, least_seconds=least_seconds)
        for rule in RULES:
            ratios = [ours / unit for ours, unit in zip(times[rule].cpu, times[UNIT].cpu, strict=True)]
            peak = _peak_apart(case, rule, seed) if rule in (UNIT, TARGETED) else None
            rows.append(
                {
                    "shape": case.label,
                    "config": find(case.config).name,
                    "short": case.config,
                    "rule": rule,
                    "outputs": outputs,
                    "terms": terms,
                    "seconds": spread_of(times[rule].cpu),
                    "ratio": spread_of(ratios),
                    "most": MOST if rule == TARGETED else None,
                    "met": spread_of(ratios)["median"] <= MOST if rule == TARGETED else None,
                    "peak_bytes": peak,
                    "operand_bytes": [4 * x.numel(), 4 * w.numel()],
                }
            )
    return {
        "machine": machine(),
        "seed": seed,
        "rounds": rounds,
        "least_seconds": least_seconds,
        "quick": quick,
        "unit": UNIT,
        "clock": "cpu",
        "command": "python -m benchmarks.bench_gradients",
        "rows": rows,
    }


def block(results: dict) -> str:
    """The table and what it shows, Markdown."""
    targets = [row for row in results["rows"] if row["met"] is not None]
    met = [row for row in targets if row["met"]]
    worst = max(targets, key=lambda row: row["ratio"]["median"])
    memory = _memory(results["rows"])
    described = results["machine"]
    lines = [
        f"A step with {TARGETED} takes {_number(min(row['ratio']['median'] for row in targets))} to "
        f"{_number(worst['ratio']['median'])} times one with {results['unit']}; {len(met)} of {len(targets)} "
        f"rows are within {MOST:g} times, which is asked. {memory}",
        "",
        "| product | configuration | outputs with a masked term | masked terms | rule | ms | "
        "time, identity = 1 | peak, MiB |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        ratio = row["ratio"]
        cells = (
            *(row["shape"], f"`{row['config']}`"),
            *(f"{100 * row[share]:.0f} %" for share in ("outputs", "terms")),
            *(row["rule"], _number(1000 * row["seconds"]["median"])),
            f"{_number(ratio['median'])} ({_number(ratio['min'])} to {_number(ratio['max'])})",
            "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    lines += [
        "",
        f"{described['processor']}, one thread, {described['instruction_sets'][0]}; {versions}. Medians of "
        f"{results['rounds']} interleaved rounds, CPU time, in brackets the least and the most; seed "
        f"{results['seed']}; the load average was {described['load'][0]:.1f} at the end. Shares of masks are "
        f"those of {TARGETED} in a sample. `{results['command']}`",
    ]
    return "\n".join(lines) + "\n"


def _memory(rows: Sequence[dict]) -> str:
    """How much more than the unit's a rule's peak is, in operands."""

    def product(row: dict) -> tuple:
        return row["shape"], row["config"], row["outputs"]

    units = {product(row): row["peak_bytes"] for row in rows if row["rule"] == UNIT}
    more = [
        (row["peak_bytes"] - units[product(row)]) / max(row["operand_bytes"])
        for row in rows
        if row["rule"] != UNIT and row["peak_bytes"] is not None
    ]
    return (
        f"The peak of memory is at most {max(more):.2f} of the larger operand above identity's."
        if more
        else ""
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _write_page(folder: Path) -> None:
    source = folder / RESULTS.name
    if not source.is_file():
        raise ConfigError(f"there is no {source}; run python -m benchmarks.bench_gradients -o {folder} first")
    text = source.read_text()
    results = json.loads(text)
    if results["quick"]:
        raise ConfigError(f"{source} is of a quick run, whose figures mean nothing; run it without --quick")
    before, _, after = between(PAGE.read_text(), *MARKS)
    write_files({RESULTS.name: text}, RESULTS.parent)
    write_files({PAGE.name: before + block(results) + after}, PAGE.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or make the page of what was measured; 0, or 2 with one sentence where that cannot be."""
    parser = Parser(prog="python -m benchmarks.bench_gradients", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "benchmarks", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=9, help="runs of each rule (default 9)")
    parser.add_argument("--seed", type=int, default=0, help="of operands and orders (default 0)")
    parser.add_argument("--quick", action="store_true", help="small shapes, two rounds: in seconds")
    parser.add_argument(
        "--page",
        type=Path,
        nargs="?",
        const=RESULTS.parent,
        metavar="FOLDER",
        help="measure nothing; make docs/gradients.md from FOLDER's gradients.json (default: docs/results)",
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {options.rounds}")
    try:
        if options.page is not None:
            _write_page(options.page)
            return 0
        results = measure(
            QUICK if options.quick else CASES,
            rounds=min(options.rounds, 2) if options.quick else options.rounds,
            seed=options.seed,
            least_seconds=0.0 if options.quick else 0.05,
            quick=options.quick,
        )
    except ConfigError as error:
        parser.error(str(error))
    write_files({RESULTS.name: json.dumps(results, indent=1) + "\n"}, options.output)
    print(block(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
