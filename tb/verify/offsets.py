"""Method ``offsets``: one multiply-accumulate at every value of its offset registers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from golden.config import MacConfig, Offsets
from golden.datapath import OffsetRange, offset_ranges, with_offsets
from tb.verify.rows import Outcome, Row, Task, simulator_versions
from tb.verify.sliced import SlicedLoop
from tb.verify.step_loop import Addends

__all__ = ["METHODS", "OffsetSweep", "rows"]

METHODS = {
    "offsets": "One multiply-accumulate at every value that its offset registers hold, those that make no "
    "difference included. The MAC is a product on its way to an adder: every pair of operands is "
    "tried at every product offset, with the lowest sums, an accumulator offset of 0 showing the "
    "product as it is; then, for every accumulator offset, one pair for each product that there is, "
    "with every sum and every random word. Without a product quantizer there is one register, and "
    "both are done for each of its values.",
}

_VERSION = "1"
_FIRST_SUMS = range(512)  # zero is one of them: what is added to it shows as it is


class OffsetSweep(SlicedLoop):
    """The MAC of a configuration with offset registers, at all values of them."""

    def run(self, task: Task) -> Outcome:
        """Every pair at every product offset; every different product with every sum at every offset."""
        ranges, own = offset_ranges(self.config), self.config.offsets
        pairs = np.arange(self.pair_count, dtype=np.uint32)
        jobs: list[tuple[MacConfig, NDArray, range]] = []
        products = list(_registers(ranges.product))
        if ranges.acc is None:
            settings = [(offset, None) for offset in products]
        else:
            settings = [(own.product, offset) for offset in _registers(ranges.acc)]
        for product in products:
            acc = None if ranges.acc is None else 0
            jobs.append((self._moved(product, acc), pairs, _FIRST_SUMS))
        for product, acc in settings:
            config = self._moved(product, acc)
            jobs.append((config, self._one_of_each(config, pairs), self.sums))
        if not task.whole:
            rng = np.random.default_rng(task.seed)
            count = max(1, int(len(jobs) * task.share))
            jobs = [jobs[i] for i in rng.choice(len(jobs), count, replace=False)]
        compared = differences = 0
        details: dict = {"settings": len(jobs)}
        for done, (config, chosen, sums) in enumerate(jobs):
            found = self.compare(config, chosen, sums, lambda part: None)
            compared += found.compared
            if found.differences and not differences:
                details["first_difference"] = found.first
            differences += found.differences
            task.report((done + 1) / len(jobs))
        return Outcome(compared=compared, differences=differences, details=details)

    def _moved(self, product: int, acc: int | None) -> MacConfig:
        return with_offsets(self.config, Offsets(product=product, acc=acc, outer=0))

    def _one_of_each(self, config: MacConfig, pairs: NDArray) -> NDArray:
        """For each product that there is as an addend, one pair that makes it with some random word."""
        index = Addends.of(self, config, pairs).index
        _, first = np.unique(index, return_index=True)
        return np.unique(pairs[first % len(pairs)])


def _registers(bounds: OffsetRange) -> range:
    """Everything that a register of the range's width holds."""
    return range(-(2 ** (bounds.width - 1)), 2 ** (bounds.width - 1))


def _sweeps() -> Iterator[OffsetSweep]:
    def sweep(x: str, product: str, accumulator: str) -> OffsetSweep:
        config = MacConfig.parse(f"{x}_{x}_p_{product}_a_{accumulator}_c16")
        return OffsetSweep(config=config, wired=False, stages=0, events=False)

    yield sweep("e3m4", "e4m7b12_rz", "e4m7b10_rz")
    yield sweep("e3m4", "exact", "int12ln5_rz_sat")
    yield sweep("e3m4s", "e4m7sb12_rne", "e4m7sb10_rne")
    yield sweep("e3m4", "exact", "e4m7b10_rne")
    yield sweep("e3m4", "e4m7b12_rne", "e4m7b10_rne_g2")
    yield sweep("e3m4", "exact", "int12ln5_rne_wrap")
    yield sweep("e3m4", "exact", "e4m7b10_rz_g1")


def rows() -> list[Row]:
    return [
        Row(
            method="offsets",
            subject=sweep.subject,
            what="gates of the RTL with golden, all values of the offset registers",
            depends=lambda sweep=sweep: _VERSION + sweep.depends(),
            run=sweep.run,
            versions=simulator_versions,
            seconds=40,
            divides=True,
        )
        for sweep in _sweeps()
    ]
