"""Matrix products by a plan: orders, batches, tiles on threads, and whole products where they are exact."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock

import torch
from torch import Tensor

from golden.accumulate import EventCounts, Events
from golden.config import MacConfig
from sim.kernels import steps
from sim.kernels.plan import Plan
from sim.kernels.tile import Tile

__all__ = ["merge_events", "multiply"]

#: Outputs in a tile: enough to hide what a call of torch costs, few enough to stay in a core's cache.
_TILE_BYTES = 1 << 19
_TILE_COLUMNS = 4096

_lock = Lock()


def multiply(
    a: Tensor, b: Tensor, config: MacConfig, plan: Plan, order: Tensor | None, *, count: bool
) -> tuple[Tensor, Events | None]:
    """a[..., m, k] @ b[..., k, n] as float64, and its events if they are to be counted.

    The operands are float64 and hold values of their formats; ``order`` has been checked.
    """
    if a.ndim == 2 and b.ndim == 2:
        return _in_order(a, b, config, plan, order, count=count)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if b.ndim == 2:  # one matrix for the whole batch: more rows
        values, counted = _in_order(a.flatten(0, -2), b, config, plan, order, count=count)
        return values.unflatten(0, a.shape[:-1]), counted
    pairs = zip(
        a.expand(*batch, *a.shape[-2:]).flatten(0, -3),
        b.expand(*batch, *b.shape[-2:]).flatten(0, -3),
        strict=True,
    )
    results = [_in_order(one, other, config, plan, order, count=count) for one, other in pairs]
    values = torch.stack([v for v, _ in results]) if results else a.new_empty(0, a.shape[-2], b.shape[-1])
    return values.unflatten(0, batch), merge_events([e for _, e in results]) if count else None


def merge_events(parts: list[Events]) -> Events:
    """The counts of several products together."""

    def total(place: str) -> EventCounts:
        counts = [getattr(part, place) for part in parts]
        fields = ("steps", "overflow", "underflow", "swamped")
        return EventCounts(**{field: sum(getattr(c, field) for c in counts) for field in fields})

    return Events(product=total("product"), inner=total("inner"), outer=total("outer"))


def _in_order(
    a: Tensor, b: Tensor, config: MacConfig, plan: Plan, order: Tensor | None, *, count: bool
) -> tuple[Tensor, Events | None]:
    """a[m, k] @ b[k, n]: gathered in the order given, columns of the same order together."""
    if order is None:
        return _product(a, b, config, plan, count=count)
    if order.ndim == 1:
        return _product(a[:, order], b[order], config, plan, count=count)
    values = a.new_empty(a.shape[0], b.shape[1])
    parts = []
    permutations, which = order.unique(dim=1, return_inverse=True)
    for i, permutation in enumerate(permutations.t()):
        columns = (which == i).nonzero()[:, 0]
        part, counted = _product(a[:, permutation], b[permutation][:, columns], config, plan, count=count)
        values[:, columns] = part
        parts.append(counted)
    return values, merge_events(parts) if count else None


def _product(
    a: Tensor, b: Tensor, config: MacConfig, plan: Plan, *, count: bool
) -> tuple[Tensor, Events | None]:
    """a[m, k] @ b[k, n] in ascending k: the longer of m and n becomes the inner loop."""
    a = a * 2.0**-plan.inner_unit
    if a.shape[0] >= b.shape[1]:
        values, counted = _columns(b, a.t(), config, plan, count=count)
        values = values.t()
    else:
        values, counted = _columns(a.t(), b, config, plan, count=count)
    return values * 2.0**plan.outer_unit + 0.0, counted  # -0.0 + 0.0 is 0.0


def _columns(
    left: Tensor, right: Tensor, config: MacConfig, plan: Plan, *, count: bool
) -> tuple[Tensor, Events | None]:
    """out[r, c] = dot(left[:, r], right[:, c]); column by column as one product if that is exact."""
    length, rows, columns = *left.shape, right.shape[1]
    if length == 0 or rows == 0 or columns == 0:
        return left.new_zeros(rows, columns), _events(config, length, rows * columns, []) if count else None
    if not plan.merged:
        return _tiles(left, right, config, plan, count=count)

    sums = left.t() @ right
    stepped = torch.zeros(columns, dtype=torch.bool)
    if not plan.all_in_range and (count or not plan.inner.wrap):
        stepped = (left.abs().t() @ right.abs()).amax(0) > plan.inner.high
    if plan.inner.wrap:
        steps.wrap(sums, plan.inner, torch.empty_like(sums))
    whole = _events(config, length, rows * int((~stepped).sum()), []) if count else None
    if not stepped.any():
        return sums, whole
    values, counted = _tiles(left, right[:, stepped], config, plan, count=count)
    sums[:, stepped] = values
    return sums, merge_events([whole, counted]) if count else None


def _tiles(
    left: Tensor, right: Tensor, config: MacConfig, plan: Plan, *, count: bool
) -> tuple[Tensor, Events | None]:
    """The same by steps along k, tile by tile."""
    length, rows, columns = *left.shape, right.shape[1]
    left, right = left.to(plan.lane.dtype).contiguous(), right.to(plan.lane.dtype)
    with torch.inference_mode(False):  # what it gives, other threads must not write
        values = torch.empty(rows, columns, dtype=torch.float64)
    workers = torch.get_num_threads()
    width = min(_TILE_COLUMNS, -(-columns // workers) if columns >= 256 * workers else columns)
    height = max(1, _TILE_BYTES // (width * plan.lane.dtype.itemsize))

    def run(corner: tuple[int, int]) -> Tile:
        r, c = (slice(start, start + size) for start, size in zip(corner, (height, width), strict=True))
        tile = Tile(left[:, r], right[:, c].contiguous(), config, plan, count=count)
        values[r, c] = tile.run()
        return tile

    corners = [(r, c) for r in range(0, rows, height) for c in range(0, columns, width)]
    with _one_thread_each():
        tiles = list(_pool(workers).map(run, corners))
    return values, _events(config, length, rows * columns, tiles) if count else None


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Tiles run on threads of their own, so torch must not divide the work on one tile again.

    The number of threads belongs to the process, so one product at a time may change it.
    """
    with _lock:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers)


def _events(config: MacConfig, length: int, outputs: int, tiles: list[Tile]) -> Events:
    """Events of all tiles; outputs that are in none of them had no events."""
    macs = length * outputs
    taken = {
        "product": 0 if config.product is None else macs,
        "inner": macs,
        "outer": -(-length // config.chunk_size) * outputs,
    }

    def total(place: str) -> EventCounts:
        tallies = [getattr(tile, place) for tile in tiles]
        happened = {f: sum(getattr(t, f) for t in tallies) for f in ("overflow", "underflow", "swamped")}
        return EventCounts(steps=taken[place], **happened)

    return Events(product=total("product"), inner=total("inner"), outer=total("outer"))
