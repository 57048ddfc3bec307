"""The chain of roundings as an autograd graph, one operator a step: what gradients are compared with.

Values and events are the rational arithmetic's of :mod:`tests.oracle`; nothing is taken from
``golden.gradients`` but the rule's fields.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from golden.codes import quantize_values
from golden.config import MacConfig, Rounding
from golden.gradients import GradientRule
from golden.random_words import RandomWords
from sim.kernels.cases import KINDS, draw
from tests.oracle import Added, add, random_word, round_to_float

WORDS = RandomWords(seed=0xC0FFEE, call=3)
RULES = [
    GradientRule.parse(name)
    for name in (
        *("identity", "immediate/of", "recursive/of", "immediate/diff", "recursive/diff"),
        *("immediate/diff:0.5", "recursive/diff:0.0371"),
    )
]
RECURSIVE = GradientRule.parse("recursive/of")

#: One of a kind of step: what lanes compute it, and integers where they do not.
CONFIGS = [
    "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16",
    "e3m4_e3m4_p_e4m3b14_rz_a_e3m4b4_rz_c7",
    "e3m4_e3m4_p_exact_a_e3m3b4_rne_c5_o_e3m2b3_rz",
    "e3m4_e3m4_p_e4m3b12_sr3_a_e3m4b4_sr5_c3_o_e4m4b8_sr2",
    "e3m4_e3m4_p_exact_a_e3m4b4_rz_g1_c24",
    "int8_int8_p_exact_a_int12_floor_sat_c16",
    "int8_int8_p_exact_a_int13_floor_wrap_c16_o_int14_floor_wrap",
    "e3m4_e3m4_p_exact_a_int9ln2_rne_sat_c16",
]


class Product(torch.autograd.Function):
    """A product with a value of its own and the exact product's gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return value

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, w = ctx.saved_tensors
        return (grad * w).sum_to_size(x.shape), (grad * x).sum_to_size(w.shape), None


class Sum(torch.autograd.Function):
    """One addition with a value of its own.

    Its addend gets the gradient where it passes; the sum before gets it always, or, if the rule is recursive,
    where it passes, too.
    """

    @staticmethod
    def forward(
        ctx, before: Tensor, addend: Tensor, value: Tensor, passes: Tensor, recursive: bool
    ) -> Tensor:
        ctx.save_for_backward(passes)
        ctx.recursive = recursive
        return value

    @staticmethod
    def backward(ctx, grad: Tensor):
        (passes,) = ctx.saved_tensors
        kept = torch.where(passes, grad, 0.0)
        return kept if ctx.recursive else grad, kept, None, None, None


def passes(before: Fraction, addend: Fraction, step: Added, rule: GradientRule) -> bool:
    match rule.estimator.value.partition("/")[2]:
        case "":
            return True
        case "of":
            return not step.overflow
        case "diff" if rule.threshold == 0:
            return step.value != before
        case "diff":
            return abs(float(step.value) - float(before)) > rule.threshold * float(abs(addend))
    raise AssertionError(rule)


def matmul(
    a: Tensor, b: Tensor, config: MacConfig, rule: GradientRule, order: Tensor | None, words: RandomWords
) -> Tensor:
    """a[m, k] @ b[k, n], float64, differentiable by the rule."""
    (m, length), n = a.shape, b.shape[1]
    recursive = rule.estimator.value.startswith("recursive")
    order = torch.arange(length) if order is None else order
    order = order[:, None].expand(length, n) if order.ndim == 1 else order
    outer_accumulator = config.outer or config.accumulator

    def word(stage: int, part, i: int, j: int, k: int) -> int | None:
        bits = part.random_bits
        return None if bits is None else random_word(words.seed, words.call, stage, bits, i, j, k)

    def added(before: Tensor, addend: Tensor, stage: int, part, k: int) -> Tensor:
        value, passing = torch.empty(m, n, dtype=torch.float64), torch.empty(m, n, dtype=torch.bool)
        for i in range(m):
            for j in range(n):
                s, p = Fraction(before[i, j].item()), Fraction(addend[i, j].item())
                step = add(s, p, part, word(stage, part, i, j, k))
                value[i, j], passing[i, j] = float(step.value), passes(s, p, step, rule)
        return Sum.apply(before, addend, value, passing, recursive)

    def product(k: int) -> Tensor:
        x = a.gather(1, order[k].expand(m, n))
        w = b.gather(0, order[k][None]).expand(m, n)
        value = (x * w).detach()
        if config.product is not None:
            q = config.product
            for i in range(m):
                for j in range(n):
                    exact = Fraction(value[i, j].item())
                    rounded = round_to_float(exact, q.format, q.rounding, q.random_bits, word(0, q, i, j, k))
                    value[i, j] = float(rounded.value)
        return Product.apply(x, w, value)

    out = torch.zeros(m, n, dtype=torch.float64)
    for chunk, start in enumerate(range(0, length, config.chunk_size)):
        acc = torch.zeros(m, n, dtype=torch.float64)
        for k in range(start, min(start + config.chunk_size, length)):
            acc = added(acc, product(k), 1, config.accumulator, k)
        out = added(out, acc, 2, outer_accumulator, chunk)
    return out


def gradients(
    grad: Tensor,
    a: Tensor,
    b: Tensor,
    config: MacConfig,
    rule: GradientRule,
    order: Tensor | None = None,
    words: RandomWords = WORDS,
) -> tuple[Tensor, Tensor, Tensor]:
    """The product and the gradients of a and b, float64, from ``grad``."""
    a, b = a.double().requires_grad_(), b.double().requires_grad_()
    out = matmul(a, b, config, rule, order, words)
    return out.detach(), *torch.autograd.grad(out, (a, b), grad.double())


def quantized(values, number):
    return quantize_values(values.double(), number, Rounding.NEAREST_EVEN)


def of_few_bits(config, m, k, n, seed):
    """Operands of which some overflow, and upstream gradients such that all sums are exact in float32."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.cat([draw(config, 1, k, 1, KINDS[i % 5], generator)[0] for i in range(m)])
    b = torch.cat([draw(config, 1, k, 1, KINDS[i % 3], generator)[1] for i in range(n)], dim=1)
    return a, b, torch.randint(-2, 3, (m, n), generator=generator).float(), generator


def exact_gradients(grad, a, b, kept):
    """From masks, in float64: the tests' sums are exact in float32, too."""
    grad, kept = grad.double(), kept.double()
    return torch.einsum("mn,mnk,kn->mk", grad, kept, b), torch.einsum("mn,mnk,mk->kn", grad, kept, a)
