"""What happened in a product: events and extremes of partial sums."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from golden.accumulate import EventCounts, Events

__all__ = ["Statistics", "merge_events"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """What happened in a product, by output column or channel n."""

    steps: int  #: MACs of each column.
    chunks: int  #: Additions of chunk sums of each column.
    quantized: bool  #: Whether products were rounded.
    counts: Tensor  #: int64 [8, n]: product over- and underflow; inner over-, underflow, swamped; outer ones.
    low: Tensor  #: float64 [2, n]: least sum inside chunks, and of chunks; 0 or less, where sums start.
    high: Tensor  #: float64 [2, n]

    @property
    def events(self) -> Events:
        """All columns together."""
        columns = self.counts.shape[1]
        totals = self.counts.sum(1).tolist()
        steps = self.steps * columns

        def counts(steps: int, overflow: int, underflow: int, swamped: int) -> EventCounts:
            return EventCounts(steps=steps, overflow=overflow, underflow=underflow, swamped=swamped)

        return Events(
            product=counts(steps if self.quantized else 0, totals[0], totals[1], 0),
            inner=counts(steps, *totals[2:5]),
            outer=counts(self.chunks * columns, *totals[5:8]),
        )


def merge_events(parts: list[Events]) -> Events:
    """The counts of several products together."""

    def total(place: str) -> EventCounts:
        counts = [getattr(part, place) for part in parts]
        fields = ("steps", "overflow", "underflow", "swamped")
        return EventCounts(**{field: sum(getattr(c, field) for c in counts) for field in fields})

    return Events(product=total("product"), inner=total("inner"), outer=total("outer"))
