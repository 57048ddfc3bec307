"""Which layer's accumulator costs most: each is made exact by itself, and the network judged again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from sim.microscope.runner import Runner, angle_error
from sim.workload import Workload

__all__ = ["Restored", "rank_layers"]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What the network gains where one layer adds up exactly."""

    layer: str
    value: float  #: The workload's metric.
    gain: float  #: Against the network with no layer restored, in the metric's unit.
    interval: tuple[float, float] | None  #: 95 % of the gain, on the same inputs.
    angle_error: float  #: See :func:`sim.microscope.runner.angle_error`, against float32.

    def to_json(self) -> dict:
        interval = None if self.interval is None else list(self.interval)
        fields = ("layer", "value", "gain", "angle_error")
        return {name: getattr(self, name) for name in fields} | {"interval": interval}


def rank_layers(
    runner: Runner,
    workload: Workload,
    *,
    ours: Sequence[Tensor],
    float32: Sequence[Tensor],
    done: Callable[[str], None],
) -> list[Restored]:
    """All layers, the one first whose accumulator costs most: by the metric, then by the outputs' error.

    ``ours``: the workload's outputs by the plan; ``float32``: those of the model as it is.
    """
    rows = []
    for layer in runner.layers:
        outputs, _ = runner.run(workload.batches, exact=(layer,))
        compared = workload.compared(outputs, ours)
        interval = compared.get("interval")
        rows.append(
            Restored(
                layer=layer,
                value=compared["value"],
                gain=compared["difference"],
                interval=None if interval is None else tuple(interval),
                angle_error=angle_error(outputs, float32),
            )
        )
        done(layer)
    return sorted(rows, key=lambda row: (-row.gain, row.angle_error))
