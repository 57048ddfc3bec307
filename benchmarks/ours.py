"""Contenders of ours: the way that each takes, and a check of its result, bit for bit, against golden."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import object_code
from benchmarks.cases import GEOMETRY, Case, Shape, matrices
from benchmarks.measure import Contender
from golden import accumulate as golden
from golden.accumulate import FIRST_WORDS
from golden.config import MacConfig
from sim.kernels import library
from sim.kernels.plan import plan_product
from sim.kernels.product import Statistics, convolve, extent_of, multiply

__all__ = ["Slice", "contender"]

#: Rows and columns of the result that golden computes, too; columns whose events it counts.
_ROWS, _COLUMNS, _EVENT_COLUMNS = 4, 24, 1


@contextmanager
def _watched() -> Iterator[list[library.Job]]:
    """The jobs that the kernel library is given."""
    jobs, call = [], library.call

    def watch(name: str, *arguments, isa: str | None = None) -> int:
        if name == "run":
            jobs.append(arguments[0]._obj)
        return call(name, *arguments, isa=isa)

    library.call = watch
    try:
        yield jobs
    finally:
        library.call = call


_PATHS = ("integers, one by one", "single precision", "double precision", "16-bit integers", "half precision")


def _way(jobs: list[library.Job], reason: str) -> str:
    """How it is computed, in a few words."""
    if reason.startswith("plain sums"):
        return "plain sums"
    table = ", products by table" if getattr(jobs[0], "coded", 0) else ""
    return _PATHS[jobs[0].path] + table


def contender(
    case: Case,
    shape: Shape,
    a: Tensor,
    b: Tensor,
    expected: Slice,
    *,
    isa: str,
    threads: int,
    statistics: bool,
) -> Contender:
    """One row of ours, its result checked."""
    config = case.config
    compute = convolve if shape.is_convolution else multiply
    geometry = (GEOMETRY,) if shape.is_convolution else ()

    def run() -> tuple:
        return compute(
            a, b, config, *geometry, None, FIRST_WORDS, count=statistics, out_dtype=torch.float32, isa=isa
        )

    kept = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _watched() as jobs:
            values, counted = run()
    finally:
        torch.set_num_threads(kept)
    checked = expected.check(f"{case.label}, {isa}", values)
    if counted is not None and not shape.is_convolution:
        _check_events(case.label, counted, a, b, config)
    x, w = extent_of(a, config.x), extent_of(b, config.w)
    reason = plan_product(config, matrices(a, b)[1].shape[0], x, w, count=statistics, isa=isa).reason
    facts = {
        "who": "ours",
        "what": case.label,
        "config": config.name,
        "operands": case.operands,
        "isa": isa,
        "way": _way(jobs, reason),
        "reason": reason,
        "note": None,
        "statistics": statistics,
        "overflow": {True: "possible in every chunk", False: "possible in none", None: None}[case.overflow],
        "checked": checked,
        "instructions": None
        if statistics or not jobs
        else object_code.of_job(jobs[0], isa, saturates=case.overflow is not False),
    }
    return Contender(key=f"{case.label}|{isa}|{threads}|{statistics}", threads=threads, run=run, facts=facts)


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """Some outputs as golden computes them, in float32."""

    rows: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, a: Tensor, b: Tensor, config: MacConfig, seed: int) -> Slice:
        """Rows and columns picked at random; of a convolution, pixels of the first image and channels."""
        a, b = matrices(a[:1] if a.ndim == 4 else a, b)
        generator = torch.Generator().manual_seed(seed)

        def pick(size: int, count: int) -> Tensor:
            if config.stochastic:  # random words are those of the first rows and columns
                return torch.arange(min(size, count))
            return torch.randperm(size, generator=generator)[:count].sort().values

        rows, columns = pick(a.shape[0], _ROWS), pick(b.shape[1], _COLUMNS)
        values = golden.matmul(a[rows], b[:, columns], config).float()
        return cls(rows=rows, columns=columns, values=values)

    def check(self, label: str, result: Tensor) -> str:
        """Compare bit for bit; says what was compared. AssertionError where it differs."""
        if result.ndim == 4:
            result = result[0].flatten(1).t()
        if not torch.equal(result[self.rows][:, self.columns].float(), self.values):
            raise AssertionError(f"{label}: the result is not golden's")
        return f"equal to golden in {len(self.rows)} x {len(self.columns)} outputs"


def _check_events(label: str, counted: Statistics, a: Tensor, b: Tensor, config: MacConfig) -> None:
    """Compare the events of the first columns with golden's."""
    want = golden.events(a, b[:, :_EVENT_COLUMNS], config)
    got = counted.counts[:, :_EVENT_COLUMNS].sum(1).tolist()
    product, inner, outer = want.product, want.inner, want.outer
    counts = [product.overflow, product.underflow]
    for part in (inner, outer):
        counts += [part.overflow, part.underflow, part.swamped]
    if got != counts:
        raise AssertionError(f"{label}, {config.name}: events {got} are not golden's {counts}")
