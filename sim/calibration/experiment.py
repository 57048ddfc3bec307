"""One row: a pretrained network, an accumulator, what is done against its errors, and how well that does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sim.calibration.steps import Calibration, config_of
from sim.inject import accumulate
from sim.zero_shot.benchmarks import Benchmark
from sim.zero_shot.measure import environment

__all__ = ["ACCUMULATORS", "CUMULATIVE", "SINGLY", "CalibrationRow", "measure", "rows"]

#: The paper's, and its neighbours.
ACCUMULATORS = ("e4m7", "e4m5", "e4m6", "e5m6", "e5m7")

#: One thing more in each row; what follows the chunk of 16 needs no other silicon.
CUMULATIVE = (
    "named",
    "search",
    "rule",
    "rule+taper",
    "rule+taper+gain",
    "rule+taper+gain+bias",
    "rule+chunk+taper+gain+bias",
)

#: One thing alone on top of the rule's biases; and without the taper.
SINGLY = (
    "rule+chunk",
    "rule+chunks",
    "rule+law-gain",
    "rule+layer-gain",
    "rule+gain",
    "rule+bias",
    "rule+gain+bias",
    "rule+chunk+gain+bias",
)

#: To nearest even, which has no gain to make up for.
_REFERENCE = ("rule",)


@dataclass(frozen=True, kw_only=True)
class CalibrationRow:
    """What is measured."""

    accumulator: str  #: ``e4m7``
    rounding: str  #: ``rz`` or ``rne``
    calibration: Calibration

    @property
    def label(self) -> str:
        """For progress and tables."""
        return f"{self.accumulator}-{self.rounding} {self.calibration.name}"

    def key(self, network: str, n: int, seed: int, backend: str) -> str:
        """What a finished row is known by."""
        return f"{network}, {n}, {self.label}, seed {seed}, {backend}"


def rows(accumulators: Sequence[str], calibrations: Sequence[str] | None) -> Iterator[CalibrationRow]:
    """Those of each accumulator, the most important first; ``calibrations``: None: all."""
    for accumulator in accumulators:
        config_of(accumulator, "rz")  # or a sentence that says why not
    for names in (CUMULATIVE, SINGLY) if calibrations is None else (calibrations,):
        for accumulator in accumulators:
            for name in names:
                yield CalibrationRow(
                    accumulator=accumulator, rounding="rz", calibration=Calibration.parse(name)
                )
            for name in _REFERENCE if names in (CUMULATIVE, calibrations) else ():
                yield CalibrationRow(
                    accumulator=accumulator, rounding="rne", calibration=Calibration.parse(name)
                )


@torch.no_grad()
def measure(
    benchmark: Benchmark,
    row: CalibrationRow,
    reference: Sequence[Tensor],
    *,
    backend: str,
    seed: int,
    report: Callable[[int], None],
) -> dict[str, Any]:
    """The row of the results; ``reference``: what the network gives with float32 products."""
    start = time.perf_counter()
    config = config_of(row.accumulator, row.rounding)
    done = row.calibration.apply(benchmark, config, backend)
    calibrated = time.perf_counter()
    outputs = []
    with accumulate(done.layers, backend=backend):
        for count, batch in enumerate(benchmark.batches, 1):
            outputs.append(done.model(batch).cpu())
            report(count)
    gains = [float(each.mean()) for each in done.gains if each is not None]
    return {
        "key": row.key(benchmark.name, benchmark.n, seed, backend),
        "network": benchmark.name,
        "accumulator": row.accumulator,
        "rounding": row.rounding,
        "calibration": row.calibration.name,
        "n": benchmark.n,
        "seed": seed,
        "metric": benchmark.metric,
        **benchmark.compared(outputs, reference),
        "chunks": sorted({layer.config.chunk_size for layer in done.layers}),
        "layers": [layer.config.name for layer in done.layers],
        "gains": {"least": min(gains), "mean": sum(gains) / len(gains)} if gains else None,
        "left": done.left,
        "calibration_seconds": calibrated - start,
        "seconds": time.perf_counter() - calibrated,
        "made_by": environment(backend),
    }
