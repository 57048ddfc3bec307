"""Denoisers whose output is summed by a narrow accumulator, and a proved bound of what that costs.

A plateau is a cancellation: far right of a ramp its rise and its fall are both large, and their difference is
a constant. The terms of a network are products in the contract's own arithmetic, from the first to the last
in one chunk, so that the order of terms is the order of the sum.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from golden.accumulate import FIRST_WORDS
from golden.config import (
    Accumulator,
    ConfigError,
    Encoding,
    FloatAccumulator,
    FloatFormat,
    Format,
    MacConfig,
    Rounding,
)
from golden.random_words import RandomWords
from sim.backends import find_backend
from sim.denoisers.network import ReluNetwork
from sim.operands import quantize_operand

__all__ = [
    "ORDERS",
    "accumulator_config",
    "drift",
    "error_bound",
    "narrow_hidden",
    "narrow_output",
    "narrow_terms",
    "term_order",
]

#: Operands so wide that only the accumulator rounds: products of two are exact.
OPERAND = FloatFormat(exp_bits=8, man_bits=23, bias=127, encoding=Encoding.NORMALS)

#: Longer than any sum here.
_ONE_CHUNK = 1 << 16

ORDERS = ("alternating", "smallest first", "grouped", "random")


def accumulator_config(
    man_bits: int,
    rounding: Rounding,
    *,
    random_bits: int | None = None,
    x: Format = OPERAND,
    w: Format = OPERAND,
) -> MacConfig:
    """Exact products into a float accumulator of 8 exponent and ``man_bits`` mantissa bits, one chunk."""
    number = FloatFormat(exp_bits=8, man_bits=man_bits, bias=127, encoding=Encoding.NORMALS)
    accumulator = FloatAccumulator(
        format=number, rounding=rounding, random_bits=random_bits, alignment_bits=None
    )
    return MacConfig(x=x, w=w, product=None, accumulator=accumulator, chunk_size=_ONE_CHUNK, outer=None)


def term_order(name: str, terms: int, *, seed: int = 0) -> list[int]:
    """A static order of a closed form's terms, which come as rise, fall, rise, fall.

    ``alternating``: as they come; ``smallest first``: backwards, which for ramps from left to right of equal
    slope sorts the terms of every input by size; ``grouped``: all rises, then all falls; ``random``.
    """
    ascending = list(range(terms))
    match name:
        case "alternating":
            return ascending
        case "smallest first":
            return ascending[::-1]
        case "grouped":
            return ascending[::2] + ascending[1::2]
        case "random":
            return torch.randperm(terms, generator=torch.Generator().manual_seed(seed)).tolist()
    raise ValueError(f"there is no order {name!r}; use {', '.join(ORDERS)}")


def _operands(network: ReluNetwork, y: Tensor, config: MacConfig) -> tuple[Tensor, Tensor]:
    return quantize_operand(network.hidden(y), config.x, 1.0), quantize_operand(network.a, config.w, 1.0)


def narrow_hidden(
    network: ReluNetwork, y: Tensor, config: MacConfig, random: RandomWords = FIRST_WORDS
) -> Tensor:
    """What neurons give whose w . y + b is a sum by ``config``, the bias last: float64 [n, k].

    Its random words are those of the next seed.
    """
    inputs = torch.cat([y, torch.ones(len(y), 1, dtype=torch.float64)], dim=1)
    weights = torch.cat([network.w, network.b[:, None]], dim=1).T
    x, w = quantize_operand(inputs, config.x, 1.0), quantize_operand(weights, config.w, 1.0)
    words = replace(random, seed=random.seed + 1)
    return find_backend("cpu").matmul(x, w, config, random=words).double().clamp(min=0)


def narrow_output(
    network: ReluNetwork,
    y: Tensor,
    config: MacConfig,
    random: RandomWords = FIRST_WORDS,
    *,
    whole: bool = False,
) -> Tensor:
    """The network with its output sum by ``config``, bit for bit: float64 [n, inputs] -> [n, outputs].

    Neurons are exact, or of :func:`narrow_hidden` with ``whole``; what they give, and the weights, are
    rounded to the operands' formats. The output's bias is added in float64.
    """
    hidden, a = _operands(network, y, config)
    if whole:
        hidden = quantize_operand(narrow_hidden(network, y, config, random), config.x, 1.0)
    return find_backend("cpu").matmul(hidden, a, config, random=random).double() + network.c


def narrow_terms(network: ReluNetwork, y: Tensor, config: MacConfig) -> Tensor:
    """The products that :func:`narrow_output` sums, exact: float64 [n, outputs, k]."""
    hidden, a = _operands(network, y, config)
    return hidden[:, None] * a.T.double()


def error_bound(terms: Tensor, accumulator: Accumulator) -> Tensor:
    """A bound of |accumulated - exact| of sums of ``terms`` [..., k], in this order: float64 [...].

    Proved in docs/studies/denoiser.md: E_0 = 0, and E_k = E_{k-1} + c ulp(|S_k| + E_{k-1}) where term k is
    not zero, with the exact partial sums S_k, c = 1/2 to nearest and 1 otherwise. Where the sum does not
    overflow, for every random word. Raises :class:`ConfigError` for an accumulator that is not a float.
    """
    if not isinstance(accumulator, FloatAccumulator):
        raise ConfigError("the bound is of float accumulators; use one of accumulator_config, say")
    number = accumulator.format
    share = 0.5 if accumulator.rounding is Rounding.NEAREST_EVEN else 1.0
    bound = torch.zeros(terms.shape[:-1], dtype=torch.float64)
    sums = terms.cumsum(-1)
    for k in range(terms.shape[-1]):
        reach = sums[..., k].abs() + bound
        # frexp: reach = fraction * 2**exponent with fraction from 1/2 on, so floor(log2) is exponent - 1.
        unit = torch.ldexp(torch.ones_like(reach), torch.frexp(reach).exponent - 1 - number.man_bits)
        step = torch.clamp(share * unit, min=2 * number.flush_value)
        bound = bound + torch.where(terms[..., k] != 0, step, 0.0)
    return bound


def drift(network: ReluNetwork, y: Tensor, config: MacConfig, steps: int) -> Tensor:
    """Where y is after so many denoisings of what the last one gave; each has random words of its own."""
    for step in range(steps):
        y = narrow_output(network, y, config, RandomWords(seed=0, call=step))
    return y
