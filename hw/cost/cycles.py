"""How many cycles a product takes: a model that equals the simulation exactly, where nobody stalls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from golden.config import ArrayConfig
from golden.tile import TileConfig
from hw.output import output_latency
from hw.timing import ArrayTiming

__all__ = ["ArrayJob", "array_results", "cycles", "product_jobs"]

_RESULT_SLICE = 1  # the register between a tile's array and its stream of results


class ArrayJob(NamedTuple):
    """A tile of a product, as an array takes it."""

    k: int
    m_rows: int
    settled: bool  #: Its offsets are wired in, or those of the job before.


def array_results(config: ArrayConfig, jobs: Iterable[ArrayJob]) -> list[range]:
    """Cycles in which the rows of results of each job are taken.

    Cycle 0 offers the first job and its first weights to an array at rest; from then on every sender
    has the next beat ready, and results are taken at once.
    """
    timing, rows, passes = ArrayTiming.of(config), config.rows, config.passes
    taken = 0  # when the job is
    loaded = None if timing.column_halves else rows  # first cycle in which weights are complete
    free = 0  # first cycle in which no earlier activation goes in
    results = []
    for job in jobs:
        if results:
            waits = timing.column_halves or not job.settled
            taken = free - 1 + (timing.drain if waits else 0)
        if timing.column_halves:
            loaded = taken + timing.column_halves + rows
        before = None  # start of the pass before, of this job
        for index in range(-(-job.k // rows)):
            start = max(loaded, taken + 1, free)
            if index % passes:
                start = max(start, before + timing.sum_wait)
            before, free = start, start + job.m_rows
            loaded = start + timing.weight_wait + rows
        results.append(range(before + timing.latency, before + timing.latency + job.m_rows))
    return results


def product_jobs(config: ArrayConfig, m: int, k: int, n: int) -> list[ArrayJob]:
    """The jobs of a whole product, in the order of a tile: columns, then blocks of rows."""
    blocks = [min(config.depth, m - first) for first in range(0, m, config.depth)] * -(-n // config.cols)
    return [ArrayJob(k=k, m_rows=rows, settled=True) for rows in blocks]


def cycles(config: ArrayConfig | TileConfig, m: int, k: int, n: int) -> int:
    """Cycles of a[m, k] @ b[k, n], none of them 0, where every beat is there in time and taken at once.

    Of an array from the cycle that offers the first job and the first weights to the one that takes the
    last row of results; of a tile what its register CYCLES reads afterwards.
    """
    array = config.array if isinstance(config, TileConfig) else config
    last = array_results(array, product_jobs(array, m, k, n))[-1][-1]
    behind = output_latency(config) + _RESULT_SLICE if isinstance(config, TileConfig) else 0
    return last + 1 + behind
