"""How large partial sums get: histograms over binades, in the accumulator and exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from golden import arith
from golden.codes import decode, encode
from golden.config import FixedFormat, Format, MacConfig
from golden.integers import Integers
from golden.random_words import RandomWords, Stage
from sim.microscope.operands import Operands

__all__ = ["BINADES", "SumHistogram", "range_of", "sum_histogram"]

#: floor(log2) of what is counted, from the lowest to the highest; beyond them is counted at the ends.
BINADES = range(-60, 61)


@dataclass(frozen=True, kw_only=True)
class SumHistogram:
    """Magnitudes of partial sums of a layer, in units of its format, after every step of sampled outputs."""

    name: str
    outputs: int  #: Dot products that were sampled,
    length: int  #: of so many products each.
    counts: dict[str, list[int]]  #: ``inner``, ``outer`` and ``exact`` sums of chunks, by binade.
    zeros: dict[str, int]
    inner_range: tuple[float, float]  #: R_UF and R_OF of the accumulator inside chunks,
    outer_range: tuple[float, float]  #: and of the one that adds up chunks.

    def to_json(self) -> dict:
        """Binades that hold anything, from ``first_binade`` on."""
        used = [i for i in range(len(BINADES)) if any(counts[i] for counts in self.counts.values())]
        first, last = (min(used), max(used)) if used else (0, 0)
        return {
            "layer": self.name,
            "outputs": self.outputs,
            "length": self.length,
            "first_binade": BINADES[first],
            "counts": {kind: counts[first : last + 1] for kind, counts in self.counts.items()},
            "zeros": self.zeros,
            "inner_range": list(self.inner_range),
            "outer_range": list(self.outer_range),
        }


def range_of(number: Format) -> tuple[float, float]:
    """(R_UF, R_OF): the largest magnitude that becomes zero, and the largest number.

    With subnormals, and in fixed point, the first is the smallest number instead: below it is zero.
    """
    top = number.max_magnitude * 2.0**number.lsb_exponent
    if isinstance(number, FixedFormat) or number.subnormals:
        return 2.0**number.lsb_exponent, top
    return number.flush_value, top


class _Counts:
    """Counts of binades, and of zeros."""

    def __init__(self):
        self.binades = torch.zeros(len(BINADES), dtype=torch.int64)
        self.zeros = 0

    def add(self, values: Tensor) -> None:
        _, exponent = torch.frexp(values.abs())
        nonzero = values != 0
        place = (exponent[nonzero] - 1 - BINADES.start).clamp(0, len(BINADES) - 1)
        self.binades += torch.bincount(place, minlength=len(BINADES))
        self.zeros += int((~nonzero).sum())


def sum_histogram(products: Sequence[Operands], *, outputs: int, seed: int) -> SumHistogram:
    """Partial sums of ``outputs`` dot products, drawn at random from a layer's products of one length.

    Sums are by golden, step by step. Random words of stochastic roundings are those of the first rows, since
    only the distribution is looked at.
    """
    first = products[0]
    config, length = first.config, first.length
    alike = [each for each in products if (each.length, each.config) == (length, config)]
    generator = torch.Generator().manual_seed(seed)
    share = -(-outputs // len(alike))
    drawn = [each.dots(share, generator) for each in alike]
    x, w = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    counts = _count(x, w, config)
    return SumHistogram(
        name=first.name,
        outputs=len(x),
        length=length,
        counts={kind: each.binades.tolist() for kind, each in counts.items()},
        zeros={kind: each.zeros for kind, each in counts.items()},
        inner_range=range_of(config.accumulator.format),
        outer_range=range_of(config.outer_accumulator.format),
    )


def _count(x: Tensor, w: Tensor, config: MacConfig) -> dict[str, _Counts]:
    counts = {kind: _Counts() for kind in ("inner", "outer", "exact")}
    x_codes, w_codes = encode(x, config.x), encode(w, config.w)
    rows = torch.arange(len(x))
    random = RandomWords(seed=0, call=0)

    def word(stage: Stage, quantizer, k: int) -> Integers | None:
        return arith.word_of(
            lambda stage, bits, k: random.words(stage, bits, rows, 0, k), stage, quantizer, k
        )

    out: Integers = torch.zeros(len(x), dtype=torch.int64)
    for chunk, indices in enumerate(arith.chunks(x.shape[1], config.chunk_size)):
        acc: Integers = torch.zeros(len(x), dtype=torch.int64)
        exact = torch.zeros(len(x), dtype=torch.float64)
        for k in indices:
            acc = arith.fmaq(
                *(acc, x_codes[:, k], w_codes[:, k], config),
                word(Stage.PRODUCT, config.product, k),
                word(Stage.INNER, config.accumulator, k),
            )
            exact = exact + x[:, k] * w[:, k]
            counts["inner"].add(decode(acc, config.accumulator.format))
            counts["exact"].add(exact)
        out = arith.chunk_add(out, acc, config, word(Stage.OUTER, config.outer_accumulator, chunk))
        counts["outer"].add(decode(out, config.outer_accumulator.format))
    return counts
