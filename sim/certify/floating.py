"""Float accumulators: a proved bound of the error, and whether anything can overflow or underflow.

Every rounding multiplies by 1 + delta, |delta| <= u, or loses at most the smallest number of the format;
aligning loses a share of the larger addend. docs/certificates.md puts the sum of all that together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from golden.arith import chunks
from golden.config import FloatAccumulator, FloatQuantizer, Format, MacConfig, Rounding
from sim.certify.fixed import round_up
from sim.certify.layers import Layer, integer_range

__all__ = ["ErrorModel", "claim", "least_integer"]

_SHARE_BITS = 60  #: Shares of a product are rounded up to multiples of 2**-60, to add them up as integers.


def least_integer(number: Format) -> int:
    """The smallest magnitude beside zero, in units of the format's last bit."""
    normals_only = isinstance(getattr(number, "exp_bits", None), int) and not number.subnormals
    return 2**number.man_bits + 1 if normals_only and number.man_bits else 1


@dataclass(frozen=True)
class Stage:
    """A quantizer or accumulator, and the significand bits of what it takes."""

    name: str  #: product, inner or outer.
    part: FloatQuantizer | FloatAccumulator
    taken_bits: int

    @property
    def unit_roundoff(self) -> Fraction:
        nearest = self.part.rounding is Rounding.NEAREST_EVEN
        return Fraction(1, 2 ** (self.part.format.man_bits + nearest))

    @property
    def grows(self) -> bool:
        """Whether rounding can make a magnitude larger."""
        return self.part.rounding is not Rounding.TOWARD_ZERO

    @property
    def smallest(self) -> Fraction:
        """The smallest magnitude beside zero: what is flushed is below, and so is a subnormal's error."""
        number = self.part.format
        return least_integer(number) * Fraction(2) ** number.lsb_exponent

    @property
    def normal(self) -> Fraction:
        """From here on errors are relative."""
        number = self.part.format
        return Fraction(2) ** (1 - number.bias) if number.subnormals else self.smallest

    @property
    def top(self) -> Fraction:
        number = self.part.format
        return number.max_magnitude * Fraction(2) ** number.lsb_exponent

    @property
    def first_is_exact(self) -> bool:
        """Whether what is added to zero needs no rounding."""
        return self.taken_bits <= self.part.format.significand_bits

    @property
    def guard_bits(self) -> int | None:
        return getattr(self.part, "alignment_bits", None)

    @property
    def cuts_larger(self) -> bool:
        """Whether aligning can shorten the larger addend, too."""
        guard = self.guard_bits
        return guard is not None and self.taken_bits > self.part.format.significand_bits + guard

    @property
    def aligning(self) -> Fraction:
        """What aligning loses at most, as a share of the larger addend."""
        if self.guard_bits is None:
            return Fraction(0)
        return (1 + self.cuts_larger) * Fraction(1, 2 ** (self.part.format.man_bits + self.guard_bits))


class ErrorModel:
    """What the roundings of a configuration do to sums of so many products."""

    def __init__(self, config: MacConfig, length: int):
        self.config = config
        self.length = length
        taken = config.x.significand_bits + config.w.significand_bits
        self.product = None
        if config.product is not None:
            self.product = Stage("product", config.product, taken)
            taken = config.product.format.significand_bits
        self.inner = Stage("inner", config.accumulator, taken)
        self.outer = Stage("outer", config.outer_accumulator, config.accumulator.format.significand_bits)
        self.chunks = chunks(length, config.chunk_size)

    @cached_property
    def additions(self) -> list[tuple[int, int]]:
        """Of each product the additions that can round it, in its chunk and in the outer accumulator."""
        found = []
        for j, chunk in enumerate(self.chunks):
            outer = len(self.chunks) - j - (j == 0 and self.outer.first_is_exact)
            found += [
                (len(chunk) - i - (i == 0 and self.inner.first_is_exact), outer) for i in range(len(chunk))
            ]
        return found

    def _factor(self, inner: int, outer: int, *, up: bool) -> Fraction:
        """The largest or the smallest product of all 1 + delta that a product of operands may go through."""

        def one(stage: Stage | None) -> Fraction:
            if stage is None:
                return Fraction(1)
            return 1 + (stage.grows if up else -1) * stage.unit_roundoff

        return one(self.product) * one(self.inner) ** inner * one(self.outer) ** outer

    @cached_property
    def growth(self) -> Fraction:
        """No magnitude grows by more than this factor through its roundings."""
        return self._factor(*map(max, zip(*self.additions, strict=True)), up=True)

    @cached_property
    def shares(self) -> list[int]:
        """Of each product the share by which it can be wrong in the result, in units of 2**-60."""
        known: dict[tuple[int, int], int] = {}
        for inner, outer in self.additions:
            if (inner, outer) not in known:
                relative = max(
                    self._factor(inner, outer, up=True) - 1, 1 - self._factor(inner, outer, up=False)
                )
                aligning = self.inner.aligning * inner + self.outer.aligning * outer
                share = relative + self.growth**2 * aligning
                known[inner, outer] = math.ceil(share * 2**_SHARE_BITS)
        return [known[pair] for pair in self.additions]

    @property
    def gamma(self) -> Fraction:
        """The largest share."""
        return Fraction(max(self.shares), 2**_SHARE_BITS)

    def absolute(self, losses: Fraction) -> Fraction:
        """The part of the error that does not scale with the operands, from all that underflows lose."""
        aligning = self.inner.aligning * self.length + self.outer.aligning * len(self.chunks)
        return self.growth * losses * (1 + self.growth * aligning)


def claim(layer: Layer, x_range: tuple[int, int]) -> dict[str, Any]:
    """What holds for every input of that range; the keys are those of docs/certificates.md."""
    model = ErrorModel(layer.config, layer.length)
    rows = [None] if layer.weights is None else layer.weights.tolist()
    channels = [_channel(layer, model, row, x_range) for row in rows]
    return {
        "x_range": list(x_range),
        "gamma": round_up(model.gamma),
        "eta": max(round_up(each["eta"]) for each in channels),
        "error": [round_up(each["error"]) for each in channels],
        "possible": sorted(set().union(*(each["possible"] for each in channels))),
    }


def _channel(
    layer: Layer, model: ErrorModel, row: list[int] | None, x_range: tuple[int, int]
) -> dict[str, Any]:
    config, length = layer.config, layer.length
    unit = Fraction(2) ** config.product_lsb
    low_x, high_x = x_range
    if row is None:
        corners = [a * b for a in x_range for b in integer_range(config.w)]
        lows, highs = [min(0, *corners)] * length, [max(0, *corners)] * length
        magnitudes, finest = [least_integer(config.w)] * length, unit
    else:
        highs = [high_x * each if each > 0 else low_x * each for each in row]
        lows = [low_x * each if each > 0 else high_x * each for each in row]
        magnitudes = [abs(each) for each in row if each]
        finest = unit * _power_of_two_in(magnitudes)
    largest = max(max(highs), -min(lows)) * unit

    possible, losses = set(), Fraction(0)
    if model.product is not None:
        least_x = least_integer(config.x)
        limit = math.ceil(model.product.normal / (unit * least_x))
        count = sum(each < limit for each in magnitudes)
        losses += count * model.product.smallest
        possible |= {"product underflow"} if count else set()
        possible |= {"product overflow"} if largest > model.product.top else set()
        finest = max(finest, Fraction(2) ** config.product.format.lsb_exponent)
    for stage, count in ((model.inner, len(magnitudes)), (model.outer, len(model.chunks))):
        lossy = count > 0 and finest < stage.smallest
        losses += count * stage.smallest if lossy else 0
        possible |= {f"{stage.name} underflow"} if lossy or stage.cuts_larger else set()
        finest = max(finest, Fraction(2) ** stage.part.format.lsb_exponent)

    def reach(part: range) -> Fraction:
        """No sum of these products is larger."""
        most = max(sum(highs[part.start : part.stop]), -sum(lows[part.start : part.stop])) * unit
        return model.growth * (most + (0 if model.growth == 1 else losses))

    whole = reach(range(length))
    possible |= {"inner overflow"} if max(map(reach, model.chunks)) > model.inner.top else set()
    possible |= {"outer overflow"} if whole > model.outer.top else set()
    possible |= {"any order"} if whole > min(model.inner.top, model.outer.top) else set()
    sizes = [max(high, -low) for high, low in zip(highs, lows, strict=True)]
    eta = model.absolute(losses)
    relative = sum(share * size for share, size in zip(model.shares, sizes, strict=True))
    return {"error": relative * unit / 2**_SHARE_BITS + eta, "eta": eta, "possible": possible}


def _power_of_two_in(integers: Sequence[int]) -> int:
    """The largest power of two that divides them all."""
    common = math.gcd(*integers) or 2**_SHARE_BITS
    return common & -common
