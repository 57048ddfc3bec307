"""Gradients through the chain of roundings: which steps let the gradient of a result pass to their product.

A chunk is a chain s_i = FMAq(x_i, w_i, s_(i-1)), its sum one step of the outer chain. Taken literally its
derivative is zero almost everywhere; the estimators (Blumenfeld, Hubara, Soudry, arXiv 2401.14110) count a
rounding as the identity and ask of each step only whether it took its addend up. What they give is a mask:
the gradients of ``y = a @ b`` are those of the exact product with masked terms,

    grad_a[m, k] = sum over n of g[m, n] * mask[m, n, k] * b[k, n]
    grad_b[k, n] = sum over m of g[m, n] * mask[m, n, k] * a[m, k]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from golden import arith
from golden.accumulate import FIRST_WORDS, unpacked_operands, words_of
from golden.codes import decode
from golden.config import Accumulator, ConfigError, MacConfig
from golden.integers import Bools, Integers, power_of_two
from golden.random_words import RandomWords, Stage

__all__ = ["Estimator", "GradientRule", "masks"]


class Estimator(Enum):
    """When a step of the chain lets a gradient pass."""

    IDENTITY = "identity"  #: Always.
    IMMEDIATE_OF = "immediate/of"  #: Its addition did not overflow.
    RECURSIVE_OF = "recursive/of"  #: Neither its addition nor a later one overflowed.
    IMMEDIATE_DIFF = "immediate/diff"  #: It changed the sum.
    RECURSIVE_DIFF = "recursive/diff"  #: It changed the sum, and so did all later ones.

    @property
    def is_recursive(self) -> bool:
        return self in (Estimator.RECURSIVE_OF, Estimator.RECURSIVE_DIFF)

    @property
    def is_difference(self) -> bool:
        return self in (Estimator.IMMEDIATE_DIFF, Estimator.RECURSIVE_DIFF)


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientRule:
    """An estimator with its parameter."""

    estimator: Estimator
    threshold: float  #: Of a difference: a step counts where |s_i - s_(i-1)| > threshold * |addend|. Else 0.

    def __post_init__(self) -> None:
        if not isinstance(self.estimator, Estimator):
            raise ConfigError(f"estimator must be an Estimator, not {self.estimator!r}")
        if not math.isfinite(self.threshold) or self.threshold < 0:
            raise ConfigError(f"a threshold is finite and not negative, and {self.threshold!r} is not")
        if self.threshold and not self.estimator.is_difference:
            raise ConfigError(
                f"{self.estimator.value} takes no threshold; use immediate/diff:{self.threshold:g}, or none"
            )

    @property
    def name(self) -> str:
        """Canonical: ``recursive/of``, ``immediate/diff:0.5``."""
        return self.estimator.value + (f":{self.threshold!r}" if self.threshold else "")

    @classmethod
    def parse(cls, name: str) -> GradientRule:
        """The rule of a name: ``GradientRule.parse(rule.name) == rule``."""
        estimator, colon, threshold = name.partition(":")
        known = [each.value for each in Estimator]
        try:
            return cls(estimator=Estimator(estimator), threshold=float(threshold) if colon else 0.0)
        except ConfigError:
            raise
        except ValueError:
            raise ConfigError(
                f"{name!r} is not a rule of gradients; use {', '.join(known)}, or a difference with its "
                "threshold, as in immediate/diff:0.5"
            ) from None


def masks(
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    rule: GradientRule,
    order: Tensor | None = None,
    random: RandomWords = FIRST_WORDS,
) -> Tensor:
    """Whether output [m, n] of a matrix product hands its gradient to its product k: bool [..., m, n, k].

    Arguments are those of :func:`golden.accumulate.matmul`. Product k is a step of its chunk, and its chunk a
    step of the outer chain: both must let it pass. A step passes by the rule; recursively, later steps of the
    same chain must pass, too.

    An *overflow* is that of the addition, as :func:`golden.accumulate.events` counts it: the rounded sum is
    outside the format, whether the accumulator then saturates or wraps. The product quantizer's own overflow
    masks nothing. A *difference* compares s_i with s_(i-1) as numbers. With threshold 0 they must not be
    equal; else |s_i - s_(i-1)| > threshold * |addend|, each side rounded once by float64, the addend being
    the product as it goes to the adder, or the chunk's sum. ValueError for sums that float64 does not hold.
    """
    x, w, shape = unpacked_operands(a, b, config, order)
    words = words_of(random, shape, a.device)
    length = len(x)
    if rule.estimator is Estimator.IDENTITY or 0 in shape or length == 0:
        return torch.ones((*shape, length), dtype=torch.bool, device=a.device)
    chunks = arith.chunks(length, config.chunk_size)
    inner, outer = [], []  # what passes, step by step
    out = torch.zeros(shape, dtype=torch.int64, device=a.device)
    for chunk, indices in enumerate(chunks):
        acc, passed = torch.zeros_like(out), []
        for k in indices:
            product_word = arith.word_of(words, Stage.PRODUCT, config.product, k)
            acc_word = arith.word_of(words, Stage.INNER, config.accumulator, k)
            addend = arith.addend_of(x[k], w[k], config, product_word)
            after = arith.add(acc, addend, config.accumulator, acc_word)
            passed.append(_passes(acc, addend, after, config.accumulator, acc_word, rule))
            acc = after
        inner += _later(passed) if rule.estimator.is_recursive else passed
        word = arith.word_of(words, Stage.OUTER, config.outer_accumulator, chunk)
        addend = arith.unpack(acc, config.accumulator.format)
        after = arith.add(out, addend, config.outer_accumulator, word)
        outer.append(_passes(out, addend, after, config.outer_accumulator, word, rule))
        out = after
    if rule.estimator.is_recursive:
        outer = _later(outer)
    steps = torch.empty((*shape, length), dtype=torch.bool, device=a.device)
    for chunk, indices in enumerate(chunks):
        for k in indices:
            steps[..., k] = inner[k] & outer[chunk]
    if order is None:
        return steps
    product_of = order.expand(shape[-1], -1) if order.ndim == 1 else order.t()
    return torch.empty_like(steps).scatter_(-1, product_of.expand_as(steps), steps)


def _later(passed: list[Bools]) -> list[Bools]:
    """Each and all that come after it."""
    all_later = list(passed)
    for i in reversed(range(len(passed) - 1)):
        all_later[i] = all_later[i] & all_later[i + 1]
    return all_later


def _passes(
    before: Integers,
    addend: arith.Unpacked,
    after: Integers,
    accumulator: Accumulator,
    word: Integers | None,
    rule: GradientRule,
) -> Bools:
    """Whether one addition lets a gradient pass."""
    if not rule.estimator.is_difference:
        return ~arith.add_events(before, addend, accumulator, word).overflow
    if rule.threshold == 0:
        return after != before
    number = accumulator.format
    change = decode(after, number) - decode(before, number)
    magnitude = addend.significand.double() * power_of_two(addend.exponent)
    return change.abs() > rule.threshold * magnitude
