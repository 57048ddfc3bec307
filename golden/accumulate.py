"""Matrix products: the order of summation, chunks and the outer accumulator, on torch tensors.

Parallel over outputs, one step of k after another. Slow, and the statement that every fast kernel
is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from golden import arith
from golden.codes import decode, encode
from golden.config import MacConfig
from golden.random_words import RandomWords, Stage

__all__ = ["FIRST_WORDS", "EventCounts", "Events", "check_order", "events", "matmul", "matmul_codes"]

FIRST_WORDS = RandomWords(seed=0, call=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventCounts:
    """How often each event happened in one kind of step."""

    steps: int  #: Roundings that were looked at.
    overflow: int
    underflow: int
    swamped: int  #: Always 0 for a product, which is added to nothing.


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """Events of a matrix product, apart for the three places that round."""

    product: EventCounts  #: All 0 without a product quantizer.
    inner: EventCounts
    outer: EventCounts


def matmul(
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    order: Tensor | None = None,
    random: RandomWords = FIRST_WORDS,
) -> Tensor:
    """Multiply matrices: a[..., m, k] @ b[..., k, n], each output one dot product of the configuration.

    Values in, float64 values out. ``a`` and ``b`` hold values of the formats ``config.x`` and
    ``config.w``; leading dimensions broadcast. ``order``, int64 of shape [k] or [k, n], says that step
    i of every output, or of output column j, takes product ``order[i]`` or ``order[i, j]``; None is
    ascending k. ``random`` has the words of stochastic roundings.

    Raises ValueError for a value that its format does not hold, and for a result that float64
    does not hold (see :func:`matmul_codes`).
    """
    return decode(matmul_codes(a, b, config, order, random), config.outer_accumulator.format)


def matmul_codes(
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    order: Tensor | None = None,
    random: RandomWords = FIRST_WORDS,
) -> Tensor:
    """:func:`matmul` with results as int64 codes of the outer accumulator."""
    x, w, shape = unpacked_operands(a, b, config, order)
    words = words_of(random, shape, a.device)
    return torch.zeros(shape, dtype=torch.int64, device=a.device) + arith.dot(x, w, config, words)


def events(
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    order: Tensor | None = None,
    random: RandomWords = FIRST_WORDS,
) -> Events:
    """Count what overflowed, underflowed and was swamped in :func:`matmul` of the same arguments."""
    x, w, shape = unpacked_operands(a, b, config, order)
    words = words_of(random, shape, a.device)
    product, inner, outer = _Counter(shape), _Counter(shape), _Counter(shape)
    out = 0
    for chunk, indices in enumerate(arith.chunks(len(x), config.chunk_size)):
        acc = 0
        for k in indices:
            step = (
                *(acc, x[k], w[k], config),
                arith.word_of(words, Stage.PRODUCT, config.product, k),
                arith.word_of(words, Stage.INNER, config.accumulator, k),
            )
            of_product, of_sum = arith.fmaq_events(*step)
            if of_product is not None:
                product.count(of_product)
            inner.count(of_sum)
            acc = arith.fmaq(*step)
        word = arith.word_of(words, Stage.OUTER, config.outer_accumulator, chunk)
        outer.count(arith.chunk_events(out, acc, config, word))
        out = arith.chunk_add(out, acc, config, word)
    return Events(product=product.counts, inner=inner.counts, outer=outer.counts)


def check_order(order: Tensor, length: int, columns: int) -> None:
    """Raise ValueError unless ``order`` is a permutation of k, or one for each output column."""
    if tuple(order.shape) not in ((length,), (length, columns)) or order.dtype != torch.int64:
        raise ValueError(
            f"order is {order.dtype} of shape {list(order.shape)}; it must be int64 of shape "
            f"[{length}] or [{length}, {columns}]"
        )
    ascending = torch.arange(length, device=order.device)
    if not (order.sort(dim=0).values == (ascending if order.ndim == 1 else ascending[:, None])).all():
        raise ValueError(f"order is not a permutation of 0 to {length - 1} (in each column)")


def unpacked_operands(
    a: Tensor, b: Tensor, config: MacConfig, order: Tensor | None
) -> tuple[Sequence[Tensor], Sequence[Tensor], tuple[int, ...]]:
    """Codes of both operands, step by step: they broadcast to the shape of the output."""
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"matmul takes a[..., m, k] and b[..., k, n], not {list(a.shape)} and {list(b.shape)}"
        )
    length, columns = b.shape[-2:]
    shape = (*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], columns)
    x, w = encode(a, config.x), encode(b, config.w)
    if order is None:
        order = torch.arange(length, device=a.device)
    check_order(order, length, columns)
    picked = order[:, None] if order.ndim == 1 else order
    column = torch.arange(columns, device=a.device)
    x_steps = _Steps(length, lambda i: x[..., picked[i]])
    w_steps = _Steps(length, lambda i: w[..., picked[i], column][..., None, :])
    return x_steps, w_steps, shape


def words_of(random: RandomWords, shape: tuple[int, ...], device: torch.device) -> arith.Words:
    """Random words by output: rows count on from one matrix of a batch to the next, columns do not."""
    *batch, rows, columns = shape
    m = torch.arange(math.prod(batch) * rows, device=device).reshape(*batch, rows, 1)
    n = torch.arange(columns, device=device)
    return lambda stage, bits, k: random.words(stage, bits, m, n, k)


class _Steps(Sequence):
    """The codes of one operand at each step, gathered when asked for: all at once are m * k * n."""

    def __init__(self, length: int, gather: Callable[[int], Tensor]):
        self.length, self.gather = length, gather

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Tensor:
        return self.gather(i)


class _Counter:
    """Adds up events over steps; an event that is the same for all outputs counts for each."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self.steps = 0
        self.totals = [0, 0, 0]

    def count(self, step: arith.StepEvents) -> None:
        self.steps += math.prod(self.shape)
        for i, flags in enumerate(step):
            self.totals[i] += int(torch.as_tensor(flags).expand(self.shape).sum())

    @property
    def counts(self) -> EventCounts:
        overflow, underflow, swamped = self.totals
        return EventCounts(steps=self.steps, overflow=overflow, underflow=underflow, swamped=swamped)
