"""The arithmetic of a tile's output stage, bit for bit, on integers; see docs/tile.md.

Every function takes Python ints, numpy int64 arrays or torch int64 tensors, elementwise: codes of the
outer accumulator, and parameters of their channels that broadcast with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from golden.arith import add
from golden.config import FixedFormat
from golden.integers import Bools, Integers, clip, where
from golden.rounding import (
    MAX_SHIFT,
    Unpacked,
    quantize,
    quantize_events,
    round_significand,
    signed_integer,
    unpack,
)
from golden.tile import TileConfig

__all__ = ["OutputSettings", "output", "output_overflow"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSettings:
    """What the registers of an output stage hold during one product."""

    relu: bool  #: A negative sum becomes zero.
    offset: int  #: Zero point of a fixed-point target; exponent offset to a float one.
    bias: Integers  #: By channel, codes of the outer accumulator's format.
    multiplier: Integers | None  #: By channel, for a fixed-point target only.
    shift: Integers | None  #: By channel, for a fixed-point target only.


def output(code: Integers, settings: OutputSettings, tile: TileConfig) -> Integers:
    """The code that leaves for a code of the outer accumulator."""
    target = tile.output.target
    if isinstance(target, FixedFormat):
        integer = clip(_requantized(code, settings, tile), target.min_integer, target.max_integer)
        return integer & (2**target.bits - 1)
    return quantize(_scaled(code, settings, tile), tile.output_quantizer)


def output_overflow(code: Integers, settings: OutputSettings, tile: TileConfig) -> Bools:
    """Whether :func:`output` saturates at an end of the target."""
    target = tile.output.target
    if isinstance(target, FixedFormat):
        integer = _requantized(code, settings, tile)
        return (integer < target.min_integer) | (integer > target.max_integer)
    return quantize_events(_scaled(code, settings, tile), tile.output_quantizer).overflow


def _biased(code: Integers, settings: OutputSettings, tile: TileConfig) -> Unpacked:
    """The sum with its bias, after the ReLU: rounded once if it is a float, exact if an integer."""
    outer = tile.outer.format
    if isinstance(outer, FixedFormat):
        total = signed_integer(code, outer) + signed_integer(settings.bias, outer)
        exact = Unpacked(total < 0, abs(total), outer.lsb)
    else:
        exact = unpack(add(code, unpack(settings.bias, outer), tile.bias_accumulator), outer)
    if not settings.relu:
        return exact
    return Unpacked(exact.negative & False, where(exact.negative, 0, exact.significand), exact.exponent)


def _requantized(code: Integers, settings: OutputSettings, tile: TileConfig) -> Integers:
    """round(sum * multiplier / 2**shift) + zero point, before it is saturated."""
    total = _biased(code, settings, tile)
    magnitude = round_significand(
        total.significand * settings.multiplier,
        clip(settings.shift, 0, MAX_SHIFT),  # a product has less than MAX_SHIFT bits: the same beyond
        tile.output.rounding,
        total.negative,
    )
    return where(total.negative, -magnitude, magnitude) + settings.offset


def _scaled(code: Integers, settings: OutputSettings, tile: TileConfig) -> Unpacked:
    """The sum in the target's scale: its exponent counts from the target's bias, less the offset."""
    total = _biased(code, settings, tile)
    moved = tile.biased.bias - settings.offset - tile.output.target.bias
    return Unpacked(total.negative, total.significand, total.exponent + moved)
