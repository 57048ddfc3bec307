"""When things happen in an array: numbers shared by its control, its model of cycles and its manifest."""

from __future__ import annotations

from dataclasses import dataclass

from golden.config import ArrayConfig
from golden.random_words import Stage
from hw.mac import Mac
from hw.random_words import COLUMN_HALVES_LATENCY, stochastic_stages

__all__ = ["ArrayTiming"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayTiming:
    """Cycles without stalls."""

    acc_lag: int  #: Of a MAC, see :class:`hw.mac.Mac`.
    acc_latency: int  #: Likewise.
    latency: int  #: From an activation vector of the last pass to the row of results.
    weight_wait: int  #: From the first activation of a pass to the first weight of the next, at least.
    sum_wait: int  #: From an activation vector to the same one in the next pass of a chunk, at least.
    drain: int  #: From a job's last activation to the next job, where that has to wait for the results.
    column_halves: int | None  #: From a job to its first weight, with stochastic rounding.

    @classmethod
    def of(cls, config: ArrayConfig) -> ArrayTiming:
        mac = Mac(config.silicon, config.stages, events=False)
        depth_cycles = config.rows * mac.acc_latency  # partial sums go down in so many cycles
        latency = mac.acc_lag + depth_cycles + config.cols + 1
        stages = stochastic_stages(config.silicon.config)
        # The next weight of row r must not come before the one it follows is in use, r * acc_latency
        # cycles after the activation that swaps row 0; the outer half, which goes with the last row,
        # not before the pass is at the foot.
        weight_wait = max(1, (config.rows - 1) * (mac.acc_latency - 1))
        if Stage.OUTER in stages:
            weight_wait = max(weight_wait, mac.acc_lag + config.rows * (mac.acc_latency - 1) + 1)
        return cls(
            acc_lag=mac.acc_lag,
            acc_latency=mac.acc_latency,
            latency=latency,
            weight_wait=weight_wait,
            # A partial sum that re-enters must have been stored; so must the outer sum.
            sum_wait=depth_cycles + 2 if config.passes > 1 else 2,
            drain=latency - 1,
            column_halves=config.cols + COLUMN_HALVES_LATENCY if stages else None,
        )
