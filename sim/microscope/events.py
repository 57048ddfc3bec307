"""Events and extremes of one layer's partial sums, by channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from golden.config import MacConfig
from sim.kernels.product import Statistics

__all__ = ["KINDS", "LayerEvents"]

#: Kind of event -> rows of :attr:`sim.kernels.product.Statistics.counts` that it is the sum of.
KINDS = {
    "overflow": (0, 2),
    "underflow": (1, 3),
    "swamping": (4,),
    "chunk overflow": (5,),
    "chunk underflow": (6,),
    "chunk swamping": (7,),
}


@dataclass(kw_only=True, eq=False)
class LayerEvents:
    """What happened in one layer over all forward passes so far.

    Where the number of columns varies, as in attention over sentences, they count together as one channel.
    """

    name: str
    config: MacConfig  #: As it was last.
    counts: Tensor  #: int64 [8, channels], as in :class:`sim.kernels.product.Statistics`.
    low: Tensor  #: float64 [2, channels]: least partial sum, inside chunks and of chunks, in format units.
    high: Tensor  #: float64 [2, channels]: the largest.
    steps: int  #: MACs of each channel.
    chunks: int  #: Additions of chunk sums of each channel.

    @classmethod
    def of(cls, name: str, config: MacConfig, statistics: Statistics) -> LayerEvents:
        """Those of one product."""
        return cls(
            name=name,
            config=config,
            counts=statistics.counts.clone(),
            low=statistics.low.clone(),
            high=statistics.high.clone(),
            steps=statistics.steps,
            chunks=statistics.chunks,
        )

    def add(self, config: MacConfig, statistics: Statistics) -> None:
        """Another product of the same layer."""
        other = LayerEvents.of(self.name, config, statistics)
        if other.counts.shape != self.counts.shape:
            self._together()
            other._together()
        self.config = config
        self.counts += other.counts
        self.low = torch.minimum(self.low, other.low)
        self.high = torch.maximum(self.high, other.high)
        self.steps += other.steps
        self.chunks += other.chunks

    def _together(self) -> None:
        """All columns as one channel."""
        columns = self.counts.shape[1]
        self.counts = self.counts.sum(1, keepdim=True)
        self.low = self.low.amin(1, keepdim=True)
        self.high = self.high.amax(1, keepdim=True)
        self.steps *= columns
        self.chunks *= columns

    @property
    def channels(self) -> int:
        return self.counts.shape[1]

    def share(self, kind: str) -> Tensor:
        """Events of a kind (a key of :data:`KINDS`) over the steps in which they can happen: [channels]."""
        total = sum(self.counts[row] for row in KINDS[kind]).double()
        return total / max(self.chunks if kind.startswith("chunk") else self.steps, 1)

    @property
    def reach(self) -> Tensor:
        """The largest partial sum over the largest number of its accumulator: [channels]."""
        formats = (self.config.accumulator.format, self.config.outer_accumulator.format)
        tops = torch.tensor([each.max_magnitude * 2.0**each.lsb_exponent for each in formats]).double()
        return (torch.maximum(self.high, -self.low) / tops[:, None]).amax(0)

    def to_json(self) -> dict:
        """What the JSON says: totals and, by channel, shares."""
        return {
            "layer": self.name,
            "config": self.config.name,
            "channels": self.channels,
            "steps_per_channel": self.steps,
            "chunk_sums_per_channel": self.chunks,
            "share": {kind: float(self.share(kind).mean()) for kind in KINDS},
            "share_by_channel": {kind: _rounded(self.share(kind)) for kind in KINDS},
            "reach_by_channel": _rounded(self.reach),
        }


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]
