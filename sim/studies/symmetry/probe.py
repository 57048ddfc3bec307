"""Reads the order of summation off any implementation, from its results alone.

Ones are added up, with +B in place of the i-th and -B in place of the j-th, B so large that it swallows
whatever meets it. The ones that are missing from the result were added below the point where +B and -B meet:
they are the size of the smallest part of the tree of additions that has both. All pairs give the tree, but
for which side of an addition is the left one, which no result depends on. This is FPRev of P. Xie, Y. Gao,
Y. Wang and J. Xue (arXiv 2411.00442).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from golden.accumulate import matmul
from golden.config import MacConfig

__all__ = ["Tree", "leaves", "masked_ones", "part_sizes", "pattern", "reference_sizes", "tree"]

#: A term's k, or two trees that are added.
Tree = int | tuple["Tree", "Tree"]


def masked_ones(length: int, large: float) -> tuple[Tensor, Tensor]:
    """All pairs i < j, int64 [pairs, 2], and a row [length] of terms for each, float64."""
    pairs = torch.combinations(torch.arange(length), 2)
    terms = torch.ones(len(pairs), length, dtype=torch.float64)
    terms.scatter_(1, pairs[:, :1], large).scatter_(1, pairs[:, 1:], -large)
    return pairs, terms


def part_sizes(
    product: Callable[[Tensor, Tensor], Tensor], length: int, columns: int, large: float
) -> Tensor:
    """sizes[n, i, j]: terms in the smallest part of column n's tree that has both i and j.

    ``product(a, b)`` computes a[m, length] @ b[length, columns] in the arithmetic that is probed, which must
    round to nearest and hold ``length`` exactly. ``large``: B. Raises ValueError where B does not swallow.
    """
    pairs, terms = masked_ones(length, large)
    left = product(terms, torch.ones(length, columns, dtype=torch.float64)).double()
    if not ((left >= 0) & (left <= length - 2) & (left == left.round())).all():
        raise ValueError(
            f"sums of ones beside {large} give {left.min()} to {left.max()}: it must swallow them"
        )
    sizes = torch.ones(columns, length, length, dtype=torch.int64)
    i, j = pairs.T
    sizes[:, i, j] = sizes[:, j, i] = length - left.round().long().T
    return sizes


def reference_sizes(
    config: MacConfig, length: int, columns: int, large: float, order: Tensor | None
) -> Tensor:
    """:func:`part_sizes` of the contract itself, golden, in that order."""
    return part_sizes(lambda a, b: matmul(a, b, config, order), length, columns, large)


def tree(sizes: Tensor) -> Tree:
    """The tree of one column's sizes [k, k]. The side with more terms stands left, or the earlier one.

    Raises ValueError where no tree has these sizes.
    """

    def grown(terms: list[int]) -> Tree:
        if len(terms) == 1:
            return terms[0]
        first = [term for term in terms if term == terms[0] or sizes[terms[0], term] < len(terms)]
        rest = [term for term in terms if term not in first]
        if not rest:
            raise ValueError(f"no tree has {len(terms)} terms that all meet in smaller parts")
        if len(rest) > len(first):
            first, rest = rest, first
        return grown(first), grown(rest)

    return grown(list(range(len(sizes))))


def leaves(grown: Tree) -> list[int]:
    """Terms from left to right: the order of summation."""
    return [grown] if isinstance(grown, int) else leaves(grown[0]) + leaves(grown[1])


def pattern(grown: Tree) -> str:
    """The tree in brackets, a run of additions one after the other as ``(0 1 2 3)``."""
    if isinstance(grown, int):
        return str(grown)
    parts = []
    while not isinstance(grown, int) and isinstance(grown[1], int):
        grown, last = grown
        parts.append(str(last))
    head = str(grown) if isinstance(grown, int) else f"{pattern(grown[0])} + {pattern(grown[1])}"
    return f"({' '.join([head, *reversed(parts)])})" if parts else head
