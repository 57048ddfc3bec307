"""Orders of summation that dataflows have, for every product of a network.

An order is a function of a product's shape: ``order(k, n)`` gives what :func:`golden.accumulate.matmul`
takes, None for ascending k, int64 [k] for all output columns, or [k, n] for one order a column. Chunks are
the configuration's, and are cut after that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from golden.config import ConfigError

__all__ = ["ORDERS", "Order", "Orders", "Shuffled", "ascending", "asked", "rotated", "strided", "tiled"]

Order = Callable[[int, int], Tensor | None]


def ascending(length: int, columns: int) -> None:
    """Ascending k, the contract's own: an output-stationary cell, or a column of an array top to bottom."""
    return None


def strided(lanes: int) -> Order:
    """Lane by lane, in which each has every ``lanes``-th product: k = 0, lanes, 2 lanes, ..., 1, ...

    ConfigError unless there is at least one lane.
    """
    _check_count("lanes", lanes)

    def order(length: int, columns: int) -> Tensor:
        return torch.cat([torch.arange(lane, length, lanes) for lane in range(min(lanes, length))] or [_NONE])

    return order


def rotated(length: int, columns: int) -> Tensor:
    """Column j starts at k = j and wraps around: a ring, where each cell begins with what it holds."""
    return _from_starts(length, torch.arange(columns))


def tiled(width: int) -> Order:
    """Tiles of ``width`` columns start half of k apart by turns: work cut into equal runs over all tiles.

    ConfigError unless a tile has at least one column.
    """
    _check_count("the width of a tile", width)

    def order(length: int, columns: int) -> Tensor:
        return _from_starts(length, torch.arange(columns) // width % 2 * (length // 2))

    return order


class Shuffled:
    """Another permutation for each product: whichever operand arrives first.

    Parameters
    ----------
    seed : int
        Of the permutations, which follow one another: the same products in the same order get the same.
    by_column : bool
        One for each column, as with atomic additions, or one for all of them.
    """

    def __init__(self, *, seed: int, by_column: bool):
        self.by_column = by_column
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, length: int, columns: int) -> Tensor:
        keys = torch.rand(length, columns if self.by_column else 1, generator=self._generator)
        order = keys.argsort(dim=0, stable=True)
        return order if self.by_column else order[:, 0]


def _check_count(what: str, count: int) -> None:
    if not isinstance(count, Integral) or count < 1:
        raise ConfigError(f"{what} must be a whole number of at least 1, not {count!r}")


def _from_starts(length: int, starts: Tensor) -> Tensor:
    """order[i, j] = (i + starts[j]) modulo the length."""
    return (torch.arange(length)[:, None] + starts) % max(length, 1)


_NONE = torch.zeros(0, dtype=torch.int64)

#: Name -> order, as :func:`sim.inject.accumulate` takes it.
ORDERS: dict[str, Order] = {
    "ascending": ascending,
    "strided": strided(4),
    "rotated": rotated,
    "tiled": tiled(4),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """The orders of a product y[m, n] = x[m, k] @ w[k, n] and of its two backward products.

    Raises ConfigError where one of them is not a function.
    """

    forward: Order  #: Of y, asked for (k, n).
    of_x: Order  #: Of the gradient of x, grad[m, n] @ w.T[n, k]: asked for (n, k).
    of_w: Order  #: Of the gradient of w, x.T[k, m] @ grad[m, n]: asked for (m, n).

    def __post_init__(self):
        for order in (self.forward, self.of_x, self.of_w):
            if not callable(order):
                raise ConfigError(
                    f"an order is a name ({', '.join(ORDERS)}) or a function of a product's k and n, "
                    f"not a {type(order).__name__}; for one order of all products give lambda k, n: order"
                )

    @classmethod
    def of(cls, order: str | Order | Orders | None) -> Orders:
        """One order for all three, by itself or by its name; None is ascending.

        Raises ConfigError for a name that no order has, and for what is neither.
        """
        if isinstance(order, Orders):
            return order
        if isinstance(order, str):
            if order not in ORDERS:
                raise ConfigError(
                    f"there is no order called {order!r}; use {', '.join(ORDERS)}, or a function"
                )
            order = ORDERS[order]
        order = ascending if order is None else order
        return cls(forward=order, of_x=order, of_w=order)


def asked(order: Order, length: int, columns: int, device: torch.device) -> Tensor | None:
    """The order of a product of that shape, where the product is. ConfigError for what is no tensor."""
    steps = order(length, columns)
    if steps is None:
        return None
    if not isinstance(steps, Tensor):
        raise ConfigError(
            f"the order of a product of k = {length} and n = {columns} is a {type(steps).__name__}; "
            "its function must give an int64 tensor of shape [k] or [k, n], or None for ascending k"
        )
    return steps.to(device)
