"""Random configurations and operands: every proved way of the kernels against integers, and golden.

    python -m sim.kernels.fuzz --macs 1e9 --configs 200 --seed 1

A product is computed step by step on integers, one output at a time, and by each way that is proved for it,
on each instruction set of this machine; golden computes a corner of it. A failing product is shrunk and
printed as a program; then the exit status is 1.
"""

from __future__ import annotations

import json
import platform
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path as File
from random import Random

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from golden.config import ConfigError, MacConfig
from golden.random_words import RandomWords
from hw.command_line import Parser
from hw.files import write_files
from sim.kernels.cases import KINDS, draw, random_config
from sim.kernels.lanes import Extent
from sim.kernels.library import instruction_sets
from sim.kernels.plan import Path, ways
from sim.kernels.product import Statistics, extent_of, multiply
from sim.kernels.shrink import Case, shrink, snippet

__all__ = ["Fuzz", "main"]

_LENGTHS = (16, 37, 100, 256, 777, 2048)
_CORNER = (3, 5)  #: Rows and columns that golden computes.
_VECTORS_WANTED = 0.9  #: The part of configurations for which a way in vectors is proved.


@dataclass
class Fuzz:
    """A run, and what it has compared so far."""

    seed: int
    macs: int = 0  #: Of products that at least one way in vectors has computed, too.
    by_way: Counter = field(
        default_factory=Counter
    )  #: MACs by instruction set and path; "+count": with statistics.
    golden_macs: int = 0
    names: list[str] = field(default_factory=list)

    def configuration(self, index: int, macs: int) -> Case | None:
        """Compare about so many MACs of one random configuration; a case that fails, if one does."""
        rng = Random(self.seed * 1_000_003 + index)
        config = _pick(rng)
        self.names.append(config.name)
        kinds = rng.sample(KINDS, 4)
        for kind in kinds:
            failed = self._product(config, kind, macs // len(kinds), rng, with_golden=kind == kinds[0])
            if failed is not None:
                return failed
        return None

    def _product(
        self, config: MacConfig, kind: str, macs: int, rng: Random, *, with_golden: bool
    ) -> Case | None:
        length = rng.choice([length for length in _LENGTHS if length**2 <= max(4 * macs, 16**2)])
        rows = max(1, min(rng.choice([1, 5, 33, 64, 200]), macs // length))
        columns = max(1, macs // (length * rows))
        if rng.random() < 0.5:
            rows, columns = columns, rows
        generator = Generator().manual_seed(rng.getrandbits(60))
        words = RandomWords(seed=rng.getrandbits(64), call=rng.getrandbits(32))
        a, b = (_as_float32(values, rng) for values in draw(config, rows, length, columns, kind, generator))
        common = dict(config=config, words=words)
        try:
            integers, _ = multiply(a, b, config, None, words, isa="generic")
            found = _vector_ways(config, a, b)
        except Exception as error:
            print(f"{config.name} raises {error!r}")
            return shrink(Case(a=a, b=b, isa="generic", path=Path.SCALAR.value, **common))
        self.macs += bool(found) * a.numel() * columns
        for isa, path in found:
            case = Case(a=a, b=b, isa=isa, path=path, **common)
            if not torch.equal(case.values(), integers):
                row, column = (integers != case.values()).nonzero()[0].tolist()
                return _smallest(case, row, column)
            self.by_way[f"{isa} {path}"] += case.macs
        if with_golden:
            m, n = min(rows, _CORNER[0]), min(columns, _CORNER[1])
            corner = Case(a=a[:m], b=b[:, :n], isa="generic", path="scalar", **common)
            if not torch.equal(integers[:m, :n], corner.expected()):
                return corner
            self.golden_macs += corner.macs
        if rng.random() < 0.25:
            return self._statistics(config, a[:40], b[:, :40], words)
        return None

    def _statistics(self, config: MacConfig, a: Tensor, b: Tensor, words: RandomWords) -> Case | None:
        values, integers = multiply(a, b, config, None, words, count=True, isa="generic")
        for isa, path in _vector_ways(config, a, b, count=True):
            plan = next(p for p in _ways(config, a, b, isa, count=True) if p.path.value == path)
            got, statistics = multiply(a, b, config, None, words, count=True, isa=isa, plan=plan)
            if not (torch.equal(got, values) and _same(statistics, integers)):
                print(f"statistics differ: {config.name}, {isa}, {path}")
                return Case(config=config, a=a, b=b, words=words, isa=isa, path=path)
            self.by_way[f"{isa} {path}+count"] += a.numel() * b.shape[1]
        return None


def _pick(rng: Random) -> MacConfig:
    """Mostly one for which a way in vectors is proved, whatever the operands."""
    want = rng.random() < _VECTORS_WANTED and instruction_sets() != ("generic",)
    while True:
        config = random_config(rng)
        plans, _ = ways(config, max(_LENGTHS), Extent.of(config.x), Extent.of(config.w))
        if not want or len(plans) > 1:
            return config


def _as_float32(values: Tensor, rng: Random) -> Tensor:
    narrow = values.float()
    return narrow if torch.equal(narrow.double(), values) and rng.random() < 0.7 else values


def _ways(config: MacConfig, a: Tensor, b: Tensor, isa: str, *, count: bool):
    return ways(config, a.shape[1], extent_of(a, config.x), extent_of(b, config.w), count=count, isa=isa)[0]


def _vector_ways(config: MacConfig, a: Tensor, b: Tensor, *, count: bool = False) -> list[tuple[str, str]]:
    return [
        (isa, plan.path.value)
        for isa in instruction_sets()
        for plan in _ways(config, a, b, isa, count=count)
        if plan.path is not Path.SCALAR
    ]


def _same(a: Statistics, b: Statistics) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("counts", "low", "high"))


def _smallest(case: Case, row: int, column: int) -> Case:
    """Whichever is wrong, the way or the integers, cut to an output where they differ, and shrunk."""
    a, b = case.a[: row + 1], case.b[:, : column + 1]
    for isa, path in ((case.isa, case.path), ("generic", Path.SCALAR.value)):
        cut = Case(config=case.config, a=a, b=b, words=case.words, isa=isa, path=path)
        if cut.differs():
            return shrink(cut)
    return case


def _results(fuzz: Fuzz, seconds: float) -> dict:
    return {
        "seed": fuzz.seed,
        "configurations": len(fuzz.names),
        "macs": fuzz.macs,
        "macs_by_way": dict(sorted(fuzz.by_way.items())),
        "macs_by_golden": fuzz.golden_macs,
        "seconds": round(seconds),
        "machine": {"processor": _processor(), "instruction_sets": list(instruction_sets())},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "names": fuzz.names,
    }


def _processor() -> str:
    try:
        lines = File("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(prog="python -m sim.kernels.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--macs", type=float, default=1e9, help="multiply-accumulates, at least (%(default)g)"
    )
    parser.add_argument(
        "--configs", type=int, default=200, help="random configurations, at least (%(default)d)"
    )
    parser.add_argument("--seed", type=int, help="of the run; a random one is printed")
    parser.add_argument("--output", type=File, help="JSON file for what was compared")
    options = parser.parse_args(arguments)
    if not 1 <= options.configs <= options.macs:
        parser.error(
            f"--configs {options.configs} of --macs {options.macs:g}; use 1 or more, and no more than MACs"
        )
    seed = secrets.randbits(32) if options.seed is None else options.seed
    fuzz, each, start = Fuzz(seed), int(-(-options.macs // options.configs)), time.monotonic()
    print(f"seed {seed}; instruction sets {', '.join(instruction_sets())}", flush=True)
    index, enough = 0, options.macs if instruction_sets() != ("generic",) else 0
    with tqdm(total=int(options.macs), desc="MACs", unit="MAC", unit_scale=True, disable=None) as progress:
        while index < options.configs or fuzz.macs < enough:
            failed = fuzz.configuration(index, each)
            if failed is not None:
                print(f"configuration {index} of seed {seed} fails:\n\n{snippet(failed)}")
                return 1
            index += 1
            progress.update(fuzz.macs - progress.n)
    results = _results(fuzz, time.monotonic() - start)
    if options.output is not None:
        write_files({options.output.name: json.dumps(results, indent=1) + "\n"}, options.output.parent)
    print(
        f"{fuzz.macs:.3g} MACs of {len(fuzz.names)} configurations equal the steps on integers, "
        f"{fuzz.golden_macs:.3g} of them golden"
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigError as error:
        Parser(prog="python -m sim.kernels.fuzz").error(str(error))
