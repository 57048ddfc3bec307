"""The dataflows of the study: in which order they add, and why hardware has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim.orders import Order, Shuffled, ascending, rotated, strided, tiled

__all__ = ["CHUNK", "DATAFLOWS", "LONGEST", "TILE", "Dataflow"]

CHUNK = 16  #: Products that the project's array adds before it hands a partial sum on.
TILE = 4  #: Columns of an output tile.
LANES = 4
RANGE = 128
LONGEST = 4096  #: No sum of the study has more products.


@dataclass(frozen=True, kw_only=True)
class Dataflow:
    """An order of summation with its chunks."""

    name: str
    alike: bool  #: Whether every output column has the same order.
    chunk: int  #: Products of a partial sum.
    order: Callable[[], Order]  #: A new one for each run, since some go on from product to product.
    hardware: str  #: What adds so.


DATAFLOWS = {
    flow.name: flow
    for flow in (
        Dataflow(
            name="sequential",
            alike=True,
            chunk=LONGEST,
            order=lambda: ascending,
            hardware="output-stationary cell: one accumulator an output, k ascending",
        ),
        Dataflow(
            name="chunked",
            alike=True,
            chunk=CHUNK,
            order=lambda: ascending,
            hardware=f"this project's array: {CHUNK} products down a column, partial sums added at its foot",
        ),
        Dataflow(
            name="split-K",
            alike=True,
            chunk=RANGE,
            order=lambda: ascending,
            hardware=f"ranges of {RANGE} products on cores of their own, added in a fixed sequence",
        ),
        Dataflow(
            name="strided",
            alike=True,
            chunk=CHUNK,
            order=lambda: strided(LANES),
            hardware=f"{LANES} memory banks read one after the other: every {LANES}th product",
        ),
        Dataflow(
            name="shuffled, one for all",
            alike=True,
            chunk=CHUNK,
            order=lambda: Shuffled(seed=0, by_column=False),
            hardware="operands used as they arrive, each broadcast to all columns: another order every time",
        ),
        Dataflow(
            name="tiled",
            alike=False,
            chunk=CHUNK,
            order=lambda: tiled(TILE),
            hardware=f"stream-K: equal runs of work, so tiles of {TILE} columns begin half of K apart",
        ),
        Dataflow(
            name="rotated",
            alike=False,
            chunk=CHUNK,
            order=lambda: rotated,
            hardware="ring: column j begins with the operand it holds, k = j, and wraps around",
        ),
        Dataflow(
            name="shuffled by column",
            alike=False,
            chunk=CHUNK,
            order=lambda: Shuffled(seed=0, by_column=True),
            hardware="atomic additions: each output takes its terms as they arrive",
        ),
    )
}
